import pytest
import torch

from srzoo.color import rgb_to_y
from srzoo.metrics import Protocol
from srzoo.metrics.protocol import prepare


def test_the_papers_protocol_is_y_with_the_scale_as_border() -> None:
    assert Protocol.paper(3) == Protocol(channel="y", border=3, quantize=True)
    assert str(Protocol.paper(3)) == "Y, 8-bit, border 3"


def test_the_div2k_protocol_is_rgb_with_six_more_pixels() -> None:
    assert Protocol.div2k(4) == Protocol(channel="rgb", border=10, quantize=True)
    assert str(Protocol(channel="rgb", border=10, quantize=False)) == "RGB, unrounded, border 10"


def test_the_border_is_cut_from_every_side() -> None:
    image = torch.arange(5 * 6).view(1, 1, 5, 6) / 255
    inside = Protocol(border=2).apply(image)
    torch.testing.assert_close(inside, torch.tensor([[[[14.0, 15.0]]]], dtype=torch.float64))
    assert Protocol(border=0).apply(image).shape == image.shape


def test_quantisation_rounds_and_clamps_before_luma() -> None:
    rgb = torch.tensor([-0.3, 100.4 / 255, 1.7]).view(1, 3, 1, 1)
    stored = torch.tensor([0, 100, 255]).double().view(1, 3, 1, 1) / 255
    rounded = Protocol().apply(rgb)
    torch.testing.assert_close(rounded, rgb_to_y(stored) * 255)
    assert rounded.frac().abs() > 0.01  # Y itself is not rounded
    unrounded = Protocol(channel="rgb", quantize=False).apply(rgb).flatten()
    torch.testing.assert_close(unrounded, torch.tensor([0, 100.4, 255]).double(), rtol=0, atol=1e-4)


def test_grey_is_scored_raw_under_y() -> None:
    grey = torch.tensor([[[[0.0, 1.0]]]])
    torch.testing.assert_close(Protocol().apply(grey).flatten(), torch.tensor([0.0, 255.0]).double())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_every_8_bit_level_survives_in_every_dtype(dtype: torch.dtype) -> None:
    levels = torch.arange(256)
    image = (levels / 255).to(dtype).view(1, 1, 16, 16)
    found = Protocol(channel="rgb").apply(image)
    torch.testing.assert_close(found.flatten(), levels.double())


@pytest.mark.usefixtures("as_users_call")
def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match="channel is 'luma'; allowed are 'y' and 'rgb'"):
        Protocol(channel="luma")
    with pytest.raises(ValueError, match="border is -1"):
        Protocol(border=-1)
    with pytest.raises(ValueError, match="border of 3 leaves nothing of an image of 6x20"):
        Protocol(border=3).apply(torch.rand(1, 3, 6, 20))
    with pytest.raises(ValueError, match="image has 4 channels"):
        Protocol().apply(torch.rand(1, 4, 6, 6))
    with pytest.raises(ValueError, match=r"sr has shape \(1, 3, 6, 6\) and hr \(1, 3, 7, 6\)"):
        prepare(torch.rand(1, 3, 6, 6), torch.rand(1, 3, 7, 6), Protocol())
