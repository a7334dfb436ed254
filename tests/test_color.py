import numpy as np
import pytest
import torch
from skimage.color import rgb2gray, rgb2ycbcr

from srzoo.color import rgb_to_grey, rgb_to_y


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
