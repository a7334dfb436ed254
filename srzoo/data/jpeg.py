"""The arithmetic of JPEG in whole numbers, as libjpeg does it: what `srzoo.data.Jpeg` is made of."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Int, Int32
from torch import Tensor

# Quantisation tables of quality 50: ISO/IEC 10918-1, annex K, tables K.1 (luma) and K.2 (chroma).
_LUMA = """16 11 10 16 24 40 51 61  12 12 14 19 26 58 60 55  14 13 16 24 40 57 69 56  14 17 22 29 51 87 80 62
    18 22 37 56 68 109 103 77  24 35 55 64 81 104 113 92  49 64 78 87 103 121 120 101  72 92 95 98 112 100 103 99"""
_CHROMA = """17 18 24 47 99 99 99 99  18 21 26 66 99 99 99 99  24 26 56 99 99 99 99 99  47 66 99 99 99 99 99 99
    99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99  99 99 99 99 99 99 99 99"""
TABLES = np.array([_LUMA.split(), _CHROMA.split()], dtype=np.int64).reshape(2, 8, 8)


def scaled_tables(quality: Int[np.ndarray, " b"]) -> Int[np.ndarray, "b 2 8 8"]:
    """Quantisation tables of luma and chroma for each quality, 1 to 100, as libjpeg scales them, with 8-bit entries."""
    percent = np.where(quality < 50, 5000 // quality, 200 - 2 * quality)[:, None, None, None]
    return np.clip((TABLES * percent + 50) // 100, 1, 255)


def estimate_quality(luma: Sequence[int]) -> int:
    """The quality, 1 to 100, whose luma table is nearest to that of a file; exact where libjpeg's own was used.

    Compared are the sums of the tables, so the order of the 64 entries does not matter.

    Raises:
        ValueError: If there are not 64 entries.

    Examples:
        >>> estimate_quality(scaled_tables(np.array([72]))[0, 0].flatten().tolist())
        72
    """
    if len(luma) != 64:
        raise ValueError(f"the table has {len(luma)} entries; JPEG's have 64")
    sums = scaled_tables(np.arange(1, 101))[:, 0].sum((1, 2))
    return 100 - int(np.abs(sums - sum(luma))[::-1].argmin())  # the best of those that are as near


# The 8-point DCT in units of 2**-13, as the butterflies of libjpeg's accurate integer DCT multiply out; the right half
# mirrors the left, with the sign changed in odd rows.
_DCT_HALF = [
    [8192, 8192, 8192, 8192],
    [11363, 9633, 6437, 2260],
    [10703, 4433, -4433, -10703],
    [9633, -2259, -11362, -6436],
    [8192, -8192, -8192, 8192],
    [6437, -11362, 2261, 9633],
    [4433, -10704, 10704, -4433],
    [2260, -6436, 9633, -11363],
]
_DCT = [row + [value * (-1) ** k for value in row[::-1]] for k, row in enumerate(_DCT_HALF)]


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # what is cached must serve a later caller who trains
def _dct(device: torch.device) -> Int32[Tensor, "8 8"]:
    """The matrix of the DCT, there."""
    return torch.tensor(_DCT, dtype=torch.int32, device=device)


def _divided(x: Int32[Tensor, "*shape"], shift: int) -> Int32[Tensor, "*shape"]:
    """`x / 2**shift`, rounded half up."""
    return (x + (1 << (shift - 1))) >> shift


def _transform(
    x: Int32[Tensor, "n i k j l"], dim: int, matrix: Int32[Tensor, "8 8"], shift: int
) -> Int32[Tensor, "n i k j l"]:
    """One pass of the DCT over an axis of 8, in whole numbers, so that the order of the sums cannot matter."""
    shape = (8, 1, 1) if dim == 2 else (8,)
    out = torch.zeros_like(x)
    for i in range(8):
        out.addcmul_(x.narrow(dim, i, 1), matrix[:, i].reshape(shape))
    return _divided(out, shift)


def _extended(x: Tensor, dim: int, size: int) -> Tensor:
    """`x` with its last row or column repeated up to `size`."""
    return x.index_select(dim, torch.arange(size, device=x.device).clamp_max(x.shape[dim] - 1))


def recoded(planes: Int32[Tensor, "n h w"], table: Int32[Tensor, "n 8 8"]) -> Int32[Tensor, "n h w"]:
    """Planes of 0 to 255 after DCT, quantisation and back, on a grid of blocks that starts at the corner."""
    n, height, width = planes.shape
    rows, columns = -(-height // 8), -(-width // 8)
    blocks = _extended(_extended(planes, -2, rows * 8), -1, columns * 8).view(n, rows, 8, columns, 8) - 128
    matrix = _dct(planes.device)
    x = _transform(_transform(blocks, 4, matrix, 11), 2, matrix, 15)  # libjpeg scales the result by 8
    quantum = table[:, None, :, None, :]
    levels = torch.div(x.abs() + quantum * 4, quantum * 8, rounding_mode="floor") * x.sign()
    x = _transform(_transform(levels * quantum, 2, matrix.T, 11), 4, matrix.T, 18) + 128
    return x.clamp_(0, 255).reshape(n, rows * 8, columns * 8)[:, :height, :width]


def halved(chroma: Int32[Tensor, "n h w"]) -> Int32[Tensor, "n k l"]:
    """Means of 2x2 pixels as libjpeg rounds them; the width is filled up to whole blocks, the height to pairs."""
    height, width = chroma.shape[-2:]
    x = _extended(_extended(chroma, -2, height + height % 2), -1, -(-width // 16) * 16)
    sums = x[:, ::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, ::2] + x[:, 1::2, 1::2]
    bias = torch.arange(sums.shape[-1], dtype=torch.int32, device=x.device) % 2 + 1
    return (sums + bias) >> 2


def doubled(chroma: Int32[Tensor, "n k l"]) -> Int32[Tensor, "n h w"]:
    """Twice the size by libjpeg's triangle filter ("fancy upsampling")."""
    x = chroma * 3
    above = x + torch.cat([chroma[:, :1], chroma[:, :-1]], 1)
    below = x + torch.cat([chroma[:, 1:], chroma[:, -1:]], 1)
    x = torch.stack([above, below], 2).flatten(1, 2)
    left = x * 3 + torch.cat([x[..., :1], x[..., :-1]], 2) + 8
    right = x * 3 + torch.cat([x[..., 1:], x[..., -1:]], 2) + 7
    return torch.stack([left, right], 3).flatten(2, 3) >> 4


def to_ycc(rgb: Int32[Tensor, "b 3 h w"]) -> tuple[Int32[Tensor, "b h w"], Int32[Tensor, "b 2 h w"]]:
    """Full-range luma and chroma (JFIF 1.02), with libjpeg's constants in units of 2**-16."""
    r, g, b = rgb.unbind(1)
    luma = (19595 * r + 38470 * g + 7471 * b + 32768) >> 16
    offset = (128 << 16) + 32767
    blue = (-11059 * r - 21709 * g + 32768 * b + offset) >> 16
    red = (32768 * r - 27439 * g - 5329 * b + offset) >> 16
    return luma, torch.stack([blue, red], 1)


def to_rgb(luma: Int32[Tensor, "b h w"], chroma: Int32[Tensor, "b 2 h w"]) -> Int32[Tensor, "b 3 h w"]:
    """The way back from `to_ycc`."""
    blue, red = (chroma - 128).unbind(1)
    r = luma + _divided(91881 * red, 16)
    g = luma + _divided(-22554 * blue - 46802 * red, 16)
    b = luma + _divided(116130 * blue, 16)
    return torch.stack([r, g, b], 1).clamp_(0, 255)
