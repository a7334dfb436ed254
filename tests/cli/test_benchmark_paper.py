"""`srzoo benchmark --paper` as a user calls it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import srzoo
from srzoo.benchmark import main_runs
from srzoo.cli import main


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRZOO_DATA", raising=False)
    monkeypatch.setattr(main_runs, "cost_of", lambda *_: None)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    y, x = np.mgrid[:40, :36]
    planes = [120 + 80 * np.sin(x / 3) * np.cos(y / period) for period in (4, 5, 6)]
    Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(folder / "a.png")
    return folder


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An EDSR that has learnt nothing, which bicubic beats."""
    path = tmp_path / "mine.safetensors"
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1), path)
    return path


def call(*arguments: str | Path) -> int:
    return main(["benchmark", "--paper", *map(str, arguments)])


def test_the_page_is_printed_and_written_in_every_form(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [word for end in ("md", "html", "json") for word in ("-o", tmp_path / f"page.{end}")]
    systems = ["--systems", "Bicubic,edsr-baseline,EDSR-baseline+,EDSR"]
    assert call(weights, "--sets", images, "--scales", "2", "--device", "cpu", *systems, *files) == 0
    said = capsys.readouterr()
    page = (tmp_path / "page.md").read_text()
    assert page == said.out
    assert "srzoo benchmark --paper mine.safetensors --data DIR --sets tiny --scale 2 --systems Bicubic,edsr-" in page
    assert str(tmp_path) not in page.replace(str(weights), "")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    assert len(json.loads((tmp_path / "page.json").read_text())["cells"]) == 3
    assert "srzoo: Bicubic, EDSR-baseline, EDSR-baseline+ on tiny at x2; 3 images; cpu" in said.err
    assert "srzoo: no weights: EDSR x2" in said.err
    assert "srzoo: the order of the systems: 2 of 6 relations could be checked, " in said.err
    assert " violated; without A+, SRCNN, VDSR, MDSR-baseline" in said.err
    assert not list(tmp_path.glob("cache/benchmark/*"))

    assert call("--from", tmp_path / "page.json", "-o", tmp_path / "again.md", "--quiet") == 0
    assert (tmp_path / "again.md").read_text() == page
    said = capsys.readouterr()
    assert not said.out
    assert call("--from", tmp_path / "page.json", "--check-order", "--json", "-") == 1
    assert json.loads(capsys.readouterr().out)["order"]["passed"] is False


def test_an_order_that_holds_passes_the_check(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--sets", images, "--scale", "2", "--device", "cpu", "--quiet", "--check-order"]
    assert call(*options, "--systems", "Bicubic") == 1
    assert "none of 6 relations could be checked; without A+" in capsys.readouterr().err


def test_the_check_fails_where_a_system_that_was_asked_for_has_no_score(
    weights: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--sets", images, "--scale", "2", "--device", "cpu", "--quiet", "--systems", "Bicubic,EDSR-baseline"]
    assert call(weights, *options, "-o", tmp_path / "page.json") == 0
    values = json.loads((tmp_path / "page.json").read_text())
    for cell in values["cells"]:
        cell["psnr"] = {"Bicubic": 30.0, "EDSR-baseline": 31.0}[cell["system"]]
    (tmp_path / "page.json").write_text(json.dumps(values))
    assert call("--from", tmp_path / "page.json", "--check-order", "--quiet") == 0
    assert "1 of 6 relations could be checked, all hold; without A+" in capsys.readouterr().err
    for one in values["missing"]:
        one["why"] = "no weights" if one["system"] in ("VDSR", "EDSR") else one["why"]
    (tmp_path / "page.json").write_text(json.dumps(values))
    assert call("--from", tmp_path / "page.json", "--check-order", "--quiet") == 1
    assert "--check-order fails: no score of VDSR; --systems leaves them out" in capsys.readouterr().err


def test_nan_fails(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)
    model.get_parameter("tail.bias").data[0] = float("nan")
    srzoo.save_model(model, tmp_path / "broken.safetensors")
    options = ["--sets", images, "--scale", "2", "--device", "cpu", "--quiet", "--systems", "EDSR-baseline"]
    assert call(tmp_path / "broken.safetensors", *options) == 1
    assert "EDSR-baseline on tiny a x2: values of the output are NaN or infinite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--tta", "x8"], "--tta does not go with --paper"),
        (["--check"], "--check does not go with --paper"),
        (["--lr", "TMP"], "--lr does not go with --paper"),
        (["--systems", "RCAN"], "'RCAN' is no system of the table; there are Bicubic, A+"),
        (["--scale", "8"], "the table has scales 2, 3 and 4; 8 was given"),
        (["--scale", "two"], "--scale is 'two'"),
        (["--sets", ","], "--sets is empty"),
        (["-o", "TMP/a.txt"], "--output: TMP/a.txt ends in none of .md, .html, .json"),
        (["-o", "TMP/none/a.md"], "--output: folder TMP/none does not exist"),
        (["-o", "TMP/a.json", "--json", "TMP/a.json"], "two outputs are one file"),
        (["--html", "-"], "--html writes a file"),
        (["--data", "TMP/none"], "TMP/none, which is not a folder"),
        (["--data", "TMP"], "none of the paper's sets is at hand; Set5 was not found in TMP"),
        (["--from", "TMP/none.json"], "none.json"),
        (["--from", "TMP/bad.json"], "--from: TMP/bad.json cannot be read"),
        (["--from", "TMP/bad.json", "--scale", "2"], "--from takes a table as it was measured; leave out --scale"),
        (["--from", "TMP/bad.json", "--limit", "0"], "leave out --limit"),
        (["--from", "TMP/bad.json", "--data", "TMP"], "leave out --data"),
        (["--from", "TMP/bad.json", "--fetch"], "leave out --fetch"),
        (["--from", "TMP/bad.json", "--fresh"], "leave out --fresh"),
        (["--from", "TMP/bad.json", "--device", "cpu"], "leave out --device"),
        (["--from", "TMP/bad.json", "--tile", "64"], "leave out --tile"),
        (["vdsr", "--from", "TMP/bad.json"], "leave out a MODEL"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main_runs, "why_missing", lambda *_, **__: "")  # which opens every model
    (tmp_path / "bad.json").write_text("{}")
    assert call(*(word.replace("TMP", str(tmp_path)) for word in arguments)) == 2
    said = capsys.readouterr()
    [line] = said.err.strip().splitlines()
    assert told.replace("TMP", str(tmp_path)) in line
    assert not said.out
