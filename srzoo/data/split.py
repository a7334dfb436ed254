"""Images held out of training, to validate on."""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from srzoo.data.pairs import Pair
from srzoo.data.patches import PatchSource, degrade


def split_images(names: Sequence[str], fraction: float = 0.1, most: int = 20, seed: int = 0) -> list[str]:
    """Names to hold out of training, in their order.

    The choice is by a hash of each name: a new image takes the place of one at most, and the order of the names
    does not matter.

    Args:
        names: Of all images.
        fraction: Share to hold out; at least 1 image of 2 or more, and never all.
        most: No more images than this.
        seed: Another seed, another choice.

    Raises:
        ValueError: If `fraction` is not between 0 and 1, or `most` is below 1.

    Examples:
        >>> split_images([f"{i}.png" for i in range(10)])
        ['0.png']
        >>> split_images(["alone.png"])
        []
    """
    if not (0 < fraction < 1 and most >= 1):
        raise ValueError(f"fraction is {fraction} and most {most}; give a share between 0 and 1, and at least 1 image")
    count = min(max(round(len(names) * fraction), 1), most, len(names) - 1)
    ranked = sorted(names, key=lambda name: (_hash(f"{seed} {name}"), name))
    held = set(ranked[: max(count, 0)])
    return [name for name in names if name in held]


def held_out_pairs(source: PatchSource, names: Sequence[str], scale: int, most_side: int = 384) -> list[Pair]:
    """The middle of some images with their LR images, made as those that are trained on; to validate on.

    Where a degradation makes the LR images, it always draws the same for the same name.

    Args:
        source: Where the images are; they may be excluded there.
        names: Which, as in `source.names`.
        scale: One of the scales of the source.
        most_side: Longest side of the HR crop, in pixels.

    Raises:
        ValueError: If a name or the scale is unknown, HR and LR images do not fit together, or an image or
            `most_side` is smaller than the scale.

    Examples:
        ```python
        held = split_images(source.names)
        validation = {"held-out": held_out_pairs(source, held, scale=2)}
        source = source.without(held)
        ```
    """
    if most_side < scale:
        raise ValueError(f"most_side is {most_side}, which is no LR pixel at x{scale}; give at least {scale}")
    pairs = []
    for name in names:
        lr, hr = _middle(source, name, scale, most_side)
        pairs.append(Pair(PurePosixPath(name).with_suffix("").as_posix(), lr, hr, scale))
    return pairs


def _middle(source: PatchSource, name: str, scale: int, most_side: int) -> tuple[Tensor, Tensor]:
    """LR and HR of the middle of an image, c h w."""
    hr, lr = source.images(name, scale)
    sides = [min(side, most_side) // scale for side in hr.shape[:2]]
    if min(sides) < 1:
        raise ValueError(f"{name} is smaller than {scale} pixels, which makes no LR image at x{scale}")
    top, left = ((whole // scale - side) // 2 for whole, side in zip(hr.shape[:2], sides, strict=True))
    if lr is not None:
        return _crop(lr, top, left, sides), _crop(hr, top * scale, left * scale, [side * scale for side in sides])
    degradation = source.degradation
    assert degradation is not None  # else there is an LR image
    margin = degradation.margin * scale
    padded = np.pad(hr, ((margin, margin), (margin, margin), (0, 0)), "symmetric")  # for crops at the image's edge
    outer = _crop(padded, top * scale, left * scale, [side * scale + 2 * margin for side in sides])
    [made], [kept] = degrade(degradation, outer[None], scale, [_hash(name) % 2**63])
    return made.contiguous(), kept.contiguous()


def _crop(pixels: np.ndarray, top: int, left: int, sides: Sequence[int]) -> Tensor:
    """A copy of part of an image h w c, as a tensor c h w."""
    part = pixels[top : top + sides[0], left : left + sides[1]].transpose(2, 0, 1)
    return torch.from_numpy(part.copy())


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
