"""`srzoo upscale` with networks after each other."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "upscaling" / "jobs"))

from stand_in import picture

from srzoo import create_model, save_model
from srzoo.cli import main


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_factor_above_the_models_scales_takes_networks_after_each_other(
    here: Path, capsys: pytest.CaptureFixture[str]
):
    save_model(create_model("mdsr", num_blocks=1, width=8), here / "mdsr.safetensors")
    (here / "photos").mkdir()
    picture(here / "photos" / "a.png")
    job = ["upscale", "photos", "--model", "mdsr.safetensors", "--precision", "fp32"]
    for options, size, note in (
        (["--scale", "8"], [96, 72], "x8 by mdsr x2, then mdsr x4"),
        (["--scale", "5"], [60, 45], "x6 by mdsr x2, then mdsr x3"),
        (["--long-edge", "108"], [108, 81], "x9 by mdsr x3, then mdsr x3"),
    ):
        assert main([*job, *options, "--json", "--skip-existing"]) == 0
        (image,) = json.loads(capsys.readouterr().out)["images"]
        assert (image["status"], image["size"]) == ("done", size)
        assert note in image["notes"]
        assert main([*job, *options, "--json", "--skip-existing"]) == 0
        assert json.loads(capsys.readouterr().out)["images"][0]["status"] == "skipped"
    assert sorted(path.name for path in here.glob("photos_*")) == ["photos_108", "photos_x5", "photos_x8"]
    assert main([*job, "--scale", "8", "--tta", "flips", "--json", "--skip-existing"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["status"] == "done"  # made again: other settings


@pytest.mark.parametrize(("model", "note"), [("bicubic_x2", "x4 by bicubic_x4"), ("bicubic_x4", None)])
def test_a_sister_makes_the_factor_that_the_model_does_not(
    model: str, note: str | None, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(here / "a.png")
    assert main(["upscale", "a.png", "--model", model, "--scale", "4", "--json"]) == 0
    (image,) = json.loads(capsys.readouterr().out)["images"]
    assert [one for one in image["notes"] if " by " in one] == ([note] if note else [])
    assert not any("bicubic the rest" in one for one in image["notes"])
