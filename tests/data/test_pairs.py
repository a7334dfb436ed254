import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.color import rgb_to_y
from srzoo.data import pairs_from_hr
from srzoo.data.pairs import luma_pair, pair_from_hr
from srzoo.resize import imresize


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_hr_is_cropped_to_a_multiple_and_lr_is_matlab_bicubic_of_the_crop(tmp_path, scale):
    pixels = noise(4 * scale + scale - 1, 5 * scale + 1, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    [pair] = pairs_from_hr(tmp_path, scale)
    cropped = torch.from_numpy(pixels[: 4 * scale, : 5 * scale].copy()).permute(2, 0, 1)
    assert torch.equal(pair.hr, cropped)
    assert torch.equal(pair.lr, imresize(cropped, scale=1 / scale))
    assert (pair.name, pair.scale, pair.lr.shape) == ("a", scale, (3, 4, 5))


def test_grey_files_stay_grey_and_others_become_rgb(tmp_path):
    grey = noise(8, 8)
    Image.fromarray(grey).save(tmp_path / "a_grey.png")
    Image.fromarray(noise(8, 8, 3)).quantize(16).save(tmp_path / "b_palette.png")
    Image.fromarray(np.dstack([noise(8, 8, 3), np.full((8, 8), 255, np.uint8)])).save(tmp_path / "c_rgba.png")
    pairs = pairs_from_hr(tmp_path, 2)
    assert [pair.name for pair in pairs] == ["a_grey", "b_palette", "c_rgba"]
    assert [len(pair.hr) for pair in pairs] == [len(pair.lr) for pair in pairs] == [1, 3, 3]
    assert torch.equal(pairs[0].hr[0], torch.from_numpy(grey))


def test_an_unreadable_image_is_named_and_refused(tmp_path):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_text("not an image")
    with pytest.raises(ValueError, match=r"b\.png is not an image"):
        pairs_from_hr(tmp_path, 2)


def test_an_image_smaller_than_the_scale_is_named_and_refused(tmp_path):
    Image.fromarray(noise(8, 3, 3)).save(tmp_path / "narrow.png")
    with pytest.raises(ValueError, match=r"narrow\.png is smaller than 4 pixels"):
        pairs_from_hr(tmp_path, 4)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="has no image"):
        pairs_from_hr(tmp_path, 2)


def test_lr_images_are_the_published_ones_of_set5(data_dir):
    published = data_dir / "bench" / "Set5" / "LRbicx4"
    pairs = pairs_from_hr(data_dir / "bench" / "Set5" / "HR", 4)
    assert len(pairs) == 5
    for pair, path in zip(pairs, sorted(published.iterdir()), strict=True):
        assert np.array_equal(pair.lr.permute(1, 2, 0), np.asarray(Image.open(path).convert("RGB"))), path.name


def test_one_file_is_one_pair(photo_folder):
    [pair] = pairs_from_hr(photo_folder / "photo1.png", 2)
    assert pair.name == "photo1"


def test_images_that_cannot_be_scored_are_named_and_refused(tmp_path):
    Image.fromarray(noise(8, 8, 4)).save(tmp_path / "glass.png")
    with pytest.raises(ValueError, match=r"glass\.png has transparent pixels"):
        pairs_from_hr(tmp_path, 2)
    Image.fromarray(noise(8, 8).astype(np.uint16) * 257).save(tmp_path / "glass.png")
    with pytest.raises(ValueError, match=r"glass\.png has 16 bits a channel"):
        pairs_from_hr(tmp_path, 2)


@pytest.mark.parametrize("scale", [2, 3])
def test_a_luma_pair_rounds_hr_and_not_lr(scale):
    hr = torch.from_numpy(noise(3, 13, 16))
    pair = luma_pair("a", hr, scale)
    height, width = 13 // scale * scale, 16 // scale * scale
    luma = rgb_to_y(hr[:, :height, :width].double() / 255)
    assert torch.equal(pair.hr, (luma * 255).round().to(torch.uint8))
    assert torch.equal(pair.lr, imresize(pair.hr.double() / 255, scale=1 / scale).float())
    assert (pair.lr * 255 - (pair.lr * 255).round()).abs().max() > 0.1
    assert pair.lr_float is pair.lr
    assert torch.equal(luma_pair("grey", hr[:1], scale).hr, hr[:1, :height, :width])  # grey is its own luma


def test_both_kinds_of_lr_are_had_in_0_to_1():
    pair = pair_from_hr("a", torch.from_numpy(noise(3, 8, 8)), 2)
    assert torch.equal(pair.lr_float, pair.lr.float() / 255)
    assert torch.equal(pair.hr_float, pair.hr.float() / 255)


def test_an_image_without_a_pixel_of_lr_is_refused():
    for make in (pair_from_hr, luma_pair):
        with pytest.raises(ValueError, match="dot is 1x1, smaller than 2 pixels"):
            make("dot", torch.zeros(3, 1, 1, dtype=torch.uint8), 2)
