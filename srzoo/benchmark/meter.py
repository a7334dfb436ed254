"""Time and peak memory of one call."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

STATUS = Path("/proc/self/status")
RESET = Path("/proc/self/clear_refs")


@dataclass
class Usage:
    """What a block took; filled in at its end."""

    seconds: float = 0.0
    peak_mib: float | None = None
    """Of the GPU's allocator, or of the whole process on a processor; None where the system does not tell."""


@contextmanager
def metered(device: torch.device) -> Iterator[Usage]:
    """Time and peak memory of a block, with everything finished that was started on the device.

    On a processor, memory is that of the process with all it has loaded. Where the system cannot forget an earlier
    peak (other than Linux), it is the largest since the process started.

    Examples:
        >>> with metered(torch.device("cpu")) as usage:
        ...     _ = torch.ones(10).sum()
        >>> usage.seconds > 0
        True
    """
    usage = Usage()
    _forget_peak(device)
    _wait(device)
    start = time.perf_counter()
    yield usage
    _wait(device)
    usage.seconds = time.perf_counter() - start
    usage.peak_mib = _peak_mib(device)


def _wait(device: torch.device) -> None:
    if device.type in ("cuda", "mps", "xpu"):
        getattr(torch, device.type).synchronize()


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif RESET.exists():
        with suppress(OSError):  # some containers forbid it
            RESET.write_text("5")


def _peak_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if device.type != "cpu":
        return None
    try:
        [line] = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    except (OSError, ValueError):
        pass
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def describe_device(device: torch.device) -> str:
    """The device in words, such as "cpu, 2 threads" or "cuda:0, NVIDIA H100".

    Examples:
        >>> describe_device(torch.device("cpu")).startswith("cpu, ")
        True
    """
    if device.type == "cuda":
        return f"{device}, {torch.cuda.get_device_name(device)}"
    if device.type == "cpu":
        threads = torch.get_num_threads()
        return f"cpu, {threads} thread{'s' if threads != 1 else ''}"
    return str(device)
