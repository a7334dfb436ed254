"""What the settings of a degradation are, so that equal ones can be told from others."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def told(value: object, where: str = "") -> Any:
    """A setting as plain JSON values: equal settings, equal values.

    Dataclasses are told by their fields, arrays and modules by a hash of what they hold, other objects by their repr.

    Args:
        value: The setting.
        where: What it is called, for the error.

    Raises:
        TypeError: If the repr of an object inside does not tell its settings.
    """
    kind = type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    if isinstance(value, list | tuple):
        return [told(one, f"{where}[{i}]") for i, one in enumerate(value)]
    if isinstance(value, set | frozenset):
        return [kind, sorted(json.dumps(told(one, where)) for one in value)]
    if isinstance(value, Mapping):
        return [kind, [[told(key, where), told(one, f"{where}[{key!r}]")] for key, one in value.items()]]
    if isinstance(value, np.ndarray) and value.dtype != object:
        return [kind, str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, Tensor):
        data = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        return [kind, str(value.dtype), tuple(value.shape), hashlib.sha256(data).hexdigest()]
    if isinstance(value, torch.nn.Module):
        return [kind, repr(value), told(dict(value.state_dict()), where)]
    if is_dataclass(value) and not isinstance(value, type):
        start = f"{where or kind}."
        return [kind, {field.name: told(getattr(value, field.name), start + field.name) for field in fields(value)}]
    text = repr(value)
    if (
        type(value).__repr__ is object.__repr__
        or re.search(r" at 0x[0-9a-fA-F]+", text)
        or isinstance(value, np.ndarray)
    ):
        place = f" ({where})" if where else ""
        raise TypeError(f"{kind} has no repr that tells its settings{place}; make it a frozen dataclass")
    return [kind, text]
