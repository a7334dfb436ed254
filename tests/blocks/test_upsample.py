from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from srzoo.blocks import SubPixelUpsampler


def reference_shuffle(x: torch.Tensor, factor: int) -> torch.Tensor:
    """Pixel (y, x) of output channel c comes from channel c * factor**2 + (y % factor) * factor + x % factor."""
    b, c, h, w = x.shape
    out = torch.empty(b, c // factor**2, h * factor, w * factor)
    for row in range(factor):
        for column in range(factor):
            out[..., row::factor, column::factor] = x[:, row * factor + column :: factor**2]
    return out


@pytest.mark.parametrize(
    ("scale", "factors"), [(1, []), (2, [2]), (3, [3]), (4, [2, 2]), (6, [2, 3]), (8, [2, 2, 2]), (9, [3, 3])]
)
def test_is_convolution_and_shuffle_stage_by_stage(scale: int, factors: list[int]) -> None:
    upsample = SubPixelUpsampler(scale, 4)
    x = torch.randn(2, 4, 3, 5)
    expected, rest = x, list(upsample.parameters())
    for factor in factors:
        weight, bias, *rest = rest
        expected = reference_shuffle(F.conv2d(expected, weight, bias, padding=1), factor)
    assert not rest
    out = upsample(x)
    assert out.shape == (2, 4, 3 * scale, 5 * scale)
    torch.testing.assert_close(out, expected)


@pytest.mark.parametrize(("scale", "halo"), [(1, 0), (2, 1), (3, 1), (4, Fraction(3, 2)), (8, Fraction(7, 4))])
def test_the_halo_is_how_far_a_pixel_sees(scale: int, halo: Fraction) -> None:
    upsample = SubPixelUpsampler(scale, 2).double()
    assert upsample.halo == halo
    for parameter in upsample.parameters():
        nn.init.constant_(parameter, 1.0)
    middle = 5
    x = torch.rand(1, 2, 11, 11, dtype=torch.float64, requires_grad=True)
    out = upsample(x)
    reach = []
    for pixel in range(middle * scale, (middle + 1) * scale):  # the SR pixels of one LR pixel
        [grad] = torch.autograd.grad(out[..., pixel, pixel].sum(), x, retain_graph=True)
        seen = grad.abs().sum((0, 1, 3)).nonzero()
        reach += [middle - seen.min().item(), seen.max().item() - middle]
    assert max(reach) == -(-halo // 1)


@pytest.mark.parametrize("scale", [0, -2, 5, 7, 10])
def test_other_scales_are_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=f"scale is {scale}; the sub-pixel upsampler takes products of 2 and 3"):
        SubPixelUpsampler(scale, 4)
