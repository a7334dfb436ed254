from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.upscaling.engines import CompiledStep, Engine
from srzoo.upscaling.engines.static_steps import measure, split_narrowing
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import Phase, Step, build_step, plan_flow

Run = Callable[[Engine, Layers, Tensor, int], Tensor]


class Splitting(TorchEngine):
    """PyTorch, with narrowing convolutions split."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"), "fp32")
        self.splits: list[bool] = []

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        split = split_narrowing(step, *shape[1:])
        self.splits.append(len(split.operations) > len(step.operations))
        return super().compile(split, shape)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_splitting_changes_nothing(network: tuple[SRModel, int], rows: int, run: Run) -> None:
    model, scale = network
    layers = record(model, scale)
    image = torch.rand(1, 3, plan_flow(layers).min_first + 2 * rows + 1, 7, dtype=torch.float64)
    engine = Splitting()
    torch.testing.assert_close(run(engine, layers, image, rows), model(image, scale))
    narrows = hasattr(model, "tail")  # the other's last convolution widens
    assert engine.splits == [False, narrows and rows * scale > 2, narrows]  # first, middle, last


@torch.inference_mode()
@pytest.mark.parametrize("phase", ["whole", "first", "middle", "last"])
def test_sizes_are_those_of_the_results(network: tuple[SRModel, int], phase: Phase) -> None:
    model, scale = network
    layers = record(model, scale)
    flow, engine = plan_flow(layers), TorchEngine(torch.device("cpu"), "fp32")
    steps = [build_step(layers, each, flow) for each in ("first", "middle", "last")]
    step = build_step(layers, phase, flow)
    rows = flow.min_first if phase in ("whole", "first") else 4
    states: list[Tensor] = []
    if phase in ("middle", "last"):
        first = torch.rand(1, 3, flow.min_first, 5, dtype=torch.float64)
        states = list(engine.compile(steps[0], (1, flow.min_first, 5))(first, ())[1])
    sr, kept = engine.compile(step, (1, rows, 5))(torch.rand(1, 3, rows, 5, dtype=torch.float64), states)
    sizes = measure(step, rows, 5)
    assert sizes[step.result] == sr.shape[2:]
    assert [sizes[state] for state in step.states] == [state.shape[2:] for state in kept]
    given = [size for size, operation in zip(sizes, step.operations, strict=True) if operation.kind == "state"]
    assert given == [state.shape[2:] for state in states]
    for before, after in pairwise(steps):
        assert len(before.states) == sum(operation.kind == "state" for operation in after.operations)
