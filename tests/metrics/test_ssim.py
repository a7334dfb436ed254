import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import structural_similarity

from srzoo.metrics import Protocol, ssim
from srzoo.metrics.ssim import similarity


def noisy_pair(channels: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    wave = torch.sin(torch.arange(24) / 3)
    hr = (0.5 + 0.3 * wave + 0.1 * torch.rand(3, channels, 20, 24)).clamp(0, 1)
    noise = torch.tensor([0.02, 0.1, 0.4]).view(3, 1, 1, 1)  # from nearly equal to hardly alike
    return hr + noise * torch.randn_like(hr), hr


def as_saved(image: torch.Tensor, border: int) -> np.ndarray:
    pixels = (image.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return pixels[:, border : pixels.shape[1] - border, border : pixels.shape[2] - border]


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    return structural_similarity(
        a.astype(np.float64),
        b.astype(np.float64),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
        channel_axis=-1,
    )


@pytest.mark.parametrize("border", [0, 2, 4])
def test_y_equals_scikit_image_on_each_image_of_a_batch(border: int) -> None:
    sr, hr = noisy_pair()
    expected = [
        reference_ssim(rgb2ycbcr(a)[..., :1], rgb2ycbcr(b)[..., :1])
        for a, b in zip(as_saved(sr, border), as_saved(hr, border), strict=True)
    ]
    assert expected[0] - expected[2] > 0.3
    np.testing.assert_allclose(ssim(sr, hr, Protocol.paper(border)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_rgb_and_grey_equal_scikit_image(channels: int) -> None:
    sr, hr = noisy_pair(channels)
    expected = [reference_ssim(a, b) for a, b in zip(as_saved(sr, 1), as_saved(hr, 1), strict=True)]
    found = ssim(sr, hr, Protocol(channel="rgb", border=1))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_equal_images_score_one_and_order_does_not_matter() -> None:
    sr, hr = (image.clamp(0, 1) for image in noisy_pair())
    torch.testing.assert_close(ssim(hr, hr, Protocol()), torch.ones(3).double())
    torch.testing.assert_close(ssim(sr, hr, Protocol()), ssim(hr, sr, Protocol()))


def test_a_negative_scores_below_zero() -> None:
    _, hr = noisy_pair(1)
    assert (ssim(1 - hr, hr, Protocol()) < 0).all()


def test_the_window_needs_11_pixels_inside_the_border() -> None:
    image = torch.rand(1, 3, 15, 17)
    assert ssim(image, image, Protocol(border=2)).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="9x11 pixels are left inside the border; SSIM needs at least 11x11"):
        ssim(image, image, Protocol(border=3))


def check_single_precision(device: str) -> None:
    """SSIM and its gradient in fp32 are those of float64, on images whose variances are small differences."""
    hr = 0.7 + 0.02 * torch.randn(2, 3, 40, 44, dtype=torch.float64)
    sr = hr + 0.02 * torch.randn_like(hr)
    found = []
    for at, dtype in (("cpu", torch.float64), (device, torch.float32)):
        x = sr.to(at, dtype).requires_grad_()
        values = similarity(x, hr.to(at, dtype), 1.0)
        (gradient,) = torch.autograd.grad(values.mean(), x)
        found.append((values.detach().cpu().double(), gradient.cpu().double()))
    (values, gradient), (single_values, single_gradient) = found
    torch.testing.assert_close(single_values, values, rtol=0, atol=1e-3)
    torch.testing.assert_close(single_gradient, gradient, rtol=0, atol=1e-3 * float(gradient.abs().max()))


def test_single_precision_is_enough() -> None:
    check_single_precision("cpu")


@pytest.mark.gpu
def test_single_precision_is_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(torch.backends.cuda.matmul, "allow_tf32", True)
    check_single_precision("cuda")
