"""How large a result is to be: which scale of the model makes it, and the size it is brought to."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

MAX_SCALE = 64
"""Largest factor between a picture's side and the result's."""
MAX_SIDE = 1_000_000
"""Longest side that can be asked for, in pixels."""
SLACK = Fraction(101, 100)
"""A last step that enlarges by no more than this is not seen, and saves the next larger scale's time."""


class Sizes(NamedTuple):
    """What is to be done with one picture."""

    scale: int
    """The model's scale. If width and height are not that many times the picture's, a resize brings it there."""
    width: int
    height: int


@dataclass(frozen=True)
class Target:
    """Size of the result of any picture; give exactly one of the three.

    Args:
        scale: Factor, 1 to 64; sides are rounded up to whole pixels.
        size: Width and height in pixels, whatever the picture's own shape.
        long_edge: The longer side in pixels; the other follows by the picture's shape, rounded to the nearest pixel.

    Raises:
        ValueError: If not exactly one is given, or it is out of range.

    Examples:
        >>> Target(scale=2.5).resolve(401, 300, scales=(2, 3, 4))
        Sizes(scale=3, width=1003, height=750)
        >>> Target(long_edge=3840).resolve(1280, 720, scales=(4,))
        Sizes(scale=4, width=3840, height=2160)
    """

    scale: int | float | None = None
    size: tuple[int, int] | None = None
    long_edge: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("scale", "size", "long_edge") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of scale, size and long edge, not {' and '.join(given) or 'none'}")
        if self.scale is not None and not 1 <= self.scale <= MAX_SCALE:
            raise ValueError(f"scale is {self.scale:g}; give a factor from 1 to {MAX_SCALE}, such as 2.5")
        if self.size is not None and not (len(self.size) == 2 and 1 <= min(self.size) <= max(self.size) <= MAX_SIDE):
            text = "x".join(map(str, self.size))
            raise ValueError(f"size is {text}; give WIDTHxHEIGHT, both from 1 to {MAX_SIDE} pixels")
        if self.long_edge is not None and not 1 <= self.long_edge <= MAX_SIDE:
            raise ValueError(f"long edge is {self.long_edge}; give 1 to {MAX_SIDE} pixels")

    @classmethod
    def parse(cls, *, scale: str | None = None, size: str | None = None, long_edge: str | None = None) -> "Target":
        """The target that options of the command line ask for.

        Args:
            scale: A number, such as "2" or "2.5".
            size: "WIDTHxHEIGHT", such as "1920x1080".
            long_edge: Whole number of pixels.

        Raises:
            ValueError: If not exactly one is given, it cannot be read or is out of range.

        Examples:
            >>> Target.parse(size="1920x1080")
            Target(scale=None, size=(1920, 1080), long_edge=None)
        """
        factor = sides = edge = None
        if scale is not None:
            if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,15})?", scale.strip(), re.ASCII):
                raise ValueError(f"scale is {scale!r}; give a factor from 1 to {MAX_SCALE}, such as 2.5")
            factor = float(scale)
        if size is not None:
            match = re.fullmatch(r"([0-9]{1,9})[xX]([0-9]{1,9})", size.strip(), re.ASCII)
            if match is None:
                raise ValueError(f"size is {size!r}; give WIDTHxHEIGHT in pixels, such as 1920x1080")
            sides = int(match[1]), int(match[2])
        if long_edge is not None:
            if not re.fullmatch("[0-9]{1,9}", long_edge.strip(), re.ASCII):
                raise ValueError(f"long edge is {long_edge!r}; give a number of pixels, such as 3840")
            edge = int(long_edge)
        return cls(scale=factor, size=sides, long_edge=edge)

    @property
    def word(self) -> str:
        """The target in a word, for names of files: "x2.5", "1920x1080" or "3840"."""
        if self.scale is not None:
            return f"x{self.scale:g}"
        return str(self.long_edge) if self.size is None else f"{self.size[0]}x{self.size[1]}"

    def resolve(self, width: int, height: int, scales: Sequence[int]) -> Sizes:
        """The model's scale and the size of the result for a picture.

        The scale is the smallest that is at least the factor asked for (of the two sides' the larger), so that the
        last step shrinks, which loses nothing the model made; one that is less than 1 % too small counts. If the
        factor is above them all it is the largest, and the last step enlarges by bicubic.

        Args:
            width: Of the picture.
            height: Of the picture.
            scales: Scales the model offers.

        Raises:
            ValueError: If the result would be smaller than the picture, more than 64 times as large, or longer than
                a million pixels.
        """
        out_width, out_height, factor = self._size(width, height)
        shown = f"{out_width}x{out_height} from a picture of {width}x{height}"
        if factor <= 1 and (out_width < width or out_height < height):
            raise ValueError(f"{shown} would be smaller; shrink pictures with srzoo downscale")
        if factor > MAX_SCALE or max(out_width, out_height) > MAX_SIDE:
            raise ValueError(f"{shown} is too large; at most {MAX_SCALE} times and {MAX_SIDE} pixels a side are made")
        enough = [scale for scale in scales if scale * SLACK >= factor]
        return Sizes(min(enough, default=max(scales)), out_width, out_height)

    def notes(self, width: int, height: int, scales: Sequence[int]) -> tuple[str, ...]:
        """What the user may not expect of the result for a picture: another shape, a last step that enlarges.

        Raises:
            ValueError: As `resolve` does.

        Examples:
            >>> Target(size=(200, 100)).notes(50, 50, scales=(2, 4))
            ('the shape changes from 50:50 to 200:100, as the size asks',)
        """
        sizes = self.resolve(width, height, scales)
        rest = self._size(width, height)[2] / sizes.scale
        told = []
        if self.size is not None and not 0.99 <= sizes.width * height / (width * sizes.height) <= 1.01:
            told.append(f"the shape changes from {width}:{height} to {sizes.width}:{sizes.height}, as the size asks")
        if rest > SLACK:
            told.append(f"the model makes x{sizes.scale}, bicubic the rest, x{float(rest):.2f}")
        return tuple(told)

    def factor(self, width: int, height: int) -> Fraction:
        """How many times as large as a picture the result is, by the side of which it is more.

        Examples:
            >>> Target(long_edge=300).factor(200, 100)
            Fraction(3, 2)
        """
        return self._size(width, height)[2]

    def _size(self, width: int, height: int) -> tuple[int, int, Fraction]:
        """Width and height of the result, and the factor to it, not of rounded sides where those follow from it."""
        if self.size is not None:
            return *self.size, max(Fraction(self.size[0], width), Fraction(self.size[1], height))
        if self.scale is not None:
            factor = Fraction(self.scale).limit_denominator(10_000)  # 4/3 as a float is four thirds, as in `imresize`
            return math.ceil(width * factor), math.ceil(height * factor), factor
        assert self.long_edge is not None
        factor = Fraction(self.long_edge, max(width, height))
        wide, high = (max(1, math.floor(side * factor + Fraction(1, 2))) for side in (width, height))
        return wide, high, factor
