import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srzoo.data import ImageFolder, PatchSource, held_out_pairs
from srzoo.data.hold_out import choose_groups, group_crops, is_scorable


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def folder_of(folder: Path, seeds: dict[str, int], side: int = 24) -> Path:
    for name, seed in seeds.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise(side, side, seed)).save(folder / name)
    return folder


def pixels_of(source: PatchSource, names: Sequence[str]) -> set[bytes]:
    return {source.images(name, source.scales[0])[0].tobytes() for name in names}


def test_an_image_whose_middle_is_small_or_flat_cannot_be_scored() -> None:
    assert is_scorable(noise(16, 16), [2])
    assert not is_scorable(noise(15, 40), [2])
    assert not is_scorable(noise(17, 17), [2, 3])  # 15 pixels at x3, 9 inside the border
    assert is_scorable(noise(18, 18), [2, 3])
    edge = np.full((24, 24, 3), 9, np.uint8)
    edge[:2] = edge[-2:] = noise(2, 24)  # in the border, which is not scored
    assert not is_scorable(edge, [2])
    wide = np.full((400, 800, 3), 9, np.uint8)
    wide[:, :100] = noise(400, 100)  # outside the middle
    assert not is_scorable(wide, [2])
    almost = np.full((24, 24, 3), 9, np.uint8)
    almost[12, 12] += 1
    assert not is_scorable(almost, [2])
    clear = np.dstack([np.full((24, 24, 3), 9, np.uint8), noise(24, 24)[..., 0]])
    assert not is_scorable(clear, [2])  # only its transparency has structure


def test_tiny_and_flat_images_are_never_held_out(tmp_path) -> None:
    folder = folder_of(tmp_path / "mixed", {f"{i}.png": i for i in range(6)})
    folder_of(folder, {f"tiny{i}.png": i for i in range(30)}, side=12)
    for level in range(30):
        Image.fromarray(np.full((24, 24, 3), level, np.uint8)).save(folder / f"flat{level}.png")
    source = PatchSource(folder, scales=(2, 4), cache=tmp_path / "cache")
    held = source.hold_out(0.09)
    assert len(held) == 6
    assert all(name[0].isdigit() for name in held)
    assert len([pair for scale in (2, 4) for pair in held_out_pairs(source, held, scale)]) == 12


def test_where_no_image_can_be_scored_none_is_held_out_which_is_said(tmp_path, caplog) -> None:
    source = PatchSource(folder_of(tmp_path / "tiny", {"a.png": 1, "b.png": 2}, 9), scales=(2,), cache=tmp_path / "c")
    with caplog.at_level(logging.WARNING):
        assert source.hold_out() == []
    assert "none of the 2 images can be held out to validate on" in caplog.text
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        source.hold_out(1.0)


def test_the_choice_is_by_pixels_whatever_the_files_are_called_and_wherever_they_lie(tmp_path) -> None:
    def source(*folders: Path) -> PatchSource:
        return PatchSource(folders, scales=(2,), cache=tmp_path / "cache")

    first = source(folder_of(tmp_path / "a", {f"{i}.png": i for i in range(20)}))
    renamed = source(folder_of(tmp_path / "b", {f"{chr(97 + 7 * i % 20)}.png": i for i in range(20)}))
    flat = folder_of(tmp_path / "more", {f"{i}.png": 100 + i for i in range(3)}, side=8)
    two = source(flat, tmp_path / "a")
    held = pixels_of(first, first.hold_out())
    assert len(held) == 2
    assert pixels_of(renamed, renamed.hold_out()) == pixels_of(two, two.hold_out()) == held


def test_a_further_folder_moves_no_more_than_its_images(tmp_path) -> None:
    first, second = (
        folder_of(tmp_path / name, {f"{i}.png": start + i for i in range(20)}) for name, start in (("a", 0), ("b", 50))
    )
    alone = PatchSource(first, scales=(2,), cache=tmp_path / "cache")
    both = PatchSource([first, second], scales=(2,), cache=tmp_path / "cache")
    ours, all_held = (pixels_of(source, source.hold_out(0.2, most=4)) for source in (alone, both))
    assert len(ours) == len(all_held) == 4
    assert pixels_of(both, [f"a/{i}.png" for i in range(20)]) & all_held <= ours


def test_crops_of_one_picture_are_held_out_together(tmp_path) -> None:
    names = {f"{p:04}_s{c:03}.png": 10 * p + c for p in range(8) for c in range(3)}
    source = PatchSource(folder_of(tmp_path / "crops", names), scales=(2,), cache=tmp_path / "cache")
    held = source.hold_out(0.25)
    assert len(held) == 6
    left = source.without(held).names
    assert not {name[:4] for name in held} & {name[:4] for name in left}
    [one] = {name[:4] for name in source.hold_out(0.05)}  # no picture has as few as that
    assert len(source.hold_out(0.05)) == 3
    assert one in {name[:4] for name in held}


@pytest.mark.parametrize(
    ("names", "pictures"),
    [
        ([f"{p}_s00{c}.png" for p in range(5) for c in range(2)], 5),
        ([f"photo-{p}_{c}.png" for p in range(5) for c in range(2)], 5),
        ([f"photo-{p}_{c}.png" for p in range(4) for c in range(2)], 8),  # too few beginnings
        ([f"IMG_{i}.png" for i in range(20)], 20),
        ([f"{year}/IMG_{i}.png" for year in range(9) for i in range(2)], 18),  # a camera's numbers, by year
        ([f"{i:04}.png" for i in range(50)], 50),
        ([f"{p}_1.png" for p in range(9)], 9),  # nothing to go together with
        ([*(f"{p}-s{c}.png" for p in "abcde" for c in range(3)), "alone.png"], 6),
        (["_1.png", "_2.png", *(f"{p}_{c}.png" for p in "abcde" for c in range(2))], 7),
    ],
)
def test_crops_are_told_by_their_names(names: list[str], pictures: int) -> None:
    assert len(set(group_crops(names))) == pictures


@given(st.lists(st.integers(1, 6), max_size=20), st.integers(0, 12), st.sets(st.integers(0, 60)))
def test_whole_groups_are_chosen_up_to_the_number_asked_for(sizes, count, small) -> None:
    ends = np.cumsum([0, *sizes]).tolist()
    groups = [list(range(a, b)) for a, b in pairwise(ends)]
    held = choose_groups(groups, count, lambda some: len(some) < ends[-1], lambda i: i not in small)
    chosen = [group for group in groups if set(group) & set(held)]
    assert sorted(held) == [i for group in chosen for i in group]
    assert not set(held) & small
    assert len(held) <= count or len(chosen) == 1
    assert len(held) < max(ends[-1], 1)


def test_a_folder_with_a_weight_keeps_an_image(tmp_path) -> None:
    for name, num in (("a", 1), ("b", 3)):
        folder_of(tmp_path / name, {f"{i}.png": ord(name) + i for i in range(num)})
    folders = [ImageFolder(tmp_path / name, weight=1) for name in "ab"]
    source = PatchSource(folders, scales=(2,), cache=tmp_path / "cache")
    held = source.hold_out(0.9)
    assert [name[0] for name in held] == ["b", "b"]
    source.without(held).check(4)


@pytest.mark.parametrize("name", ["caf\udce9.png"])
def test_names_that_are_not_utf_8_can_be_held_out(tmp_path, name) -> None:
    pytest.importorskip("fcntl")  # not on Windows
    folder = folder_of(tmp_path / "photos", {"a.png": 1})
    (folder / "a.png").rename(folder / name)
    source = PatchSource(folder, scales=(2,), cache=tmp_path / "cache")
    assert held_out_pairs(source, [name], 2)[0].name == "caf\udce9"
    assert source.describe()["drawn"] == 1
