"""What an `Upscaler` is given, checked: each mistake is one sentence, at the call that made it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.registry import open_model
from srzoo.tta import MergeName, Op, dihedral, flips
from srzoo.upscaling.engines import Precision
from srzoo.upscaling.engines.choosing import EngineName
from srzoo.upscaling.target import Target

Tta = Literal["none", "flips", "x8"]
GROUPS: Mapping[str, Callable[[], Sequence[Op]]] = {"none": tuple, "flips": flips, "x8": dihedral}


def checked_model(model: Any) -> SRModel:
    """The model, opened by its name or file, or as given; of a compiled one (`torch.compile`) what was compiled.

    Raises:
        TypeError: If it is neither a name, a path nor a model of the zoo's kind.
        ValueError: If the model is unknown or has no weights.
    """
    if isinstance(model, str | Path):
        return open_model(model)
    model = getattr(model, "_orig_mod", model)  # engines compile the network themselves
    if isinstance(model, SRModel):
        return model
    what = f"the class {model.__name__}" if inspect.isclass(model) else f"a {type(model).__name__}"
    todo = "give a model's name, a weight file, or a model made from srzoo.SRModel"
    if isinstance(getattr(model, "module", None), SRModel):
        todo = "give what it wraps, model.module"
    elif inspect.isclass(model) and issubclass(model, SRModel):
        todo = f"give a model, such as {model.__name__}(...)"
    raise TypeError(f"model is {what}; {todo}")


def checked_ops(tta: Any) -> tuple[Op, ...]:
    """The operations of an ensemble; none for a single pass.

    Raises:
        ValueError: If there is no group of that name, or no operation in the sequence.
        TypeError: If it is neither a name nor a sequence of operations.
    """
    allowed = f"allowed are {', '.join(GROUPS)}, or a sequence of operations"
    if isinstance(tta, str):
        if tta not in GROUPS:
            raise ValueError(f"tta is {tta!r}; {allowed}")
        return tuple(GROUPS[tta]())
    if isinstance(tta, Op):
        raise TypeError(f"tta is the one operation {tta.name!r}; give a sequence, such as (IDENTITY, {tta.name!r})")
    if not isinstance(tta, Sequence) or not all(isinstance(op, Op) for op in tta):
        raise TypeError(f"tta is {tta!r}; {allowed}")
    if not tta:
        raise ValueError(f"tta has no operation; {allowed}")
    return tuple(tta)


@torch.no_grad()
def check_own_ops(ops: Sequence[Op], channels: int, device: torch.device) -> None:
    """Try operations that are functions of the user's own on a few pixels.

    Raises:
        TypeError: If one does not return a tensor.
        ValueError: If one does not return an image of the same shape.
    """
    image = pattern(channels, 6, 8).to(device)
    for op in ops:
        for name, function in () if op.geometry is not None else (("do", op.do), ("undo", op.undo)):
            out: Any = function(image.clone())
            if not isinstance(out, Tensor):
                raise TypeError(f"{name} of operation {op.name!r} gives a {type(out).__name__}; it must give a tensor")
            if out.ndim != 4 or out.shape[:2] != image.shape[:2]:
                shapes = f"{tuple(out.shape)} for an image of shape {tuple(image.shape)}"
                raise ValueError(f"{name} of operation {op.name!r} gives {shapes}; it must keep batch and channels")


def pattern(channels: int, height: int, width: int) -> Tensor:
    """A picture of noise in [0, 1], always the same, 1 c h w."""
    return torch.rand(1, channels, height, width, generator=torch.Generator().manual_seed(0), device="cpu")


def check_options(
    *, scale: Any = None, size: Any = None, tile: Any = None, halo: Any = None, device: Any = "auto",
    engine: Any = "auto", precision: Any = "auto", merge: Any = "mean",
) -> None:  # fmt: skip
    """Refuse what is of the wrong kind or out of range, whatever the model and the machine.

    Raises:
        TypeError: If an option is of the wrong kind.
        ValueError: If its value is not allowed.
    """
    if scale is not None and not _is_whole(scale):
        raise TypeError(f"scale is {scale!r}; give a whole number, or size=Target(scale=2.5) for a factor between")
    if size is not None and not isinstance(size, Target):
        raise TypeError(f"size is {size!r}; give a Target, such as Target(size=(800, 600)) or Target(long_edge=800)")
    for name, value, least in (("tile", tile, 1), ("halo", halo, 0)):
        if value is not None and not _is_whole(value):
            raise TypeError(f"{name} is {value!r}; give a whole number of LR pixels")
        if value is not None and value < least:
            raise ValueError(f"{name} is {value}; it must be at least {least}")
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device is {device!r}; give 'auto', a name such as 'cuda:1', or a torch.device")
    names = (("engine", engine, EngineName), ("precision", precision, Precision), ("merge", merge, MergeName))
    for name, value, kind in names:
        if value not in get_args(kind):
            raise ValueError(f"{name} is {value!r}; allowed are {', '.join(get_args(kind))}")


def _is_whole(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
