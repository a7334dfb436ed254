from importlib import import_module

import pytest
import torch

from srzoo.upscaling.engines import Engine
from srzoo.upscaling.engines.torch_engine import TorchEngine


@pytest.fixture(params=["torch", "openvino", "onnx"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine on the CPU, in float32."""
    if request.param == "torch":
        return TorchEngine(torch.device("cpu"), "fp32")
    pytest.importorskip("onnxruntime" if request.param == "onnx" else "openvino")
    if request.param == "onnx":
        return import_module("srzoo.upscaling.engines.onnx_engine").ONNXEngine(threads=1)
    return import_module("srzoo.upscaling.engines.openvino_engine").OpenVINOEngine("fp32", threads=1)
