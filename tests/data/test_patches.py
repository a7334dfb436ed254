from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data import PatchSource
from srzoo.data.cache import PixelCache


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder_of(parent: Path, images: dict[str, np.ndarray]) -> Path:
    folder = parent / "photos"
    folder.mkdir()
    for name, pixels in images.items():
        Image.fromarray(pixels).save(folder / name)
    return folder


def reference_orientations(image: np.ndarray) -> list[np.ndarray]:
    """The eight flips and transposes of an image h w c, written without rotations."""
    views = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    return views + [view.transpose(1, 0, 2) for view in views]


def locate(lr_patch, hr_patch, lr, hr, scale: int) -> tuple[int, int, int]:
    """Row, column and orientation at which both patches are cut from the images; fails if there is none."""
    side = lr_patch.shape[-1]
    lr_patch, hr_patch = (patch.permute(1, 2, 0).numpy() for patch in (lr_patch, hr_patch))
    for y in range(lr.shape[0] - side + 1):
        for x in range(lr.shape[1] - side + 1):
            corner, far_corner = (y * scale, x * scale), ((y + side) * scale, (x + side) * scale)
            lr_views = reference_orientations(lr[y : y + side, x : x + side])
            hr_views = reference_orientations(hr[corner[0] : far_corner[0], corner[1] : far_corner[1]])
            for k, (lr_view, hr_view) in enumerate(zip(lr_views, hr_views, strict=True)):
                if np.array_equal(lr_view, lr_patch) and np.array_equal(hr_view, hr_patch):
                    return y, x, k
    raise AssertionError("the LR and HR patch are no aligned crop of the image")


@pytest.mark.parametrize("scale", [2, 3])
def test_lr_and_hr_patches_are_the_same_crop_in_the_same_orientation_of_eight(tmp_path, scale):
    folder = folder_of(tmp_path, {"a.png": noise(6 * scale + 1, 7 * scale + 1)})
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    images = PixelCache.build(folder, root=tmp_path / "cache")
    lr_batch, hr_batch = data.sample(np.random.default_rng(0), scale=scale, batch_size=200, patch_size=5)
    assert lr_batch.shape == (200, 3, 5, 5)
    assert hr_batch.shape == (200, 3, 5 * scale, 5 * scale)
    lr, hr = images.image(0, scale), images.image(0)
    places = [locate(*pair, lr, hr, scale) for pair in zip(lr_batch, hr_batch, strict=True)]
    assert {(y, x) for y, x, _ in places} == {(y, x) for y in range(2) for x in range(3)}
    counts = Counter(k for _, _, k in places)
    assert set(counts) == set(range(8))
    assert min(counts.values()) > 10  # 25 expected


def test_patches_are_a_pure_function_of_the_generator(photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")

    def draw(seed):
        return data.sample(np.random.default_rng(seed), scale=2, batch_size=4, patch_size=8)

    first, again, other = draw(5), draw(5), draw(6)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def share_of_white(data: PatchSource, draws: int = 800) -> float:
    _, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=draws, patch_size=2)
    return (hr[:, 0, 0, 0] == 255).float().mean().item()


@pytest.fixture
def black_and_white(tmp_path) -> Path:
    """A black image, and a white one of a third of its pixels."""
    black, white = np.zeros((12, 12, 3), np.uint8), np.full((12, 4, 3), 255, np.uint8)
    return folder_of(tmp_path, {"black.png": black, "white.png": white})


def test_images_are_drawn_in_proportion_to_their_pixels(black_and_white, tmp_path):
    data = PatchSource(black_and_white, scales=(2,), cache=tmp_path / "cache")
    assert share_of_white(data) == pytest.approx(0.25, abs=0.05)


@pytest.mark.parametrize(("black", "white", "share"), [(1, 9, 0.75), (1, 0, 0.0), (0, 1, 1.0)])
def test_weights_bias_the_draw(black_and_white, tmp_path, black, white, share):
    weights = {"black.png": float(black), "white.png": float(white)}
    data = PatchSource(black_and_white, scales=(2,), weights=weights, cache=tmp_path / "cache")
    assert share_of_white(data) == pytest.approx(share, abs=0.05 if 0 < share < 1 else 0)


def test_images_without_a_weight_are_named(photo_folder, tmp_path):
    weights = {f"photo{i}.png": 1.0 for i in (0, 2, 3, 5)}
    with pytest.raises(ValueError, match=r"no sampling weight for photo1\.png, photo4\.png$"):
        PatchSource(photo_folder, scales=(2,), weights=weights, cache=tmp_path / "cache")


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_weights_that_are_no_chances_are_refused(photo_folder, tmp_path, weight):
    weights = {f"photo{i}.png": weight for i in range(6)}
    with pytest.raises(ValueError, match="sampling weights must be 0 or more"):
        PatchSource(photo_folder, scales=(2,), weights=weights, cache=tmp_path / "cache")


def test_the_fingerprint_tells_images_and_weights(black_and_white, tmp_path):
    def fingerprint(**weights):
        named = {f"{name}.png": weight for name, weight in weights.items()} or None
        return PatchSource(black_and_white, scales=(2,), weights=named, cache=tmp_path / "cache").fingerprint

    assert fingerprint() == PixelCache.build(black_and_white, root=tmp_path / "cache").fingerprint
    assert fingerprint(black=1.0, white=2.0) == fingerprint(black=2.0, white=4.0)
    assert len({fingerprint(), fingerprint(black=1.0, white=2.0), fingerprint(black=1.0, white=3.0)}) == 3


def test_too_small_images_are_listed(tmp_path):
    sides = {"fits.png": (24, 24), "low.png": (23, 40), "narrow.png": (40, 23), "tiny.png": (2, 2)}
    folder = folder_of(tmp_path, {name: noise(*size) for name, size in sides.items()})
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    with pytest.raises(
        ValueError, match=r"3 of 4 images .* 24 pixels .* patch of 8 .* low\.png, narrow\.png, tiny\.png$"
    ):
        data.check(8)


def test_a_long_list_of_too_small_images_is_cut_and_counted(tmp_path):
    folder = folder_of(tmp_path, {f"{i:02}.png": noise(4, 4) for i in range(23)})
    data = PatchSource(folder, scales=(2,), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"00\.png, 01\.png, .*, 19\.png and 3 more$"):
        data.check(8)


def test_images_that_just_hold_a_patch_pass_and_give_it(tmp_path):
    folder = folder_of(tmp_path, {"a.png": noise(24, 24)})
    data = PatchSource(folder, scales=(2, 3), cache=tmp_path / "cache")
    data.check(8)
    lr, hr = data.sample(np.random.default_rng(0), scale=3, batch_size=1, patch_size=8)
    assert np.array_equal(np.sort(hr, axis=None), np.sort(noise(24, 24), axis=None))
    assert lr.shape[-1] * 3 == hr.shape[-1] == 24


@pytest.mark.parametrize("channels", [1, 4])
def test_patches_have_the_channels_asked_for(photo_folder, tmp_path, channels):
    data = PatchSource(photo_folder, scales=(2,), channels=channels, cache=tmp_path / "cache")
    lr, hr = data.sample(np.random.default_rng(0), scale=2, batch_size=2, patch_size=4)
    assert (lr.shape[1], hr.shape[1]) == (channels, channels)
    assert lr.dtype == hr.dtype == torch.uint8
