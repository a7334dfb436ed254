"""Which device and precision to run on, and what was chosen."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import torch
from torch import nn

LOGGER = logging.getLogger("srzoo")
Module = TypeVar("Module", bound=nn.Module)
Precision = Literal["fp32", "bf16", "fp16"]
AUTO_ORDER = ("cuda", "mps", "xpu", "cpu")
TRIED = ("cpu",)
"""Device types srzoo has been run on; the others are offered untested, and the log says so."""


def _is_available(kind: str, index: int = 0) -> bool:
    if kind == "cpu":
        return True
    backend = getattr(torch, kind, None) if kind != "mps" else torch.backends.mps
    return backend is not None and backend.is_available() and index < getattr(torch, kind).device_count()


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """The device to run on; "auto" takes the first there is of cuda, mps, xpu, cpu.

    Logs a warning if it is of a kind that srzoo has never been run on.

    Raises:
        ValueError: If the device is unknown or not there.

    Examples:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        device = next(kind for kind in AUTO_ORDER if _is_available(kind))
    try:
        found = torch.device(device)
    except RuntimeError:
        found = None
    if found is None or found.type not in AUTO_ORDER or not _is_available(found.type, found.index or 0):
        there = ", ".join(kind for kind in AUTO_ORDER if _is_available(kind))
        raise ValueError(f"device {str(device)!r} is not available here; there is {there} (or 'auto')")
    if found.type not in TRIED:
        LOGGER.warning("srzoo has not been tested on %s", found.type)
    return found


def fast_precision(device: torch.device) -> Precision:
    """The fastest precision for convolutions: bf16 where the hardware has it, else fp16 on CUDA, fp32 elsewhere."""
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu":
        checks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        return "bf16" if any(getattr(torch.cpu, check, lambda: False)() for check in checks) else "fp32"
    return "fp32"


def to_channels_last(model: Module, device: torch.device) -> Module:
    """The model on the device with its weights laid out channels last, the fast layout for convolutions."""
    return model.to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


@contextmanager
def tuned_convolutions() -> Iterator[None]:
    """CuDNN picks the fastest kernels by trying: for batches, which have one size, not for images to validate on."""
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
