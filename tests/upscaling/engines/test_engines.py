"""What every engine has to do, on every kind of layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.architecture import SRModel
from srzoo.upscaling.engines import Engine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import build_step, plan_flow

Run = Callable[[Engine, Layers, Tensor, int], Tensor]


@torch.inference_mode()
@pytest.mark.parametrize("rows", [2, 5])
def test_strips_equal_the_model(engine: Engine, network: tuple[SRModel, int], rows: int, run: Run) -> None:
    model, scale = network
    layers = record(model, scale)
    image = torch.rand(2, 3, plan_flow(layers).min_first + 2 * rows + 1, 7)
    ours, theirs = run(engine, layers, image, rows), model(image.double(), scale)
    assert ours.dtype in (torch.float32, torch.float64)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_whole_equals_the_model(engine: Engine, network: tuple[SRModel, int]) -> None:
    model, scale = network
    image = torch.rand(2, 3, 4, 5)
    step = engine.compile(build_step(record(model, scale), "whole"), (2, 4, 5))
    ours, states = step(image, ())
    assert len(states) == 0
    torch.testing.assert_close(ours.double(), model(image.double(), scale), rtol=1e-5, atol=1e-5)


@torch.inference_mode()
def test_images_may_take_turns(engine: Engine, tiny: Layers) -> None:
    flow = plan_flow(tiny)
    shapes = {"first": (1, flow.min_first, 6), "middle": (1, 3, 6), "last": (1, 2, 6)}
    steps = {phase: engine.compile(build_step(tiny, phase, flow), shape) for phase, shape in shapes.items()}
    phases = ["first", "middle", "middle", "last"]
    images = [[torch.rand(shapes[phase][0], 3, *shapes[phase][1:]) for phase in phases] for _ in range(2)]

    def alone(strips: list[Tensor]) -> list[Tensor]:
        states, results = (), []
        for phase, strip in zip(phases, strips, strict=True):
            result, states = steps[phase](strip, states)
            results.append(result.clone())
        return results

    expected = [alone(strips) for strips in images]
    states = [(), ()]
    found: list[list[Tensor]] = [[], []]
    for number, phase in enumerate(phases):
        for i in range(2):
            result, states[i] = steps[phase](images[i][number], states[i])
            found[i].append(result)  # not copied: later calls must leave it alone
    for ours, theirs in zip(found, expected, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@torch.inference_mode()
def test_strips_may_be_views_and_weights_of_any_dtype(engine: Engine) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval()
    image = torch.rand(2, 8, 9, 3).permute(0, 3, 1, 2)[:, :, ::2]
    expected = model(image)
    for dtype, least in ((torch.float64, 1e-5), (torch.bfloat16, 0.05)):
        step = engine.compile(build_step(record(model.to(dtype)), "whole"), (2, 4, 9))
        torch.testing.assert_close(step(image, ())[0].float(), expected, rtol=least, atol=least)


def test_it_says_what_it_is(engine: Engine) -> None:
    assert isinstance(engine, Engine)
    assert engine.device == torch.device("cpu")
    assert engine.precision == "fp32"


def test_torchs_default_dtype_and_device_and_autocast_change_nothing(engine: Engine, tiny: Layers) -> None:
    image, step = torch.rand(1, 3, 4, 5), build_step(tiny, "whole")
    expected, _ = engine.compile(step, (1, 4, 5))(image, ())
    torch.set_default_dtype(torch.float64)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta"):
            found, _ = engine.compile(step, (1, 4, 5))(image, ())
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)
