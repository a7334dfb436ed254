"""scripts/protocol_mistakes.py: costs that can be worked out by hand, and the digits of docs/protocol.md."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from PIL import Image

from srzoo.resize import imresize
from tests.conftest import smooth_image

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("protocol_mistakes", ROOT / "scripts" / "protocol_mistakes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """A folder `tiny` of two images, one of them grey."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    Image.fromarray(smooth_image(60, 72)).save(folder / "colour.png")
    Image.fromarray(smooth_image(60, 60, channels=1)[..., 0]).save(folder / "grey.png")
    return folder


def tables(text: str) -> dict[str, dict[str, list[str]]]:
    """Tables by the first cell of their head; each has its rows by their first cell, the head too."""
    found: dict[str, dict[str, list[str]]] = {}
    title = ""
    for line in text.splitlines():
        if not line.startswith("|"):
            title = ""
            continue
        first, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        title = title or first
        found.setdefault(title, {})[first] = rest
    return found


def test_the_tables_have_every_mistake_and_the_costs_that_are_known(script, sets, capsys):
    assert script.main(["--data", str(sets.parent), "--sets", str(sets), "--models=bicubic", "--scales=2"]) == 0
    found = tables(capsys.readouterr().out)
    assert list(found) == ["bicubic's PSNR", "bicubic's SSIM", "bicubic: PSNR in dB", "bicubic: SSIM"]
    psnr = found["bicubic: PSNR in dB"]
    assert {*script.PSNR_MISTAKES, *script.LR_MISTAKES} < psnr.keys()
    assert script.SSIM_MISTAKES.keys() < found["bicubic: SSIM"].keys()
    cost = {name: float(cells[0].replace("\N{MINUS SIGN}", "-").strip("*")) for name, cells in list(psnr.items())[2:]}
    assert cost["**by the protocol**"] > 20
    of_colour = 20 * math.log10(255 / 219) / 2  # of two images one is grey
    assert cost["full-range luma, 0.299 R + 0.587 G + 0.114 B"] == pytest.approx(-of_colour, abs=0.01)
    assert cost["squared error pooled over the images"] < 0  # a mean of squares is led by the worst image


def test_grey_made_rgb_gains_what_studio_range_squeezes(script):
    hr = torch.rand(1, 1, 40, 40)
    image = script.Scored(hr + 0.05 * torch.randn_like(hr), hr, 2)
    right, wrong = (
        10 * math.log10(255**2 / measure(image))
        for measure in (script.under(script.Protocol.paper), script.PSNR_MISTAKES["grey file made RGB"])
    )
    assert wrong - right == pytest.approx(20 * math.log10(255 / 219), abs=1e-6)


def test_lr_mistakes_keep_the_size_and_differ(script):
    hr = torch.from_numpy(smooth_image(60, 48)).permute(2, 0, 1).contiguous()
    right = imresize(hr, scale=1 / 3)
    for name, shrink in script.LR_MISTAKES.items():
        for channels in (1, 3):
            found = shrink(hr[:channels], 3)
            assert (found.dtype, found.shape) == (torch.uint8, right[:channels].shape), name
        assert not torch.equal(found, right), name


def test_the_page_tells_what_the_script_measures(script, data_dir, capsys):
    """The columns of Set5 x4 for bicubic, in the tables of docs/protocol.md."""
    page = tables((ROOT / "docs" / "protocol.md").read_text())
    assert script.main(["--data", str(data_dir / "bench"), "--sets=Set5", "--models=bicubic", "--scales=4"]) == 0
    measured = tables(capsys.readouterr().out)
    assert measured["bicubic's PSNR"]["luma path"] == ["28.421"]
    assert measured["bicubic's SSIM"]["luma path"] == ["0.8104"]
    for title, table in measured.items():
        place = page[title][title].index("Set5 x4")
        for name, [value] in table.items():
            assert page[title][name][place] == value, (title, name)


def as_number(cell: str) -> float:
    return float(cell.replace("\N{MINUS SIGN}", "-").strip("*"))


@pytest.mark.slow  # five to ten minutes on one core
def test_every_column_of_every_table_is_measured_again(script, data_dir, capsys):
    """All of bicubic and of the bundled edsr_baseline; threads may move the last digit of a network."""
    page = tables((ROOT / "docs" / "protocol.md").read_text())
    assert script.main(["--data", str(data_dir / "bench")]) == 0
    measured = tables(capsys.readouterr().out)
    assert len(measured) == 6
    for title, table in measured.items():
        assert page[title].keys() - {"published (Lim et al. 2017)"} == table.keys(), title
        assert page[title].pop(title) == table.pop(title)
        del page[title]["---"], table["---"]
        digit = 1e-3 if "PSNR" in title else 1e-4
        for name, cells in table.items():
            told, found = ([as_number(cell) for cell in row] for row in (page[title][name], cells))
            assert told == pytest.approx(found, rel=0, abs=1.5 * digit), (title, name)
