"""`srzoo benchmark` as a user calls it."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import srzoo
from srzoo.benchmark import measure
from srzoo.cli import main
from srzoo.data import pairs_from_hr
from srzoo.weights import Header


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("SRZOO_DATA", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    for name, width, height in (("a", 36, 48), ("b", 37, 40)):
        y, x = np.mgrid[:height, :width]
        planes = [120 + 80 * np.sin(x / 3) * np.cos(y / period) for period in (4, 5, 6)]
        Image.fromarray(np.stack(planes, -1).astype(np.uint8)).save(folder / f"{name}.png")
    return folder


def tiny() -> srzoo.SRModel:
    return srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1)


@pytest.fixture
def weights(images: Path, tmp_path: Path) -> Path:
    """A weight file that records its score of the images."""
    model = tiny()
    header = Header(model="", metrics=measure(model, {"tiny": pairs_from_hr(images, 2)}))
    srzoo.save_model(model, tmp_path / "mine.safetensors", header=header)
    return tmp_path / "mine.safetensors"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A weight file of a model whose output holds NaN."""
    model = tiny()
    model.get_parameter("tail.bias").data[0] = float("nan")
    srzoo.save_model(model, tmp_path / "broken.safetensors")
    return tmp_path / "broken.safetensors"


def call(*arguments: str | Path) -> int:
    return main(["benchmark", *map(str, arguments), "--device", "cpu"])


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """What was told on standard error, which must be one line of ours."""
    said = capsys.readouterr()
    [line] = said.err.strip().splitlines()
    assert line.startswith("srzoo: ")
    assert not said.out
    return line


def test_the_table_is_printed_and_the_plan_told(weights: Path, images: Path, capsys) -> None:
    assert call(weights, "--sets", images) == 0
    said = capsys.readouterr()
    assert said.out.startswith("### tiny x2: 2 images; Y, 8-bit, border 2\n")
    assert f"| {weights} " in said.out
    assert "| bicubic_x2 " in said.out
    assert said.err.splitlines() == [
        f"srzoo: {weights} on tiny at x2; 4 images with bicubic's; protocol Y, 8-bit, border 2; cpu",
        "srzoo: 1 of 2 images of tiny cropped to a multiple of 2: b",
    ]


def test_quiet_tells_no_plan(weights: Path, images: Path, capsys) -> None:
    assert call(weights, "--sets", images, "--quiet", "--per-image") == 0
    said = capsys.readouterr()
    assert not said.err
    assert said.out.count("| tiny | x2") == 4


def test_the_files_are_written_whole(weights: Path, images: Path, tmp_path: Path, capsys) -> None:
    files = ["--json", tmp_path / "all.json", "--html", tmp_path / "all.html", "--save-images", tmp_path / "sr/new"]
    assert call(weights, "--sets", images, *files) == 0
    told = json.loads((tmp_path / "all.json").read_text())
    assert len(told["rows"]) == 4
    assert told["check"] is None
    assert "<table>" in (tmp_path / "all.html").read_text()
    assert len(list((tmp_path / "sr/new").glob("*/tiny/x2/*.png"))) == 4
    assert not list(tmp_path.glob(".srzoo*"))


def test_json_may_take_the_place_of_the_table(weights: Path, images: Path, capsys) -> None:
    assert call(weights, "--sets", images, "--json", "-", "--check", "--quiet") == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["check"]["passed"] is True
    assert told["check"]["comparisons"][0]["drifted"] is False
    assert said.err.startswith("ok: ")


def test_a_check_that_holds_prints_each_comparison(weights: Path, images: Path, capsys) -> None:
    assert call(weights, "--sets", images, "--check", "--quiet") == 0
    said = capsys.readouterr()
    assert f"ok: {weights} on tiny x2: " in said.out
    assert not said.err


def test_a_drift_fails(weights: Path, images: Path, capsys) -> None:
    Image.open(images / "a.png").rotate(180).save(images / "a.png")
    assert call(weights, "--sets", images, "--check", "--quiet") == 1
    said = capsys.readouterr()
    assert f"DRIFT: {weights} on tiny x2: " in said.out
    assert said.err == "srzoo: the check failed: 1 of 1 means differ from what the weights record\n"
    assert call(weights, "--sets", images, "--check", "--quiet", "--tolerance", "50") == 1  # SSIM drifted as well


def test_a_check_without_records_fails_with_a_sentence(broken: Path, weights: Path, images: Path, capsys) -> None:
    assert call(weights, "--sets", images, "--check", "--quiet", "--limit", "1") == 1
    said = capsys.readouterr()
    assert said.err.startswith(f"srzoo: the check failed: nothing that {weights} records can be compared: ")
    assert "FAILED: " in said.out


def test_nan_fails_and_names_the_images(broken: Path, images: Path, capsys) -> None:
    assert call(broken, "--sets", images, "--quiet", "--json", "-") == 1
    said = capsys.readouterr()
    assert said.err.splitlines() == [
        f"srzoo: {broken} on tiny a x2: 1728 values of the output are NaN or infinite",
        f"srzoo: {broken} on tiny b x2: 1440 values of the output are NaN or infinite",
    ]
    assert json.loads(said.out)["means"][1]["nonfinite"] == ["a", "b"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["edsr_x4", "--sets", "TMP/tiny"], "edsr_x4 has no pretrained weights"),
        (["MINE", "--sets", "TMP/none"], "TMP/none is neither a benchmark set"),
        (["MINE", "--sets", "Set5"], "Set5 was not found"),
        (["MINE", "--sets", "Set5", "--data", "TMP/tiny"], "Set5 was not found in TMP/tiny"),
        (["MINE", "--sets", ","], "--sets is empty"),
        (["--sets", "TMP/tiny"], "no model was given; name one, such as edsr_baseline_x4, or take --paper"),
        (["MINE", "--sets", "TMP/tiny", "--check-order"], "--check-order is for --paper"),
        (["MINE", "--sets", "TMP/tiny", "-o", "TMP/a.md"], "--output is for --paper"),
        (["MINE", "--sets", "TMP/tiny", "--scale", "two"], "--scale is 'two'; give whole numbers"),
        (["MINE", "--sets", "TMP/tiny", "--scale", "3"], "does not offer scale 3; it has 2"),
        (["MINE", "--sets", "TMP/tiny", "--tolerance", "1"], "--tolerance is for --check"),
        (["MINE", "--sets", "TMP/tiny", "--check", "--tolerance", "-1"], "--tolerance is -1.0"),
        (["MINE", "--sets", "TMP/tiny", "--json", "TMP/none/a.json"], "--json: folder TMP/none does not exist"),
        (["MINE", "--sets", "TMP/tiny", "--html", "TMP/tiny"], "--html: TMP/tiny is a folder"),
        (["MINE", "--sets", "TMP/tiny", "--json", "TMP/a", "--html", "TMP/./a"], "--json and --html are both TMP/a"),
        (["MINE", "--sets", "TMP/tiny", "--html", "-"], "--html writes a file"),
        (["MINE", "--sets", "TMP/tiny", "--json", "-", "--per-image"], "leave out --per-image"),
        (["MINE", "--sets", "TMP/tiny", "--save-images", "MINE"], "mine.safetensors is a file, or would be in one"),
        (["MINE", "--sets", "TMP/tiny", "--save-images", "MINE/sr"], "is a file, or would be in one; give a folder"),
        (["MINE", "--sets", "TMP/tiny", "--limit", "0"], "limit is 0"),
        (["MINE", "--sets", "TMP/tiny", "--path", "luma"], "works on RGB, and path luma is for models"),
        (["MINE", "--sets", "TMP/tiny", "--path", "luma", "--protocol", "rgb"], "path luma has none"),
        (["TMP/none.safetensors", "--sets", "TMP/tiny"], "none.safetensors"),
        (["MINE", "--sets", "TMP/tiny", "--lr", "TMP/none"], "TMP/none, which is not a folder"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], told: str, weights: Path, images: Path, tmp_path: Path, capsys
) -> None:
    put = [word.replace("TMP", str(tmp_path)).replace("MINE", str(weights)) for word in arguments]
    assert call(*put) == 2
    assert told.replace("TMP", str(tmp_path)) in sentence(capsys)


def test_all_sets_that_are_not_there_are_told_at_once(weights: Path, capsys) -> None:
    assert call(weights) == 2
    said = capsys.readouterr().err
    assert said.startswith("srzoo: 2 sets cannot be scored:\n- Set5 was not found: ")
    assert "\n- Set14 was not found: " in said


def test_a_mistake_under_a_launcher_is_told_by_the_first_process_only(weights: Path, capsys, monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("srzoo.cli.benchmark.time.sleep", waited.append)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, told in (("0", "srzoo: tile is 0; it must be at least 1\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        assert call(weights, "--tile", "0") == 2
        assert capsys.readouterr().err == told
    assert len(waited) == 1  # so that the first has told before the launcher ends it


class Gone(io.StringIO):
    """Standard output of which the reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_goes_changes_neither_files_nor_exit_code(
    weights: Path, images: Path, tmp_path: Path, cache: Path, monkeypatch
) -> None:
    Image.open(images / "a.png").rotate(180).save(images / "a.png")
    for stream in ("stdout", "stderr"):
        monkeypatch.setattr(sys, stream, Gone())
    files = ["--json", tmp_path / "all.json", "--html", tmp_path / "all.html"]
    assert call(weights, "--sets", images, "--check", *files) == 1
    assert json.loads((tmp_path / "all.json").read_text())["check"]["passed"] is False
    assert "DRIFT" in (tmp_path / "all.html").read_text()
    assert not list(cache.glob("benchmark/*"))


def test_what_is_not_compared_is_told(weights: Path, images: Path, tmp_path: Path, capsys) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.open(images / "a.png").save(other / "a.png")
    files = ["--html", tmp_path / "all.html"]
    assert call(weights, "--sets", f"{images},{other}", "--check", "--quiet", *files) == 0
    told = f"not compared: {weights} on other x2: there is no score of other x2"
    assert told in capsys.readouterr().out
    assert told in (tmp_path / "all.html").read_text()


def test_a_bad_image_is_told_by_name_before_anything_runs(weights: Path, images: Path, capsys) -> None:
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:50])
    assert call(weights, "--sets", images) == 2
    assert "b.png" in capsys.readouterr().err


def test_a_stopped_run_says_how_to_go_on_and_goes_on(weights: Path, images: Path, capsys, monkeypatch) -> None:
    from srzoo.benchmark import runs

    real, calls = runs.run_image, []

    def run_image(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    monkeypatch.setattr(runs, "run_image", run_image)
    with pytest.raises(SystemExit) as told:
        call(weights, "--sets", images)
    assert told.value.code == 143
    assert "stopped after 3 images, whose rows are kept; start the same command again" in capsys.readouterr().err
    assert call(weights, "--sets", images) == 0
    said = capsys.readouterr()
    assert "kept 3 of 4 rows of a run that was cut off; 1 to go" in said.err
    assert "; 3 rows kept of an earlier run" in said.out


def test_fresh_measures_anew(weights: Path, images: Path, capsys) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("srzoo.cli.benchmark._write_files", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            call(weights, "--sets", images)
    capsys.readouterr()
    assert call(weights, "--sets", images, "--fresh") == 0
    said = capsys.readouterr()
    assert "kept" not in said.err + said.out


def test_rows_are_kept_if_a_file_cannot_be_written(
    weights: Path, images: Path, tmp_path: Path, cache: Path, capsys
) -> None:
    from srzoo.cli import benchmark

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(benchmark, "write_text", full)
        assert call(weights, "--sets", images, "--html", tmp_path / "a.html") == 2
    assert "No space left" in capsys.readouterr().err
    assert call(weights, "--sets", images, "--html", tmp_path / "a.html") == 0
    assert "kept 4 of 4 rows" in capsys.readouterr().err
    assert not list(cache.glob("benchmark/*"))
