import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.cli import compare
from srzoo.report import Crop

WAVES = (120 + 80 * np.sin(np.arange(48 * 64 * 3).reshape(48, 64, 3) / 31)).astype(np.uint8)


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser(prog="srzoo")
    compare.add(parser.add_subparsers(required=True))
    args = parser.parse_args(["compare", *map(str, arguments)])
    return args.run(args)


@pytest.fixture
def hr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "hr"
    folder.mkdir()
    for i, name in enumerate(("a", "b")):
        Image.fromarray(np.roll(WAVES, 7 * i, 1)).save(folder / f"{name}.png")
    return folder


def test_a_page_is_written_and_scores_are_told(hr, capsys):
    assert run("--hr", hr, "--models", "bicubic,bicubic_x2") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("1/2 a: bicubic ")
    assert told[2].startswith("mean: bicubic ")
    assert told[3] == "PSNR / SSIM by the papers' protocol: Y, 8-bit, border 2"
    assert told[4].startswith("comparison.html (")
    assert Path("comparison.html").read_text().startswith("<!doctype html>")


def test_a_figure_alone_writes_no_page(hr):
    assert (
        run(hr / "a.png", "--models", "bicubic_x3", "--from-hr", "--grid", "grid.png", "--crops", "1", "--quiet") == 0
    )
    assert sorted(path.name for path in hr.parent.iterdir()) == ["grid.png", "hr"]


def test_json_tells_all(hr, capsys):
    arguments = ("--models", "bicubic_x2", "--json", "-o", "a.html", "--crop", "1,2,3,4", "--crop", "5,6,7,8")
    assert run(hr, "--from-hr", "--limit", "1", *arguments) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["scale"], told["page"], told["grid"]) == (2, "a.html", None)
    [image] = told["images"]
    assert image["name"] == "a"
    assert image["crops"] == [vars(Crop(1, 2, 3, 4)), vars(Crop(5, 6, 7, 8))]
    assert image["scores"]["bicubic"] == image["scores"]["bicubic_x2"] == told["mean"]["bicubic"]


def test_a_flat_image_is_null_in_json(hr, capsys):
    Image.fromarray(np.full((32, 32, 3), 90, np.uint8)).save("flat.png")
    assert run("flat.png", "--from-hr", "--models", "bicubic_x2", "--json") == 0
    assert '"psnr": null' in capsys.readouterr().out


def test_a_bad_file_is_told_and_the_job_goes_on(hr, capsys):
    (hr / "aa.png").write_text("no image")
    assert run(hr, "--from-hr", "--models", "bicubic_x2", "--quiet") == 1
    told = capsys.readouterr()
    assert told.out == ""
    first, second = told.err.splitlines()
    assert first.startswith("srzoo: aa: ")
    assert second == "srzoo: 1 of 3 images failed"
    assert Path("comparison.html").exists()


def test_where_all_fails_the_exit_code_is_2(hr, capsys):
    assert run(hr, "--from-hr", "--models", "bicubic_x2", "--crop", "60,0,9,9") == 2
    assert "outside of the 64x48 pixels" in capsys.readouterr().err
    assert not Path("comparison.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--models", "bicubic_x2"], "there are no images to compare on"),
        (["hr", "--models", "bicubic_x2,bicubic_x4"], "different scales: bicubic_x2 .x2., bicubic_x4 .x4."),
        (["hr", "--models", "bicubic"], "give scale"),
        (["hr", "--models", "bicubic_x2,"], "--models is 'bicubic_x2,'"),
        (["hr", "--models", "bicubic_x2", "-o", ""], "the name of an output is empty"),
        (["hr", "--models", "bicubic_x2", "-o", "a.png"], "end it in .html"),
        (["hr", "--models", "bicubic_x2", "--crop", "1,2"], "give X,Y,W,H"),
        (["hr", "--models", "bicubic_x2", "--crops", "0"], "crops is 0"),
        (["hr", "--models", "bicubic_x2", "--tile", "0"], "tile is 0"),
    ],
)
def test_mistakes_are_told_in_a_sentence(hr, arguments, message):
    with pytest.raises(ValueError, match=message) as told:
        run(*arguments)
    assert "\n" not in str(told.value)


def test_the_images_and_what_exists_stay(hr, capsys):
    before = (hr / "a.png").read_bytes()
    with pytest.raises(ValueError, match="is one of the images that are read"):
        run(hr / "a.png", "--models", "bicubic_x2", "--grid", hr / "a.png", "--overwrite")
    assert (hr / "a.png").read_bytes() == before
    arguments = (hr, "--models", "bicubic_x2", "--limit", "1", "--quiet")
    assert run(*arguments) == 0
    first = Path("comparison.html").read_bytes()
    with pytest.raises(FileExistsError, match=r"comparison\.html exists; --overwrite replaces it"):
        run(*arguments, "--from-hr")
    assert Path("comparison.html").read_bytes() == first
    assert run(*arguments, "--from-hr", "--overwrite") == 0
    assert Path("comparison.html").read_bytes() != first


@pytest.mark.skipif(sys.platform == "win32", reason="Windows allows no such names")
def test_names_cannot_steer_the_terminal(hr, capsys):
    (hr / "a.png").rename(hr / "a\n2: fine\x1b[2J.png")
    (hr / "b.png").write_text("no image")
    (hr / "b.png").rename(hr / "b\x1b]0;title\x07\n.png")
    assert run(hr, "--from-hr", "--models", "bicubic_x2", "-o", "x\x1b[1m.html") == 1
    told = capsys.readouterr()
    assert (told.out + told.err).replace("\n", "").isprintable()
    assert told.out.startswith(r"1/2 a\n2: fine\x1b[2J: bicubic ")
    assert told.err.splitlines()[0].startswith(r"srzoo: b\x1b]0;title\x07\n: ")
