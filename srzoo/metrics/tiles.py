"""Two images prepared for scoring, tile by tile: whole float64 copies of large images would fill the memory."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from srzoo.metrics.protocol import Protocol, check_protocol

Box = tuple[slice, slice]
MOST_VALUES = 32_767
"""Of a tile on a processor. It fits the cache, and torch works on it in one thread: from 32,768 values on, its threads
wait for each other after each operation, which takes several times as long where other programs run."""
MOST_EXCESS = 0.5
"""How far values of HR may leave [0, 1]; beyond it, HR has another range and clamping would spoil it."""


def check_images(sr: Tensor, hr: Tensor, protocol: Protocol) -> None:
    """See that two batches of images can be compared.

    Raises:
        ValueError: If shapes or devices differ, the protocol leaves nothing of them, or HR is not finite or not
            in [0, 1].
        TypeError: If an image is no tensor, its dtype is not taken, or `protocol` is no `Protocol`.
    """
    check_protocol(protocol)
    protocol.check(sr, "sr")
    protocol.check(hr, "hr")
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr has shape {tuple(sr.shape)} and hr {tuple(hr.shape)}; they must be equal "
            "(crop hr to a multiple of the scale first)"
        )
    if sr.device != hr.device:
        raise ValueError(f"sr is on {sr.device} and hr on {hr.device}; bring both to one device")
    if hr.is_floating_point() and len(hr):
        low, high = torch.stack(hr.aminmax()).tolist()
        if not math.isfinite(low + high):
            raise ValueError("hr has values that are not finite (NaN or infinity); a ground truth must be an image")
        if low < -MOST_EXCESS or high > 1 + MOST_EXCESS:
            raise ValueError(
                f"hr goes from {low:g} to {high:g}; give floating point in [0, 1] (divide by 255 if it is in 8-bit "
                "levels), or uint8"
            )


def is_finite(image: Tensor) -> bool:
    """Whether all values of an image are finite, the border's as well."""
    return not image.is_floating_point() or math.isfinite(sum(torch.stack(image.aminmax()).tolist()))


def tile_slices(height: int, width: int, border: int, rows: int, columns: int, overlap: int = 0) -> list[Box]:
    """Rows and columns of the tiles that cover an image inside its border.

    A tile has at most `rows` x `columns` pixels and `overlap` more below and at the right, which the next one has too.

    Examples:
        >>> tile_slices(8, 6, 1, 4, 4)
        [(slice(1, 5, None), slice(1, 5, None)), (slice(5, 7, None), slice(1, 5, None))]
    """
    bottom, right = height - border, width - border
    return [
        (slice(top, min(top + rows + overlap, bottom)), slice(left, min(left + columns + overlap, right)))
        for top in range(border, bottom - overlap, rows)
        for left in range(border, right - overlap, columns)
    ]


def sum_over_tiles(
    function: Callable[[Tensor, Tensor], float],
    sr: Tensor,
    hr: Tensor,
    protocol: Protocol,
    rows: int,
    columns: int,
    overlap: int = 0,
) -> float:
    """The sum of a function of each tile of an image pair (c h w each), prepared by the protocol; rounded once."""

    def measure(box: Box) -> float:
        return function(protocol.levels(sr[:, *box]), protocol.levels(hr[:, *box]))

    boxes = tile_slices(sr.shape[-2], sr.shape[-1], protocol.border, rows, columns, overlap)
    return math.fsum(map(measure, boxes))


def scores(sr: Tensor, hr: Tensor, protocol: Protocol, score: Callable[[Tensor, Tensor, Protocol], float]) -> Tensor:
    """The score of each checked image pair (float64, on the images' device); NaN where SR is not finite."""
    device = sr.device
    if device.type in ("mps", "xpu"):
        sr, hr, device = sr.cpu(), hr.cpu(), torch.device("cpu")  # where there may be no float64
    found = [score(a, b, protocol) if is_finite(a) else math.nan for a, b in zip(sr, hr, strict=True)]
    return torch.tensor(found, dtype=torch.float64, device=device)
