from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.report.inputs import Source, find_sources, load
from srzoo.resize import imresize


def save(path: Path, height: int, width: int, channels: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (height, width) if channels == 1 else (height, width, channels)
    Image.fromarray(np.random.default_rng(height).integers(0, 256, shape, np.uint8)).save(path)
    return path


def told(sources: list[Source], top: Path) -> list[tuple[str, str | None, str | None]]:
    def name(path: Path | None) -> str | None:
        return path.relative_to(top).as_posix() if path else None

    return [(source.name, name(source.lr), name(source.hr)) for source in sources]


def test_lr_images_are_paired_by_name(tmp_path):
    for name in ("lr/ax2.png", "lr/b.png", "lr/sub/c.png", "hr/a.png", "hr/b.bmp", "hr/sub/c.png", "hr/unused.png"):
        save(tmp_path / name, 4, 4)
    assert told(find_sources(tmp_path / "lr", tmp_path / "hr", 2), tmp_path) == [
        ("a", "lr/ax2.png", "hr/a.png"),
        ("b", "lr/b.png", "hr/b.bmp"),
        ("sub/c", "lr/sub/c.png", "hr/sub/c.png"),
    ]


def test_one_lr_image_finds_its_hr_image_in_a_folder_or_is_given_it(tmp_path):
    lr, hr = save(tmp_path / "lr/a.png", 4, 4), save(tmp_path / "hr/a.png", 8, 8)
    other = save(tmp_path / "hr/other.png", 8, 8)
    assert find_sources(lr, tmp_path / "hr", 2) == [Source("a", lr, hr)]
    assert find_sources(lr, other, 2) == [Source("a", lr, other)]
    with pytest.raises(ValueError, match=r"other\.png is one image, .*lr a folder"):
        find_sources(tmp_path / "lr", other, 2)


def test_an_lr_image_without_hr_is_an_error_of_its_own(tmp_path):
    save(tmp_path / "lr/a.png", 4, 4)
    save(tmp_path / "lr/b.png", 4, 4)
    save(tmp_path / "hr/b.png", 8, 8)
    first, second = find_sources(tmp_path / "lr", tmp_path / "hr", 2)
    assert second.error is None
    with pytest.raises(ValueError, match=r"a\.png has no HR image of its name in .*hr"):
        load(first, 2)


def test_hr_alone_makes_lr(tmp_path):
    path = save(tmp_path / "hr/a.png", 9, 12)
    assert find_sources(None, tmp_path / "hr", 4) == find_sources(tmp_path / "hr", None, 4, from_hr=True)
    [source] = find_sources(path, None, 4, from_hr=True)
    loaded = load(source, 4)
    hr = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1)[:, :8]
    assert loaded.hr is not None
    assert loaded.hr.equal(hr)
    assert loaded.lr.equal(imresize(hr, scale=1 / 4))
    assert loaded.notes == (
        "LR was made from HR by bicubic",
        "HR was cropped from 12×9 to 12×8 pixels",  # noqa: RUF001
    )


@pytest.mark.parametrize(("height", "width", "fits"), [(8, 10, True), (9, 11, True), (10, 10, False), (7, 10, False)])
def test_sizes_must_belong_together(tmp_path, height, width, fits):
    lr, hr = save(tmp_path / "lr.png", 4, 5), save(tmp_path / "hr.png", height, width)
    source = Source("a", lr, hr)
    if fits:
        loaded = load(source, 2)
        assert loaded.hr is not None
        assert loaded.hr.shape == (3, 8, 10)
        assert len(loaded.notes) == (height != 8)
    else:
        with pytest.raises(
            ValueError, match=rf"has 5x4 pixels and .* {width}x{height}; at x2 the HR image must have 10x8"
        ):
            load(source, 2)


def test_grey_goes_by_the_hr_file(tmp_path):
    grey, colour = save(tmp_path / "grey.png", 8, 8, 1), save(tmp_path / "colour.png", 4, 4)
    loaded = load(Source("a", colour, grey), 2)
    assert loaded.lr.shape == (1, 4, 4)
    alone = load(Source("a", grey, None), 2)
    assert alone.lr.shape == (1, 8, 8)
    assert alone.hr is None


def test_alpha_is_left_out_and_16_bits_are_refused(tmp_path):
    assert load(Source("a", save(tmp_path / "alpha.png", 4, 4, 4), None), 2).lr.shape == (3, 4, 4)
    deep = tmp_path / "deep.png"
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(deep)
    with pytest.raises(ValueError, match="more than 8 bits"):
        load(Source("a", deep, None), 2)


def test_files_of_one_stem_keep_their_suffixes(tmp_path):
    for name in ("a.png", "a.bmp", "b.png"):
        save(tmp_path / "lr" / name, 4, 4)
    assert [source.name for source in find_sources(tmp_path / "lr", None, 2)] == ["a.bmp", "a.png", "b"]


def test_wrong_inputs_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no images to compare on"):
        find_sources(None, None, 2)
    with pytest.raises(ValueError, match="an input is empty"):
        find_sources("", None, 2)
    with pytest.raises(ValueError, match="give one of them"):
        find_sources("a", "b", 2, from_hr=True)
    with pytest.raises(FileNotFoundError, match="none does not exist"):
        find_sources(tmp_path / "none", None, 2)
    with pytest.raises(ValueError, match="smaller than 8 pixels"):
        load(Source("a", None, save(tmp_path / "small.png", 9, 7)), 8)
