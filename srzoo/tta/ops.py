"""Test-time operations, and groups of them that multiply."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, product

from torch import Tensor


@dataclass(frozen=True)
class Geometry:
    """One of the eight flips and rotations of a square, as a function of images: flips first, then the transpose.

    `geometry(x)` takes any tensor whose last two axes are height and width. A convolution run on `geometry(x)`, its
    output turned back, is the convolution of `x` with the kernels `geometry.inverse()(kernels)`; so an engine may turn
    the weights once instead of every image.

    Args:
        transpose: Swap height and width, after the flips.
        flip_height: Reverse the rows, top to bottom.
        flip_width: Reverse the columns, left to right.

    Examples:
        >>> import torch
        >>> quarter_turn = Geometry(transpose=True, flip_width=True)
        >>> quarter_turn(torch.tensor([[1, 2], [3, 4]]))
        tensor([[2, 4],
                [1, 3]])
        >>> quarter_turn.then(quarter_turn)
        Geometry(transpose=False, flip_height=True, flip_width=True)
    """

    transpose: bool = False
    flip_height: bool = False
    flip_width: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """The image (or kernels, or anything ... h w) flipped, then transposed."""
        axes = [axis for axis, flips in ((-2, self.flip_height), (-1, self.flip_width)) if flips]
        x = x.flip(axes) if axes else x
        return x.transpose(-2, -1) if self.transpose else x

    def then(self, other: "Geometry") -> "Geometry":
        """This one first, then `other`: `first.then(second)(x)` is `second(first(x))`."""
        height, width = other.flip_height, other.flip_width
        if self.transpose:  # a flip after the transpose is the other flip before it
            height, width = width, height
        return Geometry(self.transpose != other.transpose, self.flip_height != height, self.flip_width != width)

    def inverse(self) -> "Geometry":
        """What undoes it: `g.then(g.inverse())` changes nothing."""
        if self.transpose:
            return Geometry(True, self.flip_width, self.flip_height)
        return self

    @property
    def name(self) -> str:
        """What is done, in order, such as "flip width, transpose"."""
        parts = {"flip width": self.flip_width, "flip height": self.flip_height, "transpose": self.transpose}
        return ", ".join(part for part, used in parts.items() if used) or "identity"

    def as_op(self) -> "Op":
        """The operation that does it."""
        return Op(self.name, self, self.inverse())


@dataclass(frozen=True)
class Op:
    """A transform of an image that can be undone at any scale: `undo(model(do(x)))` lands on `model(x)`'s pixels.

    Two ops are equal if their names and functions are. An op can be pickled if its functions can: functions of a module
    can, lambdas cannot.

    Args:
        name: Short, for messages.
        do: Image to image, b c h w, in [0, 1]. A `Geometry` says by itself what it does; any other function must leave
            each pixel in its place (it may change colours), or tiles no longer equal the whole.
        undo: Its inverse, also on an image upscaled in between.

    Raises:
        ValueError: If `do` is a `Geometry` and `undo` is not its inverse.

    Examples:
        >>> import torch
        >>> swap = Op("swap red and blue", lambda x: x.flip(1), lambda x: x.flip(1))
        >>> [op.name for op in flips() * (IDENTITY, swap)][-2:]
        ['flip width, flip height', 'flip width, flip height, swap red and blue']
    """

    name: str
    do: Callable[[Tensor], Tensor]
    undo: Callable[[Tensor], Tensor]

    def __post_init__(self) -> None:
        if isinstance(self.do, Geometry) and self.undo != self.do.inverse():
            raise ValueError(f"undo of {self.name!r} is not the inverse of its do; make it by `geometry.as_op()`")

    @property
    def geometry(self) -> Geometry | None:
        """Which flips and transpose the op is; None for any other function."""
        return self.do if isinstance(self.do, Geometry) else None


IDENTITY = Geometry().as_op()
FLIP_WIDTH = Geometry(flip_width=True).as_op()
FLIP_HEIGHT = Geometry(flip_height=True).as_op()
TRANSPOSE = Geometry(transpose=True).as_op()


class OpGroup(tuple[Op, ...]):
    """Ops to average over: a tuple that multiplies. `a * b` is every op of `a` followed by every op of `b`.

    Plain tuples and lists of ops may stand on either side. See `compose` for what a product holds.

    Examples:
        >>> len(flips() * (IDENTITY, TRANSPOSE))
        8
        >>> set(dihedral() * flips()) == set(dihedral())
        True
    """

    __slots__ = ()

    def __mul__(self, other: Sequence[Op]) -> "OpGroup":  # pyright: ignore[reportIncompatibleMethodOverride]
        return compose(self, _as_group(other))

    def __rmul__(self, other: Sequence[Op]) -> "OpGroup":  # pyright: ignore[reportIncompatibleMethodOverride]
        return compose(_as_group(other), self)


def _as_group(ops: object) -> Sequence[Op]:
    if isinstance(ops, Sequence) and all(isinstance(op, Op) for op in ops):
        return ops
    what = f"the op {ops.name!r}" if isinstance(ops, Op) else repr(ops)
    raise TypeError(f"a group of ops was multiplied by {what}; give a sequence of ops, such as (IDENTITY, op)")


@dataclass(frozen=True)
class _Chain:
    """Ops done one after the other, or undone in reverse; unlike a closure it can be compared and pickled."""

    ops: tuple[Op, ...]
    undoes: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        for op in reversed(self.ops) if self.undoes else self.ops:
            x = op.undo(x) if self.undoes else op.do(x)
        return x


def _chain(ops: Iterable[Op]) -> Op:
    """One op that does `ops` in order and undoes them in reverse; neighbours that are geometric become one."""
    single = [part for op in ops for part in (op.do.ops if isinstance(op.do, _Chain) else (op,))]
    parts: list[Op] = []
    for is_geometric, run in groupby(single, lambda op: op.geometry is not None):
        if not is_geometric:
            parts += run
            continue
        geometry = Geometry()
        for op in run:
            assert op.geometry is not None
            geometry = geometry.then(op.geometry)
        if geometry != Geometry():
            parts.append(geometry.as_op())
    if len(parts) <= 1:
        return parts[0] if parts else IDENTITY
    return Op(", ".join(op.name for op in parts), _Chain(tuple(parts)), _Chain(tuple(parts), undoes=True))


def compose(*groups: Sequence[Op]) -> OpGroup:
    """Every way of taking one op from each group, done in order: the product of the groups.

    An op that several ways lead to is in the product once, so each counts the same in a mean. Flips and transposes
    that meet are recognised: `compose(dihedral(), flips())` has the eight ops of `dihedral()`. What your own functions
    do is not known to the library: of two different ones with the same effect both are kept.

    Args:
        *groups: Each a sequence of ops. Put `IDENTITY` in a group for the images that it should leave alone.

    Examples:
        >>> [op.name for op in compose((IDENTITY, FLIP_WIDTH), (IDENTITY, FLIP_HEIGHT))]
        ['identity', 'flip height', 'flip width', 'flip width, flip height']
    """
    return OpGroup(dict.fromkeys(_chain(ops) for ops in product(*groups)))


def flips() -> OpGroup:
    """The identity, both flips, and both together: four ops.

    Examples:
        >>> len(flips())
        4
    """
    return compose((IDENTITY, FLIP_WIDTH), (IDENTITY, FLIP_HEIGHT))


def dihedral() -> OpGroup:
    """The eight flips and rotations of a square: EDSR's geometric self-ensemble (section 3.5).

    Examples:
        >>> len(dihedral())
        8
    """
    return flips() * (IDENTITY, TRANSPOSE)
