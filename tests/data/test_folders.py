import sys
from pathlib import Path

import pytest

from srzoo.data.folders import ImageFolder, as_folders, find_images, label_folders, match_lr

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")


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


@needs_links
def test_linked_folders_are_searched_and_each_folder_once(tmp_path):
    make(tmp_path, "photos/sub/a.png", "photos/z/b.png", "elsewhere/c.png", "elsewhere/deep/d.png")
    photos = tmp_path / "photos"
    (photos / "linked").symlink_to(tmp_path / "elsewhere")
    (photos / "sub" / "again").symlink_to(photos / "z")  # found before z is
    (photos / "sub" / "circle").symlink_to(photos)
    (tmp_path / "elsewhere" / "deep" / "back").symlink_to(tmp_path / "elsewhere")
    found = [path.relative_to(photos).as_posix() for path in find_images(photos)]
    assert found == ["linked/c.png", "linked/deep/d.png", "sub/a.png", "z/b.png"]


@needs_links
def test_a_link_to_a_file_that_is_gone_is_not_skipped_silently(tmp_path):
    make(tmp_path, "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nowhere.png")
    assert [path.name for path in find_images(tmp_path)] == ["a.png", "gone.png"]


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


def test_a_weight_or_score_that_is_no_chance_is_refused():
    for weight in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"weight of photos is .*; give a number above 0"):
            ImageFolder("photos", weight=weight)
    for score in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=r"score of b\.png is .*; scores are numbers of 0 or more"):
            ImageFolder("photos", scores={"a.png": 0.0, "b.png": score})


def test_what_a_user_gives_becomes_a_list_of_folders(tmp_path):
    one = ImageFolder("a")
    assert as_folders("a") == as_folders(one) == as_folders(["a"]) == as_folders((one,)) == [one]
    assert as_folders([tmp_path, one]) == [ImageFolder(tmp_path), one]
    with pytest.raises(ValueError, match="no folder of images to train on"):
        as_folders([])
    with pytest.raises(ValueError, match="some folders have a weight and b has none"):
        as_folders([ImageFolder("a", weight=1), "b"])


def test_names_of_several_folders_start_with_the_folder_and_cannot_be_mixed_up():
    def labels(*paths):
        return label_folders([ImageFolder(path) for path in paths])

    assert labels("x/photos") == [""]
    assert labels("x/photos", "y/drawings/") == ["photos/", "drawings/"]
    assert labels("x/HR", "y/HR", "x/HR", "z") == ["HR/", "HR-2/", "HR-3/", "z/"]
    assert labels("HR-2", "x/HR", "y/HR") == ["HR-2/", "HR/", "HR-3/"]


def test_lr_folders_are_found_by_scale(tmp_path):
    for name in ("lr/X2", "lr/x3", "flat"):
        (tmp_path / name).mkdir(parents=True)
    below, flat = ImageFolder("hr", lr=tmp_path / "lr"), ImageFolder("hr", lr=tmp_path / "flat")
    assert ImageFolder("hr").lr_folder(2, (2,)) is None
    assert [below.lr_folder(scale, (2, 3)) for scale in (2, 3)] == [tmp_path / "lr/X2", tmp_path / "lr/x3"]
    assert flat.lr_folder(4, (4,)) == tmp_path / "flat"
    assert ImageFolder("hr", lr={2: "a", 3: "b"}).lr_folder(3, (2, 3)) == Path("b")
    with pytest.raises(FileNotFoundError, match="has no subfolder X4; to train x2, x4, give one for each scale"):
        below.lr_folder(4, (2, 4))
    with pytest.raises(FileNotFoundError, match="hr has LR folders for x2, x3 but none for x4"):
        ImageFolder("hr", lr={2: "a", 3: "b"}).lr_folder(4, (4,))
    with pytest.raises(FileNotFoundError, match="lr has no X8, only X2, x3; add it, or train another scale"):
        below.lr_folder(8, (8,))


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize("key", ["2", "X2", 2.0, True])
def test_a_key_of_the_lr_folders_that_is_no_scale_is_named(key):
    with pytest.raises(ValueError, match=f"lr of hr has the key {key!r}; the keys are scales such as 2"):
        ImageFolder("hr", lr={key: "lr"})


@pytest.mark.parametrize(
    ("hr", "lr", "pairs"),
    [
        (["0001.png", "0002.png"], ["0001x4.png", "0002x4.png"], {"0001.png": "0001x4.png", "0002.png": "0002x4.png"}),
        (["a.png"], ["a.jpg"], {"a.png": "a.jpg"}),
        (["s/a.png", "a.png"], ["s/ax4.webp"], {"s/a.png": "s/ax4.webp"}),
        (["1.png", "1x4.png"], ["1x4.png"], {"1x4.png": "1x4.png"}),
        (["1.png", "1x4.png"], ["1x4.png", "1x4x4.png"], {"1x4.png": "1x4.png"}),
        (["1.png", "1x4.png"], ["1.png", "1x4.png"], {"1.png": "1.png", "1x4.png": "1x4.png"}),
        (["a.png", "a.jpg"], ["a.png"], {"a.png": "a.png"}),
        (["a.png"], ["ax2.png", "b.png"], {}),
    ],
)
def test_lr_images_are_matched_by_name_and_each_serves_once(hr, lr, pairs):
    assert match_lr(hr, lr, 4) == pairs
