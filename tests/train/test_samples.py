from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import srzoo
from srzoo.benchmark import evaluate
from srzoo.data.pairs import Pair
from srzoo.resize import imresize
from srzoo.train.samples import GAP, TITLE, draw_samples, evaluating, most_changed, spread, super_resolve


def pair_of(height: int = 120, width: int = 144, *, scale: int = 2, channels: int = 3, name: str = "waves") -> Pair:
    generator = torch.Generator().manual_seed(height * width)
    hr = torch.randint(0, 256, (channels, height, width), dtype=torch.uint8, generator=generator)
    return Pair(name, imresize(hr, scale=1 / scale), hr, scale)


class Bicubic(nn.Module):
    """Bicubic, but for a square that is made brighter."""

    def __init__(self, top: int = 0, left: int = 0, amount: float = 0.0) -> None:
        super().__init__()
        self.place = (top, left)
        self.amount = amount
        self.modes: list[bool] = []

    def forward(self, lr: Tensor) -> Tensor:
        self.modes.append(self.training or torch.is_grad_enabled())
        sr = imresize(lr, scale=2).clamp(0, 1)
        top, left = self.place
        sr[..., top : top + 10, left : left + 10] += self.amount
        return sr


def columns(path: Path, count: int, factor: int = 3) -> tuple[list[np.ndarray], np.ndarray]:
    """The crops of a strip at their own size, and the whole strip."""
    pixels = np.asarray(Image.open(path))
    side = (pixels.shape[1] - GAP) // count - GAP
    crops = []
    for i in range(count):
        left = GAP + i * (side + GAP)
        crop = pixels[TITLE : TITLE + side, left : left + side]
        assert (crop == np.repeat(np.repeat(crop[::factor, ::factor], factor, 0), factor, 1)).all()
        crops.append(crop[::factor, ::factor])
    return crops, pixels


@pytest.mark.parametrize(("top", "left"), [(0, 0), (3, 130), (100, 2), (108, 132), (50, 60)])
def test_the_square_that_changed_most_is_found(top, left):
    hr = pair_of().hr
    other = hr.clone()
    other[:, top : top + 10, left : left + 10] = 255 - other[:, top : top + 10, left : left + 10]
    at = most_changed(hr, other, 24)
    inside = min(top + 10, 120, at[0] + 24) - max(top, at[0]), min(left + 10, 144, at[1] + 24) - max(left, at[1])
    assert inside == (10, 10)


def test_the_square_agrees_with_a_search_over_all():
    one, other = (torch.randint(0, 256, (3, 30, 40), dtype=torch.uint8) for _ in range(2))
    difference = (one.int() - other.int()).abs().sum(0)
    sums = {(y, x): int(difference[y : y + 9, x : x + 9].sum()) for y in range(22) for x in range(32)}
    assert most_changed(one, other, 9) == max(sums, key=lambda place: sums[place])


def test_a_strip_shows_bicubic_before_after_and_hr_of_that_crop(tmp_path):
    pair = pair_of()
    after = Bicubic(100, 120, 0.5)
    [path] = draw_samples([pair], Bicubic(), after, tmp_path / "new" / "samples")
    assert path == tmp_path / "new" / "samples" / "1_waves_x2.png"
    crops, pixels = columns(path, 4)
    assert pixels.shape == (96 * 3 + 2 * TITLE, GAP + 4 * (288 + GAP), 3)
    hr = crops[3]
    places = [
        (y, x) for y in range(25) for x in range(49)
        if (pair.hr[:, y : y + 96, x : x + 96].permute(1, 2, 0).numpy() == hr).all()
    ]  # fmt: skip
    [(y, x)] = places
    assert y + 96 >= 110
    assert x + 96 >= 130  # the bright square lies in it
    bicubic = imresize(pair.lr, scale=2)[:, y : y + 96, x : x + 96].permute(1, 2, 0).numpy()
    assert (crops[0] == bicubic).all()
    assert np.abs(crops[1].astype(int) - bicubic).max() <= 1  # rounded once instead of after each pass
    changed = np.abs(crops[2].astype(int) - crops[1]).max(-1) > 2
    rows, cols = np.nonzero(changed)
    assert (rows.min() + y, rows.max() + y, cols.min() + x, cols.max() + x) == (100, 109, 120, 129)
    assert (pixels[:TITLE] < 128).any()  # titles and caption are there
    assert (pixels[-TITLE:] < 150).any()


def test_without_a_before_its_column_is_left_out(tmp_path):
    pair = pair_of()
    [path] = draw_samples([pair], None, Bicubic(0, 0, 0.5), tmp_path)
    crops, _ = columns(path, 3)
    assert (crops[2] == pair.hr[:, :96, :96].permute(1, 2, 0).numpy()).all()


def test_small_images_are_shown_whole_and_enlarged_more(tmp_path):
    [path] = draw_samples([pair_of(24, 32)], None, Bicubic(), tmp_path)
    crops, _ = columns(path, 3, factor=12)
    assert crops[0].shape == (24, 24, 3)


def test_grey_pairs_go_through_rgb_networks(tmp_path):
    pair = pair_of(24, 24, channels=1)
    assert super_resolve(srzoo.create_model("bicubic_x2"), pair).shape == (1, 24, 24)
    [path] = draw_samples([pair], None, Bicubic(), tmp_path)
    crops, _ = columns(path, 3, factor=12)
    assert (crops[2] == pair.hr[0, :, :, None].numpy()).all()


def test_a_grey_network_that_is_not_of_the_zoo_is_given_grey(tmp_path):
    network = nn.Sequential(nn.Conv2d(1, 1, 1), nn.Upsample(scale_factor=2))
    pair = pair_of(24, 24, channels=1)
    assert super_resolve(network, pair).shape == (1, 24, 24)
    assert len(draw_samples([pair], network, network, tmp_path)) == 1


def test_of_four_channels_the_rgb_part_is_shown(tmp_path):
    pair = pair_of(24, 24, channels=4)
    model = srzoo.create_model("bicubic_x2", channels=4)
    assert super_resolve(model, pair).shape == (4, 24, 24)
    [path] = draw_samples([pair], None, model, tmp_path)
    crops, _ = columns(path, 3, factor=12)
    assert (crops[2] == pair.hr[:3].permute(1, 2, 0).numpy()).all()
    with pytest.raises(ValueError, match="waves has 4 channels, the model takes 3"):
        super_resolve(srzoo.create_model("bicubic_x2"), pair)


def test_it_is_the_image_that_is_scored():
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1)
    pair = pair_of(24, 32)
    sr = super_resolve(model, pair)
    [score] = evaluate(lambda _: sr[None].float() / 255, [pair])
    assert score == evaluate(model, [pair])[0]


def test_networks_are_run_in_eval_mode_without_gradients_and_put_back():
    model = nn.Sequential(Bicubic(), nn.Identity(), nn.Dropout(0.5)).train()
    model[1].eval()
    super_resolve(model, pair_of(24, 24))
    assert model[0].modes == [False]
    assert [module.training for module in model.modules()] == [True, True, False, True]
    with pytest.raises(RuntimeError, match="stop"), evaluating(model):
        raise RuntimeError("stop")
    assert model.training


def test_pairs_are_spread_over_all_of_them_and_names_do_not_clash(tmp_path):
    pairs = [pair_of(24, 24, name=name) for name in ("a", "a", "dir/b", "c", "c", "c", "c", "c")]
    assert spread(range(8), 3) == [0, 2, 5]
    assert spread([1, 2], 6) == [1, 2]
    assert spread([], 6) == []
    paths = draw_samples(pairs[:3], None, Bicubic(), tmp_path)
    assert [path.name for path in paths] == ["1_a_x2.png", "2_a_x2.png", "3_dir_b_x2.png"]
    assert len(draw_samples(pairs, None, Bicubic(), tmp_path)) == 6
    assert draw_samples([], None, Bicubic(), tmp_path) == []


def test_wrong_sizes_and_counts_are_told(tmp_path):
    with pytest.raises(ValueError, match="num_samples is 0"):
        draw_samples([], None, Bicubic(), tmp_path, num_samples=0)
    with pytest.raises(ValueError, match=r"'after' of waves x2 has shape \(3, 12, 12\)"):
        draw_samples([pair_of(24, 24)], None, nn.Identity(), tmp_path)
    assert not list(tmp_path.iterdir())
