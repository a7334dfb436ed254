"""Every example runs, at toy size."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import srzoo

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run an example as `python examples/NAME arguments` does and give what it printed."""
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))

    def run_example(name: str, *arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
        return capsys.readouterr().out

    return run_example


def test_upscale_a_photo_writes_a_file_and_prints_the_shapes(run, photo_folder: Path) -> None:
    out = run("upscale_a_photo.py", photo_folder / "photo0.png", "--model", "bicubic_x2")
    assert (photo_folder / "photo0_x2.png").exists()
    assert "(48, 64, 3) -> (96, 128, 3)" in out


def test_score_a_model_prints_a_row_an_image_and_their_mean(run, photo_folder: Path) -> None:
    rows = run("score_a_model.py", photo_folder, "--model", "bicubic_x2").splitlines()
    assert "Y, 8-bit, border 2" in rows[0]
    scores = [float(row.split()[1]) for row in rows[1:]]
    assert len(scores) == 7
    assert scores[-1] == pytest.approx(sum(scores[:6]) / 6, abs=1e-3)


def test_self_ensemble_scores_each_group_of_operations(run, photo_folder: Path) -> None:
    rows = run("self_ensemble.py", photo_folder, "--model", "bicubic_x2").splitlines()
    assert [row.split()[:2] for row in rows] == [["none", "1"], ["flips", "4"], ["x8", "8"], ["own", "4"]]
    scores = [float(row.split()[3]) for row in rows]
    assert scores == pytest.approx([scores[0]] * 4, abs=2e-3)  # bicubic commutes with flips and rotations


def test_train_a_model_saves_a_model_that_loads(run, photo_folder: Path, tmp_path: Path) -> None:
    run("train_a_model.py", photo_folder, tmp_path / "run", "--steps", 3, "--width", 4, "--blocks", 1)
    model = srzoo.load_model(tmp_path / "run/edsr_baseline_x2.safetensors")
    assert (model.arguments["width"], model.arguments["num_blocks"]) == (4, 1)
    assert (tmp_path / "run/log.jsonl").read_text().count("\n") == 2  # the last step's loss, and the scores


def test_make_pictures_draws_the_same_from_the_same_seed(run, tmp_path: Path) -> None:
    def pixels(folder: str, *options: object) -> dict[str, np.ndarray]:
        run("make_pictures.py", tmp_path / folder, "--side", 192, *options)
        return {path.name: np.asarray(Image.open(path)) for path in (tmp_path / folder).iterdir()}

    four, six, other = (
        pixels(name, "--count", count, "--seed", seed) for name, count, seed in (("a", 4, 0), ("b", 6, 0), ("c", 4, 1))
    )
    assert sorted(four) == ["0000_text.png", "0001_lines.png", "0002_map.png", "0003_text.png"]
    assert len(six) == 6
    for name, picture in four.items():
        assert picture.shape == (192, 192, 3)
        assert picture.std() > 5  # not empty
        assert np.array_equal(picture, six[name])
        assert not np.array_equal(picture, other[name])


def test_each_kind_of_line_art_is_drawn_inside_and_antialiased(run, tmp_path: Path) -> None:
    run("make_pictures.py", tmp_path / "pictures", "--count", 36, "--side", 48)
    for path in (tmp_path / "pictures").glob("*_lines.png"):
        assert len(np.unique(np.asarray(Image.open(path)).reshape(-1, 3), axis=0)) > 20, path.name  # shades at edges


def test_fine_tune_leaves_a_folder_to_upscale_with(run, photo_folder: Path, tmp_path: Path) -> None:
    out = run("fine_tune.py", photo_folder, tmp_path / "run", "--toy").splitlines()
    assert re.fullmatch(r"held-out x4: \d\d\.\d\d -> \d\d\.\d\d dB", out[0])
    made = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"model.safetensors", "log.jsonl", "curves.png", "samples", "summary.md"} <= made
    name = re.search(r"photo\d\.png", out[-1])
    assert name is not None
    with Image.open(tmp_path / "run/upscaled.png") as upscaled, Image.open(photo_folder / name[0]) as hr:
        assert upscaled.size == tuple(side // 4 * 4 for side in hr.size)


def test_own_network_is_registered_and_keeps_the_contract() -> None:
    # In a process of its own: the suite's shape checks wrap every forward, which torch.compile cannot take in.
    command = [sys.executable, EXAMPLES / "own_network.py"]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "(24, 32, 3) -> (48, 64, 3)" in out
    assert "the contract holds" in out


@pytest.mark.slow
def test_upscale_with_ray_makes_what_is_missing_and_tells_what_fails(photo_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason='Ray is not installed: pip install "srzoo[ray]"')
    (photo_folder / "deep").mkdir()
    (photo_folder / "photo1.png").rename(photo_folder / "deep/photo1.png")
    (photo_folder / "photo2.png").write_bytes(b"no image")
    arguments = [photo_folder, tmp_path / "results", "--model", "bicubic_x2", "--workers", "1"]
    # In a process of its own: warnings are errors in this one, and Ray's start would stay.
    command = [sys.executable, EXAMPLES / "upscale_with_ray.py", *arguments]
    quiet = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}  # nothing into the home folder
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=quiet)
    assert done.returncode == 1, done.stderr
    assert "5 made, 0 there already, 1 failed" in done.stdout
    assert re.search(r"photo2\.png -> failed: .*photo2\.png", done.stdout)
    with Image.open(photo_folder / "deep/photo1.png") as lr:
        with Image.open(tmp_path / "results/deep/photo1.png.png") as sr:
            assert sr.size == (2 * lr.width, 2 * lr.height)
    (photo_folder / "photo2.png").unlink()
    again = subprocess.run(command, check=True, capture_output=True, text=True, env=quiet)
    assert "0 made, 5 there already, 0 failed" in again.stdout


def test_upscale_with_ray_names_the_extra_where_ray_is_missing(
    photo_folder: Path, monkeypatch: pytest.MonkeyPatch, run
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit, match=r'pip install "srzoo\[ray\]"'):
        run("upscale_with_ray.py", photo_folder, photo_folder / "results")


def test_every_example_has_a_test() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    missing = [path.name for path in EXAMPLES.glob("*.py") if f'"{path.name}"' not in tested]
    assert not missing
