"""Settings as plain JSON values: what a recipe says of a loss, an optimizer or a schedule."""

import functools
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn


def describe(thing: object) -> Any:
    """What `thing` is, as plain JSON values: equal settings give equal values, in every run.

    | thing | becomes |
    |---|---|
    | None, bool, number, string | itself |
    | dataclass | `{"kind": class name, field: ...}` |
    | mapping, sequence, set | dict, list, sorted list |
    | function, class | its qualified name |
    | `functools.partial` | `{"kind": name of the function, "args": [...], argument: ...}` |
    | path, torch dtype, torch device | string |
    | `nn.Module` | `{"kind": class name, attribute: ...}` for its public attributes of plain values, but `training` |
    | any other object | `{"kind": class name, attribute: ...}` for its public attributes |

    Raises:
        TypeError: If something inside is none of these, such as a tensor.

    Examples:
        >>> from srzoo.train.schedules import Halving
        >>> describe(Halving(every=1000))
        {'kind': 'Halving', 'every': 1000}
        >>> describe([describe, (0.9, 0.999), Path("runs")])
        ['describe', [0.9, 0.999], 'runs']
    """
    if isinstance(thing, np.generic):
        return thing.item()
    if thing is None or isinstance(thing, (bool, int, float, str)):
        return thing
    if isinstance(thing, (Path, torch.dtype, torch.device)):
        return str(thing)
    if isinstance(thing, Mapping):
        return {str(key): describe(value) for key, value in thing.items()}
    if isinstance(thing, (list, tuple)):
        return [describe(value) for value in thing]
    if isinstance(thing, (set, frozenset)):
        return sorted((describe(value) for value in thing), key=str)
    if isinstance(thing, (torch.Tensor, np.ndarray)):
        raise TypeError(f"a setting holds a {type(thing).__name__}, which a recipe cannot; give plain numbers")
    return _describe_object(thing)


def _describe_object(thing: object) -> Any:
    if is_dataclass(thing) and not isinstance(thing, type):
        told = {field.name: getattr(thing, field.name) for field in fields(thing)}
        return {"kind": type(thing).__qualname__, **describe(told)}
    if isinstance(thing, functools.partial):
        return {"kind": describe(thing.func), "args": describe(thing.args), **describe(thing.keywords)}
    name = getattr(thing, "__qualname__", None)
    if isinstance(name, str):  # a function, a method or a class
        return name
    public = {key: value for key, value in getattr(thing, "__dict__", {}).items() if not key.startswith("_")}
    if isinstance(thing, nn.Module):
        public = {key: value for key, value in public.items() if key != "training" and _is_plain(value)}
    return {"kind": type(thing).__qualname__, **describe(public)}


def _is_plain(value: object) -> bool:
    """Whether JSON holds it, tuples taken for lists."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and _is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))
