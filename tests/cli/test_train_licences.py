"""`srzoo train` and the licences of the pictures it is given."""

from pathlib import Path

import pytest
import torch

import srzoo
from srzoo.cli import main

SMALL = ["--set", "width=4", "--set", "num_blocks=1", "--batch-size", "2", "--patch-size", "8", "--device", "cpu"]
LICENCES = ["CC0-1.0", "CC0-1.0", "CC-BY-4.0 (A. Photographer)", "CC-BY-SA-4.0 (B. Photographer)", "CC0-1.0", "CC0-1.0"]


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The six images of `photo_folder`, of which 4 and 5 are crops of one picture."""
    rows = [f"photo{i}.png,{licence},{min(i, 4)},{i + 1}" for i, licence in enumerate(LICENCES)]
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(["file,licence,original,score", *rows]) + "\n")
    return path


@pytest.fixture
def train(photo_folder: Path, tmp_path: Path):
    def call(*more: str, run: str = "run", model: str = "edsr_baseline_x2") -> int:
        command = ["train", "--model", model, "--data", str(photo_folder), "--run", str(tmp_path / run)]
        return main([*command, *SMALL, "--steps", "1", "--quiet", "--validation", "0", *more])

    return call


def test_the_header_counts_pictures_and_states_the_licence(train, manifest: Path, tmp_path: Path, capsys) -> None:
    assert train("--licences", str(manifest)) == 0
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    assert header.recipe["images"]["pictures"] == {"CC-BY-4.0": 1, "CC-BY-SA-4.0": 1, "CC0-1.0": 3}
    assert header.license == "CC-BY-SA-4.0"
    assert "Photographer" not in str(header)
    summary = (tmp_path / "run" / "summary.md").read_text()
    assert "| pictures by licence | CC0-1.0: 3, CC-BY-4.0: 1, CC-BY-SA-4.0: 1 |" in summary
    capsys.readouterr()
    assert main(["info", str(tmp_path / "run")]) == 0
    assert "CC-BY-SA-4.0: 1" in capsys.readouterr().out


def test_share_alike_pictures_are_left_out(train, manifest: Path, tmp_path: Path) -> None:
    assert train("--scores", str(manifest), "--leave-out", "share-alike") == 0  # the scores' file has the licences
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    images = header.recipe["images"]
    assert (images["pictures"], images["left_out"]) == ({"CC-BY-4.0": 1, "CC0-1.0": 3}, {"CC-BY-SA-4.0": 1})
    assert (images["drawn"], header.license) == (5, "")
    assert "| left out by licence | CC-BY-SA-4.0: 1 |" in (tmp_path / "run" / "summary.md").read_text()


def test_what_starts_from_share_alike_weights_is_shared_alike(train, manifest: Path, tmp_path: Path) -> None:
    assert train("--licences", str(manifest), run="first") == 0
    more = ["--licences", str(manifest), "--leave-out", "share-alike", "--init", str(tmp_path / "first")]
    assert train(*more, run="second", model="edsr_baseline_x3") == 0
    header = srzoo.read_header(tmp_path / "second" / "model.safetensors")
    assert (header.license, header.recipe["start_license"]) == ("CC-BY-SA-4.0", "CC-BY-SA-4.0")
    assert "CC-BY-SA-4.0" not in header.recipe["images"]["pictures"]


def test_without_licences_nothing_is_counted_or_stated(train, tmp_path: Path) -> None:
    assert train() == 0
    header = srzoo.read_header(tmp_path / "run" / "model.safetensors")
    assert "pictures" not in header.recipe["images"]
    assert header.license == ""


@pytest.mark.parametrize(
    ("text", "more", "told"),
    [
        (None, ["--leave-out", "share-alike"], "needs the licence of each image; give --licences"),
        ("name,licence\n", [], "needs columns file and licence; it has name, licence"),
        ("file,licence\nphoto0.png,CC0-1.0\n", [], "no licence for photo1.png, photo2.png"),
        ("file,licence\nphoto0.png,\n", [], "no licence for photo0.png; give each one"),
        ("file,licence\nphoto0.png,MIT\nphoto0.png,CC0-1.0\n", [], "names photo0.png twice, as MIT and CC0-1.0"),
        ("ALL", ["--leave-out", "CC-BY-ND*"], "no image of FOLDER is under 'CC-BY-ND*', to be left out; there are MIT"),
        ("ALL", ["--leave-out", "mit"], "all 6 images of FOLDER are under MIT; none is left to train on"),
    ],
)
def test_a_mistake_is_one_sentence(train, photo_folder: Path, tmp_path: Path, capsys, text, more, told) -> None:
    path = tmp_path / "given.csv"
    if text == "ALL":
        text = "file,licence\n" + "".join(f"photo{i}.png,MIT\n" for i in range(6))
    if text is not None:
        path.write_text(text)
        more = ["--licences", str(path), *more]
    assert train(*more) == 2
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srzoo: ")]
    assert told.replace("FOLDER", str(photo_folder)) in line


def test_a_grown_model_starts_as_the_one_it_came_from(train, tmp_path: Path) -> None:
    assert train(run="shallow", model="mdsr_baseline") == 0
    more = ["--set", "num_blocks=3", "--init", str(tmp_path / "shallow"), "--lr", "1e-12"]
    assert train(*more, run="deep", model="mdsr") == 0
    header = srzoo.read_header(tmp_path / "deep" / "model.safetensors")
    assert header.recipe["start"].startswith("all of ")
    first, grown = (srzoo.load_model(tmp_path / run) for run in ("shallow", "deep"))
    lr = torch.rand(1, 3, 9, 8)
    torch.testing.assert_close(grown(lr, scale=3), first(lr, scale=3), atol=1e-5, rtol=0)
