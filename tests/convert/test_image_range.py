from pathlib import Path

import pytest
import torch
from foreign_nets import MEAN, add_shift, basicsr_edsr, mmagic_edsr, official_edsr, saved

from srzoo.convert import convert_checkpoint, convert_file

OLD_MEAN = torch.tensor([0.4690, 0.4490, 0.4036])  # DIV2K and Flickr2K together, in some forks


@pytest.mark.parametrize("key", ["sub_mean.bias", "add_mean.bias", "sub_mean.weight", "add_mean.weight"])
def test_another_mean_is_refused(key: str, tmp_path: Path) -> None:
    state = official_edsr(2)
    state[key] = state[key] * 1.01
    with pytest.raises(ValueError, match=f"{key} of the checkpoint is not DIV2K's mean .*pads with zeros"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_the_mean_of_another_data_set_is_refused(tmp_path: Path) -> None:
    state = official_edsr(2) | {"sub_mean.bias": -255 * OLD_MEAN, "add_mean.bias": 255 * OLD_MEAN}
    with pytest.raises(ValueError, match=r"not DIV2K's mean .* but -119\.6, -114\.5, -102\.9"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_the_ranges_of_both_means_must_agree(tmp_path: Path) -> None:
    state = official_edsr(2) | {"add_mean.bias": MEAN}
    with pytest.raises(ValueError, match=r"add_mean\.bias of the checkpoint is not"):
        convert_checkpoint(saved(state, tmp_path / "edsr.pt"))


def test_the_mean_may_be_left_out(tmp_path: Path) -> None:
    state = {key: value for key, value in official_edsr(2).items() if "mean" not in key}
    done = convert_file(saved(state, tmp_path / "edsr.pt"))
    assert (done.model.scales, done.image_range) == ((2,), 255)


def test_a_range_that_the_mean_contradicts_is_refused(tmp_path: Path) -> None:
    path = saved(official_edsr(2), tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match=r"mean is removed on the range 0\.\.255, not 0\.\.1 as given"):
        convert_checkpoint(path, image_range=1.0)
    assert convert_file(path, image_range=255.0).image_range == 255
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="it is what white is to the network, such as 1 or 255"):
            convert_checkpoint(path, image_range=wrong)


def test_an_unusual_range_must_be_given(tmp_path: Path) -> None:
    state = official_edsr(2)
    add_shift(state, 1023)
    path = saved(state, tmp_path / "edsr.pt")
    with pytest.raises(ValueError, match="is not DIV2K's mean"):
        convert_checkpoint(path)
    assert convert_file(path, image_range=1023.0).image_range == 1023


@pytest.mark.parametrize(("key", "make"), [("mean", basicsr_edsr), ("mean", mmagic_edsr), ("std", mmagic_edsr)])
def test_means_that_are_attributes_are_checked_where_they_are_stored(key: str, make, tmp_path: Path) -> None:
    right = {"mean": MEAN, "std": torch.ones(3)}[key].view(1, 3, 1, 1)
    path = tmp_path / "edsr.pth"
    assert convert_checkpoint(saved(make(2) | {key: right}, path)).scales == (2,)
    for wrong in (right + 0.01, right[:, :1]):
        with pytest.raises(ValueError, match=f"{key} of the checkpoint is not"):
            convert_checkpoint(saved(make(2) | {key: wrong}, path))


def test_weights_stay_and_biases_are_scaled_by_one_rounding(tmp_path: Path) -> None:
    state = mmagic_edsr(2)
    ours = convert_checkpoint(saved(state, tmp_path / "edsr.pth")).state_dict()
    assert torch.equal(ours["head.weight"], state["conv_first.weight"])
    assert torch.equal(ours["tail.bias"], state["conv_last.bias"] * 255)
    assert torch.equal(ours["body.2.bias"], state["conv_after_body.bias"] * 255)
