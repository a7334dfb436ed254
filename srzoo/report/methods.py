"""The methods of a comparison: models, opened, of one scale, each with a label of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.models.bicubic import Bicubic
from srzoo.registry import is_path, open_model
from srzoo.upscaling import Upscaler
from srzoo.upscaling.tiling import DEFAULT_TILE
from srzoo.upscaling.upscaler import Tta

LR, HR, BICUBIC = "LR", "HR", "bicubic"
Models = str | Path | SRModel | Sequence[str | Path | SRModel] | Mapping[str, str | Path | SRModel]


@dataclass(frozen=True)
class Method:
    """A way to upscale, and its name on pages."""

    label: str
    upscaler: Upscaler

    def __call__(self, lr: UInt8[Tensor, "c h w"]) -> UInt8[Tensor, "c H W"]:
        """SR, rounded to 8 bits.

        Raises:
            ValueError: If the model gives NaN, or takes other channels; the message begins with the label.
        """
        try:
            sr = self.upscaler(lr.float() / 255)
        except ValueError as error:
            raise ValueError(f"{self.label}: {error}") from error
        return (sr * 255).round().byte().cpu()


def open_methods(
    models: Models,
    scale: int | None = None,
    *,
    device: str | torch.device = "auto",
    tta: Tta = "none",
    tile: int = DEFAULT_TILE,
) -> tuple[int, list[Method]]:
    """The common scale of models, and a method for each; bicubic comes first unless it was named elsewhere.

    Args:
        models: Names, files, folders or models, as `open_model` takes them; a mapping gives labels. `bicubic` is
            bicubic at whatever the scale is.
        scale: The scale; None takes that of the single-scale models.
        device: As `Upscaler` takes it.
        tta: As `Upscaler` takes it; bicubic is run without.
        tile: As `Upscaler` takes it.

    Raises:
        ValueError: If there is no model, one is named twice, or they do not share a scale.
    """
    labelled = _labelled(models)
    plain = {label for label, model in labelled.items() if isinstance(model, str) and model == BICUBIC}
    opened = {
        label: model if isinstance(model, SRModel) else open_model(model)
        for label, model in labelled.items()
        if label not in plain
    }
    scale = common_scale({label: model.scales for label, model in opened.items()}, scale)
    if not plain and BICUBIC not in opened:
        labelled, plain = {BICUBIC: BICUBIC, **labelled}, {BICUBIC}
    methods = []
    for label in labelled:
        model = Bicubic(scale=scale) if label in plain else opened[label]
        ensemble: Tta = "none" if label in plain else tta
        # float32, as in the benchmark: pictures and figures on a page are those of the tables
        upscaler = Upscaler(
            model, scale=scale, device=device, tta=ensemble, tile=tile, engine="torch", precision="fp32"
        )
        methods.append(Method(label, upscaler))
    return scale, methods


def common_scale(offered: Mapping[str, tuple[int, ...]], scale: int | None) -> int:
    """The scale at which models are compared: the one given, or that of those that have only one.

    Args:
        offered: Label -> scales of the model.
        scale: What the user asks for.

    Raises:
        ValueError: If a model does not offer it, or none is given and the models leave no single one.

    Examples:
        >>> common_scale({"edsr_x4": (4,), "mdsr": (2, 3, 4)}, None)
        4
    """
    own = {label: scales[0] for label, scales in offered.items() if len(scales) == 1}
    if scale is None:
        if len(set(own.values())) > 1:
            told = ", ".join(f"{label} (x{own[label]})" for label in own)
            raise ValueError(f"the models have different scales: {told}; compare models of one scale")
        if not own:
            names = " and ".join(offered) or BICUBIC
            raise ValueError(f"{names} can upscale by several factors; give scale (--scale), such as 4")
        scale = next(iter(own.values()))
    if scale < 1:
        raise ValueError(f"scale is {scale}; it must be at least 1")
    for label, scales in offered.items():
        if scale not in scales:
            raise ValueError(f"{label} upscales by {', '.join(map(str, scales))}, not by {scale}; leave it out")
    return scale


def _labelled(models: Models) -> dict[str, str | Path | SRModel]:
    """Label -> model, in the order given."""
    if isinstance(models, Mapping):
        taken = [label for label in models if label in (LR, HR)]
        if taken:
            raise ValueError(f"a model has the label {taken[0]}, which stands for an image; give it another one")
        found = dict(models)
    else:
        several = [models] if isinstance(models, str | Path | SRModel) else list(models)
        found = dict(zip(make_labels([_name(model) for model in several]), several, strict=True))
    if not found:
        raise ValueError("there is no model to compare; give at least one")
    return found


def _name(model: str | Path | SRModel) -> str:
    return (model.name or type(model).__name__) if isinstance(model, SRModel) else str(model)


def make_labels(names: Sequence[str]) -> list[str]:
    """A short label for each model name: paths are cut to as many of their last parts as tell them apart.

    Raises:
        ValueError: If a name is given twice.

    Examples:
        >>> make_labels(["edsr_x4", "runs/a/model.safetensors", "runs/b/model.safetensors", "runs/c"])
        ['edsr_x4', 'a', 'b', 'c']
    """
    again = {name for name in names if names.count(name) > 1}
    if again:
        raise ValueError(f"{min(again)} is given twice; name each model once, or give labels by a mapping")
    tails = [_tails(name) for name in names]
    depth = [1] * len(names)
    while True:
        labels = ["/".join(tail[-n:]) for tail, n in zip(tails, depth, strict=True)]
        clash = [i for i, label in enumerate(labels) if labels.count(label) > 1 or label in (LR, HR)]
        longer = [i for i in clash if depth[i] < len(tails[i])]
        if not longer:
            break
        for i in longer:
            depth[i] += 1
    for i in clash:  # such as runs/HR given as "HR", or a.safetensors beside a
        labels[i] = names[i] if names[i] not in (*labels[:i], *labels[i + 1 :], LR, HR) else f"{names[i]} ({i + 1})"
    return labels


def _tails(name: str) -> list[str]:
    """Parts of a path without what all weight files share; a model name is its only part."""
    if ":" in name and not Path(name).exists():
        name = name.partition(":")[2]  # hf-hub:owner/name
    elif not is_path(name):
        return [name]
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    if parts[-1:] == ["model.safetensors"] and len(parts) > 1:
        parts.pop()
    return [*parts[:-1], parts[-1].removesuffix(".safetensors")] if parts else [name]
