"""What runs a model, put together from what a user asks for: engine, precision, halo."""

from copy import deepcopy
from dataclasses import replace

import torch

from srzoo.architecture import SRModel
from srzoo.upscaling.engines import Precision
from srzoo.upscaling.engines.choosing import EngineName, choose_engine
from srzoo.upscaling.engines.torch_engine import DTYPES
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.network import Network, with_half_everywhere
from srzoo.upscaling.shapes import Settings


def build_executor(
    model: SRModel, scale: int, engine: EngineName, precision: Precision, device: torch.device, settings: Settings
) -> Executor:
    """What runs a model at a scale.

    Raises:
        ValueError: If the engine or precision cannot be had for this model on this device.
        ImportError: If the engine's package is not installed.
    """
    network = Network(model, scale)
    if engine == "auto" and network.dtype == torch.float64:
        engine = "torch"  # the others would round
    chosen = choose_engine(engine, precision, device, recorded=network.layers is not None)
    if precision != "auto":
        network = _at_precision(network, precision, chosen.name)
    if settings.halo is not None and settings.halo >= network.halo:
        settings = replace(settings, halo=None)
    return Executor(network, chosen, settings)


def _at_precision(network: Network, precision: str, engine: str) -> Network:
    """The network such that an engine computes it in "fp32", "bf16" or "fp16".

    Raises:
        ValueError: If it cannot: PyTorch keeps to the weights of float64 models, and of those whose layers are not
            known, which is run as they are.
    """
    layers, dtype, wanted = network.layers, network.dtype, DTYPES[precision]
    if layers is None and dtype in (torch.float16, torch.bfloat16) and wanted == torch.float32:
        return Network(deepcopy(network.model).float(), network.scale)
    if layers is None and dtype != wanted:
        raise ValueError(
            f"precision {precision} cannot be had: {network.recorded}, so the model is run as it is, in "
            f"{str(dtype).removeprefix('torch.')}; leave precision out"
        )
    if dtype == torch.float64 and engine == "torch":
        raise ValueError(
            f"precision {precision} cannot be had: the model's weights are float64; leave precision out, or give "
            "model.float()"
        )
    if layers is not None and precision != "fp32" and not any(layer.half for layer in layers):
        return network.replaced(with_half_everywhere(layers))
    return network
