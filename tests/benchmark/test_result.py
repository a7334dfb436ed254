"""What a result tells of itself."""

import json
from pathlib import Path

import pytest
from PIL import Image
from tiny_benchmarks import tiny

from srzoo.benchmark.rows import Row
from srzoo.benchmark.runs import benchmark
from srzoo.version import __version__


def test_everything_is_plain_json(images: Path) -> None:
    model = tiny()
    told = json.loads(json.dumps(benchmark(model, images, device="cpu", limit=2).to_json(), allow_nan=False))
    assert told["srzoo"] == __version__
    assert (told["tta"], told["protocol"], told["path"], told["limit"], told["kept"]) == ("none", "paper", "rgb", 2, 0)
    assert [entry["model"] for entry in told["models"]] == ["bicubic_x2", "edsr_baseline_x2"]
    assert told["models"][1]["arguments"]["width"] == 4
    assert len(told["models"][1]["content"]) == 64
    assert told["sets"] == [{"name": "tiny", "folder": str(images), "images": 3}]
    measured = {"psnr", "ssim", "seconds", "megapixels_per_second", "peak_mib", "protocol", "nonfinite"}
    assert {"model", "set", "scale", "image", *measured} <= told["rows"][0].keys()
    assert len(told["rows"]) == 4
    assert len(told["means"]) == 2


def stop(done: int, total: int, row: Row) -> None:
    raise InterruptedError


def test_what_was_cropped_and_kept_and_where_lr_came_from_is_told(images: Path, tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        benchmark("bicubic_x2", images, device="cpu", lr=make_lr(images, tmp_path), progress=stop)
    result = benchmark("bicubic_x2", images, device="cpu", lr=tmp_path / "lr")
    assert result.measured_with.endswith(f"; LR from {tmp_path / 'lr'}; 1 row kept of an earlier run")
    told = json.loads(json.dumps(result.to_json()))
    assert told["cropped"] == [{"set": "tiny", "scale": 2, "images": ["b"]}]
    assert told["lr"] == str(tmp_path / "lr")
    assert told["measured_with"] == result.measured_with
    alone = benchmark("bicubic_x2", images, device="cpu", limit=1)
    assert (alone.cropped, alone.lr, alone.kept) == ((), None, 0)


def make_lr(images: Path, folder: Path) -> Path:
    """A folder of LR images at x2."""
    (folder / "lr").mkdir()
    for path in images.glob("*.png"):
        with Image.open(path) as hr:
            hr.reduce(2, (0, 0, hr.width // 2 * 2, hr.height // 2 * 2)).save(folder / "lr" / path.name)
    return folder / "lr"


def test_the_table_says_with_what_it_was_measured(images: Path) -> None:
    text = benchmark(tiny(), images, device="cpu", limit=2, tta="flips").table(images=True)
    assert f"srzoo {__version__}; torch " in text
    assert "tta flips; path rgb; only the first 2 images of each set" in text
    assert text.count("| tiny | x2") == 4
