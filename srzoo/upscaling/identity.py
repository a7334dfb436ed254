"""What tells one network or operation from another, in plain JSON values: names alone do not."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from srzoo.architecture import SRModel
from srzoo.tta import Op, SelfEnsemble
from srzoo.upscaling.checks import pattern
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.stages import Networks
from srzoo.upscaling.target import Target
from srzoo.weights import content_hash

PLAIN = (bool, int, float, str, type(None))


def identify_model(model: SRModel, device: torch.device) -> dict[str, Any]:
    """The model's name, the arguments or structure that it was made by, and the hash of its weights.

    A model built by hand is told by its modules: their classes, settings and plain attributes. What code of the user's
    own does with them is not seen.
    """
    found: dict[str, Any] = {"model": model.name or type(model).__name__}
    if isinstance(model, SelfEnsemble):
        ops = [identify_op(op, model.channels, device) for op in model.ops]
        return {**found, "ensemble": {"ops": ops, "merge": model.merge, "of": identify_model(model.model, device)}}
    if model.name:
        found |= {"arguments": _plain(model.arguments), "package": model.package}
    else:
        found["structure"] = _structure(model)
    return {**found, "weights": content_hash(model.state_dict())}


def identify_stages(
    networks: Networks, scale: int | None, size: Target | None, device: torch.device
) -> dict[str, list[dict[str, Any]] | list[str]]:
    """The networks of a cascade in their order, and all that a size might take; nothing for a network alone."""
    if scale is not None:
        if networks.is_alone(scale):
            return {}
        stages = networks.stages(scale)
        return {"stages": [{**identify_model(stage.model, device), "scale": stage.scale} for stage in stages]}
    if len(networks.models) > 1:
        return {"stages": [identify_model(model, device) for model in networks.models]}
    is_one = (
        size is not None and size.scale is not None and networks.factors_for(size.scale) == tuple(networks.first.scales)
    )
    return {} if is_one or not networks.sisters.there else {"sisters": networks.identify()}


@torch.no_grad()
def identify_op(op: Op, channels: int, device: torch.device) -> str | dict[str, str]:
    """The name of an operation; with the hash of what it does to a few pixels, if it is not a flip or transpose."""
    if op.geometry is not None:
        return op.geometry.name
    digest = hashlib.sha256()
    for function in (op.do, op.undo):
        out = function(pattern(channels, 6, 8).to(device)).cpu().double() * 1000
        digest.update(f"{tuple(out.shape)} {[round(value) for value in out.flatten().tolist()]}".encode())
    return {"name": op.name, "does": digest.hexdigest()[:16]}


def identify_run(executor: Executor, small: Executor, below: int, memory: int) -> dict[str, Any]:
    """How images are computed: by one executor, or by another if they have fewer than so many LR pixels.

    Memory matters where it decides on tiles that do not see all there is.
    """
    engine, precision, settings = executor.engine.name, executor.precision, executor.settings
    if small is not executor:
        engine += f", {small.engine.name} below {below} pixels"
        precision += f", {small.precision} below"
    return {
        "engine": engine,
        "precision": precision,
        "device": executor.engine.device.type,
        "halo": settings.halo,
        "tile": None if settings.halo is None else settings.tile,
        "memory": memory if settings.halo is not None and settings.tile is None else None,
    }


def _structure(model: nn.Module) -> str:
    parts: list[str] = []
    for name, module in model.named_modules():
        own = {key: value for key, value in vars(module).items() if _is_plain(value) and key != "training"}
        parts.append(f"{name} {type(module).__qualname__}({module.extra_repr()}) {sorted(own.items())}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(item) for item in value)
    return isinstance(value, PLAIN)


def _plain(value: Any) -> Any:
    """The value with tuples as lists, as JSON gives them back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value if isinstance(value, PLAIN) else repr(value)
