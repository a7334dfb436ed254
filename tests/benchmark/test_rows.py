"""Means of rows, and numbers that JSON does not have."""

import json
import math
from dataclasses import replace

import pytest
from tiny_benchmarks import ROW

from srzoo.benchmark.published import find_published
from srzoo.benchmark.rows import mean_of


def test_means_are_over_images_and_speed_is_over_pixels() -> None:
    other = replace(ROW, image="b", width=300, height=50, psnr=40.0, ssim=0.7, seconds=0.3, peak_mib=300.0)
    mean = mean_of([ROW, other])
    assert (mean.images, mean.psnr, mean.ssim) == (2, 35.0, pytest.approx(0.8))
    assert mean.seconds == pytest.approx(0.4)
    assert mean.megapixels_per_second == pytest.approx(0.02 / 0.8)
    assert mean.peak_mib == 300.0
    assert ROW.megapixels_per_second == pytest.approx(0.01)


def test_an_image_with_nan_is_named_and_left_out() -> None:
    bad = replace(ROW, image="bad", psnr=math.nan, ssim=math.nan, nonfinite=3)
    mean = mean_of([ROW, bad], find_published("EDSR", "Set5", 2))
    assert (mean.psnr, mean.ssim, mean.images, mean.nonfinite) == (30.0, 0.9, 2, ("bad",))
    assert mean.difference is None  # it is not the score of the set
    alone = mean_of([bad])
    assert math.isnan(alone.psnr)
    told = json.loads(json.dumps([bad.to_json(), alone.to_json()], allow_nan=False))
    assert (told[0]["psnr"], told[0]["nonfinite"], told[1]["psnr"], told[1]["nonfinite"]) == (None, 3, None, ["bad"])


def test_an_identical_image_counts_as_100_db_and_is_named() -> None:
    exact = replace(ROW, image="exact", psnr=math.inf, ssim=1.0)
    mean = mean_of([ROW, exact])
    assert (mean.psnr, mean.identical) == (65.0, ("exact",))
    near = mean_of([ROW, replace(ROW, image="near", psnr=112.0)])
    assert (near.psnr, near.identical) == (65.0, ("near",))  # capped, so it is told
    assert exact.to_json()["identical"] is True
    assert ROW.to_json()["identical"] is False
    assert exact.to_json()["psnr"] is None


def test_the_difference_is_to_the_published_figure() -> None:
    mean = mean_of([replace(ROW, psnr=38.0)], find_published("EDSR", "Set5", 2))
    assert mean.difference == pytest.approx(-0.11)
    assert mean.to_json()["difference"] == pytest.approx(-0.11)
    assert mean.to_json()["published"]["method"] == "EDSR"
    assert mean_of([ROW]).difference is None


def test_no_rows_have_no_mean() -> None:
    with pytest.raises(ValueError, match="there are no rows"):
        mean_of([])
