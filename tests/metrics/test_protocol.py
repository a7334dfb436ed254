import pytest
import torch

from srzoo.color import rgb_to_y
from srzoo.metrics import PROTOCOLS, Protocol


def test_the_papers_protocol_is_y_with_the_scale_as_border() -> None:
    assert Protocol.paper(3) == Protocol(channel="y", border=3, quantize=True)
    assert str(Protocol.paper(3)) == "Y, 8-bit, border 3"


def test_the_div2k_protocol_is_rgb_with_six_more_pixels() -> None:
    assert Protocol.div2k(4) == Protocol(channel="rgb", border=10, quantize=True)
    assert str(Protocol(channel="rgb", border=10, quantize=False)) == "RGB, unrounded, border 10"


def test_protocols_have_names_and_say_what_they_do() -> None:
    said = {name: str(make(3)) for name, make in PROTOCOLS.items()}
    assert said == {
        "paper": "Y, 8-bit, border 3",
        "div2k": "RGB, 8-bit, border 9",
        "rgb": "RGB, 8-bit, border 3",
        "y-rounded": "Y rounded, 8-bit, border 3",
    }
    settings = [Protocol(c, 1, q, r) for c in ("y", "rgb") for q in (True, False) for r in (True, False)[c == "rgb" :]]
    assert len({str(protocol) for protocol in settings}) == len(settings) == 6


def test_luma_of_each_8_bit_grey_is_rounded_half_up_as_matlab_does() -> None:
    greys = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    found = Protocol(round_luma=True).apply(greys).flatten()
    expected = [(2 * (219_000 * grey + 16 * 255_000) + 255_000) // 510_000 for grey in range(256)]  # whole numbers
    assert found.tolist() == expected
    assert (found[0], found[255]) == (16, 235)


def test_luma_that_ends_on_a_half_is_rounded_up() -> None:
    """65481 R + 128553 G + 24966 B over 255000 has exact ties, which weights with decimals would blur."""
    colours = torch.cartesian_prod(torch.arange(0, 256, 5), torch.arange(256), torch.arange(256))
    ties = colours[(colours * torch.tensor([65481, 128553, 24966])).sum(1) % 255_000 == 127_500]
    assert len(ties)
    image = ties.T.reshape(1, 3, 1, -1).to(torch.uint8)
    unrounded, rounded = (Protocol(round_luma=r).apply(image) for r in (False, True))
    assert torch.equal(rounded, unrounded + 0.5)
    torch.testing.assert_close(Protocol(round_luma=True).apply(image / 255), rounded, rtol=0, atol=0)


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


def test_a_half_is_rounded_to_the_even_level() -> None:
    levels = torch.linspace(0, 255, 5101, dtype=torch.float64)  # steps of 0.05, halves among them
    image = torch.cat([levels, torch.tensor([0.5, 1.5, 2.5, 253.5, 254.5]).double()]).view(1, 1, 1, -1) / 255
    assert torch.equal(Protocol().apply(image), (image * 255).round())
    assert Protocol().apply(image).flatten()[-5:].tolist() == [0, 2, 2, 254, 254]


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
    with pytest.raises(ValueError, match="round_luma is True, but channel is 'rgb' and has no luma"):
        Protocol(channel="rgb", round_luma=True)
    with pytest.raises(ValueError, match="border of 3 leaves nothing of an image of 6x20"):
        Protocol(border=3).apply(torch.rand(1, 3, 6, 20))
    with pytest.raises(ValueError, match="image has 4 channels"):
        Protocol().apply(torch.rand(1, 4, 6, 6))
