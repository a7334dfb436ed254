"""What every pass over an image is held to: operations that can be undone, values that are finite."""

import torch
from torch import Tensor

from srzoo.tta import Op


def is_finite(sr: Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return bool(torch.isfinite(sr.sum()).item()) or bool(torch.isfinite(sr).all().item())


def do_op(op: Op, lr: Tensor) -> Tensor:
    """The image, changed by an operation.

    Raises:
        ValueError: If the operation gives no tensor.
    """
    changed: object = op.do(lr)
    if not isinstance(changed, Tensor):
        raise ValueError(f"op {op.name!r} gives a {type(changed).__name__} where a tensor is due")
    return changed


def undo_op(op: Op, sr: Tensor, width: int, height: int) -> Tensor:
    """The result of a changed image, changed back.

    Raises:
        ValueError: If the operation gives no tensor, or not the width and height that are due.
    """
    undone: object = op.undo(sr)
    if not isinstance(undone, Tensor):
        raise ValueError(f"the undo of op {op.name!r} gives a {type(undone).__name__} where a tensor is due")
    if undone.shape[-2:] != (height, width):
        raise ValueError(
            f"op {op.name!r} gives {undone.shape[-1]}x{undone.shape[-2]} pixels where {width}x{height} are due; "
            "its undo must turn back what its do turned"
        )
    return undone
