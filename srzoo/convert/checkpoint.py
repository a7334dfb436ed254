"""Files of other projects, opened: plain tensors out of whatever they are wrapped in, without running code."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

CONTAINERS = (
    "params_ema",
    "ema_state_dict",
    "model_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "generator",
    "net",
)
"""Entries that hold a state dict in files of training code, averaged weights first."""
PREFIXES = ("generator_ema.", "generator.", "module.", "model.", "net_g.", "netG.", "network.", "_orig_mod.")
"""What wrappers such as DataParallel put before every key, averaged weights first."""
COMPANIONS = re.compile(
    r"generator\..+|discriminator\..+|(data_preprocessor|perceptual_loss|pixel_loss|gan_loss|loss|criterion)\..+"
    r"|step_counter|steps|n_averaged"
)
"""Keys beside a wrapped network that are no part of it."""
DEEPEST = 8
"""Containers within each other; a dict that holds itself has no end."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of another project, opened."""

    path: Path
    tensors: Mapping[str, Tensor]
    """The state dict, by the other project's names."""
    wrapper: tuple[str, ...] = ()
    """What it was wrapped in, from the outside, such as `("state_dict", "generator.")`."""
    left_out: tuple[str, ...] = ()
    """What else was in the file and is not used, such as `params` beside `params_ema`."""


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The state dict in a `.pt`, `.pth`, `.ckpt`, `.bin` or `.safetensors` file, with the wrappers around it opened.

    Pickles are read with `weights_only=True`: a file that would run code is refused, and the code is not run.

    Args:
        path: The file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is a folder, cannot be read safely, is damaged, or holds no state dict.

    Examples:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "net.pth"
        >>> torch.save({"params_ema": {"module.head.weight": torch.ones(1)}, "epoch": 3}, path)
        >>> checkpoint = read_checkpoint(path)
        >>> list(checkpoint.tensors), checkpoint.wrapper, checkpoint.left_out
        (['head.weight'], ('params_ema', 'module.'), ('epoch',))
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a checkpoint in it (.pt, .pth, .safetensors)")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a checkpoint (.pt, .pth, .safetensors)")
    if damaged := _damaged_entry(path):
        raise ValueError(f"{path} is damaged: {damaged}; get it again")
    try:
        with warnings.catch_warnings(action="ignore"):  # torch warns of what is refused in words below
            content: Any = (
                load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(path, map_location="cpu", weights_only=True)
            )
    except Exception as error:  # unpickling and safetensors raise many kinds; none means a readable checkpoint
        raise ValueError(f"{path} cannot be read: {_reason(error, path)}") from error
    wrapper: list[str] = []
    left_out: list[str] = []
    tensors = _strip_prefixes(_open_containers(path, content, wrapper, left_out), wrapper, left_out)
    return Checkpoint(path, tensors, tuple(wrapper), tuple(left_out))


def _damaged_entry(path: Path) -> str:
    """The first entry of a zip file, which torch writes, whose bytes do not give its sum; torch does not look."""
    entry = None
    try:
        with zipfile.ZipFile(path) as archive:
            for entry in archive.infolist():
                with archive.open(entry) as file:
                    while entry.CRC and file.read(1 << 20):  # set_crc32_options(False) of torch writes 0 for each sum
                        pass
    except Exception:  # damaged bytes raise many kinds; what is no zip file at all is told when it is read
        return entry.filename if entry else ""
    return ""


def _reason(error: Exception, path: Path) -> str:
    """Why a file cannot be read, in one line; torch's own text is long and advises to read unsafely."""
    text = str(error)
    if found := re.search(r"GLOBAL (\S+)", text):
        return (
            f"it holds a Python object, {found[1]}, and making one may run code; "
            "save the state dict alone, torch.save(model.state_dict(), ...), where it was made"
        )
    if "TorchScript" in text:
        return "it is a TorchScript program; save the state dict of the network it was made from"
    what = "safetensors file" if path.suffix == ".safetensors" else "PyTorch checkpoint of plain tensors"
    return f"it is no {what}, or cut short or damaged; if it was one, get it again"


def _open_containers(path: Path, content: Any, wrapper: list[str], left_out: list[str]) -> dict[str, Tensor]:
    """The innermost state dict; notes what was opened and what lay beside it."""
    while isinstance(content, Mapping):
        inner = next((key for key in CONTAINERS if isinstance(content.get(key), Mapping) and content[key]), None)
        if inner is None:
            break
        if len(wrapper) == DEEPEST:
            raise ValueError(f"{path} has more than {DEEPEST} dicts in each other ({' > '.join(wrapper)}), or no end")
        left_out += [str(key) for key in content if key != inner]
        wrapper.append(inner)
        content = content[inner]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        found = f"a dict with {', '.join(map(str, list(content)[:5]))}" if isinstance(content, Mapping) else None
        raise ValueError(
            f"{path} holds no state dict (a dict from names to tensors) but {found or f'a {type(content).__name__}'}"
        )
    if others := [str(key) for key, value in content.items() if not isinstance(value, Tensor)]:
        raise ValueError(
            f"{path} has {len(others)} entries among its tensors that are none: {', '.join(sorted(others))}; "
            "write the tensors alone into a new file, "
            "torch.save({key: value for key, value in state.items() if torch.is_tensor(value)}, NEW)"
        )
    return {str(key): value for key, value in content.items()}


def _strip_prefixes(tensors: dict[str, Tensor], wrapper: list[str], left_out: list[str]) -> dict[str, Tensor]:
    """Keys without what wrappers put before them; other keys stay, to be told as unknown."""
    while prefix := next((p for p in PREFIXES if any(key.startswith(p) for key in tensors)), None):
        beside = [key for key in tensors if not key.startswith(prefix)]
        if not all(COMPANIONS.fullmatch(key) for key in beside):
            break
        wrapper.append(prefix)
        left_out += sorted({f"{key.partition('.')[0]}.*" if "." in key else key for key in beside})
        tensors = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    return tensors
