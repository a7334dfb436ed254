"""Colour images for networks that work on luma."""

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor, nn

from srzoo.blocks.bicubic import BicubicUpsampler
from srzoo.color import replace_y, rgb_to_y


class LumaUpsampler(nn.Module):
    """Upscales by a network that knows luma alone: Y is the network's, Cb and Cr are bicubic (SRCNN, section 4.5).

    RGB images are turned into Y, Cb and Cr of BT.601 studio range, as MATLAB's `rgb2ycbcr` does it; the network is
    given Y, in [16/255, 235/255]. One-channel images are luma already: what the network gives is the result. The
    network is handed to `forward`, so a model keeps its layers to itself, and its state dict does not depend on
    `channels`. No parameters.

    Args:
        scale: Whole factor, at least 1.
        channels: Image channels: 3 (RGB) or 1 (luma).
        pre_upscale: Give the network the bicubic image's luma, which it makes better on the same grid (SRCNN, VDSR,
            A+). If False it is given the LR luma and upscales by itself (FSRCNN, ESPCN).

    Raises:
        ValueError: If `scale` is below 1 or `channels` is neither 3 nor 1.

    Examples:
        >>> import torch
        >>> lr = torch.rand(1, 3, 4, 5)
        >>> LumaUpsampler(2)(lr, nn.Conv2d(1, 1, 3, padding=1)).shape
        torch.Size([1, 3, 8, 10])
        >>> espcn = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.PixelShuffle(2))
        >>> LumaUpsampler(2, pre_upscale=False)(lr, espcn).shape
        torch.Size([1, 3, 8, 10])
    """

    def __init__(self, scale: int, channels: int = 3, *, pre_upscale: bool = True) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise ValueError(f"channels is {channels}; a network that works on luma takes 3 (RGB) or 1 (luma)")
        self.channels = channels
        self.pre_upscale = pre_upscale
        self.bicubic = BicubicUpsampler(scale)

    def halo(self, reach: int) -> int:
        """Receptive-field radius in LR pixels of all of it.

        Args:
            reach: How far the network sees on the grid it is given: SR pixels with `pre_upscale`, else LR pixels.

        Examples:
            >>> LumaUpsampler(2).halo(reach=8)
            6
        """
        chroma = self.bicubic.halo if self.channels == 3 else 0
        if not self.pre_upscale:
            return max(reach, chroma)
        return max(-_first_tap(position, self.bicubic.scale) for position in range(-reach, self.bicubic.scale - reach))

    def forward(
        self, lr: Float[Tensor, "b c h w"], network: Callable[[Float[Tensor, "b 1 ..."]], Float[Tensor, "b 1 ..."]]
    ) -> Float[Tensor, "b c H W"]:
        """Image `scale` times as large; the output is not clamped.

        Args:
            lr: RGB or luma, in [0, 1].
            network: From the luma it is given to that of the result, b 1 H W.
        """
        if self.channels == 1:
            return network(self.bicubic(lr) if self.pre_upscale else lr)
        upscaled = self.bicubic(lr)
        return replace_y(upscaled, network(rgb_to_y(upscaled if self.pre_upscale else lr)))


def _first_tap(position: int, scale: int) -> int:
    """First LR pixel that the bicubic pixel `position` is made of; LR pixel 0 is where the pixels 0 to scale-1 lie."""
    cell, phase = divmod(position, scale)
    before_center = 2 * phase + 1 - scale
    return cell - (2 if before_center < 0 else 0 if before_center == 0 else 1)
