"""Where methods differ most: the parts of an image that are worth looking at."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

SIDES = (32, 128)
"""Least and largest side of a crop that is chosen, in HR pixels."""


@dataclass(frozen=True, order=True)
class Crop:
    """A part of an image, in HR pixels.

    Raises:
        ValueError: If it has no pixels, or starts left of or above the image.

    Examples:
        >>> Crop(8, 4, 32, 24).right, Crop.parse("8,4,32,24").bottom
        (40, 28)
    """

    left: int
    top: int
    width: int
    height: int

    def __post_init__(self) -> None:
        if min(self.left, self.top) < 0 or min(self.width, self.height) < 1:
            raise ValueError(
                f"crop is {self}; give X,Y,W,H in HR pixels: left and top of 0 or more, width and height of 1 or more"
            )

    @classmethod
    def parse(cls, text: str) -> "Crop":
        """The crop that `X,Y,W,H` stands for.

        Raises:
            ValueError: If the text is something else.
        """
        try:
            left, top, width, height = (int(part) for part in text.split(","))
        except ValueError:
            raise ValueError(f"crop is {text!r}; give X,Y,W,H in HR pixels, such as 40,16,64,64") from None
        return cls(left, top, width, height)

    def __str__(self) -> str:
        return f"{self.left},{self.top},{self.width},{self.height}"

    @property
    def right(self) -> int:
        """First column behind it."""
        return self.left + self.width

    @property
    def bottom(self) -> int:
        """First row below it."""
        return self.top + self.height

    def of(self, image: Tensor) -> Tensor:
        """The pixels of an image (... h w) that lie in it."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def check_inside(self, width: int, height: int) -> "Crop":
        """The crop itself, if it lies in an image.

        Raises:
            ValueError: If part of it does not.
        """
        if self.right > width or self.bottom > height:
            raise ValueError(
                f"the crop {self} ends at ({self.right}, {self.bottom}), outside of the {width}x{height} pixels "
                "of the upscaled image"
            )
        return self


def disagreement(methods: Sequence[UInt8[Tensor, "c h w"]], hr: UInt8[Tensor, "c h w"] | None = None) -> np.ndarray:
    """How much methods differ at each pixel, h w, float32: the sum over all pairs of methods.

    With an HR image a pair differs by its errors, so that two methods that are wrong by the same amount agree; without,
    by its pixels. Both are means of absolute differences over channels.

    Args:
        methods: Outputs of the methods. Of one alone its error is taken, or zero where there is no HR image.
        hr: The ground truth.
    """
    images = [image.numpy().astype(np.int16) for image in methods]
    if hr is not None:
        truth = hr.numpy().astype(np.int16)
        images = [np.abs(image - truth).mean(0, dtype=np.float32)[None] for image in images]
        if len(images) == 1:
            return images[0][0]
    total = np.zeros(images[0].shape[1:], np.float32)
    for one, other in combinations(images, 2):
        total += np.abs(one - other).mean(0, dtype=np.float32)
    return total


def crop_side(width: int, height: int) -> int:
    """Side of the square crops of an image: a third of its shorter side, a multiple of 8, from 32 to 128 pixels.

    Examples:
        >>> crop_side(288, 192), crop_side(2040, 1356), crop_side(20, 30)
        (64, 128, 20)
    """
    short = min(width, height)
    return min(short, max(SIDES[0], min(SIDES[1], short // 3 // 8 * 8)))


def find_crops(difference: np.ndarray, num: int = 3, side: int | None = None) -> list[Crop]:
    """Squares that hold the largest sums of a map, largest first; none overlaps another.

    Of equal sums the first from the top, then from the left is taken; of a map without any difference, the middle.

    Args:
        difference: Such as `disagreement` gives, h w, 0 or more.
        num: Most squares to find; there are fewer where there is no room for more, or no difference left.
        side: Side in pixels; None takes `crop_side`.

    Raises:
        ValueError: If `num` or `side` is less than 1, or the side is larger than the map.

    Examples:
        >>> spots = np.zeros((40, 60))
        >>> spots[30, 50], spots[5, 5] = 2, 1
        >>> [str(crop) for crop in find_crops(spots, 3, side=8)]
        ['43,23,8,8', '0,0,8,8']
    """
    height, width = difference.shape
    side = crop_side(width, height) if side is None else side
    if num < 1 or not 1 <= side <= min(height, width):
        raise ValueError(f"num is {num} and side {side}; at least 1 crop of 1 to {min(height, width)} pixels is needed")
    total = np.pad(np.rint(difference.astype(np.float64) * 256), ((1, 0), (1, 0))).cumsum(0).cumsum(1)  # sums are exact
    sums = total[side:, side:] - total[:-side, side:] - total[side:, :-side] + total[:-side, :-side]
    found: list[Crop] = []
    while len(found) < num and sums.max() > 0:
        top, left = divmod(int(sums.argmax()), sums.shape[1])
        found.append(Crop(left, top, side, side))
        sums[max(0, top - side + 1) : top + side, max(0, left - side + 1) : left + side] = -1
    return found or [Crop((width - side) // 2, (height - side) // 2, side, side)]


def error_map(image: UInt8[Tensor, "c h w"], reference: UInt8[Tensor, "c h w"]) -> np.ndarray:
    """Mean over channels of the absolute difference, h w, float32, in 8-bit levels."""
    return (image.to(torch.int16) - reference.to(torch.int16)).abs().float().mean(0).numpy()
