"""`--check`: what weights record against what is measured."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_benchmarks import make_images, tiny

from srzoo.benchmark import measure
from srzoo.benchmark.drift import SSIM_TOLERANCE, check_result
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.runs import benchmark
from srzoo.data import pairs_from_hr
from srzoo.weights import Header, save_model


@pytest.fixture
def recorded(images: Path, tmp_path: Path) -> Path:
    """A weight file that records its score of the set."""
    model = tiny()
    found = measure(model, {"tiny": pairs_from_hr(images, 2)})
    save_model(model, tmp_path / "recorded.safetensors", header=Header(model="", metrics=found))
    return tmp_path / "recorded.safetensors"


def with_mean(result: BenchmarkResult, **values: Any) -> BenchmarkResult:
    """The result with another last mean."""
    return replace(result, means=(*result.means[:-1], replace(result.means[-1], **values)))


def test_a_score_as_recorded_passes_and_each_comparison_is_told(images: Path, recorded: Path) -> None:
    check = check_result(benchmark(recorded, images, device="cpu"))
    [one] = check.comparisons
    assert check.passed
    assert one.psnr == pytest.approx(one.recorded_psnr, abs=1e-3)
    assert str(one).startswith(f"ok: {recorded} on tiny x2: ")
    assert json.loads(json.dumps(check.to_json()))["passed"] is True


@pytest.mark.parametrize(
    ("change", "passes"),
    [({"psnr": 0.0045}, True), ({"psnr": 0.0055}, False), ({"psnr": -0.0055}, False), ({"ssim": 0.001}, False)],
)
def test_a_drift_beyond_the_tolerance_fails(
    images: Path, recorded: Path, change: dict[str, float], passes: bool
) -> None:
    result = benchmark(recorded, images, device="cpu")
    entry = result.entries[-1].recorded["tiny"]["x2"]
    values = {"psnr": entry["psnr"], "ssim": entry["ssim"]}
    drifted = with_mean(result, **{key: value + change.get(key, 0) for key, value in values.items()})
    check = check_result(drifted)
    assert check.passed is passes
    assert str(check.comparisons[0]).startswith("ok" if passes else "DRIFT")
    assert check_result(drifted, tolerance=1.0).passed is ("ssim" not in change)
    assert SSIM_TOLERANCE < 0.001


def test_nan_is_a_drift(images: Path, recorded: Path) -> None:
    result = benchmark(recorded, images, device="cpu")
    assert not check_result(with_mean(result, psnr=math.nan, ssim=math.nan)).passed
    assert not check_result(with_mean(result, nonfinite=("a",))).passed


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"limit": 2}, "was recorded on 3 images, not 2"),
        ({"protocol": "rgb"}, "was recorded by Y, 8-bit, border 2, not RGB, 8-bit, border 2"),
        ({"tta": "flips"}, "weights record scores of path rgb without tta"),
    ],
)
def test_what_is_measured_in_another_way_is_not_compared(
    images: Path, recorded: Path, options: dict[str, Any], told: str
) -> None:
    check = check_result(benchmark(recorded, images, device="cpu", **options))
    assert not check.passed
    assert not check.comparisons
    assert told in check.problems[0]


def test_a_model_of_which_nothing_can_be_compared_fails_though_others_pass(
    images: Path, recorded: Path, weights: Path
) -> None:
    check = check_result(benchmark([recorded, weights], images, device="cpu"))
    assert len(check.comparisons) == 1
    assert check.problems == (f"nothing that {weights} records can be compared: its weights record no scores",)
    assert not check.passed


def test_what_was_not_compared_beside_what_was_is_told(images: Path, recorded: Path, tmp_path: Path) -> None:
    other = make_images(tmp_path / "other", (36, 36))
    check = check_result(benchmark(recorded, [images, other], device="cpu"))
    assert check.passed
    assert check.skipped == (f"not compared: {recorded} on other x2: there is no score of other x2",)
    assert check.to_json()["skipped"] == check.skipped


def test_scores_of_lr_from_a_folder_are_not_compared(images: Path, recorded: Path, tmp_path: Path) -> None:
    result = benchmark(recorded, images, device="cpu")
    [problem] = check_result(replace(result, lr="lr")).problems
    assert "LR came from a folder" in problem


def test_bicubic_alone_cannot_be_checked(images: Path) -> None:
    [problem] = check_result(benchmark("bicubic_x2", images, device="cpu")).problems
    assert "bicubic_x2" in problem


def test_a_negative_tolerance_is_refused(images: Path) -> None:
    with pytest.raises(ValueError, match="tolerance is -1"):
        check_result(benchmark("bicubic_x2", images, device="cpu"), -1.0)


def test_the_records_of_a_row_without_protocol_and_ssim_are_compared_by_psnr(images: Path, recorded: Path) -> None:
    result = benchmark(recorded, images, device="cpu")
    entry = replace(result.entries[-1], recorded={"tiny": {"x2": {"psnr": result.means[-1].psnr}}})
    check = check_result(replace(result, entries=(entry,)))
    assert check.passed
    assert check.comparisons[0].recorded_ssim is None
