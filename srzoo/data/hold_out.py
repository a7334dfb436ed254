"""Which images to hold out of training: chosen by their pixels, crops of one picture together."""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

import numpy as np

MOST_SIDE = 384
"""Longest side of the middle of an image that is validated on, in HR pixels."""
LEAST_INSIDE = 11
"""Pixels that scores need inside a border of `scale` pixels: SSIM's window."""
FLAT = 1.0
"""Standard deviation, in 8-bit levels, below which the score of an image says nothing."""
LEAST_PREFIXES = 5
"""Names tell crops of pictures from the numbered files of a camera by this many prefixes."""


def hash_of(text: str) -> int:
    """64 bits of a hash of a text, which may be a file name that is not UTF-8."""
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def count_to_hold_out(num: int, fraction: float, most: int) -> int:
    """How many of `num` images to hold out: at least 1 of 2 or more, 2 of 8 or more, and never all.

    Raises:
        ValueError: If `fraction` is not between 0 and 1, or `most` is below 1.
    """
    if not (0 < fraction < 1 and most >= 1):
        raise ValueError(f"fraction is {fraction} and most {most}; give a share between 0 and 1, and at least 1 image")
    least = 2 if num >= 8 else 1  # a score on one image says little
    return max(min(max(round(num * fraction), least), most, num - 1), 0)


def middle(height: int, width: int, scale: int, most_side: int = MOST_SIDE) -> tuple[int, int, int, int]:
    """Top, left, height and width of the middle of an image, in LR pixels."""
    rows, columns = (min(side, most_side) // scale for side in (height, width))
    return (height // scale - rows) // 2, (width // scale - columns) // 2, rows, columns


def is_scorable(hr: np.ndarray, scales: Sequence[int]) -> bool:
    """Whether the middle of an image h w c is large enough to be scored at each scale, and shows something."""
    for scale in scales:
        top, left, rows, columns = middle(hr.shape[0], hr.shape[1], scale)
        if min(rows, columns) * scale - 2 * scale < LEAST_INSIDE:
            return False
        inside = hr[(top + 1) * scale : (top + rows - 1) * scale, (left + 1) * scale : (left + columns - 1) * scale, :3]
        if inside.std((0, 1)).max() < FLAT:
            return False
    return True


def group_crops(names: Sequence[str]) -> list[str]:
    """For each name, that of the picture it is a crop of; the name itself where it is none.

    Crops are called `0001_s001.png`, `0001_s002.png` or `photo-12_3.png`: equal but for a number at the end, which a
    `_` or `-` sets apart. With fewer than 5 such beginnings they are taken for numbered files, such as `IMG_0001.png`.

    Examples:
        >>> group_crops([f"{picture}_s{crop}.png" for picture in "abcde" for crop in (1, 2)])[:3]
        ['a', 'a', 'b']
        >>> group_crops(["IMG_0001.png", "IMG_0002.png"])
        ['IMG_0001.png', 'IMG_0002.png']
    """
    paths = [PurePosixPath(name) for name in names]
    starts = [re.match(r"(.+)[_-]s?\d+$", path.stem, re.DOTALL) for path in paths]
    crops = [(path.parent / start[1]).as_posix() if start else "" for path, start in zip(paths, starts, strict=True)]
    shared = {crop for crop, num in Counter(crops).items() if crop and num > 1}
    several = {PurePosixPath(crop).name for crop in shared}
    if len(several) < LEAST_PREFIXES:
        return list(names)
    return [crop if crop in shared else name for crop, name in zip(crops, names, strict=True)]


def choose_groups(
    groups: Sequence[Sequence[int]], count: int, may_go: Callable[[list[int]], bool], fits: Callable[[int], bool]
) -> list[int]:
    """Whole groups of images to hold out, the first ones that make up to `count` images.

    Args:
        groups: Numbers of the images that go together, in the order they are preferred.
        count: Images to hold out; more only where every group has more.
        may_go: Whether training can do without these images.
        fits: Whether an image can be scored.
    """
    held: list[int] = []
    for group in groups:
        if len(held) + len(group) <= count and all(map(fits, group)) and may_go([*held, *group]):
            held.extend(group)
    if not held and count:
        held.extend(next((g for g in sorted(groups, key=len) if all(map(fits, g)) and may_go(list(g))), []))
    return held
