"""Sub-pixel upsampling."""

from fractions import Fraction

from jaxtyping import Float
from torch import Tensor, nn


def _stages(scale: int) -> list[int]:
    """Factors of 2, then 3, whose product is `scale`: 4 -> [2, 2], 6 -> [2, 3]."""
    stages, rest = [], scale
    for factor in (2, 3):
        while rest > 1 and rest % factor == 0:
            stages.append(factor)
            rest //= factor
    if rest != 1:
        raise ValueError(f"scale is {scale}; the sub-pixel upsampler takes products of 2 and 3 (2, 3, 4, 6, 8, ...)")
    return stages


class SubPixelUpsampler(nn.Sequential):
    """Convolution to factor**2 times the features, then pixel shuffle; in stages of 2 and 3 (ESPCN; EDSR, figure 3).

    Args:
        scale: Product of 2s and 3s; 1 is the identity.
        width: Features in and out.

    Raises:
        ValueError: If `scale` is not such a product.

    Examples:
        >>> import torch
        >>> SubPixelUpsampler(4, 8)(torch.rand(1, 8, 5, 7)).shape
        torch.Size([1, 8, 20, 28])
    """

    halo: Fraction
    """Receptive-field radius in pixels of the input grid: 1 + 1/2 for two stages of 2."""

    def __init__(self, scale: int, width: int) -> None:
        super().__init__()
        self.halo = Fraction(0)
        magnified = 1
        for factor in _stages(scale):
            self.append(nn.Conv2d(width, factor**2 * width, 3, padding=1))
            self.append(nn.PixelShuffle(factor))
            self.halo += Fraction(1, magnified)
            magnified *= factor

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Features on a grid `scale` times finer."""
        return super().forward(x)
