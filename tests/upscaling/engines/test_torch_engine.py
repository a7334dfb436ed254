import gc
from typing import Any

import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.upscaling.engines import CompiledStep, Engine
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import build_step, plan_flow

CPU = torch.device("cpu")


def layers_of(name: str = "edsr_baseline_x2", **arguments: Any) -> Layers:
    return record(srzoo.create_model(name, **{"width": 8, "num_blocks": 2, **arguments}).eval())


def run(layers: Layers, lr: Tensor, precision: Any = "fp32") -> Tensor:
    step = TorchEngine(CPU, precision).compile(build_step(layers, "whole"), (1, *lr.shape[2:]))
    assert isinstance(step, CompiledStep)
    return step(lr, ())[0]


def test_it_is_an_engine_and_says_its_precision() -> None:
    assert isinstance(TorchEngine(CPU), Engine)
    assert TorchEngine(CPU).precision in ("fp32", "bf16")
    assert TorchEngine(CPU, "fp16").precision == "fp16"


def test_fp32_is_the_model() -> None:
    model = srzoo.create_model("edsr_baseline_x4", width=8, num_blocks=2).eval()
    lr = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(run(record(model), lr), model(lr))


@pytest.mark.parametrize(("precision", "bound"), [("bf16", 2**-8), ("fp16", 2**-11)])
def test_half_precision_is_near_and_never_the_same(precision: str, bound: float) -> None:
    torch.manual_seed(0)
    layers, lr = layers_of(width=16), torch.rand(1, 3, 16, 16)
    exact, found = run(layers, lr), run(layers, lr, precision)
    assert found.dtype == torch.float32
    error = (found - exact).abs().max().item()
    # the body's result is rounded; head, long skip and tail are not
    assert 0 < error < 8 * bound * exact.abs().max().item()


def test_parts_that_are_not_to_be_half_are_exact() -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=2).eval()
    for part in ("body", "upsample"):
        for parameter in getattr(model, part).parameters():
            parameter.data = parameter.data.bfloat16().float()
    model.tail.weight.data.zero_()  # pyright: ignore[reportAttributeAccessIssue]
    lr = torch.rand(1, 3, 8, 8)
    assert torch.equal(run(record(model), lr), run(record(model), lr, "bf16"))


def test_a_network_in_float64_is_run_in_it_whatever_the_precision() -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=2).double().eval()
    lr = torch.rand(1, 3, 8, 8, dtype=torch.float64)
    with torch.no_grad():
        assert (run(record(model), lr, "bf16") - model(lr)).abs().max() < 1e-12


def test_inputs_are_not_changed_nor_states() -> None:
    layers = layers_of()
    flow, engine = plan_flow(layers), TorchEngine(CPU, "fp32")
    lr = torch.rand(1, 3, flow.min_first, 6)
    before = lr.clone()
    _, states = engine.compile(build_step(layers, "first"), (1, flow.min_first, 6))(lr, ())
    kept = [state.clone() for state in states]
    middle = engine.compile(build_step(layers, "middle"), (1, 4, 6))
    strip = torch.rand(1, 3, 4, 6)
    first, second = middle(strip, states)[0], middle(strip, states)[0]
    assert torch.equal(first, second)
    assert torch.equal(lr, before)
    assert all(torch.equal(state, copy) for state, copy in zip(states, kept, strict=True))


def test_states_hold_on_to_nothing_else() -> None:
    layers = layers_of()
    flow, engine = plan_flow(layers), TorchEngine(CPU, "fp32")
    _, states = engine.compile(build_step(layers, "first"), (1, flow.min_first, 6))(
        torch.rand(1, 3, flow.min_first, 6), ()
    )
    gc.collect()
    for state in states:
        assert state.untyped_storage().nbytes() == state.numel() * state.element_size()


def test_strips_of_any_layout_give_the_same() -> None:
    layers, lr = layers_of(), torch.rand(1, 3, 6, 8)
    expected = run(layers, lr)
    turned = lr.transpose(2, 3).contiguous().transpose(2, 3)
    wider = torch.rand(1, 3, 6, 20)
    wider[..., 5:13] = lr
    for other in (turned, wider[..., 5:13], lr.to(memory_format=torch.channels_last), lr.double()):
        torch.testing.assert_close(run(layers, other), expected)
