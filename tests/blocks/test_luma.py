import pytest
import torch
from skimage.color import rgb2ycbcr, ycbcr2rgb
from torch import Tensor, nn

from srzoo.blocks import BicubicUpsampler, LumaUpsampler
from srzoo.resize import imresize

RGB = torch.rand(2, 3, 5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def sharpen(y: Tensor) -> Tensor:
    """Some network of luma to luma on one grid."""
    return y + 0.3 * (y - nn.functional.avg_pool2d(y, 3, 1, 1, count_include_pad=False))


def colour_by_hand(rgb: Tensor, y: Tensor) -> Tensor:
    """RGB with Y replaced, by way of Cb and Cr and another library."""
    ycbcr = torch.from_numpy(rgb2ycbcr(rgb.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)
    ycbcr = torch.cat([y * 255, ycbcr[:, 1:]], 1)
    return torch.from_numpy(ycbcr2rgb(ycbcr.permute(0, 2, 3, 1).numpy())).permute(0, 3, 1, 2)


def luma_by_hand(rgb: Tensor) -> Tensor:
    return torch.from_numpy(rgb2ycbcr(rgb.permute(0, 2, 3, 1).numpy())[..., :1]).permute(0, 3, 1, 2) / 255


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_the_network_makes_the_bicubic_luma_better_and_chroma_stays_bicubic(scale: int) -> None:
    upscaled = imresize(RGB, scale=scale)
    expected = colour_by_hand(upscaled, sharpen(luma_by_hand(upscaled)))
    out = LumaUpsampler(scale).double()(RGB, sharpen)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)  # the kernel was made in float32


@pytest.mark.parametrize("scale", [2, 3])
def test_the_network_may_upscale_by_itself(scale: int) -> None:
    def nearest(y: Tensor) -> Tensor:
        return y.repeat_interleave(scale, -2).repeat_interleave(scale, -1)

    expected = colour_by_hand(imresize(RGB, scale=scale), nearest(luma_by_hand(RGB)))
    out = LumaUpsampler(scale, pre_upscale=False).double()(RGB, nearest)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_one_channel_is_luma_already() -> None:
    y = RGB[:, :1]
    bicubic = BicubicUpsampler(2).double()
    assert torch.equal(LumaUpsampler(2, channels=1).double()(y, sharpen), sharpen(bicubic(y)))
    upscaling = LumaUpsampler(2, channels=1, pre_upscale=False).double()
    assert torch.equal(upscaling(y, bicubic), bicubic(y))


def test_grey_stays_grey() -> None:
    out = LumaUpsampler(3)(RGB[:, :1].float().expand(-1, 3, -1, -1), sharpen)
    torch.testing.assert_close(out, out[:, :1].expand(-1, 3, -1, -1), rtol=0, atol=1e-6)


def test_a_network_that_changes_nothing_leaves_the_bicubic_image() -> None:
    assert torch.equal(LumaUpsampler(2)(RGB.float(), lambda y: y), BicubicUpsampler(2)(RGB.float()))


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("reach", [0, 1, 2, 3, 4, 5, 6, 7, 8, 20])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_is_how_far_a_pixel_sees(scale: int, reach: int, channels: int) -> None:
    def spread(y: Tensor) -> Tensor:
        return nn.functional.conv2d(y, torch.ones(1, 1, 1, 2 * reach + 1).double(), padding=(0, reach))

    upsampler = LumaUpsampler(scale, channels).double()
    claim = upsampler.halo(reach)
    centre = claim + 3
    lr = torch.zeros(1, channels, 1, 2 * centre + 1, dtype=torch.float64)
    lit = lr.clone()
    lit[..., centre] = 1
    changed = (upsampler(lit, spread) - upsampler(lr, spread)).abs().sum((0, 1, 2)) > 1e-12
    seen = changed.nonzero() // scale - centre
    assert (seen.min(), seen.max()) == (-claim, claim)


@pytest.mark.parametrize(("channels", "halo"), [(3, 2), (1, 1)])
def test_bicubic_chroma_counts_where_the_network_sees_less(channels: int, halo: int) -> None:
    upsampler = LumaUpsampler(2, channels, pre_upscale=False)
    assert upsampler.halo(reach=1) == halo
    assert upsampler.halo(reach=9) == 9


def test_it_has_nothing_to_train_or_save() -> None:
    upsampler = LumaUpsampler(2)
    assert not list(upsampler.parameters())
    assert not upsampler.state_dict()


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_other_channels_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=rf"channels is {channels}; .* 3 \(RGB\) or 1 \(luma\)"):
        LumaUpsampler(2, channels)


def test_scales_below_one_are_refused() -> None:
    with pytest.raises(ValueError, match="scale is 0; it must be at least 1"):
        LumaUpsampler(0)
