"""MDSR: one body for several scales, with a pre-processing part and an upsampler for each.

Paper: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017, section 3.4,
    https://arxiv.org/abs/1707.02921
Reference code: https://github.com/sanghyun-son/EDSR-PyTorch (MIT), read, not copied.
Differences: images are [0, 1] at the door and 0..255 inside; branches are named by scale, not numbered, so
    weights carry over by renaming alone (`srzoo.convert`).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel, Weights
from srzoo.blocks import MeanShift, ResBlock, ScaleHeads, SubPixelUpsampler


class MDSR(SRModel):
    """Shared head, body and tail; two 5x5 residual blocks and an upsampler for each scale (figure 5).

    Args:
        scales: Upscaling factors, each a product of 2s and 3s.
        channels: Image channels: 1, 3 or 4.
        width: Features (F in the paper).
        num_blocks: Residual blocks of the shared body (B in the paper).
    """

    half_modules = ("pre", "body", "upsample")

    def __init__(
        self, *, scales: Sequence[int] = (2, 3, 4), channels: int = 3, width: int = 64, num_blocks: int = 16
    ) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.channels = channels
        self.width = width
        self.num_blocks = num_blocks
        self.shift = MeanShift(channels)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.pre = ScaleHeads(self.scales, lambda _: nn.Sequential(ResBlock(width, 5), ResBlock(width, 5)))
        self.body = nn.Sequential(*(ResBlock(width) for _ in range(num_blocks)), nn.Conv2d(width, width, 3, padding=1))
        self.upsample = ScaleHeads(self.scales, lambda scale: SubPixelUpsampler(scale, width))
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        """EDSR's plus four for each 5x5 block: 44 at baseline x4, 172 at MDSR x4."""
        scale = self.check_scale(scale)
        upsample = cast(SubPixelUpsampler, self.upsample.branch(scale)).halo
        return math.ceil(1 + 8 + 2 * self.num_blocks + 1 + upsample + Fraction(1, scale))

    def single_scale(self, scale: int) -> "MDSR":
        """The sub-network of one scale alone, sharing this model's parameters; equal output, fewer weights.

        Raises:
            ValueError: If the model does not offer `scale`.
        """
        self.check_scale(scale)
        with torch.device("meta"):  # every part is replaced
            alone = MDSR(scales=(scale,), channels=self.channels, width=self.width, num_blocks=self.num_blocks)
        alone.shift, alone.head, alone.body, alone.tail = self.shift, self.head, self.body, self.tail
        for part in ("pre", "upsample"):
            getattr(alone, part).branches[f"x{scale}"] = getattr(self, part).branch(scale)
        alone.name, alone.arguments = self.name, {**self.arguments, "scales": (scale,)}
        return alone.train(self.training)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]) by one of `scales`; the output is not clamped."""
        scale = self.check_scale(scale)
        x = self.pre(self.head(self.shift(lr)), scale)  # b width h w
        x = x + self.body(x)
        return self.shift.restore(self.tail(self.upsample(x, scale)))


ARCH = Architecture(
    family="mdsr",
    model=MDSR,
    title="MDSR: multi-scale deep super-resolution, one model for x2, x3 and x4",
    paper="https://arxiv.org/abs/1707.02921",
    scales=(2, 3, 4),
    multi_scale=True,
    variants={  # table 1
        "mdsr_baseline": dict(num_blocks=16),
        "mdsr": dict(num_blocks=80),
    },
    weights=(
        Weights(
            model="mdsr_baseline",
            tag="photos",
            file="mdsr_baseline.photos.safetensors",
            sha256="3ba193d8b7bd895ff7eb245b7c9fec654ad0f22bdb8c998c77284f218137c251",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={
                "Set5": {"x2": 37.5943, "x3": 33.8782, "x4": 31.639},
                "Set14": {"x2": 33.083, "x3": 29.8403, "x4": 28.1558},
            },
        ),
    ),
)
