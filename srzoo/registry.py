"""Models by name, by file, by repository: list them, make them, load them."""

import inspect
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from srzoo.architecture import Architecture, Origin, SRModel, Weights
from srzoo.catalog import architectures as architectures
from srzoo.catalog import broken_plugins as broken_plugins
from srzoo.catalog import catalog, told_broken
from srzoo.catalog import find_family as find_family
from srzoo.catalog import register as register
from srzoo.hub import FOLDER, HUB, HubFile, fetch, find_in_folder, find_weights, spelling_hint
from srzoo.weights import FOREIGN, Header, load_strictly, read_header, read_tensors

KINDS = {bool: "True or False", int: "a whole number", float: "a number", str: "a text"}
"""Kinds of arguments that are checked before a model is built, and how they are told."""


def _natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key that puts x2 before x10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name) if part]


def _all_weights() -> Iterator[Weights]:
    for arch in catalog().families.values():
        yield from arch.weights


def list_models(pattern: str = "*", *, pretrained: bool = False, tags: bool = False) -> list[str]:
    """Model names that match a glob, sorted.

    Args:
        pattern: Such as `"edsr*_x4"`; `*` and `?` as in file names.
        pretrained: Only models with weights that can be had: in the package, or on the Hub; the list is the same
            offline, and `srzoo.hub.place` tells where each file is now.
        tags: One row for each weight file, as `model.tag`.

    Examples:
        >>> list_models("mdsr*")
        ['mdsr', 'mdsr_baseline']
    """
    with_weights = sorted({row.model for row in _all_weights()}, key=_natural)
    names = with_weights if pretrained or tags else sorted(catalog().owner, key=_natural)
    if tags:
        names = sorted((f"{row.model}.{row.tag}" for row in _all_weights()), key=_natural)
    return [name for name in names if fnmatchcase(name, pattern)]


def _check_not_empty(name: str) -> None:
    """An empty path would be the current folder."""
    if not name.removeprefix(FOLDER):
        raise ValueError(f"the name or path {name!r} is empty; was a variable not set?")


def _find(name: str) -> tuple[Architecture, str, str | None]:
    """Family, model name and tag of `name` or `name.tag`."""
    _check_not_empty(name)
    if "/" in name or "\\" in name:
        hint = spelling_hint(name) or f"; for a folder write {FOLDER}FOLDER, for a weight file srzoo.load_model(FILE)"
        raise ValueError(f"{name!r} is no model's name{hint}")
    base, dot, tag = name.partition(".")
    if base in catalog().owner:
        return catalog().families[catalog().owner[base][0]], base, tag if dot else None
    close = get_close_matches(base, catalog().owner, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else "srzoo.list_models() names them all"
    raise ValueError(f"unknown model {base!r}; {hint}{told_broken()}")


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


def _check_arguments(arch: Architecture, name: str, overrides: Mapping[str, Any]) -> None:
    """Every override is an argument of the class, of the kind that the registered value or the default is of."""
    parameters = inspect.signature(arch.model).parameters
    kwargs = arch.model_names()[name]
    for key, value in overrides.items():
        if key not in parameters:
            close = get_close_matches(key, parameters, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(parameters)}"
            raise TypeError(f"{name} takes no argument {key!r}; {hint}")
        usual = kwargs.get(key, parameters[key].default)
        kind = float if parameters[key].annotation in (float, "float") else type(usual)
        is_of_kind = isinstance(value, (int, float) if kind is float else kind)
        if kind in KINDS and not (is_of_kind and (kind is bool or not isinstance(value, bool))):
            raise TypeError(f"{name} takes {KINDS[kind]} as {key}, such as {usual!r}; {value!r} was given")
        if kind is float and not math.isfinite(value):
            raise ValueError(f"{name} takes a finite number as {key}, such as {usual!r}; {value!r} was given")
        if kind is int and value < 0 and (key.startswith("num_") or key.endswith("width") or key == "channels"):
            raise ValueError(f"{name} takes {key} of 0 or more, such as {usual!r}; {value!r} was given")


def _build(arch: Architecture, name: str, overrides: Mapping[str, Any]) -> SRModel:
    """A model with random weights, by its registered arguments and the user's."""
    _check_arguments(arch, name, overrides)
    parameters = inspect.signature(arch.model).parameters
    kwargs = arch.model_names()[name]
    if not arch.multi_scale and overrides.get("scale", kwargs["scale"]) != kwargs["scale"]:
        raise ValueError(
            f"{name} upscales by {kwargs['scale']}, scale={overrides['scale']} was given; take another name"
        )
    model = arch.model(**{**kwargs, **overrides})
    model.name = name
    model.package = catalog().packages.get(arch.family, "")
    defaults = {key: parameter.default for key, parameter in parameters.items()}
    model.arguments = {**defaults, **kwargs, **overrides}
    return model


def create_model(name: str, *, pretrained: bool = False, local_files_only: bool = False, **overrides: Any) -> SRModel:
    """A model of the zoo by name, or one of the Hub.

    `create_model("edsr_x4")` has random weights; `pretrained=True` loads the model's first weights. A tag means
    weights, `create_model("edsr_baseline_x4.photos")`, and so does a repository or a folder:
    `create_model("hf-hub:owner/name@revision")`, `create_model("local-dir:FOLDER")`. Pretrained models come in
    eval mode.

    Args:
        name: Model name or `name.tag`, see `list_models`; `hf-hub:` or `local-dir:` as `load_model` takes it.
        pretrained: Load weights.
        local_files_only: Do not use the network: weights come from the package or the cache of the Hub.
        **overrides: Constructor arguments to change, such as `channels=1` or `width=32`. Weights must fit what comes
            out, so with them only those that change no tensor do, such as `res_scale=0.5`.

    Raises:
        ValueError: If the name or tag is unknown, there are no weights, or they do not fit the overrides.
        TypeError: If an override is no argument of the model.
        OSError: If weights cannot be fetched from the Hub, as `srzoo.hub.fetch` says.

    Examples:
        >>> create_model("edsr_baseline_x4", width=8, num_blocks=2).scales
        (4,)
    """
    if name.startswith((HUB, FOLDER)):
        return _read(name, overrides, local_files_only)
    arch, base, tag = _find(name)
    row = None
    if tag is not None or (pretrained and _has_tensors(arch, base)):
        row = _pick_weights(arch, base, tag)
    model = _build(arch, base, overrides)
    if row is not None:
        path = find_weights(row, local_files_only=local_files_only)
        load_strictly(model, read_tensors(path), f"the weights {row.model}.{row.tag}")
        model.origin = Origin(f"{row.model}.{row.tag}", row.license)
    return model.eval() if row is not None or pretrained else model


def _has_tensors(arch: Architecture, name: str) -> bool:
    """Whether there is anything to load; bicubic has nothing."""
    with torch.device("meta"):
        return bool(_build(arch, name, {}).state_dict())


def open_model(name: str | Path, *, local_files_only: bool = False) -> SRModel:
    """A model with its weights, in eval mode: by name, from a weight file, a folder, or a repository of the Hub.

    Args:
        name: A model name, or what `load_model` takes. A registered name comes first: write `./NAME` for a folder
            of that name.
        local_files_only: Do not use the network.

    Raises:
        FileNotFoundError, ValueError, OSError: As `create_model` and `load_model` do.

    Examples:
        >>> open_model("bicubic_x2").scales
        (2,)
    """
    if is_path(name):
        return load_model(name, local_files_only=local_files_only)
    return create_model(str(name), pretrained=True, local_files_only=local_files_only)


def is_path(name: str | Path) -> bool:
    """Whether a name stands for a file, folder or repository of weights, not for a model of the zoo.

    Examples:
        >>> is_path("runs/mine"), is_path("mine.safetensors"), is_path("edsr_baseline_x4.photos")
        (True, True, False)
        >>> is_path("hf-hub:owner/name"), is_path("local-dir:mine"), is_path("theirs.pth")
        (True, True, True)
    """
    text = str(name)
    if "/" in text or "\\" in text or text.startswith((HUB, FOLDER)) or text.endswith((".safetensors", *FOREIGN)):
        return True
    is_listed = text in catalog().owner or text in list_models(tags=True)
    return not is_listed and os.path.exists(text)  # noqa: PTH110 - Path.exists raises for what can be no path


def load_model(path: str | Path, *, local_files_only: bool = False) -> SRModel:
    """The model a weight file holds, rebuilt from its header: eval mode, float32 whatever the file's dtype.

    Args:
        path: File written by `save_model`; a folder with `model.safetensors` in it, with or without `local-dir:`;
            or a repository of the Hub, `hf-hub:owner/name@revision`, of which `model.safetensors` is loaded
            (`hf-hub:owner/name@revision:half.safetensors` for another file).
        local_files_only: Do not use the network: a repository comes from the cache of the Hub.

    Raises:
        FileNotFoundError: If there is no such file, folder, repository or revision.
        ValueError: If it is damaged, was changed, has no header of ours, or its model is not registered.
        OSError: If it cannot be fetched from the Hub, as `srzoo.hub.fetch` says.
    """
    return _read(path, {}, local_files_only)


def weight_file(name: str | Path, *, local_files_only: bool = False) -> Path:
    """Path of the weight file behind a name: in the package, where the user says, or in the cache of the Hub.

    Args:
        name: Model name, `name.tag`, or what `load_model` takes.
        local_files_only: Do not use the network.

    Raises:
        FileNotFoundError, ValueError, OSError: As `create_model` and `load_model` do.

    Examples:
        >>> weight_file("edsr_baseline_x4.photos").name
        'edsr_baseline_x4.photos.safetensors'
    """
    text = str(name)
    _check_not_empty(text)
    if text.startswith(HUB):
        return fetch(HubFile.parse(text), local_files_only=local_files_only)
    if text.startswith(FOLDER):
        return find_in_folder(text.removeprefix(FOLDER))
    path = Path(name)
    if not is_path(name) and not path.exists():
        arch, base, tag = _find(text)
        return find_weights(_pick_weights(arch, base, tag), local_files_only=local_files_only)
    if path.is_dir():
        return find_in_folder(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist{spelling_hint(text) or '; give a weight file (.safetensors)'}")
    return path


def _read(name: str | Path, overrides: Mapping[str, Any], local_files_only: bool) -> SRModel:
    """The model behind a path, folder or repository, with some of its arguments changed."""
    text = str(name)
    if not is_path(name) and not Path(name).exists():
        is_known = text.partition(".")[0] in catalog().owner
        hint = "use srzoo.create_model for the model of that name" if is_known else "give a weight file (.safetensors)"
        raise FileNotFoundError(f"{text} does not exist; {hint}")
    path = weight_file(name, local_files_only=local_files_only)
    origin = str(HubFile.parse(text).at(path)) if text.startswith(HUB) else str(path)
    header = read_header(path)
    model = _rebuild(header, overrides, origin)
    load_strictly(model, read_tensors(path, header), origin)
    model.origin = Origin(origin, header.license)
    return model.eval()


def _rebuild(header: Header, overrides: Mapping[str, Any], origin: str) -> SRModel:
    """The model a header describes, with random weights."""
    if header.model not in catalog().owner:
        source = "install the package that has it, or add it with srzoo.register"
        if re.fullmatch(r"[\w.-]+ [\w.+!-]+", header.requires):  # what a stranger may have written
            source = f"its header names the package {header.requires}: install that if you trust it"
        told = f"holds a model {header.model!r}, of an architecture that is not registered"
        raise ValueError(f"{origin} {told}; {source}{told_broken()}")
    arch, base, _ = _find(header.model)
    _check_arguments(arch, base, overrides)
    try:
        return _build(arch, base, {**header.arguments, **overrides})
    except (TypeError, ValueError, AttributeError, LookupError, RuntimeError) as error:
        if overrides:
            raise
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{origin} cannot be built as its header says: {reason}") from error


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Facts about a model."""

    name: str
    family: str
    title: str
    paper: str
    scales: tuple[int, ...]
    parameters: int
    """Trained numbers; see `count_trained`."""
    halo: Mapping[int, int]
    """Scale -> receptive-field radius in LR pixels."""
    arguments: Mapping[str, Any]
    """Constructor arguments the name stands for."""
    defined_in: str
    weights: tuple[Weights, ...]


def count_trained(model: SRModel) -> int:
    """Numbers that training decides: parameters, or, as in A+, what buffers hold where there are no parameters.

    Examples:
        >>> count_trained(create_model("bicubic_x2"))
        0
    """
    trained = [p for p in model.parameters() if p.requires_grad] or list(model.state_dict().values())
    return sum(tensor.numel() for tensor in trained)


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
        parameters=count_trained(model),
        halo={scale: model.halo(scale) for scale in model.scales},
        arguments=arch.model_names()[base],
        defined_in=catalog().owner[base][1],
        weights=(_pick_weights(arch, base, tag),) if tag is not None else rows,
    )
