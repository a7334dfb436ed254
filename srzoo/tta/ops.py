"""Test-time operations and how they compose."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from torch import Tensor


@dataclass(frozen=True)
class Op:
    """A transform of an image that can be undone at any scale: `undo(model(do(x)))` lands on `model(x)`'s pixels.

    Args:
        name: Short, for messages.
        do: Image to image, b c h w.
        undo: Its inverse, also on an image upscaled in between.
    """

    name: str
    do: Callable[[Tensor], Tensor]
    undo: Callable[[Tensor], Tensor]


def _same(x: Tensor) -> Tensor:
    return x


def _flip_width(x: Tensor) -> Tensor:
    return x.flip(-1)


def _flip_height(x: Tensor) -> Tensor:
    return x.flip(-2)


def _transpose(x: Tensor) -> Tensor:
    return x.transpose(-2, -1)


IDENTITY = Op("identity", _same, _same)
FLIP_WIDTH = Op("flip width", _flip_width, _flip_width)
FLIP_HEIGHT = Op("flip height", _flip_height, _flip_height)
TRANSPOSE = Op("transpose", _transpose, _transpose)


def _chain(ops: Sequence[Op]) -> Op:
    """One op that does `ops` in order and undoes them in reverse."""
    ops = [op for op in ops if op is not IDENTITY]
    if len(ops) <= 1:
        return ops[0] if ops else IDENTITY

    def do(x: Tensor) -> Tensor:
        for op in ops:
            x = op.do(x)
        return x

    def undo(x: Tensor) -> Tensor:
        for op in reversed(ops):
            x = op.undo(x)
        return x

    return Op(", ".join(op.name for op in ops), do, undo)


def compose(*groups: Sequence[Op]) -> tuple[Op, ...]:
    """Every way of taking one op from each group, done in order: the product of the groups.

    Examples:
        >>> [op.name for op in compose((IDENTITY, FLIP_WIDTH), (IDENTITY, FLIP_HEIGHT))]
        ['identity', 'flip height', 'flip width', 'flip width, flip height']
    """
    return tuple(_chain(ops) for ops in product(*groups))


def flips() -> tuple[Op, ...]:
    """The identity, both flips, and both together: four ops.

    Examples:
        >>> len(flips())
        4
    """
    return compose((IDENTITY, FLIP_WIDTH), (IDENTITY, FLIP_HEIGHT))


def dihedral() -> tuple[Op, ...]:
    """The eight flips and rotations of a square: EDSR's geometric self-ensemble (section 3.5).

    Examples:
        >>> len(dihedral())
        8
    """
    return compose((IDENTITY, FLIP_WIDTH), (IDENTITY, FLIP_HEIGHT), (IDENTITY, TRANSPOSE))
