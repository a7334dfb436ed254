"""RGB to luma and back, as MATLAB's `rgb2ycbcr` and `ycbcr2rgb` do it (ITU-R BT.601, studio range)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

Y_WEIGHTS = (65.481, 128.553, 24.966)
CB_WEIGHTS = (-37.797, -74.203, 112.0)
CR_WEIGHTS = (112.0, -93.786, -18.214)
Y_OFFSET = 16.0
C_OFFSET = 128.0
Y_SPAN = sum(Y_WEIGHTS)
"""Levels from black to white: 219."""
GREY_WEIGHTS = (0.299, 0.587, 0.114)


def _cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def _inverse(rows: tuple[Sequence[float], Sequence[float], Sequence[float]]) -> tuple[tuple[float, ...], ...]:
    """Rows of the inverse of a 3x3 matrix: its columns are cross products of the rows, over the determinant."""
    first, second, third = rows
    columns = _cross(second, third), _cross(third, first), _cross(first, second)
    determinant = sum(a * b for a, b in zip(first, columns[0], strict=True))
    return tuple(tuple(column[i] / determinant for column in columns) for i in range(3))


_TO_RGB = _inverse((Y_WEIGHTS, CB_WEIGHTS, CR_WEIGHTS))  # not MATLAB's printed digits: the way back is exact


def _weigh(image: Tensor, weights: Sequence[float]) -> Tensor:
    """Weighted sum of the three channels; no weight goes to the device as a tensor, for which a GPU would wait."""
    first, second, third = image.split(1, dim=-3)
    return first * weights[0] + second * weights[1] + third * weights[2]


def rgb_to_y(rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 1 h w"]:
    """Luma of BT.601: RGB in [0, 1] to Y in [16/255, 235/255], not rounded.

    Y = (65.481 R + 128.553 G + 24.966 B + 16) / 255 (ITU-R BT.601; MATLAB `rgb2ycbcr`).

    Examples:
        >>> (rgb_to_y(torch.ones(1, 3, 1, 1)) * 255).round().item()
        235.0
    """
    return (_weigh(rgb, Y_WEIGHTS) + Y_OFFSET) / 255


def rgb_to_ycbcr(rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 3 h w"]:
    """Y, Cb and Cr of BT.601: RGB in [0, 1] to Y in [16/255, 235/255], Cb and Cr in [16/255, 240/255], not rounded.

    MATLAB's `rgb2ycbcr` of a floating-point image; scikit-image's `rgb2ycbcr` divided by 255.

    Examples:
        >>> (rgb_to_ycbcr(torch.zeros(3, 1, 1)) * 255).flatten().round().tolist()
        [16.0, 128.0, 128.0]
    """
    rows = zip((Y_WEIGHTS, CB_WEIGHTS, CR_WEIGHTS), (Y_OFFSET, C_OFFSET, C_OFFSET), strict=True)
    return torch.cat([(_weigh(rgb, weights) + offset) / 255 for weights, offset in rows], dim=-3)


def ycbcr_to_rgb(ycbcr: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 3 h w"]:
    """RGB of Y, Cb and Cr as `rgb_to_ycbcr` gives them: its exact inverse, not clamped.

    Not every Y, Cb and Cr in range is a colour: the result can leave [0, 1].

    Examples:
        >>> rgb = torch.rand(3, 2, 2)
        >>> torch.allclose(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, atol=1e-6)
        True
    """
    y, chroma = ycbcr.split((1, 2), dim=-3)
    levels = torch.cat([y * 255 - Y_OFFSET, chroma * 255 - C_OFFSET], dim=-3)
    return torch.cat([_weigh(levels, weights) for weights in _TO_RGB], dim=-3)


def replace_y(rgb: Float[Tensor, "*batch 3 h w"], y: Float[Tensor, "*batch 1 h w"]) -> Float[Tensor, "*batch 3 h w"]:
    """RGB with the luma `y` in place of its own and the same Cb and Cr, not clamped.

    What a change of Y adds to R, G and B is the same for the three, 255/219 of it: no way through Cb and Cr is needed.

    Args:
        rgb: Image in [0, 1].
        y: Luma in [16/255, 235/255], as `rgb_to_y` gives it.

    Examples:
        >>> grey = replace_y(torch.zeros(3, 1, 1), torch.full((1, 1, 1), 235 / 255))
        >>> grey.flatten().round(decimals=4).tolist()
        [1.0, 1.0, 1.0]
    """
    return rgb + (y - rgb_to_y(rgb)) * (255 / Y_SPAN)


def rgb_to_grey(rgb: Float[Tensor, "*batch 3 h w"]) -> Float[Tensor, "*batch 1 h w"]:
    """Full-range luma of BT.601 (0.299 R + 0.587 G + 0.114 B): what image files call grey.

    Examples:
        >>> rgb_to_grey(torch.ones(1, 3, 1, 1)).item()
        1.0
    """
    return _weigh(rgb, GREY_WEIGHTS)
