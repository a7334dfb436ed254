from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import srzoo
from srzoo import models
from srzoo.architecture import SRModel
from srzoo.tta import Op, dihedral, flips
from srzoo.tta.merges import make_merge
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.network import Network
from srzoo.upscaling.pipeline import collect
from srzoo.upscaling.planner import StripPlan, plan_bands
from srzoo.upscaling.shapes import Settings
from srzoo.upscaling.steps import build_step, plan_flow
from srzoo.upscaling.strips import Compiled, run_strips

CPU = torch.device("cpu")
SWAP = Op("swap red and blue", lambda x: x.flip(1), lambda x: x.flip(1))
OPS: dict[str, Sequence[Op]] = {"none": (), "flips": flips(), "x8": dihedral(), "own": flips() * (flips()[0], SWAP)}
CONVOLUTIONAL = [
    ("edsr_baseline_x2", 2), ("edsr_baseline_x3", 3), ("edsr_baseline_x4", 4), ("edsr_baseline_x8", 8),
    ("mdsr_baseline", 2), ("mdsr_baseline", 3), ("mdsr_baseline", 4), ("srresnet_x2", 2), ("srresnet_x4", 4),
]  # fmt: skip
OTHERS = [
    ("bicubic_x2", 2), ("bicubic_x3", 3), ("bicubic_x4", 4), ("bicubic_x8", 8),
    ("srcnn_x2", 2), ("srcnn_x3", 3), ("srcnn_x4", 4), ("vdsr", 2), ("vdsr", 3), ("vdsr", 4),
    ("fsrcnn_x2", 2), ("fsrcnn_x4", 4), ("espcn_x3", 3),
]  # fmt: skip
FEW = settings(max_examples=8, deadline=None, derandomize=True, database=None)
FEWER = settings(FEW, max_examples=4)
SIDE = st.integers(1, 26)
TTA = st.sampled_from(list(OPS))


def test_every_family_of_the_zoo_is_here() -> None:
    families = {path.stem for path in Path(models.__path__[0]).glob("[a-z]*.py")}
    regressors = {"aplus"}  # no layers to speak of: tests/models/test_aplus.py
    assert {name.split("_")[0] for name, _ in CONVOLUTIONAL + OTHERS} == families - regressors


@cache
def model_of(name: str, dyadic: bool = False) -> SRModel:
    """A tiny model in float64; with `dyadic`, its sums are exact in any order for inputs of a few bits."""
    torch.manual_seed(0)
    tiny: dict[str, Any] = {} if name.startswith("bicubic") else dict(width=4)
    if name.startswith("srresnet"):
        tiny |= dict(num_blocks=1, batch_norm=not dyadic)  # its eps is not dyadic
    if name.startswith(("edsr", "mdsr", "vdsr")):
        tiny["num_blocks"] = 1
    model = srzoo.create_model(name, **tiny).double().eval()
    for parameter in model.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape) / 4.0 if dyadic else parameter.data * 1.5
        parameter.data = parameter.data.double()
    if dyadic:
        model.shift.mean.fill_(0.5)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return model


def image(height: int, width: int, dyadic: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(height * 100 + width)
    if dyadic:
        return torch.randint(0, 3, (1, 3, height, width), generator=generator).double() / 2
    return torch.rand(1, 3, height, width, dtype=torch.float64, generator=generator)


@torch.no_grad()
def whole(model: SRModel, scale: int, lr: Tensor, ops: Sequence[Op] = (), merge: Any = "mean") -> Tensor:
    """The reference: the model on the whole image, once for each operation."""
    if not ops:
        return model(lr, scale)
    merged = make_merge(merge, len(ops))
    for op in ops:
        merged.add(op.undo(model(op.do(lr), scale)))
    return merged.result()


def in_strips(network: Network, lr: Tensor, rows: int, columns: int = 4096, dtype: Any = "fp32") -> Tensor:
    """The network alone, in strips of so many rows and bands of so many columns."""
    assert network.layers is not None
    plan = StripPlan(rows, plan_bands(lr.shape[3], columns, network.halo), 0)
    compiled = Compiled(TorchEngine(CPU, dtype), [network.layers])
    parts = run_strips(compiled, lambda top, bottom: lr[:, :, top:bottom], lr.shape[2], plan)
    return torch.cat([part.sr for part in parts], 2)


def executed(model: SRModel, scale: int, lr: Tensor, **options: Any) -> Tensor:
    executor = Executor(Network(model, scale), TorchEngine(CPU, "fp32"), Settings(**options))
    return collect(executor.stream(lambda top, bottom: lr[:, :, top:bottom], lr.shape[2], lr.shape[3], lr.shape[0]))


@pytest.mark.parametrize(("name", "scale"), CONVOLUTIONAL)
def test_strips_are_bit_equal_to_the_whole_where_sums_are_exact(name: str, scale: int) -> None:
    model = model_of(name, dyadic=True)
    network = Network(model, scale)

    @FEW
    @example(height=1, width=9, rows=1, columns=99)
    @example(height=40, width=1, rows=3, columns=99)
    @given(height=st.integers(1, 45), width=st.integers(1, 20), rows=st.integers(1, 50), columns=st.integers(3, 25))
    def check(height: int, width: int, rows: int, columns: int) -> None:
        lr = image(height, width, dyadic=True)
        expected = whole(network.model, scale, lr)
        found = in_strips(network, lr, rows, columns)
        # * 255 and / 255 are not exact, but they are the same for each pixel
        assert torch.equal(found, expected)

    check()


@pytest.mark.parametrize(("name", "scale"), CONVOLUTIONAL)
def test_strips_and_tiles_equal_the_whole(name: str, scale: int) -> None:
    model = model_of(name)
    network = Network(model, scale)

    @FEWER
    @given(height=SIDE, width=SIDE, rows=st.integers(1, 30), columns=st.integers(3, 30), tile=st.integers(1, 20))
    def check(height: int, width: int, rows: int, columns: int, tile: int) -> None:
        lr = image(height, width)
        expected = whole(model, scale, lr)
        for found in (in_strips(network, lr, rows, columns), executed(model, scale, lr, tile=tile)):
            assert found.shape == expected.shape
            assert (found - expected).abs().max() <= 1e-12 * max(1.0, float(expected.abs().max()))

    check()


@pytest.mark.parametrize(("name", "scale"), [CONVOLUTIONAL[2], CONVOLUTIONAL[5]])
def test_strips_in_float32_equal_the_whole_to_rounding(name: str, scale: int) -> None:
    torch.manual_seed(1)
    model = srzoo.create_model(name, width=8, num_blocks=2).eval()
    lr = image(50, 13).float()
    expected = whole(model, scale, lr)
    for rows in (1, 4, 7):
        torch.testing.assert_close(in_strips(Network(model, scale), lr, rows, 9), expected, rtol=1e-5, atol=1e-5)


@FEWER
@given(tta=TTA, merge=st.sampled_from(["mean", "median"]), height=SIDE, width=SIDE, tile=st.integers(2, 20))
@pytest.mark.parametrize(
    ("name", "scale"), [CONVOLUTIONAL[1], CONVOLUTIONAL[2], CONVOLUTIONAL[4], OTHERS[0], OTHERS[5]]
)
def test_ensembles_in_strips_and_tiles_equal_the_whole(
    name: str, scale: int, tta: str, merge: str, height: int, width: int, tile: int
) -> None:
    model, lr = model_of(name), image(height, width)
    expected = whole(model, scale, lr, OPS[tta], merge)
    for side in (None, tile):
        found = executed(model, scale, lr, ops=OPS[tta], merge=merge, tile=side)
        assert (found - expected).abs().max() <= 1e-12 * max(1.0, float(expected.abs().max()))


@FEWER
@given(height=SIDE, width=SIDE, tile=st.integers(2, 20))
@pytest.mark.parametrize(("name", "scale"), OTHERS)
def test_models_without_layers_in_tiles_equal_the_whole(
    name: str, scale: int, height: int, width: int, tile: int
) -> None:
    model, lr = model_of(name), image(height, width)
    expected = whole(model, scale, lr)
    for side in (None, tile):
        assert (executed(model, scale, lr, tile=side) - expected).abs().max() <= 1e-12


def test_bands_of_the_executor_are_those_of_the_planner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srzoo.upscaling.planner.MAX_COLUMNS", 24)
    model, lr = model_of("edsr_baseline_x2"), image(30, 40)
    executor = Executor(Network(model, 2), TorchEngine(CPU, "fp32"), Settings())
    plan = executor.shapes.strips(40)
    assert plan is not None
    assert len(plan.bands) == 2
    assert (executed(model, 2, lr) - whole(model, 2, lr)).abs().max() < 1e-12


def strong(name: str) -> SRModel:
    """A model whose farthest pixels count: all weights are positive."""
    torch.manual_seed(0)
    model = srzoo.create_model(name, width=4, num_blocks=1).double().eval()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs() * 2
    return model


@pytest.mark.parametrize("what", ["a kept row", "a pixel of the bands' halo", "a pixel of the tiles' halo"])
def test_one_less_shows(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = strong("edsr_baseline_x2")
    network, lr = Network(model, 2), image(40, 40)
    expected = whole(model, 2, lr)
    close = 1e-12 * expected.abs().max()
    halo = network.halo
    assert (in_strips(network, lr, 5, 12) - expected).abs().max() < close
    if what == "a pixel of the tiles' halo":
        found = executed(model, 2, lr, tile=10, halo=halo - 1)
    elif what == "a pixel of the bands' halo":
        monkeypatch.setattr(SRModel, "halo", None, raising=False)
        monkeypatch.setattr(type(model), "halo", lambda *_: halo - 1)
        found = in_strips(network, lr, 5, 12)
    else:
        monkeypatch.setattr("srzoo.upscaling.engines.torch_engine.torch.cat", forgetful(torch.cat))
        found = in_strips(network, lr, 5)
    assert (found - expected).abs().max() > 1e6 * close


def forgetful(cat: Any) -> Any:
    """`torch.cat` of rows, of which the first is lost."""

    def call(parts: Sequence[Tensor], dim: int = 0) -> Tensor:
        if dim != 2:
            return cat(parts, dim)
        kept = parts[0].clone()
        kept[:, :, 0] = 0
        return cat([kept, *parts[1:]], dim)

    return call


@pytest.mark.parametrize(("name", "scale"), [CONVOLUTIONAL[2], CONVOLUTIONAL[5]])
@pytest.mark.parametrize("rows", [1, 5, 64])
def test_no_pixel_is_computed_twice(name: str, scale: int, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels: list[int] = []
    convolve = torch.nn.functional.conv2d

    def count(x: Tensor, weight: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        out = convolve(x, weight, *args, **kwargs)
        pixels.append(out.shape[2] * out.shape[3] * weight.numel())
        return out

    network, lr = Network(model_of(name), scale), image(70, 9)
    assert network.layers is not None
    monkeypatch.setattr("srzoo.upscaling.engines.torch_engine.F.conv2d", count)
    with torch.no_grad():
        network.model(lr, scale)
    of_the_whole = sum(pixels)
    pixels.clear()
    in_strips(network, lr, rows)
    assert sum(pixels) == of_the_whole


def test_reading_is_in_order_and_each_row_is_read_once() -> None:
    network, lr = Network(model_of("edsr_baseline_x2"), 2), image(50, 5)
    assert network.layers is not None
    read: list[tuple[int, int]] = []

    def rows(top: int, bottom: int) -> Tensor:
        read.append((top, bottom))
        return lr[:, :, top:bottom]

    plan = StripPlan(4, plan_bands(5, 100, 0), 0)
    for _ in run_strips(Compiled(TorchEngine(CPU, "fp32"), [network.layers]), rows, 50, plan):
        pass
    assert [top for top, _ in read] == [0, *(bottom for _, bottom in read[:-1])]
    assert read[-1][1] == 50


def test_compiled_steps_are_reused_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srzoo.upscaling.strips.MAX_COMPILED", 2)
    network = Network(model_of("edsr_baseline_x2"), 2)
    assert network.layers is not None
    compiled = Compiled(TorchEngine(CPU, "fp32"), [network.layers])
    first = compiled.step(0, "whole", (1, 4, 4))
    assert compiled.step(0, "whole", (1, 4, 4)) is first
    compiled.step(0, "whole", (1, 5, 5))
    compiled.step(0, "whole", (1, 6, 6))
    assert compiled.step(0, "whole", (1, 4, 4)) is not first


@pytest.mark.parametrize("phase", ["first", "middle", "last"])
def test_a_step_s_states_have_the_rows_of_the_flow(phase: Any) -> None:
    network = Network(model_of("edsr_baseline_x4"), 4)
    assert network.layers is not None
    flow = plan_flow(network.layers)
    step = build_step(network.layers, phase, flow)
    given = [operation for operation in step.operations if operation.kind == "state"]
    assert len(given) == (0 if phase == "first" else sum(kept > 0 for kept in flow.kept))
