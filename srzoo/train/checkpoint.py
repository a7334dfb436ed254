"""Training state as one safetensors file: tensors by path, everything else as JSON. No pickle."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from srzoo.files import replacing

FORMAT = "1"


def _split(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    """`value` with each tensor moved to `tensors` and replaced by its path."""
    if isinstance(value, Tensor):
        name = f"{len(tensors)}{path}"  # numbered: keys may hold slashes themselves
        tensors[name] = value.detach().cpu().contiguous().clone()  # clone: safetensors refuses shared memory
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[k, _split(v, f"{path}/{k}", tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_split(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]}
    return {"value": value}


def _join(tree: Any, tensors: dict[str, Tensor]) -> Any:
    """The inverse of `_split`; tuples come back as lists."""
    (kind, content), *_ = tree.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {k: _join(v, tensors) for k, v in content}
    if kind == "list":
        return [_join(v, tensors) for v in content]
    return content


def save_checkpoint(path: str | Path, state: dict[str, Any]) -> None:
    """Write nested dicts, lists, tensors and plain values; the old file stays until the new one is whole."""
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    tree = _split(state, "", tensors)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as work:
        save_file(tensors, work, metadata={"srzoo_checkpoint": json.dumps({"format": FORMAT, "state": tree})})


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """State written by `save_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a run writes checkpoint.safetensors into its folder")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            found = json.loads((file.metadata() or {})["srzoo_checkpoint"])
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}, this srzoo reads {FORMAT}")
            return _join(found["state"], {key: file.get_tensor(key) for key in file.keys()})  # noqa: SIM118
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a training checkpoint of srzoo ({error})") from error
    except Exception as error:  # SafetensorError has no public base
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from error
