import pytest
import torch

from srzoo.blocks import DIV2K_MEAN, MeanShift


def test_takes_images_to_levels_without_the_mean_of_div2k() -> None:
    image = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
    expected = torch.tensor([255 - 0.4488 * 255, 127.5 - 0.4371 * 255, -0.4040 * 255])
    torch.testing.assert_close(MeanShift()(image).flatten(), expected)


def test_the_mean_image_becomes_zero() -> None:
    assert MeanShift()(torch.tensor(DIV2K_MEAN).view(1, 3, 1, 1)).abs().max() == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_restore_undoes_it(channels: int) -> None:
    shift = MeanShift(channels).double()
    image = torch.rand(2, channels, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(shift.restore(shift(image)), image)


def test_grey_loses_the_luma_of_the_mean_and_a_fourth_channel_nothing() -> None:
    rgb = torch.tensor(DIV2K_MEAN)
    luma = (0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]).view(1)
    torch.testing.assert_close(MeanShift(1)(torch.zeros(1, 1, 1, 1)).flatten(), -255 * luma)
    four = MeanShift(4)(torch.ones(1, 4, 1, 1)).flatten()
    torch.testing.assert_close(four, torch.cat([255 * (1 - rgb), torch.tensor([255.0])]))


def test_another_mean_is_taken() -> None:
    shift = MeanShift(3, mean=(0.0, 0.5, 1.0))
    assert shift(torch.ones(1, 3, 1, 1)).flatten().tolist() == [255, 127.5, 0]


def test_it_has_nothing_to_save_and_follows_the_dtype() -> None:
    shift = MeanShift()
    assert not shift.state_dict()
    assert not list(shift.parameters())
    assert shift.bfloat16()(torch.rand(1, 3, 2, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("channels", [0, 2, 5])
def test_other_channel_counts_are_refused(channels: int) -> None:
    with pytest.raises(ValueError, match=f"channels is {channels}; .* 1 \\(grey\\), 3 \\(RGB\\) or 4"):
        MeanShift(channels)
