"""Speed and memory of PSNR and SSIM beside scikit-image's, on one pair of images, in turn in one run.

    OMP_NUM_THREADS=1 python benchmarks/metrics.py --size 3840x2160

Rows: `Y, uint8` is a plane of 8-bit luma, scored as it is; `Y, float32` the same in [0, 1], and `RGB to Y, float32` an
RGB image in [0, 1]: clamping, rounding and luma are part of the time on both sides, for scikit-image by NumPy and
`rgb2ycbcr`. On the processor scikit-image runs in one thread, so give torch no more. The best of `--rounds` counts.
Differences are between the two results.

Memory is what a call adds to the peak of the process (Linux), or of CUDA's allocator, images not counted. Needs
scikit-image, from the extra `dev`.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from machine import describe_machine, parse_size, synchronize
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from srzoo.device import pick_device
from srzoo.metrics import Protocol, psnr, ssim

MIB = 2**20
OPTIONS = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def best_of_both(
    calls: dict[str, Callable[[], float]], rounds: int, device: torch.device
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the fastest call and result of each, called in turn so that a busy machine slows all of them."""
    results = {name: call() for name, call in calls.items()}
    seconds: dict[str, float] = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, call in calls.items():
            synchronize(device)
            start = time.perf_counter()
            call()
            synchronize(device)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds, results


def added_memory(call: Callable[[], object], device: torch.device) -> float | None:
    """MiB that a call adds to the peak memory of the device, or of the process; None where that is not told."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / MIB
    if not CLEAR.exists():
        return None
    CLEAR.write_text("5")  # sets the peak back to what is held now
    before = _kib("VmRSS")
    call()
    return max(0, _kib("VmHWM") - before) / 1024


def _kib(key: str) -> int:
    [found] = re.findall(rf"{key}:\s+(\d+)", STATUS.read_text())
    return int(found)


def round_numpy(image: Tensor) -> np.ndarray:
    """An image in [0, 1] in whole levels, float64, as one would write it in NumPy."""
    return np.clip(image.double().numpy() * 255, 0, 255).round()


def scikit_ssim(pair: Sequence[np.ndarray]) -> float:
    """SSIM as papers take it, by scikit-image."""
    found: Any = structural_similarity(pair[0], pair[1], **OPTIONS)
    return float(found)


def scikit_psnr(pair: Sequence[np.ndarray]) -> float:
    """PSNR by scikit-image."""
    return float(peak_signal_noise_ratio(pair[1], pair[0], data_range=255))


def make_pair(width: int, height: int) -> tuple[Tensor, Tensor]:
    """SR and HR, RGB in [0, 1]: a smooth picture, and the same with noise."""
    coarse = torch.rand(1, 3, -(-height // 8), -(-width // 8), generator=torch.Generator().manual_seed(0))
    hr = F.interpolate(coarse, scale_factor=8, mode="bicubic")[..., :height, :width].clamp(0, 1)
    return hr + 0.03 * torch.randn(hr.shape, generator=torch.Generator().manual_seed(1)), hr


def to_bytes(image: Tensor) -> Tensor:
    """In 8 bits, rounded in float64 as the metrics do."""
    return (image.double().clamp(0, 1) * 255).round().to(torch.uint8)


def kinds(sr: Tensor, hr: Tensor) -> dict[str, dict[str, Any]]:
    """For each kind of input: what the metrics here are given, what scikit-image is given, and the protocol."""
    planes = [to_bytes(image[:, 1:2]) for image in (sr, hr)]
    plain = Protocol(channel="rgb")

    def luma() -> tuple[np.ndarray, ...]:
        colours = (round_numpy(image[0]) for image in (sr, hr))
        return tuple(rgb2ycbcr(np.moveaxis(colour, 0, -1) / 255)[..., 0] for colour in colours)

    ready = [plane[0, 0].numpy() for plane in planes]
    floats = [plane / 255 for plane in planes]
    return {
        "Y, uint8": {"here": planes, "there": lambda: ready, "protocol": plain},
        "Y, float32": {
            "here": floats,
            "there": lambda: [round_numpy(plane[0, 0]) for plane in floats],
            "protocol": plain,
        },
        "RGB to Y, float32": {"here": [sr, hr], "there": luma, "protocol": Protocol()},
    }


def measure_kind(args: argparse.Namespace, kind: dict[str, Any], device: torch.device) -> list[dict[str, Any]]:
    """Rows of both metrics for a kind of input."""
    sr, hr = (image.to(device) for image in kind["here"])
    here: dict[str, Callable[[], float]] = {
        "psnr": lambda: psnr(sr, hr, kind["protocol"]).item(),
        "ssim": lambda: ssim(sr, hr, kind["protocol"]).item(),
    }
    there: dict[str, Callable[[], float]] = {
        "psnr": lambda: scikit_psnr(kind["there"]()),
        "ssim": lambda: scikit_ssim(kind["there"]()),
    }
    rows = []
    for name, call in here.items():
        seconds, results = best_of_both({"here": call, "there": there[name]}, args.rounds, device)
        rows.append(
            {
                "metric": name,
                "seconds": seconds["here"],
                "scikit_image_seconds": seconds["there"],
                "times_as_fast": seconds["there"] / seconds["here"],
                "difference": abs(results["here"] - results["there"]),
                "memory_mib": added_memory(call, device),
                "scikit_image_memory_mib": added_memory(there[name], torch.device("cpu")),
            }
        )
    return rows


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    device = pick_device(args.device)
    rows = []
    for name, kind in kinds(*make_pair(*args.size)).items():
        rows += [{"input": name, **row} for row in measure_kind(args, kind, device)]
    width, height = args.size
    return {"image": f"{width}x{height}", **describe_machine(device), "rows": rows}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=parse_size, default="3840x2160", help="of the images (default: 3840x2160)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    result = measure(args)
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{result['image']}, {result['device']}, torch {result['torch']}")
    print(f"{'':24}      ms  scikit-image  times as fast  difference  MiB  scikit-image")
    for row in result["rows"]:
        memory = ("" if row[key] is None else f"{row[key]:.0f}" for key in ("memory_mib", "scikit_image_memory_mib"))
        print(
            f"{row['metric']} {row['input']:18} {1000 * row['seconds']:8.2f} {1000 * row['scikit_image_seconds']:13.2f}"
            f" {row['times_as_fast']:14.2f} {row['difference']:11.1e} {next(memory):>4} {next(memory):>13}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
