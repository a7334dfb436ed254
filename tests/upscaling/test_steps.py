from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import srzoo
from srzoo.upscaling.layers import Layer, Layers, record
from srzoo.upscaling.steps import Step, build_step, find_waist, plan_flow, plan_strips


def layers_of(name: str, scale: int | None = None, **arguments: object) -> Layers:
    return record(srzoo.create_model(name, width=4, **{"num_blocks": 2, **arguments}).eval(), scale)


def plain(*pads: int) -> Layers:
    """Convolutions one after the other."""
    layers = [Layer("image", channels=1)]
    for i, pad in enumerate(pads):
        weight = torch.ones(1, 1, 2 * pad + 1, 2 * pad + 1)
        layers.append(Layer("conv", (i,), weight=weight, pad=(pad, pad), channels=1))
    return Layers(tuple(layers), 1)


def test_a_convolution_keeps_twice_its_reach_and_is_as_late_as_all_before_it() -> None:
    flow = plan_flow(plain(1, 0, 2))
    assert flow.kept == (2, 0, 4, 0)
    assert flow.lags == (0, 1, 1, 3)
    assert flow.lags[-1] == 3
    assert flow.min_first == 5  # the second has 4 rows to keep when the image has 5


@pytest.mark.parametrize(
    ("name", "scale"), [("edsr_baseline_x2", 2), ("edsr_baseline_x3", 3), ("edsr_baseline_x8", 8), ("mdsr_baseline", 3)]
)
def test_the_whole_network_is_as_late_as_its_halo(name: str, scale: int) -> None:
    model = srzoo.create_model(name, width=4, num_blocks=2).eval()
    flow = plan_flow(record(model, scale))
    assert flow.factors[-1] == scale
    assert -(-flow.lags[-1] // scale) == model.halo(scale)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(height=st.integers(1, 200), rows=st.integers(1, 40), min_first=st.integers(1, 60))
def test_strips_follow_each_other_and_cover_all(height: int, rows: int, min_first: int) -> None:
    strips = plan_strips(height, rows, min_first)
    assert [top for _, top, _ in strips] == [0, *(bottom for _, _, bottom in strips[:-1])]
    assert strips[-1][2] == height
    if height <= max(min_first, rows):
        assert [phase for phase, _, _ in strips] == ["whole"]
        return
    assert [phase for phase, _, _ in strips] == ["first", *["middle"] * (len(strips) - 2), "last"]
    assert strips[0][2] == min_first
    assert all(bottom - top == rows for phase, top, bottom in strips if phase == "middle")
    assert 1 <= strips[-1][2] - strips[-1][1] <= rows


@pytest.mark.parametrize("phase", ["whole", "first", "middle", "last"])
@pytest.mark.parametrize("name", ["edsr_baseline_x2", "edsr_baseline_x4", "mdsr_baseline"])
def test_operations_read_earlier_ones_and_are_freed_once(name: str, phase: str) -> None:
    layers = layers_of(name, 4 if name == "mdsr_baseline" else None)
    for rows in (None, 1, 3):
        step: Step = build_step(layers, phase, rows=rows)  # pyright: ignore[reportArgumentType]
        freed: list[int] = []
        for position, (operation, free) in enumerate(zip(step.operations, step.last_uses(), strict=True)):
            assert all(operand < position and operand not in freed for operand in operation.operands)
            freed += free
        assert len(set(freed)) == len(freed)
        read = {operand for operation in step.operations for operand in operation.operands}
        assert read - set(freed) <= {step.result, *step.states}  # all else is freed


def test_states_of_one_strip_are_what_the_next_one_takes() -> None:
    layers = layers_of("edsr_baseline_x4")
    first, middle = build_step(layers, "first"), build_step(layers, "middle")
    for rows in (None, 1, 4):
        last = build_step(layers, "last", rows=rows)
        shapes = [[step.operations[i].channels for i in step.states] for step in (first, middle)]
        taken = [[o.channels for o in step.operations if o.kind == "state"] for step in (middle, last)]
        assert shapes[0] == shapes[1] == taken[0] == taken[1]
        assert all(operation.kind != "state" for operation in first.operations)
        assert last.states == ()
    assert build_step(layers, "whole").states == ()


def test_the_waist_is_where_body_and_upsampler_meet() -> None:
    for name in ("edsr_baseline_x2", "edsr_baseline_x4", "edsr_baseline_x3"):
        layers = layers_of(name)
        waist = find_waist(layers.layers)
        assert waist is not None
        assert layers.layers[waist].kind == "join"
        assert layers.layers[waist + 2].kind == "shuffle"


def test_there_is_no_waist_where_something_goes_past_it() -> None:
    layers = layers_of("edsr_baseline_x2").layers
    assert find_waist(plain(1, 1, 1).layers) is None
    last = replace(layers[-1], sources=(*layers[-1].sources, 1))
    assert find_waist([*layers[:-1], last]) is None
