"""EDSR: residual blocks without batch norm, one long skip, sub-pixel upsampling.

Paper: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
    https://arxiv.org/abs/1707.02921
Reference code: https://github.com/sanghyun-son/EDSR-PyTorch (MIT), read, not copied.
Differences: images are [0, 1] at the door and 0..255 inside; the mean shift is a buffer, not two frozen
    convolutions, so weights carry over by renaming alone (`srzoo.convert`); x8 follows x2 and x4 (three stages).
"""

import math
from fractions import Fraction

from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel, Weights
from srzoo.blocks import MeanShift, ResBlock, SubPixelUpsampler


class EDSR(SRModel):
    """Convolution, residual body with a long skip, upsampler, convolution (figure 3).

    Args:
        scale: Upscaling factor, a product of 2s and 3s.
        channels: Image channels: 1, 3 or 4.
        width: Features (F in the paper).
        num_blocks: Residual blocks (B in the paper).
        res_scale: Factor on each residual branch (section 3.3).
    """

    half_modules = ("body", "upsample")

    def __init__(
        self, *, scale: int, channels: int = 3, width: int = 64, num_blocks: int = 16, res_scale: float = 1.0
    ) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.num_blocks = num_blocks
        self.shift = MeanShift(channels)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(
            *(ResBlock(width, res_scale=res_scale) for _ in range(num_blocks)),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.upsample = SubPixelUpsampler(scale, width)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        """Head 1, two a block, body's end 1, upsampler, then the tail's one SR pixel: 36 at baseline x4."""
        scale = self.check_scale(scale)
        return math.ceil(1 + 2 * self.num_blocks + 1 + self.upsample.halo + Fraction(1, scale))

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        x = self.head(self.shift(lr))  # b width h w
        x = x + self.body(x)
        return self.shift.restore(self.tail(self.upsample(x)))


ARCH = Architecture(
    family="edsr",
    model=EDSR,
    title="EDSR: enhanced deep residual network, one scale a model",
    paper="https://arxiv.org/abs/1707.02921",
    scales=(2, 3, 4, 8),
    variants={  # table 1
        "edsr_baseline": dict(width=64, num_blocks=16),
        "edsr": dict(width=256, num_blocks=32, res_scale=0.1),
    },
    weights=(
        Weights(
            model="edsr_baseline_x2",
            tag="photos",
            file="edsr_baseline_x2.photos.safetensors",
            sha256="207f771ada6f5344c96f2cb04c4742ddd973610bc9c38f3ae6be98e0318cbe6d",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x2": 37.6304}, "Set14": {"x2": 33.0491}},
        ),
        Weights(
            model="edsr_baseline_x3",
            tag="photos",
            file="edsr_baseline_x3.photos.safetensors",
            sha256="173713422fde4c8c99313333a126bec26cd6a7cccc9e6bc3cc4d5b9cdec161b3",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set14": {"x3": 29.8259}, "Set5": {"x3": 33.8446}},
        ),
        Weights(
            model="edsr_baseline_x4",
            tag="photos",
            file="edsr_baseline_x4.photos.safetensors",
            sha256="5c342dbddde4f71e575162c5e9017db6d93a1eb9ae7a7b9122cc6ed84c21b3b3",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x4": 31.6428}, "Set14": {"x4": 28.163}},
        ),
        Weights(
            model="edsr_baseline_x2",
            tag="jpeg",
            file="edsr_baseline_x2.jpeg.safetensors",
            sha256="be65f0657ec073952eb22a8b9e45cb7bec7b35d10c3b56c8ec5ec00e4a282ef7",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5 photo": {"x2": 32.2617}, "Set14 photo": {"x2": 29.9532}, "Kodak24 photo": {"x2": 30.1491}},
        ),
        Weights(
            model="edsr_baseline_x4",
            tag="jpeg",
            file="edsr_baseline_x4.jpeg.safetensors",
            sha256="e3a69784b54c8b299628394fc6d3c8849140634c62ae861334d698772fe2a0ca",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5 photo": {"x4": 27.8681}, "Set14 photo": {"x4": 26.0578}, "Kodak24 photo": {"x4": 26.9862}},
        ),
    ),
)
