"""From images in [0, 1] to what EDSR's features see, and back."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.color import rgb_to_grey

DIV2K_MEAN = (0.4488, 0.4371, 0.4040)
"""RGB mean of the DIV2K training images, in [0, 1] (EDSR reference code)."""


def _mean_for(channels: int, rgb_mean: Sequence[float]) -> Tensor:
    """Mean for images of 1 (grey), 3 (RGB) or 4 (RGB and one more, mean 0) channels."""
    rgb = torch.tensor(rgb_mean)
    if channels == 1:
        return rgb_to_grey(rgb.view(3, 1, 1)).view(1)
    if channels == 3:
        return rgb
    if channels == 4:
        return torch.cat([rgb, torch.zeros(1)])
    raise ValueError(
        f"channels is {channels}; without a mean of their own, models take 1 (grey), 3 (RGB) or 4 channels"
    )


class MeanShift(nn.Module):
    """[0, 1] to 0..255 with the mean removed, and back: the range in which EDSR's features live.

    The mean is a buffer outside the state dict, so it costs no parameters and follows device and dtype.

    Args:
        channels: Image channels: 1 removes the mean's luma, 3 the mean, 4 nothing from the fourth.
        mean: RGB mean in [0, 1].

    Raises:
        ValueError: If `channels` is not 1, 3 or 4.

    Examples:
        >>> shift = MeanShift(3)
        >>> image = torch.rand(1, 3, 2, 2)
        >>> torch.allclose(shift.restore(shift(image)), image, atol=1e-6)
        True
    """

    mean: Tensor

    def __init__(self, channels: int = 3, mean: Sequence[float] = DIV2K_MEAN) -> None:
        super().__init__()
        self.register_buffer("mean", _mean_for(channels, mean).view(1, channels, 1, 1), persistent=False)

    def forward(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """(image - mean) * 255."""
        return (image - self.mean) * 255

    def restore(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Images again: x / 255 + mean."""
        return x / 255 + self.mean
