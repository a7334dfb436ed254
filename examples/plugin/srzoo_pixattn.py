"""Residual blocks with pixel attention, as a plug-in of srzoo.

Paper: Zhao et al., "Efficient Image Super-Resolution Using Pixel Attention", ECCV Workshops 2020,
    https://arxiv.org/abs/2010.01073 (the attention)
Reference code: none; written from srzoo's blocks.
Differences: the blocks are EDSR's residual blocks, whose result is multiplied by its attention; the upsampler
    is EDSR's.
"""

import math
from fractions import Fraction

import torch
from jaxtyping import Float
from torch import Tensor, nn

from srzoo import Architecture, SRModel
from srzoo.blocks import MeanShift, ResBlock, SubPixelUpsampler


class PixelAttention(nn.Module):
    """Features times a factor in (0, 1) for each channel at each pixel, which a 1x1 convolution finds (figure 3).

    Channel attention (RCAN) has one factor for the whole image instead. It then depends on every pixel: such a network
    has no receptive field, and tiles cannot equal the whole.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """`x` where it matters."""
        return x * torch.sigmoid(self.score(x))


class PixAttn(SRModel):
    """Head, residual blocks each followed by attention, a skip over all of them, upsampler, tail.

    Args:
        scale: Upscaling factor, a product of 2s and 3s.
        channels: Image channels in and out: 3, or 1.
        width: Features of each layer.
        num_blocks: Residual blocks.
    """

    def __init__(self, *, scale: int, channels: int = 3, width: int = 32, num_blocks: int = 4) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.half_modules = ("body",)
        self.shift = MeanShift(channels)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(nn.Sequential(ResBlock(width), PixelAttention(width)) for _ in range(num_blocks)))
        self.upsample = SubPixelUpsampler(scale, width)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        """Head 1, two a block and none for its attention, the upsampler's, one SR pixel of the tail."""
        scale = self.check_scale(scale)
        return math.ceil(1 + 2 * len(self.body) + self.upsample.halo + Fraction(1, scale))

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        x = self.head(self.shift(lr))
        return self.shift.restore(self.tail(self.upsample(x + self.body(x))))


ARCH = Architecture(
    family="pixattn",
    model=PixAttn,
    title="Residual blocks with pixel attention, one scale a model",
    paper="https://arxiv.org/abs/2010.01073",
    scales=(2, 3, 4),
    variants={"pixattn": {}},
)
