"""How two images are compared: quantisation, channel and border. Every result states its protocol."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from srzoo.color import rgb_to_y


@dataclass(frozen=True)
class Protocol:
    """A way to compare SR with HR, applied to both before PSNR or SSIM is computed.

    Args:
        channel: "y" scores the luma of BT.601 studio range (one-channel images are scored as they are: the
            raw grey of Set14's grey file); "rgb" scores all channels.
        border: Pixels cut from each side of the HR-sized image.
        quantize: Round to 8 bits first, as saved files are.
    """

    channel: Literal["y", "rgb"] = "y"
    border: int = 0
    quantize: bool = True

    def __post_init__(self) -> None:
        if self.channel not in ("y", "rgb"):
            raise ValueError(f"channel is {self.channel!r}; allowed are 'y' and 'rgb'")
        if self.border < 0:
            raise ValueError(f"border is {self.border}; it must be 0 or more")

    @classmethod
    def paper(cls, scale: int) -> "Protocol":
        """The one of the papers' tables for Set5, Set14, B100 and Urban100: Y, `scale` pixels cut."""
        return cls(channel="y", border=scale)

    @classmethod
    def div2k(cls, scale: int) -> "Protocol":
        """The one of the DIV2K columns: RGB, 6 + `scale` pixels cut (Lim et al. 2017, section 5.1)."""
        return cls(channel="rgb", border=6 + scale)

    def __str__(self) -> str:
        bits = "8-bit" if self.quantize else "unrounded"
        return f"{self.channel.upper()}, {bits}, border {self.border}"

    def apply(self, image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k H W"]:
        """Image prepared for scoring: float64, in units of 8-bit levels (0 to 255).

        Raises:
            ValueError: If the border leaves no pixels or the channel count is neither 1 nor 3.
        """
        _, channels, height, width = image.shape
        if channels not in (1, 3):
            raise ValueError(f"image has {channels} channels; a protocol scores 1 (grey) or 3 (RGB)")
        if min(height, width) <= 2 * self.border:
            raise ValueError(f"a border of {self.border} leaves nothing of an image of {height}x{width}")
        if image.device.type in ("mps", "xpu"):
            image = image.cpu()  # where there may be no float64
        image = image.double().clamp(0, 1)
        if self.quantize:
            image = (image * 255).round() / 255
        if self.channel == "y" and channels == 3:
            image = rgb_to_y(image)
        cut = slice(self.border, -self.border or None)
        return image[..., cut, cut] * 255


def prepare(
    sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"], protocol: Protocol
) -> tuple[Float[Tensor, "b k H W"], Float[Tensor, "b k H W"]]:
    """Both images ready for scoring.

    Raises:
        ValueError: If the shapes differ.
    """
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr has shape {tuple(sr.shape)} and hr {tuple(hr.shape)}; they must be equal "
            "(crop hr to a multiple of the scale first)"
        )
    return protocol.apply(sr), protocol.apply(hr)
