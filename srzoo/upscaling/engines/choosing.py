"""Which engine runs a network."""

import logging
from importlib.util import find_spec
from typing import Literal, get_args

import torch

from srzoo.upscaling.engines.engine import Engine, Precision
from srzoo.upscaling.engines.torch_engine import TorchEngine

LOGGER = logging.getLogger("srzoo")
EngineName = Literal["auto", "torch", "openvino", "onnx"]


def choose_engine(name: EngineName, precision: Precision, device: torch.device, *, recorded: bool = True) -> Engine:
    """The engine of a name; "auto" is the fastest that is installed and runs: OpenVINO on CPUs, else PyTorch.

    Args:
        name: Of the engine.
        precision: See `Precision`.
        device: Where to run.
        recorded: Whether the network's layers are known, without which only PyTorch can run it.

    Raises:
        ValueError: If the name or precision is unknown, or the engine cannot run on the device or this network.
        ImportError: If the engine's package is not installed; the message names the extra.

    Examples:
        >>> choose_engine("torch", "fp32", torch.device("cpu")).precision
        'fp32'
    """
    if name not in get_args(EngineName):
        raise ValueError(f"engine is {name!r}; allowed are {', '.join(get_args(EngineName))}")
    if precision not in get_args(Precision):
        raise ValueError(f"precision is {precision!r}; allowed are {', '.join(get_args(Precision))}")
    if name == "auto":
        fits = device.type == "cpu" and precision != "fp16" and recorded
        if fits and find_spec("openvino") is not None:
            try:
                return choose_engine("openvino", precision, device)
            except ValueError:
                raise
            except Exception as error:  # whatever a broken installation may give
                LOGGER.warning("openvino is installed but does not run (%s); engine torch takes its place", error)
        name = "torch"
    if name == "torch":
        return TorchEngine(device, precision)
    if not recorded:
        raise ValueError(f"engine {name} runs networks of convolutions alone, and this model is another; use torch")
    if name == "openvino":
        if device.type != "cpu":
            raise ValueError(f"engine openvino runs on the CPU, not on {device}; leave the device out or use torch")
        from srzoo.upscaling.engines.openvino_engine import OpenVINOEngine

        return OpenVINOEngine(precision)
    from srzoo.upscaling.engines.onnx_engine import ONNXEngine

    return ONNXEngine(device, precision)
