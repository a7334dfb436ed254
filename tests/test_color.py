import numpy as np
import pytest
import torch
from skimage.color import rgb2gray, rgb2ycbcr, ycbcr2rgb
from torch.utils._python_dispatch import TorchDispatchMode

from srzoo.color import replace_y, rgb_to_grey, rgb_to_y, rgb_to_ycbcr, ycbcr_to_rgb


def test_y_equals_scikit_image() -> None:
    rgb = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    expected = np.stack([rgb2ycbcr(image.permute(1, 2, 0).numpy())[..., :1] for image in rgb])
    np.testing.assert_allclose(rgb_to_y(rgb).permute(0, 2, 3, 1) * 255, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("rgb", "y"),
    [
        ((0, 0, 0), 16.0),
        ((1, 1, 1), 235.0),
        ((1, 0, 0), 81.481),
        ((0, 1, 0), 144.553),
        ((0, 0, 1), 40.966),
    ],
)
def test_y_of_the_corners_is_that_of_the_standard(rgb: tuple[int, int, int], y: float) -> None:
    pixel = torch.tensor(rgb, dtype=torch.float64).view(3, 1, 1)
    assert rgb_to_y(pixel).item() * 255 == pytest.approx(y, abs=1e-9)


def test_grey_keeps_equal_channels() -> None:
    grey = torch.rand(1, 1, 4, 4)
    torch.testing.assert_close(rgb_to_grey(grey.expand(-1, 3, -1, -1)), grey)


def test_grey_weighs_the_channels_as_image_files_do() -> None:
    primaries = torch.eye(3, dtype=torch.float64).view(3, 3, 1, 1)
    torch.testing.assert_close(rgb_to_grey(primaries).flatten(), torch.tensor([0.299, 0.587, 0.114]).double())
    rgb = torch.rand(3, 4, 4, dtype=torch.float64)
    # scikit-image has the weights of another standard (BT.709): close, and not the same
    other = torch.from_numpy(rgb2gray(rgb.permute(1, 2, 0).numpy()))
    assert 0 < (rgb_to_grey(rgb)[0] - other).abs().max() < 0.13


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_dtype_and_leading_axes_are_kept(dtype: torch.dtype) -> None:
    rgb = torch.rand(2, 4, 3, 5, 6, dtype=dtype)
    for luma in (rgb_to_y(rgb), rgb_to_grey(rgb)):
        assert luma.dtype == dtype
        assert luma.shape == (2, 4, 1, 5, 6)
    for image in (rgb_to_ycbcr(rgb), ycbcr_to_rgb(rgb), replace_y(rgb, rgb_to_y(rgb))):
        assert image.dtype == dtype
        assert image.shape == rgb.shape


def test_ycbcr_equals_scikit_image() -> None:
    rgb = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    expected = np.stack([rgb2ycbcr(image.permute(1, 2, 0).numpy()) for image in rgb])
    np.testing.assert_allclose(rgb_to_ycbcr(rgb).permute(0, 2, 3, 1) * 255, expected, rtol=0, atol=1e-9)


def test_rgb_of_ycbcr_equals_scikit_image() -> None:
    ycbcr = torch.rand(3, 5, 7, dtype=torch.float64)  # colours beyond [0, 1] among them
    expected = ycbcr2rgb(ycbcr.permute(1, 2, 0).numpy() * 255)
    np.testing.assert_allclose(ycbcr_to_rgb(ycbcr).permute(1, 2, 0), expected, rtol=0, atol=1e-12)


def test_rgb_comes_back_from_ycbcr() -> None:
    rgb = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb)), rgb, rtol=0, atol=1e-14)
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(rgb.float())), rgb.float(), rtol=0, atol=2e-6)


def test_luma_is_the_first_of_ycbcr() -> None:
    rgb = torch.rand(2, 3, 5, 7, dtype=torch.float64)
    torch.testing.assert_close(rgb_to_ycbcr(rgb)[:, :1], rgb_to_y(rgb), rtol=0, atol=1e-15)


def test_luma_is_replaced_and_chroma_kept() -> None:
    rgb, y = torch.rand(2, 3, 5, 7, dtype=torch.float64), torch.rand(2, 1, 5, 7, dtype=torch.float64)
    expected = ycbcr_to_rgb(torch.cat([y, rgb_to_ycbcr(rgb)[:, 1:]], 1))
    torch.testing.assert_close(replace_y(rgb, y), expected, rtol=0, atol=1e-14)
    torch.testing.assert_close(replace_y(rgb, rgb_to_y(rgb)), rgb, rtol=0, atol=0)


@pytest.mark.parametrize(
    "convert", [rgb_to_y, rgb_to_grey, rgb_to_ycbcr, ycbcr_to_rgb, lambda rgb: replace_y(rgb, rgb[:, :1])]
)
def test_nothing_is_copied_from_the_host(convert) -> None:
    ran = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            ran.append(str(func))
            return func(*args, **(kwargs or {}))

    rgb = torch.rand(1, 3, 4, 4)
    with Recorder():
        torch.tensor([1.0])
        known = ran.pop()  # what a constant made on the host shows up as
        convert(rgb)
    assert known not in ran
    assert ran
