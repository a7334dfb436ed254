"""The bundled weight files: each is the recorded one, and scores what is recorded."""

import json
import re
from pathlib import Path

import pytest
import torch

import srzoo
from srzoo.architecture import Weights
from srzoo.benchmark import mean_psnr
from srzoo.data import Pair
from srzoo.data.degraded_pairs import pairs_by_preset
from srzoo.hub import PRETRAINED, place
from srzoo.registry import architectures
from srzoo.weights import file_sha256, read_header, read_tensors

BUNDLED = [row for arch in architectures().values() for row in arch.weights if place(row) == "package"]
PICTURES = Path(__file__).parent / "images"
EXAMPLE = Path(__file__).parents[1] / "examples" / "images" / "coffee.png"
TOLERANCE = 0.005  # dB
each_bundled = pytest.mark.parametrize("row", BUNDLED, ids=lambda row: f"{row.model}.{row.tag}")
COUNTS_CROPS = {"edsr_baseline_x2.photos"}
"""Files of before pictures were counted: they count each crop. The next release of one takes it off this list."""
NAMES_A_PATH = {"edsr_baseline_x4.photos"}
"""Files whose header names a path of one machine as their start. The next release of one takes it off this list."""


def degradation_of(row: Weights) -> str:
    """The name of what made the LR images that the scores of a file are of."""
    return read_header(PRETRAINED / row.file).recipe.get("scored_on", {}).get("degradation", "bicubic")


def recorded_of(row: Weights) -> dict:
    """What scores.json says of a file."""
    return json.loads((PICTURES / "scores.json").read_text())[f"{row.model}.{row.tag}"]


def check_scores(row: Weights, recorded: dict[str, float], pairs: dict[int, list[Pair]]) -> None:
    """The file scores on pairs of every scale it serves what is recorded, and more than bicubic does."""
    model = srzoo.create_model(f"{row.model}.{row.tag}")
    assert recorded.keys() == {f"x{scale}" for scale in model.scales}
    assert pairs.keys() == set(model.scales)
    for scale in model.scales:
        found = mean_psnr(srzoo.evaluate(model, pairs[scale]))
        assert found == pytest.approx(recorded[f"x{scale}"], abs=TOLERANCE)
        assert found > mean_psnr(srzoo.evaluate(srzoo.create_model(f"bicubic_x{scale}"), pairs[scale])) + 0.2


def pairs_of(row: Weights, source: Path) -> dict[int, list[Pair]]:
    """Scale -> the pairs that a file is scored on."""
    scales = srzoo.create_model(row.model).scales
    return {scale: pairs_by_preset(source, scale, degradation_of(row)) for scale in scales}


def check_set(row: Weights, name: str, source: Path) -> None:
    """The same for what the file's own header records of a set."""
    degradation = degradation_of(row)
    ending = "" if degradation == "bicubic" else f" {degradation}"
    by_scale = read_header(PRETRAINED / row.file).metrics[name + ending]
    check_scores(row, {scale: entry["psnr"] for scale, entry in by_scale.items()}, pairs_of(row, source))


def test_there_are_bundled_files() -> None:
    assert {f"edsr_baseline_x{scale}" for scale in (2, 3, 4)} <= {row.model for row in BUNDLED}


def test_each_bundled_file_has_a_row() -> None:
    assert {path.name for path in PRETRAINED.glob("*.safetensors")} == {row.file for row in BUNDLED}


def test_scores_are_recorded_of_the_bundled_files_alone() -> None:
    recorded = json.loads((PICTURES / "scores.json").read_text())
    assert recorded.keys() == {f"{row.model}.{row.tag}" for row in BUNDLED}


@each_bundled
def test_a_bundled_file_is_the_recorded_one_and_says_what_it_is(row: Weights) -> None:
    path = PRETRAINED / row.file
    assert file_sha256(path) == row.sha256
    header = read_header(path)
    assert (header.model, header.license, header.source) == (row.model, row.license, row.source)
    assert {"data", "device", "srzoo", "pictures"} <= header.recipe.keys()
    assert {"config", "steps"} <= header.recipe.keys() or "fit" in header.recipe
    assert {tensor.dtype for tensor in read_tensors(path, header).values() if tensor.is_floating_point()} == {
        torch.float16
    }
    for name, by_scale in row.metrics.items():
        assert by_scale == {scale: entry["psnr"] for scale, entry in header.metrics[name].items()}


@each_bundled
def test_a_header_counts_each_picture_once(row: Weights) -> None:
    counted = sum(read_header(PRETRAINED / row.file).recipe["pictures"].values())
    told = re.search(r"(\d+) freely licensed photographs$", row.source)
    assert told is not None
    assert (counted != int(told[1])) == (f"{row.model}.{row.tag}" in COUNTS_CROPS)


@each_bundled
def test_a_header_tells_its_start_without_a_path(row: Weights) -> None:
    start = read_header(PRETRAINED / row.file).recipe.get("start", "").split()
    has_path = any("/" in word for word in start if not word.startswith("hf-hub:"))
    assert has_path == (f"{row.model}.{row.tag}" in NAMES_A_PATH)


@each_bundled
def test_a_bundled_file_scores_what_is_recorded_on_the_pictures_here(row: Weights) -> None:
    recorded = recorded_of(row)
    assert recorded["content"] == read_header(PRETRAINED / row.file).content
    assert recorded["degradation"] == degradation_of(row)
    check_scores(row, recorded["psnr"], pairs_of(row, PICTURES))


@each_bundled
def test_a_bundled_file_scores_what_its_header_says_on_the_example(row: Weights) -> None:
    check_set(row, "examples", EXAMPLE)


@each_bundled
def test_a_bundled_file_scores_what_is_recorded_on_one_image_of_set5(row: Weights, data_dir: Path) -> None:
    recorded = recorded_of(row)["set5"]
    check_scores(row, recorded["psnr"], pairs_of(row, data_dir / "bench" / "Set5" / "HR" / f"{recorded['image']}.png"))


@pytest.mark.slow
@each_bundled
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_a_bundled_file_scores_what_its_header_says_on_a_set(row: Weights, name: str, data_dir: Path) -> None:
    check_set(row, name, data_dir / "bench" / name / "HR")
