"""Find models by name: the families of `srzoo.models`, of installed plug-ins, those registered by hand."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch

from srzoo.architecture import Architecture, Origin, SRModel, Weights
from srzoo.hub import find_weights
from srzoo.weights import load_strictly, read_header, read_tensors

GROUP = "srzoo.architectures"


@dataclass(frozen=True)
class BrokenPlugin:
    """An installed plug-in that could not be used, and why."""

    name: str
    target: str
    error: str


@dataclass
class _Catalog:
    """Families by name and model names by family, with where each came from."""

    families: dict[str, Architecture] = field(default_factory=dict)
    owner: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Model name -> (family, where it is defined)."""
    broken: list[BrokenPlugin] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    """Families that came by a call of `register`."""

    def add(self, arch: object, where: str) -> None:
        """Take a record in; nothing overrides silently."""
        if not isinstance(arch, Architecture):
            raise TypeError(f"{where} gives {type(arch).__name__}, not an srzoo.Architecture")
        names = arch.model_names()
        if not re.fullmatch(r"[a-z][a-z0-9_]*", arch.family):
            raise ValueError(f"family {arch.family!r} in {where}: use lower-case letters, digits and _")
        for name in names:
            if not re.fullmatch(rf"{arch.family}[a-z0-9_]*", name):
                raise ValueError(f"model {name!r} in {where} must start with its family, {arch.family!r}")
            if name in self.owner:
                raise ValueError(f"model {name!r} is defined in {self.owner[name][1]} and again in {where}")
        if arch.family in self.families:
            raise ValueError(f"family {arch.family!r} is defined twice, the second time in {where}")
        tags = [(row.model, row.tag) for row in arch.weights]
        if len(set(tags)) < len(tags):
            raise ValueError(f"weights of {arch.family!r} in {where} have the same model and tag twice")
        for row in arch.weights:
            if row.model not in names:
                raise ValueError(f"weights {row.model}.{row.tag} in {where} are for no model of {arch.family!r}")
        self.families[arch.family] = arch
        self.owner.update(dict.fromkeys(names, (arch.family, where)))

    def forget(self, arch: Architecture) -> None:
        """Take a record out again."""
        del self.families[arch.family]
        for name in arch.model_names():
            del self.owner[name]


@cache
def _catalog() -> _Catalog:
    """Built-in families, then plug-ins; read when first asked for, not at import."""
    catalog = _Catalog()
    for module in pkgutil.iter_modules(importlib.import_module("srzoo.models").__path__, "srzoo.models."):
        found = importlib.import_module(module.name)
        if not hasattr(found, "ARCH"):
            raise AttributeError(f"{module.name} has no ARCH; a model file ends with ARCH = Architecture(...)")
        catalog.add(found.ARCH, module.name)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            catalog.add(entry.load(), f"plug-in {entry.name} ({entry.value})")
        except Exception as error:  # one broken plug-in must not take the zoo down
            reason = f"{type(error).__name__}: {error}"
            catalog.broken.append(BrokenPlugin(entry.name, entry.value, reason))
    return catalog


def architectures() -> Mapping[str, Architecture]:
    """All families by name: built in, from plug-ins, registered."""
    return dict(_catalog().families)


def broken_plugins() -> list[BrokenPlugin]:
    """Installed plug-ins that could not be used."""
    return list(_catalog().broken)


def register(arch: Architecture) -> None:
    """Add a family for this process: what a script or notebook does; packages use the entry-point group.

    Registering a family again with the same class replaces it, so a notebook's cell can be run again.

    Args:
        arch: The record a model file ends with.

    Raises:
        ValueError: If a name is taken or malformed.
        TypeError: If it is not an `Architecture`.
    """
    if isinstance(arch, Architecture):
        known = _catalog().families.get(arch.family)
        if known is not None and arch.family in _catalog().by_hand and _same_class(known.model, arch.model):
            _catalog().forget(known)  # a notebook's cell, run again
    where = f" for {arch.model.__module__}" if isinstance(arch, Architecture) else ""
    _catalog().add(arch, f"a call of srzoo.register{where}")
    _catalog().by_hand.add(arch.family)


def _same_class(one: type, other: type) -> bool:
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts x2 before x10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _all_weights() -> Iterator[Weights]:
    for arch in _catalog().families.values():
        yield from arch.weights


def list_models(pattern: str = "*", *, pretrained: bool = False, tags: bool = False) -> list[str]:
    """Model names that match a glob, sorted.

    Args:
        pattern: Such as `"edsr*_x4"`; `*` and `?` as in file names.
        pretrained: Only models with weights that can be had.
        tags: One row for each weight file, as `model.tag`.

    Examples:
        >>> list_models("mdsr*")
        ['mdsr', 'mdsr_baseline']
    """
    with_weights = sorted({row.model for row in _all_weights()}, key=_natural)
    names = with_weights if pretrained or tags else sorted(_catalog().owner, key=_natural)
    if tags:
        names = sorted((f"{row.model}.{row.tag}" for row in _all_weights()), key=_natural)
    return [name for name in names if fnmatchcase(name, pattern)]


def _find(name: str) -> tuple[Architecture, str, str | None]:
    """Family, model name and tag of `name` or `name.tag`."""
    base, dot, tag = name.partition(".")
    if base in _catalog().owner:
        return _catalog().families[_catalog().owner[base][0]], base, tag if dot else None
    close = get_close_matches(base, _catalog().owner, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "srzoo.list_models() names them all"
    broken = "".join(
        f"; plug-in {plugin.name} ({plugin.target}) could not be loaded: {plugin.error}" for plugin in _catalog().broken
    )
    raise ValueError(f"unknown model {base!r}; {hint}{broken}")


def _pick_weights(arch: Architecture, name: str, tag: str | None) -> Weights:
    """The row of a model's weights: the tagged one, else the first."""
    rows = [row for row in arch.weights if row.model == name]
    if not rows:
        there = ", ".join(list_models(pretrained=True)) or "none yet"
        raise ValueError(
            f"{name} has no pretrained weights (there are: {there}); "
            "use one of those, or turn a checkpoint of yours into a weight file with srzoo.convert_checkpoint"
        )
    for row in rows:
        if tag in (None, row.tag):
            return row
    raise ValueError(f"{name} has no weights tagged {tag!r}; there are: {', '.join(row.tag for row in rows)}")


def _build(arch: Architecture, name: str, overrides: Mapping[str, Any]) -> SRModel:
    """A model with random weights, by its registered arguments and the user's."""
    parameters = inspect.signature(arch.model).parameters
    allowed = list(parameters)
    for key in overrides:
        if key not in allowed:
            close = get_close_matches(key, allowed, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(allowed)}"
            raise TypeError(f"{name} takes no argument {key!r}; {hint}")
    kwargs = arch.model_names()[name]
    if not arch.multi_scale and overrides.get("scale", kwargs["scale"]) != kwargs["scale"]:
        raise ValueError(
            f"{name} upscales by {kwargs['scale']}, scale={overrides['scale']} was given; take another name"
        )
    model = arch.model(**{**kwargs, **overrides})
    model.name = name
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    model.arguments = {**defaults, **kwargs, **overrides}
    return model


def create_model(name: str, *, pretrained: bool = False, **overrides: Any) -> SRModel:
    """A model of the zoo by name.

    `create_model("edsr_x4")` has random weights; `pretrained=True` loads the model's first weights, and a tag
    means weights: `create_model("edsr_baseline_x4.photos")`. Pretrained models come in eval mode.

    Args:
        name: Model name or `name.tag`, see `list_models`.
        pretrained: Load weights.
        **overrides: Constructor arguments to change, such as `channels=1` or `width=32`.

    Raises:
        ValueError: If the name or tag is unknown, there are no weights, or they do not fit the overrides.
        TypeError: If an override is no argument of the model.

    Examples:
        >>> create_model("edsr_baseline_x4", width=8, num_blocks=2).scales
        (4,)
    """
    arch, base, tag = _find(name)
    row = None
    if tag is not None or (pretrained and _has_tensors(arch, base)):
        row = _pick_weights(arch, base, tag)
    model = _build(arch, base, overrides)
    if row is not None:
        load_strictly(model, read_tensors(find_weights(row)), f"the weights {row.model}.{row.tag}")
        model.origin = Origin(f"{row.model}.{row.tag}", row.license)
    return model.eval() if row is not None or pretrained else model


def _has_tensors(arch: Architecture, name: str) -> bool:
    """Whether there is anything to load; bicubic has nothing."""
    with torch.device("meta"):
        return bool(_build(arch, name, {}).state_dict())


def open_model(name: str | Path) -> SRModel:
    """A model with its weights, in eval mode: by name, or from a weight file or a folder that training left.

    Args:
        name: A model name; a path that ends in .safetensors; or a folder with `model.safetensors` in it. A registered
            name comes first: write `./NAME` for a folder of that name.

    Raises:
        FileNotFoundError, ValueError: As `create_model` and `load_model` do.

    Examples:
        >>> open_model("bicubic_x2").scales
        (2,)
    """
    if str(name).endswith(".safetensors"):
        return load_model(name)
    if is_path(name):
        return load_model(Path(name) / "model.safetensors")
    return create_model(str(name), pretrained=True)


def is_path(name: str | Path) -> bool:
    """Whether a name stands for a file or folder of weights, not for a model of the zoo.

    Examples:
        >>> is_path("runs/mine"), is_path("mine.safetensors"), is_path("edsr_baseline_x4.photos")
        (True, True, False)
    """
    text = str(name)
    has_separator = any(separator in text for separator in ("/", "\\"))
    is_folder = text not in _catalog().owner and Path(text).is_dir()
    return has_separator or is_folder or text.endswith(".safetensors")


def load_model(path: str | Path) -> SRModel:
    """The model a weight file holds, rebuilt from its header: eval mode, float32 whatever the file's dtype.

    Args:
        path: File written by `save_model`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, was changed, has no header of ours, or its model is not registered.
    """
    header = read_header(path)
    arch, base, _ = _find(header.model)
    model = _build(arch, base, header.arguments)
    tensors = read_tensors(path, header)
    load_strictly(model, tensors, str(path))
    model.origin = Origin(str(path), header.license)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a model."""

    name: str
    family: str
    title: str
    paper: str
    scales: tuple[int, ...]
    parameters: int
    """Trainable parameters."""
    halo: Mapping[int, int]
    """Scale -> receptive-field radius in LR pixels."""
    arguments: Mapping[str, Any]
    """Constructor arguments the name stands for."""
    defined_in: str
    weights: tuple[Weights, ...]


def model_info(name: str) -> ModelInfo:
    """Facts about a model, without making its weights.

    Raises:
        ValueError: If the name is unknown.

    Examples:
        >>> model_info("edsr_baseline_x4").parameters
        1517571
    """
    arch, base, tag = _find(name)
    with torch.device("meta"):
        model = _build(arch, base, {})
    rows = tuple(row for row in arch.weights if row.model == base)
    return ModelInfo(
        name=base,
        family=arch.family,
        title=arch.title,
        paper=arch.paper,
        scales=model.scales,
        parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
        halo={scale: model.halo(scale) for scale in model.scales},
        arguments=arch.model_names()[base],
        defined_in=_catalog().owner[base][1],
        weights=(_pick_weights(arch, base, tag),) if tag is not None else rows,
    )
