import sys

import pytest
import torch

import srzoo
from srzoo.architecture import SRModel
from srzoo.upscaling.engines.onnx_engine import ONNXEngine, step_to_onnx
from srzoo.upscaling.layers import Layers, record
from srzoo.upscaling.steps import build_step, plan_flow

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")


@torch.inference_mode()
def test_a_model_of_open_shape_runs_at_any(network: tuple[SRModel, int]) -> None:
    model, scale = network
    exported = step_to_onnx(build_step(record(model, scale), "whole"))
    onnx.checker.check_model(exported, full_check=True)
    session = onnxruntime.InferenceSession(exported.SerializeToString(), providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 4, 6), (2, 3, 7, 5)):
        image = torch.rand(shape)
        (sr,) = session.run(["sr"], {"lr": image.numpy()})
        torch.testing.assert_close(torch.from_numpy(sr).double(), model(image.double(), scale), rtol=1e-5, atol=1e-5)


def test_a_middle_step_names_its_states(tiny: Layers) -> None:
    step = build_step(tiny, "middle", plan_flow(tiny))
    model = step_to_onnx(step, (1, 4, 5))
    onnx.checker.check_model(model, full_check=True)
    numbers = range(sum(operation.kind == "state" for operation in step.operations))
    assert [value.name for value in model.graph.input if value.name != "lr"] == [f"state{i}" for i in numbers]
    assert [value.name for value in model.graph.output] == ["sr", *(f"new_state{i}" for i in numbers)]
    shapes = [[d.dim_value for d in value.type.tensor_type.shape.dim] for value in model.graph.input]
    assert [1, 3, 4, 5] in shapes


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="precision bf16 is not offered by engine onnx"):
        ONNXEngine(precision="bf16")
    with pytest.raises(ValueError, match="threads is 0; it must be at least 1"):
        ONNXEngine(threads=0)
    with pytest.raises(ValueError, match="engine onnx cannot run on meta"):
        ONNXEngine(torch.device("meta"))
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[onnx\]"'):
        ONNXEngine()
    with pytest.raises(ImportError, match=r'pip install "srzoo\[onnx\]"'):
        step_to_onnx(build_step(record(srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval()), "whole"))


def test_threads_are_pytorchs_unless_given() -> None:
    assert ONNXEngine().threads == torch.get_num_threads()
    assert ONNXEngine(threads=3).threads == 3
