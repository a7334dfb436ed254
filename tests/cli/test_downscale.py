import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.cli import downscale


def run(*argv: str | Path) -> int:
    parser = argparse.ArgumentParser()
    downscale.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["downscale", *map(str, argv)])
    return args.run(args)


@pytest.fixture
def hr(tmp_path: Path) -> Path:
    """Two images, one of a size that 3 does not divide."""
    folder = tmp_path / "HR"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (12, 24, 3)), ("b", (24, 13, 3))):
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    return folder


def test_lines_and_summary(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hr, "--scale", "2,3", "--workers", "1") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"1/2 {hr}/a.png 24x12 -> x2 x3"
    assert told[1] == f"2/2 {hr}/b.png 13x24 -> x2 x3, cropped for x2 x3"
    assert told[2].startswith("4 LR images of 0.0 HR megapixels in ")
    assert told[2].endswith(" megapixels a second)")
    assert told[3] == "1 images were cropped to a multiple of a scale first (--json names them)"
    assert sorted(path.name for path in (hr.parent / "HR_lr/x3").iterdir()) == ["a.png", "b.png"]
    assert run(hr, "--scale", "2,3") == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("4 LR images were there already")


def test_a_degradation_by_name_makes_other_images(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hr, "-o", hr.parent / "clean", "--scale=2", "--quiet") == 0
    for out in ("once", "twice"):
        assert run(hr, "-o", hr.parent / out, "--scale=2", "--degradation=photo", "--json") == 0
        assert json.loads(capsys.readouterr().out)["degradation"] == "photo"
    for name in ("a.png", "b.png"):
        clean, once, twice = ((hr.parent / out / "x2" / name).read_bytes() for out in ("clean", "once", "twice"))
        assert once == twice
        assert once != clean


def test_json_names_all(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hr, "-o", hr.parent / "out", "--scale=3", "--layout=edsr-pytorch", "--border=replicate", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["files"], found["cropped"], found["failed"]) == (2, 2, 1, 0)
    assert (found["border"], found["scales"], found["layout"]) == ("replicate", [3], "edsr-pytorch")
    assert [row["cropped"] for row in found["results"]] == [[], [3]]
    assert found["results"][0]["outputs"] == {"3": str(hr.parent / "out/LR_bicubic/X3/ax3.png")}
    assert found["results"][0]["status"] == "done"


def test_a_bad_file_is_told_and_the_job_goes_on(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = (hr / "a.png").read_bytes()
    (hr / "a.png").write_bytes(whole[: len(whole) // 2])
    assert run(hr, "--scale=2", "--quiet") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "a.png is damaged" in told.err
    assert told.err.endswith("srzoo: 1 of 2 images failed\n")
    assert (hr.parent / "HR_lr/x2/b.png").exists()
    (hr / "b.png").unlink()
    assert run(hr, "--scale=2", "--overwrite", "--quiet") == 2


def test_a_bar_on_a_terminal(hr: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (hr / "c.png").write_bytes(b"no image")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert run(hr, "--scale=2") == 1
    told = capsys.readouterr()
    assert "c.png is not an image" in told.err
    assert told.out.splitlines()[0].startswith("2 LR images")


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="file names are Unicode there")
@pytest.mark.parametrize("terminal", [False, True])
def test_strange_names_are_spelled_out(
    hr: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    (hr / "a.png").rename(os.fsdecode(bytes(hr / "\x1b[2J") + b"\xff.png"))
    (hr / os.fsdecode(b"\x1b[2J\xfe.png")).write_bytes(b"no image")
    assert run(hr, "--scale=2") == 1
    told = capsys.readouterr()
    spelled = told.err if terminal else told.err + told.out
    assert r"\x1b[2J\udcfe.png is not an image" in spelled
    assert terminal or rf"{hr}/\x1b[2J\udcff.png 24x12 -> x2" in spelled
    assert "\x1b[2J" not in told.err + told.out
    assert (hr.parent / "HR_lr/x2/b.png").exists()


def test_what_was_made_of_an_image_that_failed_is_told(hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(hr, "--scale=16,2,3", "--workers=1") == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"srzoo: {hr}/a.png: it has 24x12 pixels, fewer than scale 16 needs (made x2 x3)"
    run(hr, "--scale=16,2,4", "--workers=1")
    assert capsys.readouterr().err.splitlines()[0].endswith("needs (made x4, kept x2)")


@pytest.mark.parametrize("text", ["2,x", "", "2.5"])
def test_scales_that_are_no_numbers(text: str, hr: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(hr, f"--scale={text}")
    assert "is not of the form 2,3,4" in capsys.readouterr().err


def test_an_empty_name(hr: Path) -> None:
    with pytest.raises(ValueError, match="was a variable not set"):
        run(hr, "-o", "")
