"""The row filter of PNG that foretells a byte by the Paeth predictor (ISO/IEC 15948, 9.4), in 8-bit arithmetic.

With a = left, b = above, c = above left, the predictor takes of a, b and c the one nearest to a + b - c, in this order
if two are as near. The distances are |b - c|, |a - c| and |(b - c) + (a - c)|. The last is the smallest only where c
lies between a and b, and there it is the difference of the other two: nothing needs more than 8 bits, and nothing a
branch.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

PAETH = 4
"""Number of the filter, which each row begins with."""
PIECE = 1 << 16
"""Bytes filtered at a time: what a processor's cache holds."""


def filter_paeth(
    rows: UInt8[np.ndarray, "h n"], above: UInt8[np.ndarray, " n"] | None, step: int
) -> UInt8[np.ndarray, "h m"]:
    """Rows of bytes as PNG deflates them: each begins with its filter's number, Paeth.

    Args:
        rows: Bytes of the rows.
        above: The row above the first; None at the top of the image.
        step: Bytes of a pixel.

    Examples:
        >>> filter_paeth(np.full((2, 3), 7, np.uint8), None, 1).tolist()
        [[4, 7, 0, 0], [4, 0, 0, 0]]
    """
    height, row = rows.shape
    out = np.empty((height, row + 1), np.uint8)
    out[:, 0] = PAETH
    at_once = max(1, PIECE // row)
    left, up, corner = (np.zeros((at_once, row), np.uint8) for _ in range(3))
    spare = tuple(np.empty((at_once, row), np.uint8) for _ in range(5))
    for top in range(0, height, at_once):
        piece = rows[top : top + at_once]
        num = len(piece)
        up[0] = (0 if above is None else above) if top == 0 else rows[top - 1]
        up[1:num] = piece[:-1]
        left[:num, step:] = piece[:, :-step]
        corner[:, step:] = up[:, :-step]
        guess = _paeth(left[:num], up[:num], corner[:num], [buffer[:num] for buffer in spare])
        np.subtract(piece, guess, out=out[top : top + num, 1:])
    return out


def _paeth(a: np.ndarray, b: np.ndarray, c: np.ndarray, spare: Sequence[np.ndarray]) -> np.ndarray:
    """Of a, b and c the nearest to a + b - c; `spare` is memory to work in."""
    pa, pb, low, mask, other = spare
    _distance(b, c, low, out=pa)
    _distance(a, c, low, out=pb)
    _mask(np.less_equal, pa, pb, out=mask)
    guess = _choose(mask, a, b, out=other)
    np.minimum(pa, pb, out=low)
    np.maximum(pa, pb, out=pa)
    np.subtract(pa, low, out=pa)  # |pa - pb|: the distance of c where it lies between a and b
    _mask(np.less, pa, low, out=mask)
    np.greater(b, c, out=pa.view(np.bool_))
    np.greater(a, c, out=pb.view(np.bool_))
    np.not_equal(pa, pb, out=low.view(np.bool_))
    np.negative(low, out=low)
    np.bitwise_and(mask, low, out=mask)
    return _choose(mask, c, guess, out=guess)


def _distance(x: np.ndarray, y: np.ndarray, low: np.ndarray, out: np.ndarray) -> None:
    """|x - y|."""
    np.minimum(x, y, out=low)
    np.maximum(x, y, out=out)
    np.subtract(out, low, out=out)


def _mask(compare: np.ufunc, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    """255 where it is so, else 0."""
    compare(x, y, out=out.view(np.bool_))
    np.negative(out, out=out)


def _choose(mask: np.ndarray, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> np.ndarray:
    """X where the mask is 255, y where it is 0; `out` may be y."""
    flipped = np.bitwise_xor(x, y)
    np.bitwise_and(flipped, mask, out=flipped)
    return np.bitwise_xor(flipped, y, out=out)
