"""The figures as data are those that were published."""

from pathlib import Path

import pytest

from srzoo.benchmark.published import (
    EDSR_PAPER,
    EDSR_PAPER_DIV2K,
    EDSR_PAPER_TABLE_2,
    EDSR_README,
    METHODS,
    PUBLISHED,
    SRRESNET_PAPER,
    TORCHSR,
    VDSR_PAPER,
    find_published,
)
from srzoo.data.benchmarks import BENCHMARKS


def cell(text: str) -> tuple[float, float] | None:
    psnr, _, ssim = text.partition(" / ")
    return None if psnr.strip() == "-" else (float(psnr), float(ssim))


def test_the_tables_are_those_of_the_authors_slides(data_dir: Path) -> None:
    slides = data_dir.parent / "mission/edsr-slides.md"
    if not slides.is_file():
        pytest.skip("the authors' slides do not lie beside SRZOO_DATA, as mission/edsr-slides.md")
    large, small, name = {}, {}, ""
    for line in slides.read_text(encoding="utf-8").splitlines():
        cells = [part.strip() for part in line.split("\t")]
        if len(cells) == 11 and cells[1][1:] in ("2", "3", "4"):
            name = cells[0].removesuffix(" validation") or name
            for method, text in zip(METHODS, cells[2:], strict=True):
                if cell(text):
                    large[method, name, int(cells[1][1:])] = cell(text)
        if len(cells) == 7 and cells[0].startswith("$\\times"):
            for method, text in zip(
                ("SRResNet (L2 loss)", "SRResNet (L1 loss)", "EDSR baseline", "MDSR baseline", "EDSR", "MDSR"),
                cells[1:],
                strict=True,
            ):
                small[method, "DIV2K", int(cells[0].strip("$").split()[1])] = cell(text)
    assert len(large) == 15 * 9 - 15 + 4  # SRResNet was given at x4 only, and not for DIV2K
    assert len(small) == 18
    for sources, table in (((EDSR_PAPER, EDSR_PAPER_DIV2K), large), ((EDSR_PAPER_TABLE_2,), small)):
        ours = {(row.method, row.set, row.scale): (row.psnr, row.ssim) for row in PUBLISHED if row.source in sources}
        assert ours == table


@pytest.mark.parametrize(
    ("method", "name", "scale", "told"),
    [
        ("Bicubic", "Set5", 2, "33.66 / 0.9299"),
        ("VDSR", "Urban100", 4, "25.18 / 0.7524"),
        ("SRResNet", "B100", 4, "27.57 / 0.7354"),
        ("EDSR", "DIV2K", 3, "31.26 / 0.9340"),
        ("MDSR+", "Set14", 4, "28.82 / 0.7876"),
        ("EDSR baseline", "DIV2K", 2, "34.55 / 0.9671"),
        ("EDSR baseline", "Set5", 4, "32.09 / 0.8936"),
        ("EDSR baseline", "Urban100", 2, "31.98"),
    ],
)
def test_golden_figures(method: str, name: str, scale: int, told: str) -> None:
    assert str(find_published(method, name, scale)) == told


def test_what_was_not_published_is_not_made_up() -> None:
    assert find_published("SRResNet", "Set5", 2) is None
    assert find_published("EDSR", "Manga109", 2) is None


def test_each_figure_has_a_source_once_and_a_set_that_is_known() -> None:
    keys = [(row.method, row.set, row.scale, row.source) for row in PUBLISHED]
    assert len(set(keys)) == len(keys)
    assert {row.set for row in PUBLISHED} <= BENCHMARKS.keys()
    for source in {row.source for row in PUBLISHED}:
        assert source.address.startswith("https://")
        assert source.title
        assert source.where
        assert source.protocol
    with_ssim = {
        (row.set, row.source.ssim_comparable)
        for row in PUBLISHED
        if row.ssim is not None and row.source != SRRESNET_PAPER  # which used another program
    }
    assert ("DIV2K", False) in with_ssim  # MATLAB's, of the RGB array as a volume
    assert {comparable for name, comparable in with_ssim if name != "DIV2K"} == {True}
    assert ("DIV2K", True) not in with_ssim
    assert {row.psnr for row in PUBLISHED if row.source == EDSR_README and row.method == "MDSR"} == {
        34.92,
        31.22,
        29.24,
    }
    assert sum(row.source == TORCHSR for row in PUBLISHED) == 24


@pytest.mark.parametrize(
    ("method", "name", "scale", "told"),
    [
        ("A+", "Set5", 2, ["36.54 / 0.9544 quoted", "36.55 own"]),
        ("SRCNN", "Set14", 3, ["29.28 / 0.8209 quoted", "29.30 / 0.8215 own"]),
        ("FSRCNN", "Set5", 4, ["30.71 / 0.8657 quoted", "30.71 own"]),
        ("ESPCN", "Set14", 3, ["29.49 own"]),
        ("VDSR", "Set5", 2, ["37.53 / 0.9587 quoted", "37.53 / 0.9587 own"]),
        ("SRResNet", "Set14", 4, ["28.53 / 0.7804 quoted", "28.49 / 0.8184 own"]),
        ("EDSR", "Set5", 2, ["38.11 / 0.9601 own", "38.19 / 0.9609 quoted"]),
        ("Bicubic", "Set5", 2, ["33.66 / 0.9299 own"]),
    ],
)
def test_what_is_quoted_is_told_from_what_the_methods_authors_said(
    method: str, name: str, scale: int, told: list[str]
) -> None:
    rows = [row for row in PUBLISHED if (row.method, row.set, row.scale) == (method, name, scale)]
    assert [f"{row} {'quoted' if row.is_quoted else 'own'}" for row in rows] == told


def test_the_paper_quotes_the_methods_own_figures_where_they_are_the_same() -> None:
    own = {(row.set, row.scale): (row.psnr, row.ssim) for row in PUBLISHED if row.source == VDSR_PAPER}
    quoted = {
        (row.set, row.scale): (row.psnr, row.ssim)
        for row in PUBLISHED
        if row.source == EDSR_PAPER
        if row.method == "VDSR"
    }
    assert len(own) == 12
    assert own == quoted
