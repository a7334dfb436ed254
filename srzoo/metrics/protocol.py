"""How two images are compared: quantisation, channel and border. Every result states its protocol."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from srzoo.color import Y_OFFSET, Y_WEIGHTS

_LUMA = tuple(round(1000 * weight) for weight in Y_WEIGHTS)  # with whole levels, luma is one exact sum and a division

_ROUNDER = 1.5 * 2**52
"""Added and taken away, it leaves no fraction: what `round_` does, to the bit, but `round_` starts threads."""


@dataclass(frozen=True)
class Protocol:
    """A way to compare SR with HR, applied to both before PSNR or SSIM is computed.

    Args:
        channel: "y" scores the luma of BT.601 studio range (one-channel images are scored as they are: the
            raw grey of Set14's grey file); "rgb" scores all channels.
        border: Pixels cut from each side of the HR-sized image.
        quantize: Round to 8 bits first, as saved files are.
        round_luma: Round the luma to 8 bits too, as `rgb2ycbcr` of MATLAB does with uint8 images.

    Raises:
        ValueError: If the channel is unknown, the border negative, or `round_luma` is asked of "rgb".

    Examples:
        >>> print(Protocol.paper(4), Protocol.y_rounded(4), Protocol.div2k(4), sep="; ")
        Y, 8-bit, border 4; Y rounded, 8-bit, border 4; RGB, 8-bit, border 10
    """

    channel: Literal["y", "rgb"] = "y"
    border: int = 0
    quantize: bool = True
    round_luma: bool = False

    def __post_init__(self) -> None:
        if self.channel not in ("y", "rgb"):
            raise ValueError(f"channel is {self.channel!r}; allowed are 'y' and 'rgb'")
        if self.border < 0:
            raise ValueError(f"border is {self.border}; it must be 0 or more")
        if self.round_luma and self.channel != "y":
            raise ValueError(f"round_luma is True, but channel is {self.channel!r} and has no luma; give channel='y'")

    @classmethod
    def paper(cls, scale: int) -> "Protocol":
        """The one of the papers' tables for Set5, Set14, B100 and Urban100: Y, `scale` pixels cut."""
        return cls(channel="y", border=scale)

    @classmethod
    def div2k(cls, scale: int) -> "Protocol":
        """The one of the DIV2K columns: RGB, 6 + `scale` pixels cut (Lim et al. 2017, section 5.1)."""
        return cls(channel="rgb", border=6 + scale)

    @classmethod
    def rgb(cls, scale: int) -> "Protocol":
        """The one of the tables of BasicSR and mmagic: RGB, `scale` pixels cut."""
        return cls(channel="rgb", border=scale)

    @classmethod
    def y_rounded(cls, scale: int) -> "Protocol":
        """The one of the authors' MATLAB scripts: Y rounded to 8 bits, `scale` pixels cut."""
        return cls(channel="y", border=scale, round_luma=True)

    def __str__(self) -> str:
        channel = "Y rounded" if self.round_luma else self.channel.upper()
        return f"{channel}, {'8-bit' if self.quantize else 'unrounded'}, border {self.border}"

    def apply(self, image: Shaped[Tensor, "b c h w"]) -> Float64[Tensor, "b k H W"]:
        """Image prepared for scoring: float64, in units of 8-bit levels (0 to 255).

        Args:
            image: RGB or grey: floating point in [0, 1] (values outside are clamped), or uint8.

        Raises:
            ValueError: If there is no batch axis, the border leaves no pixels or the channel count is neither 1 nor 3.
            TypeError: If it is no tensor, or its dtype is neither uint8 nor floating point of 16 bits or more.

        Examples:
            >>> Protocol(border=1).apply(torch.ones(1, 3, 3, 4))
            tensor([[[[235., 235.]]]], dtype=torch.float64)
        """
        self.check(image)
        if image.device.type in ("mps", "xpu"):
            image = image.cpu()  # where there may be no float64
        cut = slice(self.border, -self.border or None)
        return self.levels(image[..., cut, cut])

    def check(self, image: Tensor, name: str = "image") -> None:
        """See that an image can be scored.

        Raises:
            ValueError: If there is no batch axis, the border leaves no pixels or the channel count is neither 1 nor 3.
            TypeError: If it is no tensor, or its dtype is neither uint8 nor floating point of 16 bits or more.
        """
        if not torch.is_tensor(image):
            raise TypeError(f"{name} is of type {type(image).__name__}; give a torch.Tensor, b c h w")
        if not (image.dtype == torch.uint8 or (image.is_floating_point() and image.dtype.itemsize > 1)):
            raise TypeError(
                f"{name} has dtype {image.dtype}; give floating point of 16 bits or more in [0, 1], or uint8"
            )
        if image.ndim != 4:
            hint = f"; add the batch axis: {name}[None]" if image.ndim == 3 else ""
            raise ValueError(f"{name} has shape {tuple(image.shape)}; images are scored as b c h w{hint}")
        _, channels, height, width = image.shape
        if channels not in (1, 3):
            raise ValueError(f"{name} has {channels} channels; a protocol scores 1 (grey) or 3 (RGB)")
        if min(height, width) <= 2 * self.border:
            raise ValueError(f"a border of {self.border} leaves nothing of an image of {height}x{width}")

    def levels(self, image: Shaped[Tensor, "*batch c h w"]) -> Float64[Tensor, "*batch k h w"]:
        """The scored channels of an image, or of a part of one, without checks and border: float64, 0 to 255."""
        x = image.to(torch.float64, copy=True)
        if image.is_floating_point():
            x = x.clamp_(0, 1).mul_(255)
            if self.quantize:
                x.add_(_ROUNDER).sub_(_ROUNDER)
        if self.channel == "rgb":
            return x
        if x.shape[-3] == 3:
            red, green, blue = x.unbind(-3)
            x = red.mul_(_LUMA[0]).add_(green, alpha=_LUMA[1]).add_(blue, alpha=_LUMA[2])
            x = x.div_(255_000).add_(Y_OFFSET).unsqueeze(-3)
        return x.add_(0.5).floor_() if self.round_luma else x


def check_protocol(protocol: object) -> None:
    """See that a protocol is one, and not a function that makes it.

    Raises:
        TypeError: If it is anything but a `Protocol`.
    """
    if not isinstance(protocol, Protocol):
        raise TypeError(
            f"protocol is of type {type(protocol).__name__}; give a Protocol, as Protocol.paper(scale) makes"
        )


PROTOCOLS: Mapping[str, Callable[[int], Protocol]] = MappingProxyType(
    {"paper": Protocol.paper, "div2k": Protocol.div2k, "rgb": Protocol.rgb, "y-rounded": Protocol.y_rounded}
)
"""Protocols by name, each a function of the scale."""
