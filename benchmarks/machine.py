"""What the benchmarks share: waiting for a device, its name, its matmul rate, sizes, and models at another size."""

import argparse
import json
import platform
import time
from collections.abc import Callable
from typing import Any

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_calls(call: Callable[[], object], count: int, device: torch.device) -> tuple[float, float]:
    """Mean seconds of `count` calls, and those in which the host was done with giving them out."""
    synchronize(device)
    start = time.perf_counter()
    for _ in range(count):
        call()
    given = time.perf_counter()
    synchronize(device)
    return (time.perf_counter() - start) / count, (given - start) / count


def matmul_side(device: torch.device) -> int:
    """Rows of matrices that are large enough for a device to be as fast as it gets."""
    return 8192 if device.type == "cuda" else 2048


def matmul_flops(dtype: torch.dtype, device: torch.device, side: int) -> float:
    """Floating-point operations a second of a matrix product, the best of some.

    On CUDA float32 means TF32, which convolutions in float32 use as well.
    """
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        times = [time_calls(lambda: a @ b, 2, device)[0] for _ in range(8)]
    finally:
        torch.set_float32_matmul_precision(before)
    return 2 * side**3 / min(times)


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Where figures were measured."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return {"device": name, "torch": torch.__version__, "system": platform.platform(terse=True)}


def parse_overrides(text: str) -> dict[str, Any]:
    """`width=8,num_blocks=1` as constructor arguments."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    try:
        return {key: json.loads(value) for key, _, value in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form width=32,num_blocks=4") from error


def parse_names(text: str) -> list[str]:
    """`a,b` as a list."""
    return text.split(",")


def parse_size(text: str) -> tuple[int, int]:
    """`480x320` as width and height."""
    width, _, height = text.partition("x")
    try:
        size = int(width), int(height)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 480x320") from error
    if min(size) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} has no pixels")
    return size


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """`--device`, `--overrides` and `--json`."""
    parser.add_argument("--device", default="auto")
    parser.add_argument("--overrides", type=parse_overrides, default={}, help="constructor arguments: width=8")
    parser.add_argument("--json", action="store_true", help="print JSON")
