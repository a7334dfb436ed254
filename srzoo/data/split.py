"""Images held out of training, to validate on."""

from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np
import torch
from torch import Tensor

from srzoo.data.hold_out import LEAST_INSIDE, MOST_SIDE, count_to_hold_out, hash_of, middle
from srzoo.data.pairs import Pair
from srzoo.data.patches import PatchSource, degrade


def split_images(names: Sequence[str], fraction: float = 0.1, most: int = 20, seed: int = 0) -> list[str]:
    """Names to hold out of training, in their order.

    The choice is by a hash of each name: a new image takes the place of one at most, and the order of the names
    does not matter. `PatchSource.hold_out` chooses by pixels instead, and leaves out what cannot be scored.

    Args:
        names: Of all images.
        fraction: Share to hold out; at least 1 image of 2 or more, 2 of 8 or more, and never all.
        most: No more images than this.
        seed: Another seed, another choice.

    Raises:
        ValueError: If `fraction` is not between 0 and 1, or `most` is below 1.

    Examples:
        >>> split_images([f"{i}.png" for i in range(10)])
        ['0.png', '8.png']
        >>> split_images(["alone.png"])
        []
    """
    count = count_to_hold_out(len(names), fraction, most)
    ranked = sorted(names, key=lambda name: (hash_of(f"{seed} {name}"), name))
    held = set(ranked[:count])
    return [name for name in names if name in held]


def held_out_pairs(source: PatchSource, names: Sequence[str], scale: int, most_side: int = MOST_SIDE) -> list[Pair]:
    """The middle of some images with their LR images, made as those that are trained on; to validate on.

    Where a degradation makes the LR images, it always draws the same for the same name.

    Args:
        source: Where the images are; they may be excluded there.
        names: Which, as in `source.names`.
        scale: One of the scales of the source.
        most_side: Longest side of the HR crop, in pixels.

    Raises:
        ValueError: If a name or the scale is unknown, HR and LR images do not fit together, or the middle of an image
            leaves less than 11 pixels inside a border of `scale` pixels, so that it cannot be scored.

    Examples:
        ```python
        held = source.hold_out()
        validation = {"held-out": held_out_pairs(source, held, scale=2)}
        source = source.without(held)
        ```
    """
    least = -(-LEAST_INSIDE // scale) * scale + 2 * scale
    pairs = []
    for name in names:
        hr = source.images(name, scale)[0]
        if min(hr.shape[:2]) < least:
            raise ValueError(
                f"{name} is {hr.shape[1]}x{hr.shape[0]}; scores at x{scale} need at least {least} pixels on each side, "
                "so hold out another one"
            )
        if most_side < least:
            raise ValueError(f"most_side is {most_side}; scores at x{scale} need at least {least} pixels")
        try:
            lr, hr = _middle(source, name, scale, most_side)
        except ValueError as error:
            raise ValueError(f"{name} cannot be validated on: {error}") from error
        pairs.append(Pair(PurePosixPath(name).with_suffix("").as_posix(), lr, hr, scale))
    return pairs


def _middle(source: PatchSource, name: str, scale: int, most_side: int) -> tuple[Tensor, Tensor]:
    """LR and HR of the middle of an image, c h w."""
    hr, lr = source.images(name, scale)
    top, left, *sides = middle(hr.shape[0], hr.shape[1], scale, most_side)
    if lr is not None:
        return _crop(lr, top, left, sides), _crop(hr, top * scale, left * scale, [side * scale for side in sides])
    degradation = source.degradation
    assert degradation is not None  # else there is an LR image
    margin = degradation.margin * scale
    padded = np.pad(hr, ((margin, margin), (margin, margin), (0, 0)), "symmetric")  # for crops at the image's edge
    outer = _crop(padded, top * scale, left * scale, [side * scale + 2 * margin for side in sides])
    [made], [kept] = degrade(degradation, outer[None], scale, [hash_of(name) % 2**63])
    return made.contiguous(), kept.contiguous()


def _crop(pixels: np.ndarray, top: int, left: int, sides: Sequence[int]) -> Tensor:
    """A copy of part of an image h w c, as a tensor c h w."""
    part = pixels[top : top + sides[0], left : left + sides[1]].transpose(2, 0, 1)
    return torch.from_numpy(part.copy())
