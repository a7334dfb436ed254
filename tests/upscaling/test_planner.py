import weakref
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import srzoo
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.planner import (
    MIN_ROWS,
    OVERHEAD,
    StripPlan,
    TilePlan,
    count_bytes,
    count_pixel_bytes,
    plan_bands,
    plan_strips_for,
    plan_tile_side,
    plan_tiles_for,
    state_bytes,
)
from srzoo.upscaling.steps import build_step, plan_flow


@cache
def layers_of(name: str = "edsr_baseline_x4", scale: int = 4) -> Layers:
    return record(srzoo.create_model(name, width=16, num_blocks=2).eval(), scale)


class Live(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and their largest sum."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()).data_ptr() not in self.seen:
                pointer, size = storage.data_ptr(), storage.nbytes()
                self.seen.add(pointer)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._gone, pointer, size)
        return out

    def _gone(self, pointer: int, size: int) -> None:
        self.seen.discard(pointer)
        self.now -= size


def measure(
    layers: Layers, rows: int, columns: int, precision: Any, chunk: int | None = None
) -> Iterator[tuple[str, int, int]]:
    """Phase, bytes that are counted, bytes that are measured."""
    flow = plan_flow(layers)
    half = 4 if precision == "fp32" else 2
    engine = TorchEngine(torch.device("cpu"), precision)
    states: Any = ()
    for phase, number in (("whole", 2 * rows), ("first", flow.min_first), ("middle", rows), ("last", rows)):
        step = build_step(layers, phase, flow, chunk)  # pyright: ignore[reportArgumentType]
        compiled = engine.compile(step, (1, number, columns))
        strip = torch.rand(1, 3, number, columns)
        compiled(strip, states)  # weights are made ready at the first call
        with Live() as live:
            out = compiled(strip, states)
        states = out[1]
        yield phase, count_bytes(step, flow, layers, (1, number, columns), half), live.peak


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("name", "scale"), [("edsr_baseline_x4", 4), ("edsr_baseline_x3", 3), ("mdsr_baseline", 2)])
def test_what_is_counted_is_what_is_used(name: str, scale: int, precision: str) -> None:
    for phase, counted, measured in measure(layers_of(name, scale), 8, 40, precision, 8):
        assert measured <= OVERHEAD * counted, phase
        assert measured >= 0.4 * counted, phase


def test_the_last_strip_takes_no_more_than_others_since_it_comes_in_parts() -> None:
    layers = record(srzoo.create_model("edsr_baseline_x4", width=16, num_blocks=16).eval())
    taken = {phase: measured for phase, _, measured in measure(layers, 8, 40, "fp32", 8)}
    at_once = {phase: measured for phase, _, measured in measure(layers, 8, 40, "fp32")}
    assert taken["last"] < 1.7 * taken["middle"]
    assert at_once["last"] > 2.5 * taken["middle"]


def test_states_take_what_is_counted() -> None:
    layers = layers_of()
    flow = plan_flow(layers)
    engine = TorchEngine(torch.device("cpu"), "bf16")
    _, states = engine.compile(build_step(layers, "first"), (1, flow.min_first, 40))(
        torch.rand(1, 3, flow.min_first, 40), ()
    )
    assert state_bytes(layers, flow, 40, 1) == sum(state.numel() * state.element_size() for state in states)


FEW = settings(max_examples=12, deadline=None, derandomize=True, database=None)


@FEW
@given(width=st.integers(1, 9000), columns=st.integers(16, 4096), halo=st.integers(0, 40))
def test_bands_cover_each_column_once_and_see_the_halo(width: int, columns: int, halo: int) -> None:
    bands = plan_bands(width, columns, halo)
    assert [band.left for band in bands] == [0, *(band.right for band in bands[:-1])]
    assert bands[-1].right == width
    assert len({band.window[1] - band.window[0] for band in bands}) == 1
    for band in bands:
        assert band.right - band.left <= columns
        assert 0 <= band.window[0] <= max(0, band.left - halo)
        assert min(width, band.right + halo) <= band.window[1] <= width


def plan(memory: int, width: int = 500, **options: Any) -> Any:
    given = dict(width=width, batch=1, halo=8, memory=memory, device="torch") | options
    return plan_strips_for([layers_of()], **given)  # pyright: ignore[reportArgumentType]


@FEW
@given(memory=st.integers(10**5, 10**9), width=st.integers(1, 12_000))
def test_plans_fit_the_memory_and_are_the_same_each_time(memory: int, width: int) -> None:
    found = plan(memory, width)
    assert found == plan(memory, width)
    if found is not None:
        assert found.bytes <= memory
        assert found.rows >= MIN_ROWS
        more = plan(2 * memory, width)
        assert more is not None
        assert len(more.bands) <= len(found.bands)
        assert len(more.bands) < len(found.bands) or more.rows >= found.rows


def test_less_memory_means_fewer_rows_then_more_bands_then_tiles() -> None:
    plans = [plan(memory, width=3000) for memory in (10**9, 40 * 10**6, 22 * 10**6, 10**6)]
    assert plans[0].rows >= plans[1].rows >= MIN_ROWS
    assert len(plans[0].bands) == 1 < len(plans[2].bands)
    assert plans[3] is None


def test_an_ensemble_keeps_the_rows_of_all_its_networks() -> None:
    one, eight = (
        plan(10**9),
        plan_strips_for([layers_of()] * 8, width=500, batch=1, halo=8, memory=10**9, device="torch"),
    )
    flow = plan_flow(layers_of())
    assert eight is not None
    assert eight.bytes - one.bytes == 7 * state_bytes(layers_of(), flow, 500, 1)


def test_a_gpu_gets_larger_strips_and_an_unknown_device_is_taken_for_one() -> None:
    rows = {device: plan(10**11, device=device).rows for device in ("torch", "openvino", "cuda", "xpu")}
    assert rows["torch"] <= rows["openvino"] < rows["cuda"] == rows["xpu"]


def test_values_of_four_bytes_take_more() -> None:
    assert count_pixel_bytes(layers_of(), half=4) > 1.2 * count_pixel_bytes(layers_of())
    assert plan(10**9, half=4).bytes > 1.2 * plan(10**9).bytes
    assert plan(10**9, half=8, full=8).bytes == 2 * plan(10**9, half=4).bytes


@FEW
@given(halo=st.integers(0, 170), memory=st.integers(10**6, 10**10), pixel=st.integers(100, 10**5))
def test_tiles_fit_the_memory_where_any_can(halo: int, memory: int, pixel: int) -> None:
    for device in ("cpu", "cuda", "xpu"):
        side = plan_tile_side(halo=halo, memory=memory, bytes_per_pixel=pixel, device=device)
        assert side >= max(32, halo)
        assert side == max(32, halo) or (side + 2 * halo) ** 2 * pixel <= memory
        more = plan_tile_side(halo=halo, memory=2 * memory, bytes_per_pixel=pixel, device=device)
        assert more >= side


def plan_tiles(memory: int, size: tuple[int, int] = (700, 900), **options: Any) -> Any:
    given = dict(size=size, batch=1, halo=8, memory=memory, device="torch") | options
    return plan_tiles_for(layers_of(), **given)  # pyright: ignore[reportArgumentType]


@FEW
@given(memory=st.integers(10**6, 10**9), width=st.integers(1, 9000), height=st.integers(1, 9000))
def test_tiles_in_strips_fit_the_memory_or_are_small(memory: int, width: int, height: int) -> None:
    found = plan_tiles(memory, (height, width))
    if found.bytes > memory:
        assert found.columns <= 32
        assert found.rows <= max(32, plan_flow(layers_of()).min_first)
    assert found.columns >= min(32, width)
    assert found.rows >= min(32, height)
    more = plan_tiles(2 * memory, (height, width))
    assert more.bytes > 2 * memory or more.overhead(width, height, 8) <= found.overhead(width, height, 8)


def test_tiles_in_strips_cost_less_than_those_at_once_in_the_same_memory() -> None:
    layers = record(srzoo.create_model("edsr_baseline_x4").eval())
    memory, halo = 10**8, 36
    side = plan_tile_side(halo=halo, memory=memory, bytes_per_pixel=count_pixel_bytes(layers), device="cpu")
    found = plan_tiles_for(layers, size=(750, 1000), batch=1, halo=halo, memory=memory, device="torch")
    assert found.bytes <= memory
    assert found.overhead(1000, 750, halo) < 4 < TilePlan(side, side, None, 0).overhead(1000, 750, halo)


def test_the_overhead_is_the_pixels_computed_for_each_of_the_image() -> None:
    assert TilePlan(30, 25, None, 0).overhead(100, 60, 5) == pytest.approx((4 * 35) * (2 * 40) / (100 * 60))
    assert TilePlan(60, 100, 4, 0).overhead(100, 60, 36) == 1
    assert StripPlan(4, plan_bands(100, 60, 5), 0).overhead(100) == 1.2


def test_bands_are_made_only_as_long_as_their_halo_costs_less_than_the_image() -> None:
    for memory in range(10**6, 4 * 10**7, 10**6):
        found = plan(memory, width=3000, halo=40)
        assert found is None or found.overhead(3000) <= 2
