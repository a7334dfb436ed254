"""Upscaling speed: megapixels a second and peak memory of the Upscaler, by model, precision and tile.

Megapixels are those of the result. A row is one image as users call it: uint8 pixels in the host's memory go in,
and come out. Bicubic is there to compare with: the zoo's on the same device, and Pillow's on one processor core. The
best of `--rounds` counts; the weights are random, which changes nothing in time or memory.

    python benchmarks/upscale.py --models edsr_baseline_x4,edsr_x4 --precisions fp32,bf16 --tiles 128,256,512

Memory is the peak of CUDA's allocator, weights included; on other devices it is not measured.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from machine import add_shared_options, describe_machine, parse_size, synchronize
from PIL import Image
from torch import Tensor

import srzoo
from srzoo.device import fast_precision, pick_device
from srzoo.train.trainer import DTYPES

MODELS = "edsr_baseline_x2,edsr_baseline_x4,edsr_x4,mdsr"
MIB = 2**20


def parse_names(text: str) -> list[str]:
    """`a,b` as a list."""
    return text.split(",")


def parse_numbers(text: str) -> list[int]:
    """`128,256` as a list of numbers."""
    return [int(number) for number in text.split(",")]


def best_seconds(call: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Seconds of the fastest call, after one that is not timed."""
    call()
    times = []
    for _ in range(rounds):
        synchronize(device)
        start = time.perf_counter()
        call()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)


def measure_row(
    args: argparse.Namespace, name: str, precision: str, tile: int, image: Tensor, device: torch.device
) -> dict[str, Any]:
    """Speed and memory of one model, precision and tile size."""
    overrides = {} if name.startswith("bicubic") else args.overrides
    model = srzoo.create_model(name, **overrides).to(DTYPES[precision])
    upscaler = srzoo.Upscaler(model, scale=model.scales[-1], device=device, tile=tile)
    row: dict[str, Any] = {"model": name, "scale": upscaler.scale, "precision": precision, "tile": tile}
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        seconds = best_seconds(lambda: upscaler(image), args.rounds, device)
    except torch.OutOfMemoryError:
        return {**row, "megapixels_per_second": None, "peak_memory_mib": None, "told": "out of memory"}
    pixels = image.shape[-2] * image.shape[-1] * upscaler.scale**2
    memory = torch.cuda.max_memory_allocated(device) / MIB if device.type == "cuda" else None
    return {**row, "megapixels_per_second": pixels / 1e6 / seconds, "peak_memory_mib": memory}


def measure_pillow(args: argparse.Namespace, scale: int, image: Tensor) -> dict[str, Any]:
    """Speed of Pillow's bicubic."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    size = picture.width * scale, picture.height * scale
    seconds = best_seconds(lambda: picture.resize(size, Image.Resampling.BICUBIC), args.rounds, torch.device("cpu"))
    row = {"model": "Pillow's bicubic", "scale": scale, "precision": "uint8", "tile": None}
    return {**row, "megapixels_per_second": size[0] * size[1] / 1e6 / seconds, "peak_memory_mib": None}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    device = pick_device(args.device)
    fastest = fast_precision(device)
    precisions = args.precisions or list(dict.fromkeys(("fp32", fastest)))
    width, height = args.size
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    torch.backends.cudnn.benchmark = False  # windows at the image's edges differ in size
    rows = []
    scales = dict.fromkeys(srzoo.create_model(name, **args.overrides).scales[-1] for name in args.models)
    for name in args.models:
        for precision in precisions:
            rows += [measure_row(args, name, precision, tile, image, device) for tile in args.tiles]
    for scale in scales:
        rows.append(measure_row(args, f"bicubic_x{scale}", "fp32", max(args.tiles), image, device))
        rows.append(measure_pillow(args, scale, image))
    return {"image": f"{width}x{height}", **describe_machine(device), "rows": rows}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=parse_names, default=MODELS, help=f"default: {MODELS}")
    precisions = "of weights and features: fp32, bf16, fp16 (default: fp32 and the fastest)"
    parser.add_argument("--precisions", type=parse_names, help=precisions)
    tiles = "largest sides of a tile, in LR pixels (default: 128,256,512)"
    parser.add_argument("--tiles", type=parse_numbers, default="128,256,512", help=tiles)
    parser.add_argument("--size", type=parse_size, default="768x512", help="of the LR image (default: 768x512)")
    parser.add_argument("--rounds", type=int, default=3)
    add_shared_options(parser)
    args = parser.parse_args(argv)
    if wrong := set(args.precisions or ()) - DTYPES.keys():
        parser.error(f"--precisions knows {', '.join(DTYPES)}, not {', '.join(sorted(wrong))}")
    result = measure(args)
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"LR image {result['image']}, {result['device']}, torch {result['torch']}")
    print(f"{'model':20} scale precision tile   megapixels/s  peak MiB")
    for row in result["rows"]:
        speed = row.get("told") or f"{row['megapixels_per_second']:.3f}"
        memory = "" if row["peak_memory_mib"] is None else f"{row['peak_memory_mib']:.0f}"
        tile = row["tile"] or ""
        print(f"{row['model']:20} x{row['scale']:<4} {row['precision']:9} {tile:<6} {speed:>12}  {memory:>8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
