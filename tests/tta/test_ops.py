import pytest
import torch

from srzoo.tta import FLIP_HEIGHT, FLIP_WIDTH, IDENTITY, TRANSPOSE, Op, compose, dihedral, flips


def nearest(x: torch.Tensor, scale: int) -> torch.Tensor:
    return x.repeat_interleave(scale, -2).repeat_interleave(scale, -1)


def image() -> torch.Tensor:
    return torch.arange(2 * 3 * 5.0).view(1, 2, 3, 5)


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
