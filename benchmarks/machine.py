"""What the benchmarks share: waiting for a device, its name, sizes, and models at another size."""

import argparse
import json
import platform
from typing import Any

import torch


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


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
