from pathlib import Path

import pytest

from srzoo.data import find_images


def make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_images_are_found_below_the_folder_in_sorted_order_whatever_the_case_of_the_suffix(tmp_path):
    make(tmp_path, "b.PNG", "a.jpg", "sub/c.Tiff", "sub/deeper/d.webp", "e.bmp")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(str(tmp_path))]
    assert found == ["a.jpg", "b.PNG", "e.bmp", "sub/c.Tiff", "sub/deeper/d.webp"]


def test_other_files_hidden_ones_and_folders_named_like_images_are_left_out(tmp_path):
    make(tmp_path, "a.png", "notes.txt", "png", ".hidden.png", ".thumbs/b.png", "shots.png/c.jpg")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a.png", "shots.png/c.jpg"]


def test_a_hidden_folder_above_does_not_hide_the_images(tmp_path):
    make(tmp_path, ".cache/photos/a.png")
    assert len(find_images(tmp_path / ".cache" / "photos")) == 1


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        find_images(tmp_path / "nowhere")


def test_a_folder_without_images_is_named_with_the_suffixes_looked_for(tmp_path):
    make(tmp_path, "notes.txt")
    with pytest.raises(FileNotFoundError, match=r"has no image \(\.png, \.jpg"):
        find_images(tmp_path)
