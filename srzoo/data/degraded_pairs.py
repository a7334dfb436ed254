"""LR images to measure on, degraded the same way wherever they are made: what is drawn depends on the image's name."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.data.degradations import Degradation
from srzoo.data.hold_out import hash_of
from srzoo.data.pairs import Pair, pairs_from_hr
from srzoo.data.presets import find_preset


def degrade_pairs(pairs: Iterable[Pair], degradation: Degradation) -> Iterator[Pair]:
    """The pairs with their LR images made anew from HR, one at a time; equal names and pixels, equal LR images.

    Args:
        pairs: Such as `srzoo.data.pairs_from_hr(folder, 2)` or `find_set("Set5").pairs(2)`.
        degradation: Such as `srzoo.data.presets.PRESETS["photo"]`.

    Raises:
        ValueError: If the degradation does not take the number of channels, or gives LR images of another size.

    Examples:
        >>> from srzoo.data.presets import PRESETS
        >>> hr = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
        >>> [pair] = degrade_pairs([Pair("noise", torch.zeros(3, 12, 12, dtype=torch.uint8), hr, 2)], PRESETS["photo"])
        >>> pair.name, tuple(pair.lr.shape)
        ('noise', (3, 12, 12))
    """
    for pair in pairs:
        yield replace(pair, lr=degraded_lr(pair.hr, pair.scale, degradation, pair.name))


def pairs_by_preset(source: str | Path, scale: int, name: str = "bicubic") -> list[Pair]:
    """A pair for each image of a folder, or for one file: `pairs_from_hr`, with the LR images that a preset makes.

    Presets other than "bicubic" make RGB of grey images first: what they do to a photograph is defined on colours.

    Args:
        source: A folder of HR images, or one HR image.
        scale: A whole factor of 2 or more.
        name: As in `srzoo.data.presets.PRESETS`.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If there is no such preset, an image cannot be scored, or is smaller than `scale`.

    Examples:
        ```python
        srzoo.evaluate(model, pairs_by_preset("Kodak24", 2, "photo"))
        ```
    """
    degradation = find_preset(name)
    pairs = pairs_from_hr(source, scale)
    if name == "bicubic":  # the benchmarks' own LR images are rounded between the passes, `Bicubic()`'s are not
        return pairs
    return list(degrade_pairs(map(in_colour, pairs), degradation))


def in_colour(pair: Pair) -> Pair:
    """The pair with grey images as RGB; RGB ones as they are.

    Examples:
        >>> grey = Pair("grey", torch.zeros(1, 2, 2, dtype=torch.uint8), torch.zeros(1, 4, 4, dtype=torch.uint8), 2)
        >>> tuple(in_colour(grey).hr.shape)
        (3, 4, 4)
    """
    return replace(pair, hr=pair.hr.expand(3, -1, -1).contiguous(), lr=pair.lr.expand(3, -1, -1))


def degraded_lr(hr: UInt8[Tensor, "c H W"], scale: int, degradation: Degradation, name: str) -> UInt8[Tensor, "c h w"]:
    """The LR image of a whole HR image, rounded half up to 8 bits; what is drawn for it is drawn from its name.

    Args:
        hr: Height and width are multiples of the scale.
        scale: A whole factor of 2 or more.
        degradation: How it is made; past the edge, it sees what its parts put there.
        name: Of the image without folder and suffix.

    Raises:
        ValueError: If the sides are no multiples of the scale, the degradation does not take the number of channels,
            or it gives an image of another size.
    """
    with torch.no_grad():
        [lr] = degradation(hr[None].float() / 255, scale, [hash_of(name) % 2**63])
    expected = (len(hr), hr.shape[1] // scale, hr.shape[2] // scale)
    if tuple(lr.shape) != expected:
        found = tuple(lr.shape)
        raise ValueError(f"{degradation} made an LR image of shape {found}; at x{scale} it must be {expected}")
    return lr.mul(255).add(0.5).floor().clamp(0, 255).to(torch.uint8)
