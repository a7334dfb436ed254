"""On the real sets the papers' digits come out, and those that the bundled weights record."""

from pathlib import Path
from typing import Any

import pytest

import srzoo
from srzoo.benchmark.runs import benchmark
from srzoo.convert.matlab import read_matlab
from srzoo.weights import load_strictly


@pytest.mark.parametrize("path", ["rgb", "luma"])
def test_bicubic_gives_the_published_digits(data_dir: Path, path: Any) -> None:
    means = benchmark("bicubic", ["Set5", "Set14"], data=data_dir, device="cpu", path=path, scales=[2, 3, 4]).means
    assert [(mean.set, mean.scale) for mean in means] == [(name, x) for name in ("Set5", "Set14") for x in (2, 3, 4)]
    for mean in means:
        assert mean.published is not None
        assert mean.difference == pytest.approx(0, abs=0.02)
        assert mean.ssim == pytest.approx(mean.published.ssim, abs=0.001)


def test_bundled_weights_score_what_they_record(data_dir: Path) -> None:
    result = benchmark("edsr_baseline_x4", "Set5", data=data_dir, device="cpu")
    bicubic, mean = result.means
    assert (bicubic.psnr, bicubic.ssim) == (pytest.approx(28.42, abs=0.02), pytest.approx(0.8104, abs=0.001))
    assert bicubic.difference == pytest.approx(0.01, abs=0.02)
    [entry] = [entry for entry in result.entries if not entry.is_baseline]
    assert mean.psnr == pytest.approx(entry.recorded["Set5"]["x4"]["psnr"], abs=0.005)
    assert mean.ssim == pytest.approx(entry.recorded["Set5"]["x4"]["ssim"], abs=0.0005)


@pytest.mark.parametrize(
    ("file", "scale", "told"),
    [
        ("srcnn_955_x4", 4, 30.48),
        pytest.param("srcnn_955_x2", 2, 36.64, marks=pytest.mark.slow),
        pytest.param("srcnn_955_x3", 3, 32.75, marks=pytest.mark.slow),
        pytest.param("vdsr_official", 2, 37.51, marks=pytest.mark.slow),
        pytest.param("vdsr_official", 3, 33.65, marks=pytest.mark.slow),
        pytest.param("vdsr_official", 4, 31.34, marks=pytest.mark.slow),
    ],
)
def test_the_authors_weights_give_their_papers_digits(data_dir: Path, file: str, scale: int, told: float) -> None:
    pytest.importorskip("scipy", reason="scipy reads the authors' files")
    name, state = read_matlab(data_dir / f"weights/{file}.mat")
    model = srzoo.create_model(name).eval()
    load_strictly(model, state, file)
    result = benchmark(model, "Set5", data=data_dir, device="cpu", path="luma", scales=[scale])
    bicubic, mean = result.means
    assert bicubic.difference == pytest.approx(0, abs=0.006)
    assert mean.psnr == pytest.approx(told, abs=0.03)
    assert mean.difference == pytest.approx(0, abs=0.015)
