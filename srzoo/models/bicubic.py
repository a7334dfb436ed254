"""Bicubic interpolation: the baseline of every table, as a model without parameters.

Paper: Keys, "Cubic convolution interpolation for digital image processing", IEEE TASSP 1981,
    https://doi.org/10.1109/TASSP.1981.1163711
Reference code: MATLAB's `imresize` (documented behaviour).
Differences: floating point, not rounded; `srzoo.resize.imresize` has the uint8 rule.
"""

from jaxtyping import Float
from torch import Tensor

from srzoo.architecture import Architecture, SRModel
from srzoo.blocks import BicubicUpsampler


class Bicubic(SRModel):
    """MATLAB's bicubic interpolation, each channel by itself.

    Args:
        scale: Upscaling factor, a whole number.
        channels: Image channels, any number.
    """

    def __init__(self, *, scale: int, channels: int = 3) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.upsample = BicubicUpsampler(scale)

    def halo(self, scale: int | None = None) -> int:
        """Two: the kernel's support."""
        self.check_scale(scale)
        return self.upsample.halo

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr`; the output is not clamped."""
        self.check_scale(scale)
        return self.upsample(lr)


ARCH = Architecture(
    family="bicubic",
    model=Bicubic,
    title="Bicubic interpolation as MATLAB does it; no parameters",
    paper="https://doi.org/10.1109/TASSP.1981.1163711",
    scales=(2, 3, 4, 8),
    variants={"bicubic": {}},
)
