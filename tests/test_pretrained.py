"""Every bundled weight file is what its record says, and scores what it says."""

from pathlib import Path

import pytest
import torch

import srzoo
from srzoo.architecture import Weights
from srzoo.benchmark import mean_psnr
from srzoo.data import pairs_from_hr
from srzoo.hub import PRETRAINED, place
from srzoo.registry import architectures
from srzoo.weights import file_sha256, read_tensors

ROWS = [row for arch in architectures().values() for row in arch.weights if place(row) == "package"]
EXAMPLE = Path(__file__).parent.parent / "examples" / "images" / "coffee.png"
TOLERANCE = 0.005  # dB
each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.model}.{row.tag}")


def check_scores(row: Weights, name: str, source: Path) -> None:
    """The model scores on images what the header of its file says."""
    model = srzoo.create_model(f"{row.model}.{row.tag}")
    for scale in model.scales:
        recorded = srzoo.read_header(PRETRAINED / row.file).metrics[name][f"x{scale}"]
        found = mean_psnr(srzoo.evaluate(model, pairs_from_hr(source, scale)))
        assert found == pytest.approx(recorded["psnr"], abs=TOLERANCE)


def test_there_are_weights() -> None:
    assert srzoo.list_models("edsr_baseline_x[234]", pretrained=True) == [f"edsr_baseline_x{s}" for s in (2, 3, 4)]


@each_row
def test_the_file_is_the_recorded_one_and_says_what_it_is(row: Weights) -> None:
    path = PRETRAINED / row.file
    assert file_sha256(path) == row.sha256
    header = srzoo.read_header(path)
    assert (header.model, header.license, header.source) == (row.model, row.license, row.source)
    assert {"config", "steps", "data", "device", "srzoo", "pictures"} <= header.recipe.keys()
    assert {tensor.dtype for tensor in read_tensors(path, header).values()} == {torch.float16}


@each_row
def test_record_and_header_agree(row: Weights) -> None:
    metrics = srzoo.read_header(PRETRAINED / row.file).metrics
    for name, by_scale in row.metrics.items():
        assert by_scale == {scale: entry["psnr"] for scale, entry in metrics[name].items()}


@each_row
def test_the_example_photo_scores_what_is_recorded(row: Weights) -> None:
    check_scores(row, "examples", EXAMPLE)


@each_row
def test_set5_scores_what_is_recorded(row: Weights, data_dir: Path) -> None:
    check_scores(row, "Set5", data_dir / "bench" / "Set5" / "HR")


@pytest.mark.slow
@each_row
def test_set14_scores_what_is_recorded(row: Weights, data_dir: Path) -> None:
    check_scores(row, "Set14", data_dir / "bench" / "Set14" / "HR")


@each_row
def test_the_weights_beat_bicubic_on_the_example_photo(row: Weights) -> None:
    for scale in srzoo.create_model(row.model).scales:
        pairs = pairs_from_hr(EXAMPLE, scale)
        ours = mean_psnr(srzoo.evaluate(srzoo.create_model(f"{row.model}.{row.tag}"), pairs))
        assert ours > mean_psnr(srzoo.evaluate(srzoo.create_model(f"bicubic_x{scale}"), pairs)) + 0.5
