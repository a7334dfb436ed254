"""A look at what a converted network does: it should enlarge a smooth image about as bicubic does."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.resize import imresize

LEAST = 30.0
"""dB; trained networks reach 44 to 46, with biases 255 times too large 22 to 27, untrained ones 13. It proves little:
biases 255 times too small, or a network of BGR images, reach 44 as well."""
CLEARLY_BETTER = 6.0
"""dB; a network trained with res_scale 1 loses 11 at 0.1."""


def _smooth_image(channels: int, side: int = 24) -> Float[Tensor, "1 c h w"]:
    """Slow waves between 0.2 and 0.8."""
    y, x = torch.meshgrid(torch.arange(side) / side, torch.arange(side) / side, indexing="ij")
    waves = [torch.cos(2 * math.pi * (x * (1 + c / 2) + y * (1.5 - c / 3)) + c) for c in range(channels)]
    return 0.5 + 0.3 * torch.stack(waves)[None]


@torch.inference_mode()
def likeness(model: SRModel) -> float:
    """PSNR in dB between the model's and bicubic's enlargement of a smooth image; the lowest over its scales.

    Below 30 something is wrong. 30 or more does not prove the image range or the order of the channels.

    Args:
        model: In eval mode, float32, on the CPU.

    Examples:
        >>> from srzoo.registry import create_model
        >>> likeness(create_model("bicubic_x2")) > 100
        True
    """
    lr = _smooth_image(model.channels)
    return min(
        -10 * math.log10(max((model(lr, scale) - imresize(lr, scale=scale)).square().mean().item(), 1e-20))
        for scale in model.scales
    )
