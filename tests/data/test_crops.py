import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from srzoo.data.crops import Atlas, Chances, Draw, ResidentAtlas, draw_crops, gather_mapped, join_atlases

SIZES = [(9, 7), (7, 12), (11, 8), (7, 7)]
CPU = torch.device("cpu")


def atlas_of(sizes: list[tuple[int, int]], factor: int = 1, channels: int = 3, seed: int = 0) -> Atlas:
    """Noise images end to end, in one array."""
    heights, widths = (np.array(sides, np.int64) * factor for sides in zip(*sizes, strict=True))
    ends = np.cumsum(heights * widths)
    pixels = np.random.default_rng(seed).integers(0, 256, (ends[-1], channels), dtype=np.uint8)
    return Atlas((pixels,), np.zeros(len(sizes), np.int64), ends - heights * widths, heights, widths)


def split_atlas(sizes: list[tuple[int, int]], factor: int = 1) -> Atlas:
    """The same, in two arrays and another order in the second."""
    second = atlas_of(sizes[2:][::-1], factor, seed=1).pick(range(len(sizes[2:]))[::-1])
    return join_atlases([atlas_of(sizes[:2], factor), second])


def sliced(atlas: Atlas, draw: Draw, factor: int, side: int) -> np.ndarray:
    """The patches by slicing, turning and mirroring, one at a time."""
    patches = []
    for i, y, x, op in zip(draw.image, draw.y, draw.x, draw.op, strict=True):
        patch = atlas.image(int(i))[y * factor : y * factor + side, x * factor : x * factor + side]
        patch = np.flip(patch, [axis for axis in (0, 1) if op >> (axis + 1) & 1])
        patches.append(np.flip(np.rot90(patch), 0) if op & 1 else patch)  # which transposes
    return np.stack(patches).transpose(0, 3, 1, 2)


def some_draw(num: int, side: int, seed: int) -> Draw:
    heights, widths = np.array(SIZES).T
    return draw_crops(np.random.default_rng(seed), Chances.of(np.ones(4)), heights, widths, num, side, seeds=True)


@given(
    st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.integers(0, 99), st.booleans(), st.sampled_from([1, 3])
)
def test_both_ways_to_gather_equal_slicing(num, side, factor, seed, split, channels):
    atlas = split_atlas(SIZES, factor) if split else atlas_of(SIZES, factor, channels)
    draw = some_draw(num, side, seed)
    expected = sliced(atlas, draw, factor, side * factor)
    for patches in (
        gather_mapped(atlas, draw, factor, side * factor),
        ResidentAtlas(atlas, CPU).gather(draw, factor, side * factor),
    ):
        assert np.array_equal(patches, expected)
        assert patches.is_contiguous(memory_format=torch.channels_last)


def test_the_eight_orientations_differ_and_all_positions_are_drawn():
    draw = some_draw(4000, 6, seed=0)
    assert set(zip(draw.image, draw.y, draw.x, draw.op, strict=True)) == {
        (i, y, x, op)
        for i, (height, width) in enumerate(SIZES)
        for y in range(height - 5)
        for x in range(width - 5)
        for op in range(8)
    }
    one = Draw(*(np.full(8, 1) for _ in range(3)), np.arange(8))
    patches = gather_mapped(atlas_of(SIZES), one, 1, 6)
    assert len({patch.numpy().tobytes() for patch in patches}) == 8


@given(st.integers(0, 12), st.integers(0, 12))
def test_parts_are_the_rows_of_the_whole(start, stop):
    whole = some_draw(10, 5, seed=3)
    part = whole.part(slice(start, stop))
    for field in ("image", "y", "x", "op", "seeds"):
        assert np.array_equal(getattr(part, field), getattr(whole, field)[start:stop])


def test_images_are_drawn_by_their_chance():
    chance = np.array([0.0, 3.0, 0.0, 1.0, 0.0])
    sides = np.full(5, 4)
    draw = draw_crops(np.random.default_rng(0), Chances.of(chance), sides, sides, 4000, 4, seeds=False)
    share = np.bincount(draw.image, minlength=5) / 4000
    assert share == pytest.approx(chance / 4, abs=0.03)
    assert share[[0, 2, 4]].tolist() == [0, 0, 0]
    assert draw.seeds is None
    assert draw.part(slice(2)).seeds is None


def test_the_largest_random_number_still_draws_an_image():
    class Last:
        def random(self, num):
            return np.full(num, 1 - 2**-53)

    chances = Chances.of(np.array([0.1] * 10 + [0.0]))
    assert chances.images[np.searchsorted(chances.ends, Last().random(1), side="right")].tolist() == [9]


def test_pixels_are_copied_to_a_device_in_chunks(monkeypatch):
    monkeypatch.setattr("srzoo.data.crops.CHUNK", 50)
    atlas = split_atlas(SIZES)
    assert np.array_equal(ResidentAtlas(atlas, CPU).pixels, np.concatenate(atlas.maps))
