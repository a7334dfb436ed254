"""What a lowered halo costs, in words."""

from dataclasses import replace

import torch

from srzoo.upscaling.checks import pattern
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.network import Network
from srzoo.upscaling.pipeline import collect
from srzoo.upscaling.shapes import Settings

ROWS = 16
AFFORDABLE = 10**10
"""Multiplications that the trial may take: a second or less on one core."""


def tell_halo_cost(network: Network, halo: int, device: torch.device) -> str:
    """How far from the borders of tiles, and by how much, a result differs with a smaller halo than the network's.

    How much is measured on a strip of noise cut into two tiles, unless the network is too large for a short trial.
    """
    reach = network.halo - halo
    told = f"halo is {halo}, the model sees {network.halo} pixels far: up to {reach} LR pixels from the borders of "
    told += "tiles the result is not that of the whole image"
    work = sum(p.numel() for p in network.model.parameters()) * ROWS * 2 * network.halo
    if 2 * work > AFFORDABLE:
        return told
    lr = pattern(network.channels, ROWS, 2 * network.halo).to(device)
    height, width = lr.shape[-2:]
    whole, cut = (
        collect(
            Executor(network, TorchEngine(device, "fp32"), settings).stream(lambda a, b: lr[..., a:b, :], height, width)
        )
        for settings in (Settings(tile=width), replace(Settings(tile=network.halo), halo=halo))
    )
    levels = 255 * float((cut.clamp(0, 1) - whole.clamp(0, 1)).abs().max())
    return f"{told}, by up to {levels:.2g} of 255 levels on a test pattern"
