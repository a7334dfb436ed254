"""What a result tells of itself."""

import json
from pathlib import Path

from tiny_benchmarks import tiny

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


def test_the_table_says_with_what_it_was_measured(images: Path) -> None:
    text = benchmark(tiny(), images, device="cpu", limit=2, tta="flips").table(images=True)
    assert f"srzoo {__version__}; torch " in text
    assert "tta flips; path rgb; only the first 2 images of each set" in text
    assert text.count("| tiny | x2") == 4
