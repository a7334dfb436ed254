"""Training state as one safetensors file: tensors by path, everything else as JSON. No pickle.

A run keeps its last checkpoints in `checkpoints/step_00001000.safetensors` and so on, below its folder.
"""

import json
import logging
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from srzoo.files import replacing
from srzoo.weights import content_hash

LOGGER = logging.getLogger("srzoo")
FORMAT = "2"
_NAME = re.compile(r"step_\d+\.safetensors")
_TORN = re.compile(r"\.srzoo-[0-9a-f]{12}\..*|\.tmp\w{6}")
"""Half-written files: of `srzoo.files.replacing`, and of safetensors, which writes beside the file it is given."""


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
    """Write nested dicts, lists, tensors and plain values; the old file stays until the new one is whole.

    Raises:
        OSError: If the folder cannot be written to or is full; nothing is left behind.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    tree = _split(state, "", tensors)
    told = json.dumps({"format": FORMAT, "state": tree, "content": content_hash(tensors)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as work:
            save_file(tensors, work, metadata={"srzoo_checkpoint": told})
    except (OSError, SafetensorError) as error:
        raise OSError(
            f"the checkpoint {path} could not be written ({error}); the one before is kept: make room or choose "
            "another folder, then go on with --resume"
        ) from error


def load_checkpoint(path: str | Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """State written by `save_checkpoint`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a checkpoint.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; a run writes checkpoints/step_N.safetensors into its folder")
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            found = json.loads((file.metadata() or {})["srzoo_checkpoint"])
            if found["format"] != FORMAT:
                raise ValueError(f"format {found['format']}, this srzoo reads {FORMAT}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if content_hash(tensors) != found["content"]:
                raise ValueError("its tensors were changed after it was written")
            return _join(found["state"], tensors)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{path} is not a training checkpoint of srzoo ({error})") from error
    except Exception as error:  # SafetensorError has no public base
        raise ValueError(f"{path} is damaged or not a safetensors file ({error})") from error


def find_checkpoints(folder: str | Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    return sorted(path for path in Path(folder).glob("checkpoints/step_*.safetensors") if _NAME.fullmatch(path.name))


def save_newest(folder: str | Path, step: int, state: dict[str, Any], keep: int) -> Path:
    """Write a run's checkpoint of a step, then remove all but the newest `keep`.

    Checkpoints of later steps go, too: damaged ones the run did not go on from, or those of a run that was here
    before. They would be taken for the newest.

    Raises:
        OSError: If it cannot be written; the ones before are still there.
    """
    path = Path(folder) / "checkpoints" / f"step_{step:08d}.safetensors"
    save_checkpoint(path, state)
    found = find_checkpoints(folder)
    later = [other for other in found if other.name > path.name]
    if later:
        LOGGER.warning("%s is the newest checkpoint now; removed %s", path, ", ".join(other.name for other in later))
    for old in (*[other for other in found if other.name <= path.name][:-keep], *later):
        old.unlink(missing_ok=True)
    _remove_torn(path.parent)
    return path


def _remove_torn(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left in a folder."""
    for path in folder.glob(".*"):
        if _TORN.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def read_config(folder: str | Path) -> dict[str, Any] | None:
    """The settings of the run in a folder, as `TrainConfig.to_json` gave them; None if it has no checkpoint.

    Raises:
        ValueError: If all checkpoints are damaged.
    """
    found = load_newest(folder)
    return None if found is None else {**found["config"], "step": found["step"]}


def load_newest(folder: str | Path) -> dict[str, Any] | None:
    """State of a run's newest checkpoint that can be read, on the CPU; None if it has none.

    Files that the run left half written are removed: no other process may be writing to its folder.

    Raises:
        ValueError: If there are checkpoints and all are damaged.
    """
    for place in (Path(folder), Path(folder) / "checkpoints"):
        _remove_torn(place)
    error = None
    for path in reversed(find_checkpoints(folder)):
        try:
            return load_checkpoint(path)
        except ValueError as damaged:
            LOGGER.warning("%s; trying the one before", damaged)
            error = damaged
    if error is not None:
        raise error
    return None
