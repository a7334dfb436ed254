"""RGB to luma, as MATLAB's `rgb2ycbcr` does it (ITU-R BT.601, studio range)."""

import torch
from jaxtyping import Float
from torch import Tensor

Y_WEIGHTS = (65.481, 128.553, 24.966)
Y_OFFSET = 16.0
GREY_WEIGHTS = (0.299, 0.587, 0.114)


def rgb_to_y(rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 1 h w"]:
    """Luma of BT.601: RGB in [0, 1] to Y in [16/255, 235/255], not rounded.

    Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255 (ITU-R BT.601; MATLAB `rgb2ycbcr`).

    Examples:
        >>> (rgb_to_y(torch.ones(1, 3, 1, 1)) * 255).round().item()
        235.0
    """
    weights = torch.tensor(Y_WEIGHTS, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    return ((rgb * weights).sum(-3, keepdim=True) + Y_OFFSET) / 255


def rgb_to_grey(rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 1 h w"]:
    """Full-range luma of BT.601 (0.299 R + 0.587 G + 0.114 B): what image files call grey.

    Examples:
        >>> rgb_to_grey(torch.ones(1, 3, 1, 1)).item()
        1.0
    """
    weights = torch.tensor(GREY_WEIGHTS, dtype=rgb.dtype, device=rgb.device).view(3, 1, 1)
    return (rgb * weights).sum(-3, keepdim=True)
