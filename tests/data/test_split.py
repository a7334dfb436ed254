from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from srzoo.data import PatchSource
from srzoo.data.folders import ImageFolder
from srzoo.data.split import held_out_pairs, split_images
from srzoo.metrics import Protocol, ssim
from srzoo.resize import imresize


@dataclass(frozen=True)
class BoxWithNoise:
    """The mean of each block, and noise."""

    margin: int = 0
    noise: float = 0.0

    def __call__(self, hr: Tensor, scale: int, seeds: Sequence[int]) -> Tensor:
        lr = torch.nn.functional.avg_pool2d(hr, scale)
        noise = [np.random.default_rng(seed).normal(size=lr.shape[1:]) for seed in seeds]
        return lr + self.noise * torch.from_numpy(np.stack(noise)).float()


NAMES = st.lists(st.text("abcdef/.", min_size=1, max_size=6), unique=True, max_size=40)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(NAMES, st.floats(0.01, 0.99), st.integers(1, 12), st.integers(0, 3))
def test_some_are_held_out_never_all_in_the_order_of_the_names(names, fraction, most, seed):
    held = split_images(names, fraction, most, seed)
    assert held == [name for name in names if name in held]
    assert len(held) == min(
        max(round(len(names) * fraction), 2 if len(names) >= 8 else 1), most, max(len(names) - 1, 0)
    )


@given(NAMES, st.randoms())
def test_the_order_of_the_names_does_not_matter(names, random):
    shuffled = random.sample(names, len(names))
    assert set(split_images(names, 0.3)) == set(split_images(shuffled, 0.3))


@given(NAMES, st.text("xyz", min_size=1, max_size=4))
def test_a_new_image_moves_one_other_at_most(names, new):
    before, after = set(split_images(names, 0.3)), set(split_images([*names, new], 0.3))
    assert len(before - after) <= 1
    assert len(after - before) <= 1


def test_another_seed_holds_out_others():
    names = [f"{i}.png" for i in range(100)]
    first, again, other = (split_images(names, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert set(first) != set(other)
    assert len(first) == 10


@pytest.mark.parametrize(("fraction", "most"), [(0.0, 5), (1.0, 5), (-1.0, 5), (0.5, 0)])
def test_a_split_that_makes_no_sense_is_refused(fraction, most):
    with pytest.raises(ValueError, match="give a share between 0 and 1, and at least 1 image"):
        split_images(["a", "b"], fraction, most)


@pytest.fixture
def photos(tmp_path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(noise(53, 41)).save(folder / "a.png")
    Image.fromarray(noise(24, 30, seed=1)).save(folder / "b.png")
    return folder


@pytest.mark.parametrize("most_side", [24, 25, 384])
def test_a_pair_is_the_middle_of_the_image_with_the_lr_pixels_that_are_trained_on(photos, tmp_path, most_side):
    source = PatchSource(photos, scales=(2,), cache=tmp_path / "cache")
    whole = torch.from_numpy(noise(53, 41)).permute(2, 0, 1)[:, :52, :40]
    lr = imresize(whole, scale=0.5)
    [pair] = held_out_pairs(source, ["a.png"], 2, most_side)
    if most_side < 40:
        assert torch.equal(pair.hr, whole[:, 14:38, 8:32])
        assert torch.equal(pair.lr, lr[:, 7:19, 4:16])
    else:
        assert torch.equal(pair.hr, whole)
        assert torch.equal(pair.lr, lr)
    assert (pair.name, pair.scale) == ("a", 2)
    assert pair.lr.is_contiguous()
    assert pair.hr.is_contiguous()


def test_pairs_of_a_paired_folder_have_its_lr_images(photos, tmp_path):
    (tmp_path / "lr").mkdir()
    for name, size in (("a.png", (26, 20)), ("b.png", (12, 15))):
        Image.fromarray(noise(*size, seed=5)).save(tmp_path / "lr" / name)
    source = PatchSource(ImageFolder(photos, lr=tmp_path / "lr"), scales=(2,), cache=tmp_path / "cache")
    pairs = held_out_pairs(source, ["b.png", "a.png"], 2)
    assert [pair.name for pair in pairs] == ["b", "a"]
    assert np.array_equal(pairs[1].lr.permute(1, 2, 0), noise(26, 20, seed=5))


@pytest.mark.parametrize("most_side", [16, 384])
def test_pairs_are_degraded_with_what_lies_around_the_crop_and_always_the_same(photos, tmp_path, most_side):
    degradation = BoxWithNoise(margin=2, noise=0.1)
    source = PatchSource(photos, scales=(2,), degradation=degradation, cache=tmp_path / "cache")
    first, again = (held_out_pairs(source, ["a.png", "b.png"], 2, most_side) for _ in range(2))
    alone = held_out_pairs(source.without(["b.png"]), ["b.png"], 2, most_side)
    for one, other in zip([*first, first[1]], [*again, *alone], strict=True):
        assert torch.equal(one.lr, other.lr)
        assert torch.equal(one.hr, other.hr)
    assert first[0].hr.shape == ((3, 16, 16) if most_side == 16 else (3, 52, 40))
    quiet = PatchSource(photos, scales=(2,), degradation=BoxWithNoise(margin=2), cache=tmp_path / "cache")
    [pair] = held_out_pairs(quiet, ["a.png"], 2, most_side)
    mean = torch.nn.functional.avg_pool2d(pair.hr.float(), 2).add(0.5).floor()
    assert torch.equal(pair.lr.float(), mean)
    assert not torch.equal(pair.lr, first[0].lr)


def test_faults_are_named(photos, tmp_path):
    Image.fromarray(noise(1, 30)).save(photos / "flat.png")
    source = PatchSource(photos, scales=(2,), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"no image is called 'c\.png'"):
        held_out_pairs(source, ["c.png"], 2)
    with pytest.raises(ValueError, match="this source has no x3; it has x2"):
        held_out_pairs(source, ["a.png"], 3)
    with pytest.raises(ValueError, match=r"flat\.png is 30x1; scores at x2 need at least 16 pixels on each side"):
        held_out_pairs(source, ["flat.png"], 2)
    with pytest.raises(ValueError, match="most_side is 1; scores at x2 need at least 16 pixels"):
        held_out_pairs(source, ["a.png"], 2, most_side=1)

    @dataclass(frozen=True)
    class Halved(BoxWithNoise):
        def __call__(self, hr, scale, seeds):
            return super().__call__(hr, 2 * scale, seeds)

    wrong = PatchSource(photos, scales=(2,), degradation=Halved(), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"a\.png cannot be validated on: .*made LR patches of shape"):
        held_out_pairs(wrong, ["a.png"], 2)


def test_what_is_held_out_is_not_drawn(tmp_path):
    (tmp_path / "levels").mkdir()
    for level in range(10):
        Image.fromarray(np.full((16, 16, 3), level, np.uint8)).save(tmp_path / "levels" / f"{level}.png")
    Image.fromarray(np.full((16, 16, 3), 0, np.uint8)).save(tmp_path / "levels" / "copy.png")
    source = PatchSource(tmp_path / "levels", scales=(2,), cache=tmp_path / "cache")
    assert source.names == tuple(f"{level}.png" for level in range(10))
    held = [*split_images(source.names, 0.3), "copy.png"]  # which takes 0.png with it
    pairs = held_out_pairs(source, held, 2)
    _, hr = source.without(held).sample(np.random.default_rng(0), scale=2, batch_size=500, patch_size=4)
    drawn, kept = set(hr[:, 0, 0, 0].tolist()), {int(pair.hr[0, 0, 0]) for pair in pairs}
    assert not drawn & kept
    assert drawn | kept == set(range(10))


def test_the_smallest_image_that_is_taken_can_be_scored(tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    Image.fromarray(noise(19, 18)).save(folder / "enough.png")
    Image.fromarray(noise(17, 40)).save(folder / "small.png")
    source = PatchSource(folder, scales=(3,), cache=tmp_path / "cache")
    [pair] = held_out_pairs(source, ["enough.png"], 3)
    sr = pair.hr[None].float() / 255
    assert ssim(sr.flip(-1), sr, Protocol.paper(3)).shape == (1,)
    with pytest.raises(ValueError, match=r"small\.png is 40x17; scores at x3 need at least 18 pixels"):
        held_out_pairs(source, ["small.png"], 3)
