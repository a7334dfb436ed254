"""One weight file: safetensors with a header that says what it is. Read, verify, save."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.files import replacing

SCHEMA = 1
LFS_POINTER = b"version https://git-lfs"
FOREIGN = (".pth", ".pt", ".ckpt", ".bin", ".mat")
"""Suffixes of files that `srzoo convert` turns into weight files."""
KEY = "srzoo"  # one key only: several are written in changing order, and equal files would hash differently


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a weight file says about itself."""

    model: str
    """Registered model name; empty for a network that has none."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """All constructor arguments, so that the file means the same when a registered default changes."""
    license: str = ""
    """SPDX identifier of the weights' licence."""
    source: str = ""
    """Who trained them, on what."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Configuration, steps, data fingerprint, seed, library version, device."""
    metrics: Mapping[str, Any] = field(default_factory=dict)
    """Set -> scale -> psnr, ssim, images and protocol, as `srzoo.benchmark.measure` gives them."""
    requires: str = ""
    """Package that has the architecture, with version; empty for those of srzoo."""
    content: str = ""
    """Hash of the tensors, see `content_hash`; filled in when the file is written."""
    schema: int = SCHEMA


def content_hash(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over the tensors' sorted names, dtypes, shapes and bytes: the same after any re-serialisation.

    Examples:
        >>> content_hash({"a": torch.zeros(2)})[:8]
        'b68b839f'
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        dtype = str(tensor.dtype).removeprefix("torch.")
        digest.update(f"{name} {dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return digest.hexdigest()


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_weights(path: str | Path, tensors: Mapping[str, Tensor], header: Header) -> Header:
    """Write a weight file whole or not at all; returns the header with its content hash.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If the header holds what JSON cannot, such as NaN.
        OSError: If the file cannot be written, such as on a full disk; the old one is still there.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = replace(header, content=content_hash(whole))
    try:
        text = json.dumps(asdict(header), sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the header of {path} must be plain JSON values ({error})") from error
    try:
        with replacing(path) as work:
            save_file(whole, work, metadata={KEY: text})
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path} could not be written ({error}); make room or choose another folder") from error
    return _parse_header(text)


def read_header(path: str | Path) -> Header:
    """Header of a weight file, without reading the tensors.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no safetensors file, has no header of ours, or one of a newer schema.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a weight file (.safetensors)")
    with open(path, "rb") as raw:
        if raw.read(len(LFS_POINTER)) == LFS_POINTER:
            raise ValueError(f"{path} is a pointer of Git LFS, not the file itself; run `git lfs pull` in its folder")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
    except SafetensorError as error:
        if path.suffix in FOREIGN:
            raise ValueError(f"{path} is no weight file; turn it into one with `srzoo convert`") from error
        raise ValueError(
            f"{path} is damaged or not a safetensors file ({error}); "
            "turn other formats into one with `srzoo convert` or srzoo.convert_checkpoint"
        ) from error
    if text is None:
        raise ValueError(
            f"{path} has no srzoo header; turn other projects' files into weight files with `srzoo convert` "
            "or srzoo.convert_checkpoint"
        )
    try:
        schema = json.loads(text).get("schema", SCHEMA)
        if schema <= SCHEMA:
            return _parse_header(text)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has an srzoo header that cannot be read ({error}); get it again") from error
    raise ValueError(f"{path} has schema {schema}, this srzoo reads up to {SCHEMA}; update srzoo")


def _parse_header(text: str) -> Header:
    """The header in a JSON text; fields that a later srzoo may have added are passed over.

    Raises:
        ValueError: If a field is missing or of another kind.
    """
    values = json.loads(text)
    header = Header(**{key.name: values[key.name] for key in fields(Header) if key.name in values})
    for key in fields(Header):
        expected = type(key.default) if key.default is not MISSING else dict if key.name != "model" else str
        if not isinstance(getattr(header, key.name), expected):
            raise ValueError(f"{key.name} is {getattr(header, key.name)!r}")
    return header


def read_tensors(path: str | Path, header: Header | None = None) -> dict[str, Tensor]:
    """Tensors of a weight file, checked against the content hash of `header`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is damaged or the tensors are not the ones the header was written for.
    """
    header = header or read_header(path)
    with safe_open(path, framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    if content_hash(tensors) != header.content:
        raise ValueError(f"{path} was changed after it was written: its tensors do not match its header; get it again")
    return tensors


def load_strictly(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy `tensors` into `model`; every key and shape must match.

    Args:
        model: The network to fill.
        tensors: Its state dict, of any floating-point dtype.
        what: Where the tensors come from, for the error.

    Raises:
        ValueError: If keys are missing, unknown or of another shape; the message lists them.
    """
    own = model.state_dict()
    trouble = {
        "missing": sorted(own.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - own.keys()),
        "of another shape": [
            f"{key} {tuple(tensors[key].shape)} instead of {tuple(own[key].shape)}"
            for key in sorted(own.keys() & tensors.keys())
            if own[key].shape != tensors[key].shape
        ],
    }
    if any(trouble.values()):
        told = "; ".join(f"{len(keys)} {kind}: {', '.join(keys)}" for kind, keys in trouble.items() if keys)
        raise ValueError(f"{what} does not fit {type(model).__name__}: {told}")
    model.load_state_dict(tensors)


def save_model(
    model: SRModel, path: str | Path, dtype: torch.dtype | None = None, *, header: Header | None = None
) -> Header:
    """Save a zoo model as a weight file that `load_model` rebuilds it from; returns the header written.

    Args:
        model: A model from `create_model` or `load_model`.
        path: File to write, ending in .safetensors; the folder must exist.
        dtype: Store floating-point tensors in this dtype; None keeps each as it is.
        header: Licence, source, recipe and metrics to record; name and arguments come from the model.

    Raises:
        ValueError: If the model has no registered name, the path another suffix, or `dtype` is not floating.
        FileNotFoundError: If the folder does not exist.
    """
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"{path} does not end in .safetensors, the one format srzoo writes")
    if dtype is not None and not dtype.is_floating_point:
        raise ValueError(f"dtype is {dtype}; weights are stored in a floating-point one, such as torch.float16")
    if not model.name:
        raise ValueError(
            f"this {type(model).__name__} has no name, so a file of it could not be loaded; "
            "register its architecture and build it with create_model"
        )
    tensors = {
        key: value.to(dtype) if dtype is not None and value.is_floating_point() else value
        for key, value in model.state_dict().items()
    }
    header = replace(
        header or Header(model=""), model=model.name, arguments=dict(model.arguments), requires=model.package
    )
    return write_weights(path, tensors, header)
