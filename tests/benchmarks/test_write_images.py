"""benchmarks/write_images.py at toy size."""

import json
from io import BytesIO
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

TOY = ["--size=16x12", "--rounds=1"]
Capture = pytest.CaptureFixture[str]


def test_figures_agree_and_compare_with_pillow(module: ModuleType, tmp_path: Path, capsys: Capture) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (10, 14, 3), np.uint8)
    for name in ("a", "b", "c"):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    assert module.main([*TOY, f"--data={tmp_path}", "--images=2", "--formats=PNG,TIFF", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["images"], found["megabytes"]) == (2, 2 * 16 * pixels.nbytes / 1e6)
    rows = found["writers"]
    assert {row["format"] for row in rows} == {"PNG", "TIFF"}
    for name in ("PNG", "TIFF"):
        first, *others = [row for row in rows if row["format"] == name]
        assert (first["times_faster"], first["times_larger"]) == (1, 1)
        assert len(others) >= 3
        for row in others:
            assert row["times_faster"] == pytest.approx(row["speed"] / first["speed"])
            assert row["times_larger"] == pytest.approx(row["share"] / first["share"])


def test_every_writer_writes_its_format_and_lossless_ones_the_pixels(module: ModuleType) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    for name, rows in module.writers().items():
        for row, write in rows.items():
            stream = BytesIO()
            write(pixels, stream)
            image = Image.open(stream)
            assert image.format == name, row
            assert name == "JPEG" or np.array_equal(np.asarray(image), pixels), row


@pytest.mark.parametrize("name", ["none", "sub", "up", "average", "paeth"])
def test_filters_are_those_of_png(module: ModuleType, name: str) -> None:
    rows = np.random.default_rng(0).integers(0, 256, (4, 15), np.uint8)
    for above in (None, rows[3]):
        out = module.filter_block(name, rows, above, 3)
        filtered = out[:, 1:]
        upper = np.zeros(15, np.uint8) if above is None else above
        for y, row in enumerate(rows):
            previous = upper if y == 0 else rows[y - 1]
            for x in range(15):
                a, b = int(row[x - 3]) if x >= 3 else 0, int(previous[x])
                c = int(previous[x - 3]) if x >= 3 else 0
                near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
                guess = {"none": 0, "sub": a, "up": b, "average": (a + b) // 2, "paeth": near}[name]
                assert filtered[y, x] == (int(row[x]) - guess) % 256


def test_filters_are_measured_with_each_level(module: ModuleType, capsys: Capture) -> None:
    assert module.main([*TOY, "--filters", "--as-is"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 1 + 5 * 7
    assert "1 images" in told[0]
