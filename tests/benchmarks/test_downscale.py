"""benchmarks/downscale.py at toy size."""

import json
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TOY = ["--size=48x48", "--rounds=1", "--memory-size=64x64", "--workers=1"]


@pytest.fixture(autouse=True)
def _small_process(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory is that of a process of its own, which takes seconds to start."""
    monkeypatch.setattr(module, "PEAK", "print(2048, 4096)")


def test_figures_agree(module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        Image.fromarray(rng.integers(0, 256, (50, 49, 3), dtype=np.uint8)).save(tmp_path / f"{name}.png")
    assert module.main([*TOY, f"--data={tmp_path}", "--scales=2,3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["megapixels"], found["dtype"]) == (2, 2 * 48 * 48 / 1e6, "uint8")
    for row in found["scales"]:
        assert row["ratio"] == pytest.approx(row["srzoo"] / row["numpy"])
        assert row["srzoo_replicate"] > 0
        assert 0 < row["pillow_wrong"] < 1
        assert 0 < row["rounded_once_wrong"] < 1
    command = found["command"]
    assert (command["files"], command["megapixels"]) == (6, 2 * 50 * 49 / 1e6)
    assert command["megapixels_per_minute"] == pytest.approx(60 * command["megapixels"] / command["seconds"])
    if found["memory"]:
        assert (found["memory"]["before_mib"], found["memory"]["peak_mib"]) == (2, 4)


def test_without_a_folder_it_makes_an_image_and_tables(module: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main([*TOY, "--scales=2"]) == 0
    told = capsys.readouterr().out
    assert "1 RGB images of uint8" in told
    assert "megapixels a minute" in told


def test_methods_take_turns_and_the_best_counts(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, called = [0.0], []
    lasts = {"srzoo": iter([1.0, 4.0, 1.0, 2.0]), "numpy": iter([1.0, 5.0, 1.0, 8.0])}
    monkeypatch.setattr(module.time, "thread_time", lambda: clock[0])

    def shrink(name: str, image: object, scale: int) -> None:
        called.append((name, type(image).__name__))
        clock[0] += next(lasts[name])

    image = np.zeros((1000, 1000, 3), np.uint8)
    methods = {name: partial(shrink, name) for name in lasts}
    assert module.speeds(methods, [image], 2, rounds=2) == {"srzoo": 1 / 2, "numpy": 1 / 5}
    assert called == [*[("srzoo", "Tensor")] * 2, *[("numpy", "ndarray")] * 2] * 2


def test_pixels_that_differ_from_the_port_stop_it(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = module.srzoo_shrink

    def off_by_one(image: np.ndarray, scale: int, border: str = "symmetric") -> np.ndarray:
        out = honest(image, scale, border).copy()
        out[0, 0, 0] ^= border == "replicate"
        return out

    monkeypatch.setattr(module, "srzoo_shrink", off_by_one)
    with pytest.raises(SystemExit, match="differ at x2, border replicate"):
        module.main([*TOY, "--scales=2"])
