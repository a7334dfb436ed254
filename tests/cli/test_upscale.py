"""The command, with a cheap stand-in for the upscaler."""

import io
import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "upscaling" / "jobs"))

from PIL import Image
from stand_in import StandIn, album, picture, results, stamps

from srzoo import Upscaler, create_model, save_model
from srzoo.cli import main
from srzoo.cli.upscale_options import default_model
from srzoo.cli.upscale_progress import Pace
from srzoo.upscaling.jobs.journal import JOURNAL


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("srzoo.cli.upscale.Upscaler", StandIn)
    return tmp_path


def upscale(*arguments: str) -> int:
    return main(["upscale", *arguments, "--model", "bicubic_x2"])


def told(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    return json.loads(capsys.readouterr().out)


def test_one_image_leaves_one_file_and_nothing_else(here):
    picture(here / "a.png")
    assert upscale("a.png") == 0
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "a_x2.png"]
    assert upscale("a.png", "--skip-existing") == 2  # it was not entered anywhere, and is left alone
    assert upscale("a.png", "--skip-existing", "--overwrite") == 0
    assert upscale("a.png", "--skip-existing") == 0


def test_a_job_goes_on_where_it_was(here, capsys):
    album(here / "photos", 4)
    assert upscale("photos") == 0
    before = stamps(here / "photos_x2")
    (here / "photos_x2/p01_x2.png").write_bytes(b"damaged")
    (here / "photos_x2/p02_x2.png").unlink()
    capsys.readouterr()
    assert upscale("photos", "--skip-existing", "--json") == 0
    result = told(capsys)
    assert [image["status"] for image in result["images"]] == ["done", "done", "skipped", "skipped"]
    assert result["images"][0]["reason"] == "is made again: it is damaged"
    after = stamps(here / "photos_x2")
    assert {name for name in after if after[name] != before[name]} == {"p01_x2.png", "p02_x2.png"}


def test_other_settings_make_everything_again_and_other_memory_nothing(here, capsys):
    album(here / "photos", 2)
    upscale("photos")
    capsys.readouterr()
    for options, status in (([], "skipped"), (["--memory", "1GB"], "skipped"), (["--tta", "x8"], "done")):
        assert upscale("photos", "--skip-existing", "--json", *options) == 0
        assert {image["status"] for image in told(capsys)["images"]} == {status}
    assert upscale("photos", "--skip-existing", "--json", "--tta", "x8", "--png-level", "9") == 0
    assert {image["status"] for image in told(capsys)["images"]} == {"done"}


def test_what_is_not_ours_is_left_alone_and_is_a_failure_with_skip_existing(here, capsys):
    album(here / "photos", 3)
    (here / "photos_x2").mkdir()
    (here / "photos_x2/p01_x2.png").write_bytes(b"mine")
    assert upscale("photos", "--skip-existing") == 1
    assert "not known to have been made by srzoo and was left alone; --overwrite" in capsys.readouterr().err
    assert (here / "photos_x2/p01_x2.png").read_bytes() == b"mine"
    assert upscale("photos", "--skip-existing", "--overwrite") == 0
    assert (here / "photos_x2/p01_x2.png").read_bytes() != b"mine"


def test_a_pattern_whose_results_lie_beside_it_gives_the_same_the_second_time(here):
    album(here / "photos", 4)
    assert upscale("photos/**/*.png") == 0
    before = results(here / "photos")
    assert len(before) == 8
    for flags in (["--skip-existing"], ["--overwrite"], []):
        assert upscale("photos/**/*.png", *flags) == 0
        assert results(here / "photos") == before


def test_failures_are_listed_at_the_end(here, capsys):
    album(here / "photos", 3)
    (here / "photos/p01.png").write_text("words")
    assert upscale("photos") == 1
    captured = capsys.readouterr()
    assert captured.err.rstrip().endswith("photos/p01.png is not an image of a kind that can be read")
    assert "1 of 3 images failed:\n- photos/p01.png" in captured.err
    assert "2 made, 1 failed" in captured.out.splitlines()[-1]
    (here / "photos/p02.png").write_text("words")
    (here / "photos/sub/p00.png").write_text("words")
    assert upscale("photos", "--quiet", "--overwrite") == 2
    assert capsys.readouterr().out == ""


def test_a_dry_run_tells_and_touches_nothing(here, capsys):
    album(here / "photos", 4)
    upscale("photos")
    (here / "photos_x2/p01_x2.png").unlink()
    (here / "photos_x2/p02_x2.png").write_bytes(b"damaged")
    (here / "photos_x2/.srzoo-0123456789ab.png").write_bytes(b"stale")
    picture(here / "photos/new/p09.png")
    before = {**results(here), **{str(path): b"" for path in here.rglob("*")}}
    capsys.readouterr()
    assert upscale("photos", "--skip-existing", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("make: photos/new/p09.png -> photos_x2/new/p09_x2.png")
    assert lines[1].startswith("make: photos/p01.png")
    assert lines[2] == "make again: photos/p02.png -> photos_x2/p02_x2.png (is made again: it is damaged)"
    assert lines[-1] == "make 2; make again 1; skip 2"
    assert {**results(here), **{str(path): b"" for path in here.rglob("*")}} == before
    assert upscale("photos", "--dry-run", "--json") == 0
    assert [image["status"] for image in told(capsys)["images"]].count("to do") == 2


def test_the_summary_has_what_a_machine_needs(here, capsys):
    album(here / "photos", 2)
    assert upscale("photos", "--json") == 0
    result = told(capsys)
    assert result.keys() == {
        "model", "scale", "size", "tta", "device", "engine", "precision", "dry_run", "stopped", "notes", "summary",
        "images",
    }  # fmt: skip
    assert result["engine"] == "stand-in"
    assert {(image["engine"], image["precision"]) for image in result["images"]} == {("stand-in", "fp32")}
    summary = result["summary"]
    assert (summary["done"], summary["failed"], summary["exit_code"]) == (2, 0, 0)
    assert summary["pixels"] == 2 * 24 * 18 == sum(image["pixels"] for image in result["images"])


def test_lines_number_the_images_and_tell_the_pace(here, capsys):
    album(here / "photos", 3)
    assert upscale("photos") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(" ")[0] for line in lines[:3]] == ["1/3", "2/3", "3/3"]
    assert "MP/s" in lines[1]
    assert "(24x18, bicubic_x2, stand-in fp32, " in lines[0]


def test_a_bar_on_a_terminal_and_results_on_standard_output(here, monkeypatch, capsys):
    album(here / "photos", 3)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert upscale("photos") == 0
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert captured.out.count(" -> ") == 3


class Pipe(io.TextIOWrapper):
    """A standard stream that is no terminal, over bytes in memory."""

    def __init__(self, data: bytes = b"") -> None:
        super().__init__(io.BytesIO(data))


def test_from_a_pipe_to_a_pipe(here, monkeypatch, capsys):
    stdin, stdout = Pipe(picture(here / "a.png").read_bytes()), Pipe()
    monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr("sys.stdout", stdout)
    assert upscale("-", "--format", "jpg") == 0
    assert stdout.buffer.getvalue()[:2] == b"\xff\xd8"  # pyright: ignore
    assert "- -> - (24x18" in capsys.readouterr().err
    assert sorted(path.name for path in here.iterdir()) == ["a.png"]


def test_a_broken_image_from_a_pipe_is_told_and_gives_no_byte(here, monkeypatch, capsys):
    stdout = Pipe()
    monkeypatch.setattr("sys.stdin", Pipe(b"words"))
    monkeypatch.setattr("sys.stdout", stdout)
    assert upscale("-", "-o", "-") == 2
    assert stdout.buffer.getvalue() == b""  # pyright: ignore
    assert "is not an image" in capsys.readouterr().err


def test_an_image_is_not_written_to_a_terminal(here, monkeypatch, capsys):
    picture(here / "a.png")
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert upscale("a.png", "-o", "-") == 2
    assert "would be written to the terminal" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.png", "--name", "{frame}"], "has the field {frame}"),
        (["a.png", "--name", "{stem}{suffix}"], "a.png would be replaced by its own result"),
        (["a.png", "b.png", "--name", "same"], "a.png and b.png have the same name"),
        (["a.png", "--scale", "two"], "scale is 'two'"),
        (["a.png", "--size", "800"], "size is '800'"),
        (["a.png", "--size", "80x60", "--long-edge", "80"], "give one of"),
        (["a.png", "--long-edge", "0"], "long edge is 0"),
        (["a.png", "--quality", "90"], "--quality is for JPEG, WEBP, AVIF files, and no result is one"),
        (["a.png", "--format", "jpg", "--quality", "101"], "quality goes from 1 to 100"),
        (["a.png", "--format", "jpg", "--png-level", "3"], "--png-level is for PNG files"),
        (["a.png", "--uncertainty", "map.png"], "add --tta flips or --tta x8"),
        (["a.png", "--tta", "x8", "--uncertainty", "maps"], "maps is no folder for maps"),
        (["a.png", "--json", "--quiet"], "leave one of them out"),
        (["a.png", "--max-pixels", "0"], "must be at least 1"),
        (["*.tif"], "no image matches *.tif"),
        (["a.png", "-"], "standard input (-) was given with other inputs"),
        (["a.png", "b.png", "-o", "-"], "standard output takes one image, not 2 images"),
    ],
)
def test_a_mistake_is_told_in_one_sentence_before_any_work(here, capsys, arguments, message):
    for name in ("a.png", "b.png"):
        picture(here / name)
    assert upscale(*arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert message in lines[0]
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "b.png"]


def test_a_journal_that_cannot_be_written_is_told_before_any_work(here, capsys):
    album(here / "photos", 2)
    (here / "photos_x2" / JOURNAL).mkdir(parents=True)
    assert upscale("photos") == 2
    assert "which tells what was made, cannot be written" in capsys.readouterr().err
    assert not results(here / "photos_x2")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop_says_how_to_go_on(here, monkeypatch, capsys, number, code):
    album(here / "photos", 4)
    real = StandIn.file

    def stop_at_third(self: StandIn, source: Any, target: Any, **options: Any) -> Any:
        if len(self.made) == 2:
            progress: Callable[[int, int], None] = options["progress"]
            options["progress"] = lambda done, total: (progress(done, total), signal.raise_signal(number))
        return real(self, source, target, **options)

    monkeypatch.setattr(StandIn, "file", stop_at_third)
    with pytest.raises(SystemExit) as left:
        upscale("photos")
    assert left.value.code == code
    message = "stopped; 2 of 4 images are done and stay; start the same command with --skip-existing to go on"
    assert message in capsys.readouterr().err
    assert len(results(here / "photos_x2")) == 2
    monkeypatch.setattr(StandIn, "file", real)
    assert upscale("photos", "--skip-existing") == 0
    assert len(results(here / "photos_x2")) == 4


def test_a_full_disk_stops_the_job_and_tells_how_to_go_on(here, monkeypatch, capsys):
    album(here / "photos", 3)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StandIn, "file", full)
    assert upscale("photos") == 1
    told_ = capsys.readouterr().err
    assert "1 of 3 images failed" in told_
    assert "photos_x2 does not take the result (No space left on device); make room there, then start the" in told_


def test_maps_of_uncertainty_go_to_their_folder(here):
    album(here / "photos", 2)
    (here / "maps").mkdir()
    assert upscale("photos", "--tta", "x8", "--uncertainty", "maps") == 0
    assert set(results(here / "maps")) == {"p01_x2_spread.png", "sub/p00_x2_spread.png"}


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["--scale", "3"], "a_x3.png"),
        (["--scale", "2.5"], "a_x2.5.png"),
        (["--size", "80x60"], "a_80x60.png"),
        (["--long-edge", "90"], "a_90.png"),
        (["--name", "{model}-{stem}-{scale}"], "bicubic_x2-a-2.png"),
        (["--scale", "2.5", "--name", "{stem}@{scale}{suffix}"], "a@2.5.png"),
        (["--format", "tiff"], "a_x2.tif"),
    ],
)
def test_names_tell_what_was_asked_for(here, arguments, name):
    picture(here / "a.png")
    assert upscale("a.png", *arguments) == 0
    assert (here / name).exists()


def test_the_default_model_is_that_of_the_factor():
    assert default_model(None) == "edsr_baseline_x4"
    assert default_model(2) == "edsr_baseline_x2"
    assert default_model(2.5) == "edsr_baseline_x3"
    assert default_model(1.5) == "edsr_baseline_x2"
    assert default_model(6.5) == default_model(6) == "edsr_baseline_x4"
    assert default_model(1) == "edsr_baseline_x2"


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["--scale", "2"], (24, 18)),
        (["--scale", "3"], (36, 27)),
        (["--scale", "6"], (72, 54)),
        (["--scale", "1.5"], (18, 14)),
        (["--long-edge", "30"], (30, 23)),
    ],
)
def test_a_factor_that_the_model_does_not_offer_is_made_by_a_resize(here, monkeypatch, options, size):
    monkeypatch.setattr("srzoo.cli.upscale.Upscaler", Upscaler)
    picture(here / "a.png")
    assert upscale("a.png", "-o", "b.png", *options) == 0
    with Image.open(here / "b.png") as image:
        assert image.size == size


@pytest.mark.parametrize("options", [["--size", "40x30"], ["--long-edge", "40"], ["--scale", "2.5"], ["--scale", "3"]])
def test_a_model_of_several_scales_takes_the_one_that_the_size_needs(here, monkeypatch, options):
    monkeypatch.setattr("srzoo.cli.upscale.Upscaler", Upscaler)
    save_model(create_model("mdsr", num_blocks=1, width=8), here / "mdsr.safetensors")
    picture(here / "a.png")
    assert main(["upscale", "a.png", "-o", "b.png", "--model", "mdsr.safetensors", *options]) == 0
    assert (here / "b.png").exists()


def test_a_dry_run_tells_what_cannot_be_done_by_its_exit_code(here, capsys):
    album(here / "photos", 3)
    (here / "photos_x2").mkdir()
    (here / "photos_x2/p01_x2.png").write_bytes(b"mine")
    assert upscale("photos", "--skip-existing", "--dry-run", "--json") == 1
    result = told(capsys)
    assert result["dry_run"]
    assert (result["summary"]["to_do"], result["summary"]["exists"], result["summary"]["exit_code"]) == (2, 1, 1)
    assert upscale("photos", "--skip-existing", "--dry-run") == 1


def test_json_has_a_bar_on_a_terminal_and_nothing_else_on_standard_output(here, monkeypatch, capsys):
    album(here / "photos", 3)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    assert upscale("photos", "--json") == 0
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert len(json.loads(captured.out)["images"]) == 3


def test_a_signal_at_the_last_row_of_the_last_image_stops_nothing(here, monkeypatch, capsys):
    picture(here / "a.png")
    real = StandIn.file

    def stop_at_the_end(self: StandIn, source: Any, target: Any, **options: Any) -> Any:
        made = real(self, source, target, **options)
        signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(StandIn, "file", stop_at_the_end)
    assert upscale("a.png") == 0
    captured = capsys.readouterr()
    assert "nothing was written" not in captured.err
    assert "a.png -> a_x2.png" in captured.out


def test_the_exit_code_of_a_job_that_was_stopped_is_in_its_json(here, monkeypatch, capsys):
    album(here / "photos", 2)

    def stop(self: StandIn, source: Any, target: Any, **options: Any) -> Any:
        signal.raise_signal(signal.SIGTERM)
        options["progress"](0, 9)

    monkeypatch.setattr(StandIn, "file", stop)
    with pytest.raises(SystemExit):
        upscale("photos", "--json")
    result = told(capsys)
    assert result["stopped"]
    assert result["summary"]["exit_code"] == 143


def test_ctrl_c_while_srzoo_is_loaded_is_told_in_one_line(monkeypatch, capsys):
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("srzoo.cli.build_parser", interrupted)
    assert main(["upscale", "a.png"]) == 130
    assert capsys.readouterr().err == "srzoo: interrupted\n"


def test_images_of_two_folders_do_not_take_each_others_places(here, capsys):
    picture(here / "A/x.png", seed=1)
    picture(here / "B/x.png", seed=2)
    (here / "out").mkdir()
    assert upscale("A", "-o", "out", "--skip-existing") == 0
    before = results(here / "out")
    assert upscale("B", "-o", "out", "--skip-existing") == 2
    assert "out/x_x2.png was made of another image and was left alone; --overwrite" in capsys.readouterr().err
    assert results(here / "out") == before
    assert upscale("B", "-o", "out", "--skip-existing", "--overwrite") == 0
    assert results(here / "out") != before


def test_the_pace_counts_pixels_of_the_whole_job():
    now = 0.0
    pace = Pace([4_000_000, 1_000_000, 3_000_000], clock=lambda: now)
    assert pace.told() == ""
    pace.move(2_000_000, 4_000_000)
    now = 4.0
    assert pace.told() == "0.50 MP/s, 12 s left"
    pace.end()
    pace.move(500_000, 2_000_000)  # larger than its header promised
    now = 9.0
    assert pace.told() == "0.50 MP/s, 9 s left"
    pace.end()
    pace.end()
    assert (pace.done, pace.ended) == (9_000_000, 3)
    assert "left" not in pace.told()
