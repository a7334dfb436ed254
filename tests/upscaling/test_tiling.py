from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import srzoo
from srzoo.tta import SelfEnsemble
from srzoo.upscaling import plan_tiles, run_tiled

FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None)
SIDE, TILE = st.integers(1, 20), st.integers(1, 12)


@cache
def model(name: str, ensemble: bool = False) -> srzoo.SRModel:
    """A tiny model in float64 with weights large enough that its farthest pixels count."""
    torch.manual_seed(0)
    tiny = {} if name.startswith("bicubic") else dict(width=4, num_blocks=1)
    net = srzoo.create_model(name, **tiny).double().eval()
    for parameter in net.parameters():
        parameter.data *= 1.5
    return SelfEnsemble(net) if ensemble else net


@torch.inference_mode()
def difference(net: srzoo.SRModel, scale: int, height: int, width: int, tile: int, halo: int) -> float:
    """How far tiles are from the whole image, at worst."""
    lr = torch.rand(1, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    tiled = run_tiled(lambda window: net(window, scale), lr, scale=scale, tile=tile, halo=halo)
    return (tiled - net(lr, scale)).abs().max().item()


@FEW
@given(
    which=st.sampled_from([("edsr_baseline_x2", 2), ("edsr_baseline_x3", 3), ("edsr_baseline_x4", 4)]),
    height=SIDE,
    width=SIDE,
    tile=TILE,
)
def test_edsr_in_tiles_equals_the_whole(which: tuple[str, int], height: int, width: int, tile: int) -> None:
    name, scale = which
    net = model(name)
    assert difference(net, scale, height, width, tile, net.halo(scale)) < 1e-9


@FEW
@given(scale=st.sampled_from([2, 3, 4]), height=SIDE, width=SIDE, tile=TILE)
def test_mdsr_in_tiles_equals_the_whole(scale: int, height: int, width: int, tile: int) -> None:
    net = model("mdsr_baseline")
    assert difference(net, scale, height, width, tile, net.halo(scale)) < 1e-9


@FEW
@given(scale=st.sampled_from([2, 3, 4, 8]), height=SIDE, width=SIDE, tile=TILE)
def test_bicubic_in_tiles_equals_the_whole(scale: int, height: int, width: int, tile: int) -> None:
    net = model(f"bicubic_x{scale}")
    assert difference(net, scale, height, width, tile, net.halo(scale)) < 1e-9


@settings(FEW, max_examples=5)
@given(height=SIDE, width=SIDE, tile=st.integers(4, 12))
def test_the_ensemble_of_eight_in_tiles_equals_the_whole(height: int, width: int, tile: int) -> None:
    net = model("edsr_baseline_x2", ensemble=True)
    assert difference(net, 2, height, width, tile, net.halo(2)) < 1e-9


@pytest.mark.parametrize(
    ("name", "scale"), [("edsr_baseline_x2", 2), ("edsr_baseline_x4", 4), ("mdsr_baseline", 3), ("bicubic_x4", 4)]
)
def test_one_pixel_less_of_halo_shows(name: str, scale: int) -> None:
    net = model(name)
    if not name.startswith("bicubic"):
        torch.manual_seed(0)
        net = srzoo.create_model(name, width=4, num_blocks=1).double().eval()
        for parameter in net.parameters():
            parameter.data = parameter.data.abs() * 3  # values alone fade before the true edge
    halo = net.halo(scale)
    side = 2 * halo + 6
    assert difference(net, scale, side, side, halo + 3, halo - 1) > 1e-6
    whole = net(torch.rand(1, 3, side, side, dtype=torch.float64), scale).abs().max().item()
    assert difference(net, scale, side, side, halo + 3, halo) < 1e-12 * max(1, whole)


@settings(FEW, max_examples=60)
@given(height=SIDE, width=SIDE, tile=TILE, halo=st.integers(0, 5))
def test_tiles_cover_each_pixel_once(height: int, width: int, tile: int, halo: int) -> None:
    covered = torch.zeros(height, width, dtype=torch.int64)
    for part in plan_tiles(height, width, tile, halo):
        covered[part.top : part.bottom, part.left : part.right] += 1
        assert 1 <= part.bottom - part.top <= tile
        assert 1 <= part.right - part.left <= tile
        assert part.window[0] == slice(max(0, part.top - halo), min(height, part.bottom + halo))
        assert part.window[1] == slice(max(0, part.left - halo), min(width, part.right + halo))
    assert (covered == 1).all()


def test_tiles_are_about_equal() -> None:
    heights = {part.bottom - part.top for part in plan_tiles(257, 1, tile=256, halo=0)}
    assert heights == {128, 129}


def test_an_image_no_larger_than_a_tile_is_one_run() -> None:
    assert len(list(plan_tiles(12, 9, tile=12, halo=3))) == 1


def test_progress_counts_every_tile() -> None:
    seen = []
    lr = torch.rand(2, 1, 5, 7)
    out = run_tiled(lambda x: x, lr, scale=1, tile=3, halo=1, progress=lambda done, of: seen.append((done, of)))
    assert torch.equal(out, lr)
    assert seen == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize(("tile", "halo"), [(0, 1), (-3, 1), (4, -1)])
def test_impossible_tiles_are_refused(tile: int, halo: int) -> None:
    with pytest.raises(ValueError, match=f"tile is {tile} and halo {halo}"):
        run_tiled(lambda x: x, torch.rand(1, 1, 4, 4), scale=1, tile=tile, halo=halo)
