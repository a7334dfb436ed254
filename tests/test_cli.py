import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.cli import main
from srzoo.resize import imresize


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.arange(12 * 10 * 3, dtype=np.uint8).reshape(12, 10, 3)).save(path)
    return path


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line of standard error that a mistake is told in."""
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("srzoo: ")]
    assert len(told) == 1
    return told[0]


def test_upscale_writes_beside_the_photo(photo: Path) -> None:
    assert main(["upscale", str(photo), "--model", "bicubic_x2"]) == 0
    with Image.open(photo.with_name("photo_x2.png")) as image:
        assert image.size == (20, 24)


def test_upscale_gives_the_models_pixels(photo: Path) -> None:
    import torch

    main(["upscale", str(photo), "--model", "bicubic_x3", "--quiet"])
    lr = torch.from_numpy(np.array(Image.open(photo))).permute(2, 0, 1) / 255
    expected = (imresize(lr, scale=3).clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    found = np.array(Image.open(photo.with_name("photo_x3.png"))).astype(float)
    assert np.abs(found - expected).max() <= 1  # rounding of float32 either way
    assert (found == expected).mean() > 0.99


def test_upscale_json_tells_each_image(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["upscale", str(photo), "--model", "bicubic_x2", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["model"] == "bicubic_x2"
    assert told["scale"] == 2
    [image] = told["images"]
    assert image["status"] == "done"
    assert image["size"] == [20, 24]


def test_a_folder_keeps_its_tree_and_goes_on_after_a_bad_file(
    tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    photo.rename(folder / "sub" / "a.png")
    (folder / "bad.png").write_text("not an image")
    assert main(["upscale", str(folder), "--model", "bicubic_x2"]) == 1
    assert (tmp_path / "album_x2" / "sub" / "a_x2.png").exists()
    assert not list((tmp_path / "album_x2").glob("*.png"))
    told = capsys.readouterr().err
    assert "bad.png is not an image" in told
    assert "1 of 2 images failed" in told


def test_a_second_run_of_a_folder_leaves_finished_images_alone(tmp_path: Path, photo: Path) -> None:
    folder = tmp_path / "album"
    folder.mkdir()
    photo.rename(folder / "a.png")
    assert main(["upscale", str(folder), "--model", "bicubic_x2"]) == 0
    target = tmp_path / "album_x2" / "a_x2.png"
    target.write_bytes(b"mine")
    assert main(["upscale", str(folder), "--model", "bicubic_x2"]) == 0
    assert target.read_bytes() == b"mine"
    assert main(["upscale", str(folder), "--model", "bicubic_x2", "--overwrite"]) == 0
    assert target.read_bytes() != b"mine"


def test_twins_that_differ_in_suffix_do_not_overwrite_each_other(tmp_path: Path, photo: Path) -> None:
    twin = photo.with_suffix(".bmp")
    Image.open(photo).save(twin)
    out = tmp_path / "out"
    out.mkdir()
    assert main(["upscale", str(photo), str(twin), "-o", str(out), "--model", "bicubic_x2"]) == 0
    assert sorted(path.name for path in out.glob("[!.]*")) == ["photo_bmp_x2.png", "photo_png_x2.png"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["upscale", "PHOTO", "--model", "esdr_x4"], "unknown model 'esdr_x4'; did you mean edsr_x4"),
        (["upscale", "PHOTO", "--model", "edsr_x4"], "edsr_x4 has no pretrained weights"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "--scale", "0.5"], "scale is 0.5; give a factor from 1 to 64"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "-o", "TMP/none"], "output folder TMP/none does not exist"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "-o", "TMP/none/a.png"], "output folder TMP/none does not"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "-o", "TMP/a.xyz"], "no suffix of an image format"),
        (["upscale", "PHOTO", "--scale", "65"], "scale is 65; give a factor from 1 to 64"),
        (["upscale", "", "--model", "bicubic_x2"], "an input or the output is empty"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "-o", "TMP/a.gif"], "no suffix of an image format"),
        (["upscale", "TMP/none.png", "--model", "bicubic_x2"], "TMP/none.png does not exist"),
        (["upscale", "TMP/text.png", "--model", "bicubic_x2"], "TMP/text.png is not an image"),
        (["upscale", "TMP/empty", "--model", "bicubic_x2"], "TMP/empty has no image"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "--max-pixels", "100"], "more than the 100 allowed"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "--tile", "0"], "tile is 0"),
        (["upscale", "PHOTO", "--model", "bicubic_x2", "--device", "abacus"], "device 'abacus' is not available"),
        (["list", "nothing*"], "no model matches 'nothing*'"),
        (["info", "edsr_x5"], "unknown model 'edsr_x5'"),
        (["info", "TMP/text.png/none.safetensors"], "does not exist"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_sentence_with_exit_code_2(
    arguments: list[str],
    told: str,
    photo: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.png").write_text("words")
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    values = [value.replace("PHOTO", str(photo)).replace("TMP", str(tmp_path)) for value in arguments]
    assert main(values) == 2
    assert told.replace("TMP", str(tmp_path)) in sentence(capsys)
    assert sorted(tmp_path.iterdir()) == before


def test_an_existing_output_is_kept(photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = photo.with_name("photo_x2.png")
    target.write_bytes(b"mine")
    assert main(["upscale", str(photo), "--model", "bicubic_x2"]) == 2
    assert "exists; --overwrite replaces it" in sentence(capsys)
    assert target.read_bytes() == b"mine"


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["upscale"], ["upscale", "a.png", "--tta", "x9"]])
def test_a_wrong_command_line_is_told_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_list_json_has_a_row_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["edsr_x4"]["parameters"] == 43_089_923
    assert rows["mdsr"]["scales"] == [2, 3, 4]
    assert rows["edsr_baseline_x4"]["halo"] == {"x4": 36}


def test_list_prints_every_name(capsys: pytest.CaptureFixture[str]) -> None:
    import srzoo

    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in srzoo.list_models())


def test_info_tells_of_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "edsr_baseline_x4"]) == 0
    assert "parameters: 1,517,571" in capsys.readouterr().out


def test_a_full_disk_is_told_in_one_sentence(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("srzoo.files.os.fsync", full)
    assert main(["upscale", str(photo), "--model", "bicubic_x2"]) == 2
    assert "No space left on device" in sentence(capsys)
    assert [path.name for path in photo.parent.iterdir()] == ["photo.png"]


def test_too_little_memory_is_told_in_one_sentence(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def too_much(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("srzoo.cli.upscale.Upscaler", too_much)
    assert main(["upscale", str(photo), "--model", "bicubic_x2"]) == 2
    assert "not enough memory" in sentence(capsys)


def test_a_folder_in_which_every_image_fails_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "bad.png").write_text("words")
    assert main(["upscale", str(tmp_path / "album"), "--model", "bicubic_x2", "--json"]) == 2
    told = json.loads(capsys.readouterr().out)
    assert told["images"][0]["status"] == "failed"


def test_results_reach_standard_output_while_a_bar_is_on_the_terminal(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["upscale", str(photo), "--model", "bicubic_x2"]) == 0
    captured = capsys.readouterr()
    assert "photo_x2.png (20x24, bicubic_x2" in captured.out
    assert "1/1" in captured.err


def test_an_error_keeps_its_lines_and_cannot_steer_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("two problems:\n- a\x1b[2J.png\n- b\r.png")

    monkeypatch.setattr("srzoo.cli.info.facts", fail)
    assert main(["info", "x"]) == 2
    assert capsys.readouterr().err == "srzoo: two problems:\n- a\\x1b[2J.png\n- b\\r.png\n"
