import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio

from srzoo.metrics import Protocol, psnr


def noisy_pair(channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    hr = torch.rand(3, channels, 20, 24)
    return hr + 0.1 * torch.randn_like(hr), hr


def as_saved(image: torch.Tensor, border: int) -> np.ndarray:
    """b h w c, uint8, as read back from files, the border cut."""
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels[:, border : pixels.shape[1] - border, border : pixels.shape[2] - border]


@pytest.mark.parametrize("border", [0, 1, 4])
def test_y_equals_scikit_image_on_each_image_of_a_batch(border: int) -> None:
    sr, hr = noisy_pair()
    expected = [
        peak_signal_noise_ratio(rgb2ycbcr(b)[..., 0], rgb2ycbcr(a)[..., 0], data_range=255)
        for a, b in zip(as_saved(sr, border), as_saved(hr, border), strict=True)
    ]
    np.testing.assert_allclose(psnr(sr, hr, Protocol.paper(border)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_rgb_and_grey_equal_scikit_image(channels: int) -> None:
    sr, hr = noisy_pair(channels)
    expected = [
        peak_signal_noise_ratio(b, a, data_range=255) for a, b in zip(as_saved(sr, 2), as_saved(hr, 2), strict=True)
    ]
    np.testing.assert_allclose(psnr(sr, hr, Protocol(channel="rgb", border=2)), expected, rtol=0, atol=1e-6)


def test_unrounded_equals_scikit_image() -> None:
    sr, hr = noisy_pair()
    a, b = (image[0].double().clamp(0, 1).numpy() for image in (sr, hr))
    found = psnr(sr[:1], hr[:1], Protocol(channel="rgb", quantize=False)).item()
    assert found == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), abs=1e-6)


def test_equal_images_are_infinitely_good() -> None:
    image = torch.rand(2, 3, 8, 8)
    assert psnr(image, image, Protocol()).tolist() == [math.inf, math.inf]
    assert psnr(image, image + 1e-4, Protocol(quantize=False)).isfinite().all()


def test_one_level_of_error_is_48_dB() -> None:  # noqa: N802
    hr = torch.zeros(1, 1, 4, 4)
    found = psnr(hr + 1 / 255, hr, Protocol()).item()
    assert found == pytest.approx(20 * math.log10(255), abs=1e-6)


def test_what_lies_in_the_border_does_not_count() -> None:
    hr = torch.rand(1, 3, 12, 12)
    sr = hr.clone()
    sr[..., 3:-3, 3:-3] += 0.1
    before = psnr(sr, hr, Protocol(border=3))
    spoilt = sr.clone()
    spoilt[..., :3, :] = spoilt[..., -3:, :] = spoilt[..., :, :3] = spoilt[..., :, -3:] = 0
    assert torch.equal(psnr(spoilt, hr, Protocol(border=3)), before)
    assert psnr(spoilt, hr, Protocol(border=2)) < before


def test_studio_range_gains_1_32_dB_over_raw_grey() -> None:  # noqa: N802
    """Y squeezes 0..255 into 16..235: errors shrink by 219/255 against the same peak of 255."""
    hr = torch.rand(1, 1, 16, 16)
    sr = hr + 0.05 * torch.randn_like(hr)
    raw = psnr(sr, hr, Protocol())
    through_y = psnr(sr.expand(-1, 3, -1, -1), hr.expand(-1, 3, -1, -1), Protocol())
    assert (through_y - raw).item() == pytest.approx(20 * math.log10(255 / 219), abs=1e-9)
    assert 20 * math.log10(255 / 219) == pytest.approx(1.3219, abs=1e-4)


@pytest.mark.usefixtures("as_users_call")
def test_images_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="crop hr to a multiple of the scale first"):
        psnr(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9), Protocol())
