"""srzoo.data.degraded_pairs: the same LR image wherever it is made, drawn from the image's name."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data import Bicubic, Chain, Jpeg, downscale_images, find_set, pairs_from_hr
from srzoo.data.degraded_pairs import degrade_pairs, degraded_lr
from srzoo.data.presets import PHOTO


def noise(side: int = 24, seed: int = 0) -> torch.Tensor:
    levels = np.random.default_rng(seed).integers(0, 256, (3, side, side), dtype=np.uint8)
    return torch.from_numpy(levels)


def test_the_name_decides_what_is_drawn() -> None:
    first, again, other = (degraded_lr(noise(), 2, PHOTO, name) for name in ("a", "a", "b"))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(degraded_lr(noise(), 2, Bicubic(), "a"), degraded_lr(noise(), 2, Bicubic(), "b"))


def test_a_whole_image_saved_as_jpeg_has_the_pixels_of_the_file(tmp_path: Path) -> None:
    clean = degraded_lr(noise(48), 2, Bicubic(), "a")
    found = degraded_lr(noise(48), 2, Chain(Bicubic(), Jpeg(75)), "a")
    Image.fromarray(clean.permute(1, 2, 0).numpy()).save(tmp_path / "a.jpg", quality=75)
    with Image.open(tmp_path / "a.jpg") as file:
        assert np.array_equal(np.asarray(file), found.permute(1, 2, 0).numpy())


def test_pairs_keep_name_hr_and_scale(photo_folder: Path) -> None:
    pairs = pairs_from_hr(photo_folder, 2)[:2]
    made = list(degrade_pairs(pairs, PHOTO))
    for old, new in zip(pairs, made, strict=True):
        assert (new.name, new.scale) == (old.name, 2)
        assert torch.equal(new.hr, old.hr)
        assert new.lr.shape == old.lr.shape
        assert not torch.equal(new.lr, old.lr)
        assert torch.equal(new.lr, degraded_lr(old.hr, 2, PHOTO, old.name))


def test_files_made_by_a_job_are_the_same_images(photo_folder: Path, tmp_path: Path) -> None:
    made = downscale_images(photo_folder, tmp_path / "LR", scales=(2, 4), degradation=PHOTO)
    assert all(image.made == (2, 4) for image in made)
    for scale in (2, 4):
        from_files = find_set(str(photo_folder), lr=tmp_path / "LR").pairs(scale)
        for file, pair in zip(from_files, degrade_pairs(pairs_from_hr(photo_folder, scale), PHOTO), strict=True):
            assert file.name == pair.name
            assert torch.equal(file.lr, pair.lr)


class Wider:
    """A degradation that gives one column too many."""

    margin = 0

    def __call__(self, hr: torch.Tensor, scale: int, seeds: object) -> torch.Tensor:
        return torch.zeros(len(hr), 3, hr.shape[2] // scale, hr.shape[3] // scale + 1)


@pytest.mark.usefixtures("as_users_call")
def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"made an LR image of shape \(3, 12, 13\); at x2 it must be \(3, 12, 12\)"):
        degraded_lr(noise(), 2, Wider(), "a")
