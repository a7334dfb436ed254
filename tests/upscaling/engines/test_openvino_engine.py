import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.upscaling.engines import Engine, openvino_engine
from srzoo.upscaling.engines.openvino_engine import OpenVINOEngine
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import build_step, plan_flow

pytest.importorskip("openvino")


Run = Callable[[Engine, Layers, Tensor, int], Tensor]
HALVES = OpenVINOEngine().precision
needs_bf16 = pytest.mark.skipif(HALVES != "bf16", reason="the processor has no bf16 arithmetic")


@pytest.fixture
def layers() -> Layers:
    return record(srzoo.create_model("edsr_baseline_x2", width=16, num_blocks=1).eval())


def whole(engine: OpenVINOEngine, layers: Layers, image: Tensor) -> Tensor:
    shape = image.shape[0], image.shape[2], image.shape[3]
    return engine.compile(build_step(layers, "whole"), shape)(image, ())[0]


@needs_bf16
def test_bf16_is_near_fp32_in_strips_too(layers: Layers, run: Run) -> None:
    image = torch.rand(2, 3, 23, 12)
    exact = whole(OpenVINOEngine("fp32", threads=1), layers, image)
    for rounded in (run(OpenVINOEngine("bf16", threads=1), layers, image, 4), whole(OpenVINOEngine(), layers, image)):
        error = (rounded - exact).abs().max()
        assert 0 < error < 0.01


@needs_bf16
def test_a_network_without_half_parts_is_exact(layers: Layers) -> None:
    exact = replace(layers, layers=tuple(replace(layer, half=False) for layer in layers))
    image = torch.rand(1, 3, 6, 7)
    fp32, auto = (whole(OpenVINOEngine(precision, threads=1), exact, image) for precision in ("fp32", "auto"))
    assert torch.equal(fp32, auto)


@needs_bf16
def test_rounded_weights_of_the_last_convolution_are_made_up_for() -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=16, num_blocks=1).eval()
    with torch.no_grad():  # features that bf16 has: what is left is the rounding of the last weights
        for parameter in [*model.head.parameters(), *model.body.parameters(), *model.upsample.parameters()]:
            parameter.zero_()
        model.upsample[0].bias.fill_(64.0)
    layers = record(model)
    everywhere = replace(layers, layers=tuple(replace(layer, half=True) for layer in layers))
    image = torch.rand(1, 3, 5, 6)
    errors = [
        (whole(OpenVINOEngine("bf16", threads=1), each, image) - model(image)).abs().max()
        for each in (layers, everywhere)
    ]
    assert errors[0] < errors[1] / 3


def test_states_are_used_once(tiny: Layers) -> None:
    engine, flow = OpenVINOEngine("fp32", threads=1), plan_flow(tiny)
    strip = torch.rand(1, 3, flow.min_first, 4)
    _, states = engine.compile(build_step(tiny, "first", flow), (1, flow.min_first, 4))(strip, ())
    middle = engine.compile(build_step(tiny, "middle", flow), (1, 2, 4))
    _, states = middle(strip[:, :, :2], states)
    middle(strip[:, :, :2], states)
    with pytest.raises(RuntimeError, match="used twice"):
        middle(strip[:, :, :2], states)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        OpenVINOEngine(threads=0)
    monkeypatch.setattr(openvino_engine, "fast_precision", lambda _: "fp32")
    assert OpenVINOEngine().precision == "fp32"  # OpenVINO would emulate bf16
    with pytest.raises(ValueError, match="precision bf16 needs a CPU with AMX or AVX512-BF16"):
        OpenVINOEngine("bf16")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[openvino\]"'):
        OpenVINOEngine()


def test_threads_are_pytorchs_unless_given() -> None:
    assert OpenVINOEngine().threads == torch.get_num_threads()
    assert OpenVINOEngine(threads=3).threads == 3


def test_its_core_outlives_engines_since_signals_use_the_stack_that_it_set_up() -> None:
    assert OpenVINOEngine("fp32").core is OpenVINOEngine().core
