"""Tables say what was measured, what was published, and what must be known to read them."""

import math
from dataclasses import replace

import pytest
from tiny_benchmarks import ROW

from srzoo.benchmark.published import find_published
from srzoo.benchmark.rows import mean_of
from srzoo.benchmark.tables import grid, markdown, per_image

BICUBIC = mean_of([replace(ROW, model="bicubic_x2", psnr=33.678, ssim=0.93041)], find_published("Bicubic", "Set5", 2))
OURS = mean_of([replace(ROW, model="edsr_x2.mine", psnr=38.05, ssim=0.96)], find_published("EDSR", "Set5", 2))


def test_measured_rows_stand_beside_what_was_published() -> None:
    head, _, names, _, first, second, *others, _, source = markdown([BICUBIC, OURS]).splitlines()
    assert head == "### Set5 x2: 1 image; Y, 8-bit, border 2"
    assert [name.strip() for name in names.split("|")][1:5] == ["model", "PSNR", "SSIM", "published"]
    assert [cell.strip() for cell in first.split("|")][1:6] == [
        "bicubic_x2", "33.678", "0.9304", "Bicubic: 33.66 / 0.9299", "+0.02 dB / +0.0005",
    ]  # fmt: skip
    assert [cell.strip() for cell in second.split("|")][4:6] == ["EDSR: 38.11 / 0.9601", "-0.06 dB / -0.0001"]
    published = [[cell.strip() for cell in line.split("|")][1:4] for line in others]
    assert published == [
        ["published: A+", "36.54", "0.9544"],
        ["published: SRCNN", "36.66", "0.9542"],
        ["published: VDSR", "37.53", "0.9587"],
        ["published: MDSR", "38.11", "0.9602"],
        ["published: EDSR+", "38.20", "0.9606"],
        ["published: MDSR+", "38.17", "0.9605"],
    ]
    assert source.startswith("Published: Lim et al., ")
    assert "https://arxiv.org/abs/1707.02921" in source


def test_ssim_of_another_kind_has_no_difference_and_that_is_said() -> None:
    published = find_published("EDSR", "DIV2K", 2)
    text = markdown([mean_of([replace(ROW, set="DIV2K", psnr=35.0, ssim=0.94)], published)])
    [first] = [line for line in text.splitlines() if line.startswith("| m ")]
    assert [cell.strip() for cell in first.split("|")][4:6] == ["EDSR: 35.03 / 0.9695", "-0.03 dB"]
    assert "SSIM by MATLAB's `ssim` of the RGB array as a volume" in text


def test_what_is_not_comparable_has_nothing_beside_it() -> None:
    text = markdown([replace(BICUBIC, published=None)])
    assert "ublished:" not in text


def test_each_set_and_scale_has_its_table_in_order() -> None:
    means = [replace(OURS, set=name, scale=scale, published=None) for name in ("b", "a") for scale in (2, 3)]
    heads = [line.split(":")[0] for line in markdown(means).splitlines() if line.startswith("###")]
    assert heads == ["### b x2", "### b x3", "### a x2", "### a x3"]


def test_nan_is_marked_and_named() -> None:
    bad = replace(ROW, image="bad", psnr=math.nan, ssim=math.nan, nonfinite=7)
    text = markdown([mean_of([ROW, bad], find_published("EDSR", "Set5", 2))])
    assert "| 30.000* | 0.9000* | EDSR: 38.11 / 0.9601 | " in " ".join(text.split())
    assert "in the output of 1 image (bad); the mean leaves them out" in text


def test_images_are_grouped_so_that_models_can_be_compared() -> None:
    rows = [replace(ROW, model=model, image=image) for model in ("m", "n") for image in ("b", "a")]
    lines = per_image(rows).splitlines()[2:]
    assert [[cell.strip() for cell in line.split("|")][3:5] for line in lines] == [
        ["b", "m"], ["b", "n"], ["a", "m"], ["a", "n"],
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["a|b", "runs|mine"])
def test_a_bar_in_a_name_does_not_break_the_table(text: str) -> None:
    lines = grid(["x", "y"], [[text, "1"]])
    assert text.replace("|", "\\|") in lines[2]
