import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from srzoo.upscaling.target import MAX_SCALE, Target

SCALES = st.sets(st.sampled_from([1, 2, 3, 4, 8]), min_size=1).map(sorted)
SIDES = st.integers(1, 5000)


@pytest.mark.parametrize(
    ("target", "picture", "scales", "expected"),
    [
        (Target(scale=2), (30, 20), (2, 3, 4), (2, 60, 40)),
        (Target(scale=2.5), (30, 21), (2, 3, 4), (3, 75, 53)),
        (Target(scale=2.5), (30, 20), (4,), (4, 75, 50)),
        (Target(scale=2.5), (30, 20), (2,), (2, 75, 50)),
        (Target(scale=6), (30, 20), (2, 3, 4), (4, 180, 120)),
        (Target(scale=1), (30, 20), (2, 4), (2, 30, 20)),
        (Target(scale=4 / 3), (30, 21), (2, 4), (2, 40, 28)),
        (Target(scale=1.1), (10, 10), (2, 4), (2, 11, 11)),
        (Target(size=(60, 40)), (30, 20), (4, 3, 2), (2, 60, 40)),
        (Target(size=(60, 45)), (30, 20), (2, 3, 4), (3, 60, 45)),
        (Target(size=(120, 10)), (30, 20), (2, 3, 4), (4, 120, 10)),
        (Target(long_edge=60), (30, 20), (2, 3, 4), (2, 60, 40)),
        (Target(long_edge=61), (20, 30), (2, 3, 4), (3, 41, 61)),
        (Target(long_edge=50), (25, 1), (2, 4), (2, 50, 2)),
        (Target(long_edge=3840), (1919, 1079), (2, 3, 4), (2, 3840, 2159)),  # 2.001 times: not worth scale 3
        (Target(long_edge=3840), (1900, 1000), (2, 3, 4), (3, 3840, 2021)),
    ],
)
def test_scale_and_size_of_the_result(
    target: Target, picture: tuple[int, int], scales: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    assert target.resolve(*picture, scales) == expected


@given(SIDES, SIDES, st.floats(1, 8), SCALES)
def test_the_last_step_shrinks_by_as_little_as_the_scales_allow(
    width: int, height: int, scale: float, scales: list[int]
) -> None:
    found = Target(scale=scale).resolve(width, height, scales)
    assert (found.width, found.height) == tuple(
        math.ceil(side * Fraction(scale).limit_denominator(10_000)) for side in (width, height)
    )
    assert found.scale in scales
    if found.scale < scale / 1.01:
        assert found.scale == max(scales)
    assert all(other >= found.scale for other in scales if other >= scale)


@given(SIDES, SIDES, SCALES, st.integers(1, 8 * 5000))
def test_a_long_edge_is_met_and_the_shape_kept(width: int, height: int, scales: list[int], edge: int) -> None:
    long = max(width, height)
    target = Target(long_edge=edge)
    if not long <= edge <= MAX_SCALE * long:
        with pytest.raises(ValueError, match=r"smaller|too large"):
            target.resolve(width, height, scales)
        return
    found = target.resolve(width, height, scales)
    assert max(found.width, found.height) == edge
    exact = min(width, height) * edge / long
    assert abs(min(found.width, found.height) - exact) <= 0.5 + 1e-9 or min(found.width, found.height) == 1
    assert (found.width >= found.height) == (width >= height) or found.width == found.height


def test_strings_are_read() -> None:
    assert Target.parse(scale="2.5") == Target(scale=2.5)
    assert Target.parse(size="1920x1080") == Target.parse(size=" 1920X1080 ") == Target(size=(1920, 1080))
    assert Target.parse(long_edge="3840") == Target(long_edge=3840)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"scale": "abc"}, "scale is 'abc'; give a factor from 1 to 64, such as 2.5"),
        ({"scale": ""}, "scale is ''"),
        ({"scale": "nan"}, "scale is 'nan'"),
        ({"scale": "-2"}, "scale is '-2'"),
        ({"scale": "1e9"}, "scale is '1e9'"),
        ({"scale": "٢"}, "scale is '٢'"),
        ({"scale": "0.5"}, "scale is 0.5; give a factor from 1 to 64"),
        ({"scale": "65"}, "scale is 65; give"),
        ({"size": "0x10"}, "size is 0x10; give WIDTHxHEIGHT, both from 1 to 1000000 pixels"),
        ({"size": "10"}, "size is '10'; give WIDTHxHEIGHT in pixels, such as 1920x1080"),
        ({"size": "10x"}, "size is '10x'"),
        ({"size": "-4x4"}, "size is '-4x4'"),
        ({"size": "4x4x4"}, "size is '4x4x4'"),
        ({"size": "4x2000000"}, "size is 4x2000000"),
        ({"size": "9" * 5000 + "x1"}, "size is"),
        ({"long_edge": "0"}, "long edge is 0; give 1 to"),
        ({"long_edge": "12.5"}, "long edge is '12.5'; give a number of pixels, such as 3840"),
        ({"long_edge": "2000000"}, "long edge is 2000000"),
        ({}, "give one of scale, size and long edge, not none"),
        ({"scale": "2", "size": "4x4"}, "give one of scale, size and long edge, not scale and size"),
    ],
)
def test_what_cannot_be_a_size_is_told(options: dict[str, str], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        Target.parse(**options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("scale", [math.nan, math.inf, 0.0, -1.0, 0.999])
def test_factors_out_of_range_are_refused(scale: float) -> None:
    with pytest.raises(ValueError, match="give a factor from 1 to 64"):
        Target(scale=scale)


@pytest.mark.parametrize(
    ("target", "picture", "text"),
    [
        (Target(size=(10, 10)), (20, 20), "10x10 from a picture of 20x20 would be smaller; .* srzoo downscale"),
        (Target(long_edge=99), (100, 1), "99x1 from a picture of 100x1 would be smaller"),
        (Target(size=(1000, 10)), (10, 10), "1000x10 from a picture of 10x10 is too large; at most 64 times"),
        (Target(scale=64), (20_000, 1), "1280000x64 from a picture of 20000x1 is too large"),
    ],
)
def test_sizes_that_do_not_suit_a_picture_are_refused(target: Target, picture: tuple[int, int], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        target.resolve(*picture, (2, 4))


def test_what_one_may_not_expect_is_noted() -> None:
    assert Target(scale=2.5).notes(333, 100, (2, 3, 4)) == ()
    assert Target(scale=2.02).notes(333, 100, (2,)) == ()
    assert Target(size=(667, 200)).notes(333, 100, (2,)) == ()  # 0.15 %
    assert Target(long_edge=8).notes(8, 3, (2,)) == ()
    assert Target(size=(680, 200)).notes(333, 100, (4,)) == (
        "the shape changes from 333:100 to 680:200, as the size asks",
    )
    assert Target(scale=6).notes(10, 10, (2, 4)) == ("the model makes x4, bicubic the rest, x1.50",)
    assert len(Target(size=(60, 100)).notes(10, 10, (2, 4))) == 2
