"""What `srzoo upscale` says about the choice of weights."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "upscaling" / "jobs"))

from PIL import Image
from stand_in import StandIn

from srzoo.architecture import Origin
from srzoo.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(*arguments: str) -> int:
    return main(["upscale", *arguments, "--model", "bicubic_x2"])


class Known(str):
    """A model's name that has an origin."""

    origin = Origin("edsr_baseline_x4.photos", "CC0-1.0")


def test_better_weights_for_jpeg_are_told_once_a_job(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Opened(StandIn):
        def __init__(self, model: str = "stand_in", **options: Any) -> None:
            super().__init__(Known(model), **options)
            first = SimpleNamespace(model=SimpleNamespace(origin=Origin("edsr_baseline_x2.photos", "CC0-1.0")))
            self.networks = SimpleNamespace(stages=lambda _: [first, SimpleNamespace(model=self.model)])

    rows = ["edsr_baseline_x4.photos", "edsr_baseline_x4.jpeg", "edsr_baseline_x2.jpeg"]
    monkeypatch.setattr("srzoo.upscaling.jobs.advice.list_models", lambda *_, **__: rows)
    monkeypatch.setattr("srzoo.cli.upscale.Upscaler", Opened)
    photos = here / "photos"
    photos.mkdir()
    for name in ("a", "b"):
        Image.new("RGB", (12, 9)).save(photos / f"{name}.jpg", quality=70)
    sentence = "a.jpg is a JPEG of quality 70; use --model edsr_baseline_x2.jpeg, trained for such pictures"
    assert upscale("photos", "--dry-run") == 0
    assert capsys.readouterr().err.count(sentence) == 1
    assert upscale("photos", "--dry-run", "--quiet") == 0
    assert capsys.readouterr().err == ""
    assert upscale("photos") == 0
    assert capsys.readouterr().err.count(sentence) == 1
    assert upscale("photos", "--overwrite", "--json") == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["notes"] == [sentence]
    assert sentence not in captured.err
    assert upscale("photos", "--skip-existing", "--json") == 0
    assert json.loads(capsys.readouterr().out)["notes"] == []  # nothing is to be made
    assert upscale("photos", "--overwrite", "--quiet") == 0
    assert capsys.readouterr().err == ""
