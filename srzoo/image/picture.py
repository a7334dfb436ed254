"""What an image is on its way through a model: pixels as a file stores them, and what a file keeps besides."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Literal

import numpy as np
from jaxtyping import Shaped

from srzoo.image.exif import scaled_exif

Mode = Literal["L", "LA", "RGB", "RGBA", "CMYK"]
"""What the channels mean: grey, colour or inks (0 is no ink), A for alpha that is not multiplied in."""
Depth = Literal["uint8", "uint16", "float32"]
"""What a sample is: 0 to 255, 0 to 65535, or 0 to 1."""
CHANNELS: Mapping[str, int] = MappingProxyType({"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4})
"""Mode -> number of channels."""
BITS: Mapping[str, int] = MappingProxyType({"uint8": 8, "uint16": 16, "float32": 32})
"""Depth -> bits of a sample."""
LEVELS: Mapping[str, float] = MappingProxyType({"uint8": 255, "uint16": 65535, "float32": 1.0})
"""Depth -> largest value of a sample."""


@dataclass(frozen=True)
class Metadata:
    """What a file keeps besides pixels.

    Args:
        icc_profile: Colour profile, as it stands in the file.
        exif: EXIF data as a TIFF structure: from `II` or `MM` on, without the `Exif` and two zeros that JPEG puts
            before it.
        xmp: XMP packet.
        text: Keyword -> text: PNG's text chunks under their own keywords, a JPEG or GIF comment as `Comment`, the
            description of a TIFF as `Description`.
        dpi: Pixels per inch, horizontally and vertically.
        png_colour: Kind -> body of the chunks with which a PNG says what its colours are (gAMA, cHRM, sRGB, cICP,
            mDCV, cLLI), which no other format has.
    """

    icc_profile: bytes | None = None
    exif: bytes | None = None
    xmp: bytes | None = None
    text: Mapping[str, str] = field(default_factory=dict)
    dpi: tuple[float, float] | None = None
    png_colour: Mapping[str, bytes] = field(default_factory=dict)

    def scaled(self, factor_x: int | float, factor_y: int | float) -> "Metadata":
        """The metadata of the same picture with so many times the pixels: it still prints at the same size.

        Args:
            factor_x: New width by old width.
            factor_y: New height by old height.

        Raises:
            ValueError: If a factor is not a positive number.

        Examples:
            >>> Metadata(dpi=(72.0, 72.0)).scaled(4, 2).dpi
            (288.0, 144.0)
        """
        if not all(math.isfinite(factor) and factor > 0 for factor in (factor_x, factor_y)):
            raise ValueError(f"factors must be positive numbers, not {factor_x} and {factor_y}")
        dpi = self.dpi and (self.dpi[0] * factor_x, self.dpi[1] * factor_y)
        return replace(self, dpi=dpi, exif=self.exif and scaled_exif(self.exif, factor_x, factor_y))

    def stripped(self) -> "Metadata":
        """The metadata without anything private: what colours are and the resolution stay, for pixels need them.

        Examples:
            >>> Metadata(text={"Author": "me"}, dpi=(72.0, 72.0)).stripped() == Metadata(dpi=(72.0, 72.0))
            True
        """
        return Metadata(icc_profile=self.icc_profile, dpi=self.dpi, png_colour=self.png_colour)


@dataclass(frozen=True)
class Header:
    """What is known of an image before its pixels are: size, mode, depth and metadata.

    Args:
        width: In pixels.
        height: In pixels.
        mode: What the channels mean.
        dtype: What a sample is.
        metadata: What the file keeps besides.

    Raises:
        ValueError: If a size is not positive.
    """

    width: int
    height: int
    mode: Mode
    dtype: Depth
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise ValueError(f"the image has no pixels (it is {self.width}x{self.height})")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return CHANNELS[self.mode]


@dataclass(frozen=True)
class Picture:
    """An image in memory, as a file stores it.

    Args:
        pixels: h w c; uint8, uint16, or float32 from 0 to 1.
        mode: What the channels mean.
        metadata: What a file keeps besides.

    Raises:
        ValueError: If there are no pixels, the number of channels is not the mode's or the dtype is another.

    Examples:
        >>> Picture(np.zeros((4, 6, 3), np.uint8), "RGB").header.width
        6
    """

    pixels: Shaped[np.ndarray, "h w c"]
    mode: Mode
    metadata: Metadata = field(default_factory=Metadata)

    def __post_init__(self) -> None:
        if self.pixels.dtype.name not in LEVELS:
            raise ValueError(f"pixels must be {', '.join(LEVELS)}, not {self.pixels.dtype}; convert them first")
        if self.pixels.ndim != 3 or self.pixels.shape[2] != CHANNELS[self.mode]:
            raise ValueError(
                f"pixels of mode {self.mode} have the shape (height, width, {CHANNELS[self.mode]}), "
                f"not {self.pixels.shape}"
            )
        if not self.pixels.size:
            raise ValueError(f"the image has no pixels (it is {self.pixels.shape[1]}x{self.pixels.shape[0]})")

    @property
    def dtype(self) -> Depth:
        """What a sample is."""
        return self.pixels.dtype.name  # pyright: ignore[reportReturnType]  # checked when it was made

    @property
    def header(self) -> Header:
        """All but the pixels."""
        return Header(self.pixels.shape[1], self.pixels.shape[0], self.mode, self.dtype, self.metadata)
