"""How much memory work may take: budgets, what is free, and what running out of it looks like."""

import re
from pathlib import Path

import torch

UNITS = {"": 1, "b": 1, "k": 10**3, "kb": 10**3, "kib": 2**10, "m": 10**6, "mb": 10**6, "mib": 2**20}
UNITS |= {"g": 10**9, "gb": 10**9, "gib": 2**30, "t": 10**12, "tb": 10**12, "tib": 2**40}
DEFAULT_CPU = 500 * 10**6
"""Budget on the CPU unless one is given: enough for full speed, whatever the machine has."""
MOST_CPU = 2 * 10**9
"""Budget on the CPU for networks, or images, that would take twice the work with the default one."""
SHARE = 0.5
"""Of the memory that is free, the most that is taken without being told to."""
CGROUP = Path("/sys/fs/cgroup")


def parse_memory(text: str | int | float) -> int:
    """Bytes in words such as "2GB" or "512 MiB"; a number is bytes.

    Raises:
        ValueError: If it cannot be read, or is below a megabyte.

    Examples:
        >>> parse_memory("1.5GB")
        1500000000
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)\s*", str(text))
    unit = UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError(f"memory is {text!r}; give a size such as 2GB, 512MiB or a number of bytes")
    size = int(float(match[1]) * unit)
    if size < 10**6:
        raise ValueError(f"memory is {text!r}, {size} bytes; give at least 1MB")
    return size


def _read_number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not there, or "max"
        return None


def free_memory(device: torch.device) -> int | None:
    """Bytes that can still be had on a device; None if it cannot be found out."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    if device.type != "cpu":
        return None
    found: list[int] = []
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        match = None
    if match:
        found.append(int(match[1]) * 1024)
    limit, used = _read_number(CGROUP / "memory.max"), _read_number(CGROUP / "memory.current")
    if limit is not None and used is not None:
        found.append(max(0, limit - used))
    return min(found) if found else None


def budget(device: torch.device, memory: str | int | None = None) -> int:
    """Bytes that work on a device may take: what was asked for, else a share of what is free.

    On the CPU more than `DEFAULT_CPU` is not taken, since it would not be faster; so, where twice that is free, strips
    and tiles, and with them the last bits of a result, do not change with what other programs hold.

    Raises:
        ValueError: If `memory` cannot be read.
    """
    if memory is not None:
        return parse_memory(memory)
    free = free_memory(device)
    if device.type == "cpu":
        return DEFAULT_CPU if free is None else max(64 * 10**6, min(DEFAULT_CPU, int(free * SHARE)))
    return 2 * 10**9 if free is None else int(free * SHARE)


def most(device: torch.device, memory: str | int | None = None) -> int:
    """Bytes that work may take where the default budget is too small for it to be done well.

    `MOST_CPU` on the CPU, where twice that is free: what comes out does not change with what other programs hold.

    Raises:
        ValueError: If `memory` cannot be read.
    """
    free, least = free_memory(device), budget(device, memory)
    if memory is not None or free is None or device.type != "cpu":
        return least
    return max(least, min(MOST_CPU, int(free * SHARE)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on whatever device."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = (
        "out of memory",
        "can't allocate memory",
        "not enough memory",
        "failed to allocate",
        "bad_alloc",
        "alloc_failed",
    )
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in words)
