import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data.cache import PixelCache, cache_root
from srzoo.resize import imresize


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three PNG images whose sides are no multiples of 2, 3 or 4."""
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for i, (name, size) in enumerate({"a.png": (13, 17), "b.png": (19, 14), "sub/c.png": (11, 11)}.items()):
        Image.fromarray(noise(*size, seed=i)).save(folder / name)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def files_below(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def no_decoder(*_, **__):
    raise AssertionError("an image was decoded again")


def test_the_cache_holds_each_image_bit_by_bit(photos, root):
    cache = PixelCache.build(photos, root=root)
    assert [entry.name for entry in cache.entries] == ["a.png", "b.png", "sub/c.png"]
    for i, entry in enumerate(cache.entries):
        assert np.array_equal(cache.image(i), np.asarray(Image.open(photos / entry.name)))
        assert (entry.height, entry.width) == cache.image(i).shape[:2]


def test_images_are_decoded_once(photos, root, monkeypatch):
    first = PixelCache.build(photos, root=root)
    monkeypatch.setattr(Image, "open", no_decoder)
    again = PixelCache.build(photos, root=root)
    assert again.fingerprint == first.fingerprint
    assert np.array_equal(again.image(1), first.image(1))


def test_lr_images_are_made_once(photos, root, monkeypatch):
    PixelCache.build(photos, root=root).prepare(2)
    monkeypatch.setattr("srzoo.data.cache.imresize", no_decoder)
    again = PixelCache.build(photos, root=root)
    again.prepare(2)
    assert again.image(0, 2).shape == (6, 8, 3)


def test_a_changed_file_is_decoded_again(photos, root):
    before = PixelCache.build(photos, root=root)
    Image.fromarray(noise(9, 10, seed=7)).save(photos / "b.png")
    after = PixelCache.build(photos, root=root)
    assert np.array_equal(after.image(1), noise(9, 10, seed=7))
    assert after.fingerprint != before.fingerprint


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_lr_images_are_matlab_bicubic_of_the_hr_cropped_to_a_multiple(photos, root, scale):
    cache = PixelCache.build(photos, root=root)
    cache.prepare(scale)
    for i, entry in enumerate(cache.entries):
        height, width = entry.height // scale * scale, entry.width // scale * scale
        hr = torch.from_numpy(cache.image(i)[:height, :width].copy()).permute(2, 0, 1)
        expected = imresize(hr, scale=1 / scale).permute(1, 2, 0).numpy()
        assert np.array_equal(cache.image(i, scale), expected)


def test_the_fingerprint_depends_on_names_and_pixels_only(photos, root, tmp_path):
    def fingerprint(change):
        folder = tmp_path / f"copy{len(list(tmp_path.iterdir()))}"
        for name in ("a.png", "b.png", "sub/c.png"):
            pixels = np.asarray(Image.open(photos / name)).copy()
            target, pixels, options = change(name, pixels)
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / target, **options)
        return PixelCache.build(folder, root=root).fingerprint

    original = PixelCache.build(photos, root=root).fingerprint

    def one_pixel(name, pixels):
        pixels[0, 0, 0] ^= name == "b.png"
        return name, pixels, {}

    assert fingerprint(lambda name, pixels: (name, pixels, {"compress_level": 0})) == original
    assert fingerprint(one_pixel) != original
    assert fingerprint(lambda name, pixels: (name.replace("b.", "d."), pixels, {})) != original
    assert fingerprint(lambda name, pixels: (name, pixels.swapaxes(0, 1).copy(), {})) != original


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_files_are_converted_to_the_channels_asked_for(photos, root, channels, mode):
    Image.fromarray(noise(12, 10)[..., 0]).save(photos / "grey.png")
    cache = PixelCache.build(photos, channels=channels, root=root)
    cache.prepare(2)
    for i, entry in enumerate(cache.entries):
        expected = np.asarray(Image.open(photos / entry.name).convert(mode))
        expected = expected.reshape(entry.height, entry.width, channels)
        assert np.array_equal(cache.image(i), expected)
        assert cache.image(i, 2).shape == (entry.height // 2, entry.width // 2, channels)


def test_caches_of_different_channels_do_not_mix(photos, root):
    grey, rgb = (PixelCache.build(photos, channels=c, root=root) for c in (1, 3))
    assert (grey.image(0).shape[2], rgb.image(0).shape[2]) == (1, 3)


def test_unreadable_files_are_reported_and_left_out(photos, root, caplog):
    whole = (photos / "a.png").read_bytes()
    (photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (photos / "text.jpg").write_text("not an image")
    with caplog.at_level(logging.WARNING, logger="srzoo"):
        cache = PixelCache.build(photos, root=root)
    assert [entry.name for entry in cache.entries] == ["a.png", "b.png", "sub/c.png"]
    assert [line.partition(":")[0] for line in cache.skipped] == ["cut.png", "text.jpg"]
    assert "left out cut.png" in caplog.text
    assert "left out text.jpg" in caplog.text
    assert PixelCache.build(photos, root=root).skipped == cache.skipped  # told again from the finished cache
    assert np.array_equal(cache.image(2), np.asarray(Image.open(photos / "sub/c.png")))


def test_a_folder_of_unreadable_files_is_refused_and_leaves_no_cache(tmp_path, root):
    bad = tmp_path / "bad"
    bad.mkdir()
    for name in ("a.png", "b.png"):
        (bad / name).write_text("not an image")
    with pytest.raises(ValueError, match=r"none of the 2 images .* can be read; the first: a\.png"):
        PixelCache.build(bad, root=root)
    assert list((root / "images").iterdir()) == []


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_fault_while_decoding_leaves_no_half_cache(photos, root, fault):
    def stop(done, total, what):
        if done == 2:
            raise fault

    with pytest.raises(type(fault)):
        PixelCache.build(photos, root=root, report=stop)
    assert list((root / "images").iterdir()) == []
    assert len(PixelCache.build(photos, root=root).entries) == 3


@pytest.mark.parametrize("fault", [OSError("disk full"), KeyboardInterrupt()])
def test_a_fault_while_making_lr_images_leaves_no_half_file(photos, root, fault):
    def stop(done, total, what):
        if done == 2:
            raise fault

    cache = PixelCache.build(photos, root=root)
    with pytest.raises(type(fault)):
        cache.prepare(2, stop)
    assert files_below(cache.folder) == ["hr.bin", "index.json"]
    cache.prepare(2)
    assert cache.image(2, 2).shape == (5, 5, 3)


def test_two_builds_at_once_both_succeed(photos, root):
    others = []

    def meanwhile(done, total, what):
        if not others:
            others.append(PixelCache.build(photos, root=root))

    cache = PixelCache.build(photos, root=root, report=meanwhile)
    assert cache.fingerprint == others[0].fingerprint
    assert files_below(root / "images") == [f"{cache.folder.name}/hr.bin", f"{cache.folder.name}/index.json"]


def test_progress_is_reported_image_by_image(photos, root):
    told = []
    cache = PixelCache.build(photos, root=root, report=lambda *row: told.append(row))
    cache.prepare(3, lambda *row: told.append(row))
    assert told == [(i, 3, what) for what in ("decode", "LR x3") for i in (1, 2, 3)]


def test_images_cannot_be_written_to(photos, root):
    cache = PixelCache.build(photos, root=root)
    with pytest.raises(ValueError, match="read-only"):
        cache.image(0)[0, 0, 0] = 1


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SRZOO_CACHE", raising=False)
    assert cache_root() == tmp_path / "xdg" / "srzoo"
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "own"))
    assert cache_root() == tmp_path / "own"


def test_a_folder_and_its_subfolder_have_caches_of_their_own(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a" / "b" / "photo.png")
    root = tmp_path / "cache"
    names = [PixelCache.build(tmp_path / folder, root=root).entries[0].name for folder in ("a", "a/b")]
    assert names == ["b/photo.png", "photo.png"]


def test_one_folder_has_one_cache_however_it_is_spelt(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.chdir(tmp_path)
    root = tmp_path / ".cache"
    assert PixelCache.build(".", root=root).folder == PixelCache.build(tmp_path, root=root).folder


def test_deep_grey_is_left_out_and_said_not_clipped(tmp_path):
    Image.fromarray(np.full((8, 8), 20_000, np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "plain.png")
    cache = PixelCache.build(tmp_path, root=tmp_path / ".cache")
    assert [entry.name for entry in cache.entries] == ["plain.png"]
    assert "more than 8 bits a channel" in cache.skipped[0]
