"""A small residual network on top of bicubic, written in one file from the zoo's public blocks.

Paper: Lim et al., "Enhanced Deep Residual Networks for Single Image Super-Resolution", CVPRW 2017,
    https://arxiv.org/abs/1707.02921 (the blocks; the network is this example's own)

python examples/own_network.py
"""

import math
from fractions import Fraction

import numpy as np
from jaxtyping import Float
from torch import Tensor, nn

import srzoo
from srzoo.blocks import BicubicUpsampler, ResBlock, SubPixelUpsampler


class OnBicubic(srzoo.SRModel):
    """Residual blocks whose output is added to the bicubic image."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 32, num_blocks: int = 4) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.num_blocks = num_blocks
        self.bicubic = BicubicUpsampler(scale)
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(*(ResBlock(width) for _ in range(num_blocks)))
        self.upsample = SubPixelUpsampler(scale, width)
        self.tail = nn.Conv2d(width, channels, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        """Head 1, two a block, the upsampler, the tail's one SR pixel; or bicubic's, if that is more."""
        scale = self.check_scale(scale)
        deep = 1 + 2 * self.num_blocks + self.upsample.halo + Fraction(1, scale)
        return max(math.ceil(deep), self.bicubic.halo)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        x = self.body(self.head(lr))
        return self.bicubic(lr) + self.tail(self.upsample(x))


ARCH = srzoo.Architecture(
    family="onbicubic",
    model=OnBicubic,
    title="Residual blocks on top of bicubic",
    paper="https://arxiv.org/abs/1707.02921",
    scales=(2,),
    variants={"onbicubic": {}},
)


def main() -> None:
    """Register the network and upscale with it."""
    srzoo.register(ARCH)  # a package names ARCH in its entry points instead
    print(srzoo.list_models("onbicubic*"), srzoo.model_info("onbicubic_x2").parameters, "parameters")

    model = srzoo.create_model("onbicubic_x2", num_blocks=2)  # random weights: train them with srzoo.train
    image = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
    print(image.shape, "->", srzoo.upscale(image, model).shape)


if __name__ == "__main__":
    main()

    from srzoo.testing import check_architecture

    check_architecture(ARCH)
    print("the contract holds")
