import pickle
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from srzoo.tta import FLIP_HEIGHT, FLIP_WIDTH, IDENTITY, TRANSPOSE, Geometry, Op, OpGroup, compose, dihedral, flips

GEOMETRIES = [Geometry(*bits) for bits in product((False, True), repeat=3)]


def nearest(x: torch.Tensor, scale: int) -> torch.Tensor:
    return x.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def image() -> torch.Tensor:
    return torch.arange(2 * 3 * 5.0).view(1, 2, 3, 5)


def reverse_channels(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1)


SWAP = Op("swap", reverse_channels, reverse_channels)


def test_the_eight_ops_are_the_flips_and_rotations_of_a_square() -> None:
    x = image()
    expected = [turned for k in range(4) for turned in (x.rot90(k, (-2, -1)), x.flip(-1).rot90(k, (-2, -1)))]
    found = [op.do(x) for op in dihedral()]
    assert len(found) == 8
    for wanted in expected:
        assert sum(torch.equal(out, wanted) for out in found) == 1


@pytest.mark.parametrize("op", dihedral(), ids=lambda op: op.name)
@pytest.mark.parametrize("scale", [1, 2, 3])
def test_each_op_is_undone_exactly_also_after_upscaling(op: Op, scale: int) -> None:
    x = image()
    assert torch.equal(op.undo(nearest(op.do(x), scale)), nearest(x, scale))


def test_flips_are_the_four_that_keep_height_and_width() -> None:
    x = image()
    found = [op.do(x) for op in flips()]
    expected = [x, x.flip(-1), x.flip(-2), x.flip(-2, -1)]
    assert len(found) == 4
    for wanted in expected:
        assert sum(torch.equal(out, wanted) for out in found) == 1


def test_names_are_distinct() -> None:
    assert len({op.name for op in dihedral()}) == 8


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_a_geometry_flips_first_and_transposes_last(geometry: Geometry) -> None:
    x = image()
    expected = x.flip(-2) if geometry.flip_height else x
    expected = expected.flip(-1) if geometry.flip_width else expected
    expected = expected.mT if geometry.transpose else expected
    assert torch.equal(geometry(x), expected)
    assert torch.equal(geometry.inverse()(expected), x)
    assert geometry.then(geometry.inverse()) == geometry.inverse().then(geometry) == Geometry()
    assert (geometry.as_op().geometry, geometry.as_op().name) == (geometry, geometry.name)


def test_then_is_one_after_the_other() -> None:
    x = image()
    for first, second in product(GEOMETRIES, repeat=2):
        assert torch.equal(first.then(second)(x), second(first(x)))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda geometry: geometry.name)
def test_turning_the_kernels_stands_for_turning_the_image(geometry: Geometry) -> None:
    x, kernels = torch.rand(1, 2, 5, 7, dtype=torch.float64), torch.rand(4, 2, 3, 3, dtype=torch.float64)
    undo = geometry.inverse()
    turned = undo(F.conv2d(geometry(x), kernels, padding=1))
    torch.testing.assert_close(F.conv2d(x, undo(kernels), padding=1), turned)


def test_what_an_op_is_can_be_asked() -> None:
    assert [op.geometry for op in (IDENTITY, FLIP_HEIGHT, FLIP_WIDTH, TRANSPOSE)] == [
        Geometry(),
        Geometry(flip_height=True),
        Geometry(flip_width=True),
        Geometry(transpose=True),
    ]
    assert {op.geometry for op in dihedral()} == set(GEOMETRIES)
    assert SWAP.geometry is None
    assert all(op.geometry is None for op in flips() * [SWAP])


def test_a_geometry_with_another_undo_is_refused() -> None:
    quarter = Geometry(transpose=True, flip_width=True)
    with pytest.raises(ValueError, match="undo of 'quarter' is not the inverse of its do"):
        Op("quarter", quarter, quarter)


def test_compose_is_the_product_of_its_groups() -> None:
    ops = compose((IDENTITY, FLIP_WIDTH, FLIP_HEIGHT), (IDENTITY, TRANSPOSE))
    assert [op.name for op in ops] == [
        "identity",
        "transpose",
        "flip width",
        "flip width, transpose",
        "flip height",
        "flip height, transpose",
    ]
    assert compose() == (IDENTITY,)
    assert compose((IDENTITY, FLIP_WIDTH)) == (IDENTITY, FLIP_WIDTH)
    assert compose((IDENTITY,), ()) == ()


def test_a_composed_op_undoes_in_reverse_order() -> None:
    roll = Op("roll", lambda x: x.roll(1, -1), lambda x: x.roll(-1, -1))
    negate = Op("negate", lambda x: 1 - x, lambda x: 1 - x)
    [op] = compose((roll,), (TRANSPOSE,), (negate,), (FLIP_HEIGHT,))
    x = image()
    assert torch.equal(op.do(x), (1 - x.roll(1, -1).transpose(-2, -1)).flip(-2))
    assert torch.equal(op.undo(op.do(x)), x)


@pytest.mark.parametrize(
    "build",
    [
        lambda: flips() * (IDENTITY, SWAP),
        lambda: flips() * [IDENTITY, SWAP],
        lambda: compose(flips(), (IDENTITY, SWAP)),
        lambda: OpGroup([IDENTITY, FLIP_WIDTH]) * (IDENTITY, FLIP_HEIGHT) * (IDENTITY, SWAP),
    ],
)
def test_groups_multiply_with_each_other_and_with_plain_sequences(build) -> None:
    x, group = image(), build()
    assert isinstance(group, OpGroup)
    found = [op.do(x) for op in group]
    expected = [y for op in flips() for y in (op.do(x), op.do(x).flip(1))]
    assert len(found) == 8
    assert all(sum(torch.equal(out, wanted) for out in found) == 1 for wanted in expected)


def test_a_plain_tuple_may_stand_on_the_left() -> None:
    group = (IDENTITY, SWAP) * flips()
    assert isinstance(group, OpGroup)
    assert group == compose((IDENTITY, SWAP), flips())
    assert group[-1].name == "swap, flip width, flip height"


@pytest.mark.parametrize(
    ("product", "expected"),
    [
        (dihedral() * flips(), dihedral()),
        (flips() * dihedral(), dihedral()),
        (dihedral() * dihedral(), dihedral()),
        (flips() * flips(), flips()),
        (compose((IDENTITY, FLIP_WIDTH, FLIP_HEIGHT), (IDENTITY, FLIP_WIDTH)), flips()),
        (flips() * (SWAP,) * (SWAP,), compose(flips(), (SWAP,), (SWAP,))),
        ((SWAP,) * flips() * flips(), (SWAP,) * flips()),
        (compose((IDENTITY, SWAP), (IDENTITY, SWAP)), (IDENTITY, SWAP, *compose((SWAP,), (SWAP,)))),
    ],
)
def test_an_op_that_several_ways_lead_to_is_in_a_product_once(product: OpGroup, expected: tuple) -> None:
    assert len(product) == len(expected)
    assert set(product) == set(expected)


@pytest.mark.parametrize("other", [3, SWAP, (1, 2), "ab"])
def test_a_group_times_something_else_is_refused(other: Any, as_users_call: None) -> None:
    for multiply in (lambda: flips() * other, lambda: other * flips()):
        with pytest.raises(TypeError, match=r"a group of ops was multiplied by .*; give a sequence of ops"):
            multiply()


def test_groups_can_be_pickled() -> None:
    group = dihedral() * (IDENTITY, SWAP)
    again = pickle.loads(pickle.dumps(group))
    assert isinstance(again, OpGroup)
    assert again == group
    assert hash(again) == hash(group)
