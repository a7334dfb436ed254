import pytest
import torch

from srzoo.blocks import BicubicUpsampler
from srzoo.resize import imresize


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("shape", [(2, 3, 6, 9), (1, 1, 1, 1), (1, 4, 1, 2), (1, 2, 5, 1)])
def test_equals_imresize(scale: int, shape: tuple[int, ...]) -> None:
    image = torch.rand(shape)
    out = BicubicUpsampler(scale)(image)
    assert out.shape == (*shape[:2], shape[2] * scale, shape[3] * scale)
    torch.testing.assert_close(out, imresize(image, scale=scale), rtol=0, atol=2e-6)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_halo_is_how_far_a_pixel_sees(scale: int) -> None:
    upsample = BicubicUpsampler(scale)
    image = torch.zeros(1, 1, 11, 11)
    image[..., 5, 5] = 1
    touched = upsample(image).abs().sum((0, 1, 2)).nonzero() // scale
    assert touched.min() == 5 - upsample.halo
    assert touched.max() == 5 + upsample.halo


def test_it_has_nothing_to_train_or_save() -> None:
    upsample = BicubicUpsampler(2)
    assert not list(upsample.parameters())
    assert not upsample.state_dict()


@pytest.mark.parametrize("scale", [0, -1])
def test_scales_below_one_are_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=f"scale is {scale}; it must be at least 1"):
        BicubicUpsampler(scale)
