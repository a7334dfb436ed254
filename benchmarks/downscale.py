"""Downscaling speed: `imresize` beside a plain NumPy port and other libraries, and all of `srzoo downscale`.

Three tables. The first has megapixels of HR by scale in a second of one processor (time that other processes take does
not count), for uint8 RGB in memory, the best of `--rounds`, in which the methods take turns (two calls each, the second
is timed), so that what else a busy machine does falls on all of them: srzoo with either border, a port to NumPy of the
same rule, whose pixels must be srzoo's, and the bicubic of Pillow and scikit-image, which are other pixels (how many is
told). The second has the whole command by the clock, from HR files to x2, x3 and x4 PNG files. The third has the peak
memory of the command on one large image.

    python benchmarks/downscale.py --data Kodak24

Without `--data` the images are made: smooth noise of `--size`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, parse_size
from PIL import Image
from torch import Tensor

from srzoo.data.folders import find_images
from srzoo.data.lr_images import downscale_images
from srzoo.image import read_pixels
from srzoo.resize import Border, imresize

BORDERS: tuple[Border, ...] = ("symmetric", "replicate")
PEAK = """
import sys
from pathlib import Path
from srzoo.data.lr_images import downscale_images

def peak():
    return next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line)

before = peak()
for image in downscale_images([sys.argv[1]], sys.argv[2], workers=1):
    assert image.error is None, image.error
print(before, peak())
"""


def numpy_port(image: np.ndarray, scale: int, border: str = "symmetric") -> np.ndarray:
    """MATLAB's rule written plainly: float64 weights and indices of each output row or column, rounded each pass."""
    out = image.astype(np.float64)
    for axis in (0, 1):
        side = out.shape[axis]
        center = np.arange(1, -(-side // scale) + 1) * scale + 0.5 * (1 - scale)
        index = np.floor(center - 2 * scale)[:, None] + np.arange(4 * scale + 2)
        x = np.abs(center[:, None] - index) / scale
        far = np.where(x <= 2, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2, 0)
        weight = np.where(x <= 1, 1.5 * x**3 - 2.5 * x**2 + 1, far)
        weight /= weight.sum(1, keepdims=True)
        used = (weight != 0).any(0)
        weight, index = weight[:, used], index[:, used].astype(np.int64) - 1
        if border == "symmetric":
            index = np.concatenate([np.arange(side), np.arange(side)[::-1]])[index % (2 * side)]
        else:
            index = index.clip(0, side - 1)
        if axis == 0:
            out = (out[index] * weight[:, :, None, None]).sum(1)
        else:
            out = (out[:, index] * weight[:, :, None]).sum(2)
        out = np.floor(out + 0.5).clip(0, 255)
    return out.astype(np.uint8)


def as_planes(image: np.ndarray) -> Tensor:
    """Image h w c as c h w, which is how srzoo reads files."""
    return torch.from_numpy(image).permute(2, 0, 1).contiguous()


def srzoo_shrink(image: np.ndarray, scale: int, border: Border = "symmetric") -> np.ndarray:
    """The pixels by `imresize`."""
    return imresize(as_planes(image), scale=Fraction(1, scale), border=border).permute(1, 2, 0).numpy()


def shrink_planes(image: Tensor, scale: int, border: Border = "symmetric") -> Tensor:
    """What is measured."""
    return imresize(image, scale=Fraction(1, scale), border=border)


def rounded_once(image: np.ndarray, scale: int) -> np.ndarray:
    """The same weights, rounded at the end only, as by a floating-point port."""
    out = imresize(as_planes(image).double(), scale=Fraction(1, scale)).add(0.5).floor().clamp(0, 255)
    return out.to(torch.uint8).permute(1, 2, 0).numpy()


def pillow_shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """Pillow's antialiased bicubic."""
    size = image.shape[1] // scale, image.shape[0] // scale
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def skimage_shrink(image: np.ndarray, scale: int) -> np.ndarray:
    """scikit-image's cubic spline after a Gaussian blur."""
    from skimage.transform import resize

    size = image.shape[0] // scale, image.shape[1] // scale
    out = np.asarray(resize(image, size, order=3, anti_aliasing=True, preserve_range=True))
    return np.floor(out + 0.5).clip(0, 255).astype(np.uint8)


def read_images(args: argparse.Namespace) -> list[np.ndarray]:
    """RGB images whose sides are multiples of every scale."""
    if args.data is None:
        noise = torch.rand(3, args.size[1] // 4 + 1, args.size[0] // 4 + 1, generator=torch.Generator().manual_seed(0))
        smooth = imresize(noise, size=(args.size[1], args.size[0])).clamp(0, 1)
        images = [(smooth * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()]
    else:
        images = [read_pixels(path, 3) for path in find_images(args.data)[: args.images]]
    unit = int(np.lcm.reduce(args.scales))
    cut = [image[: image.shape[0] // unit * unit, : image.shape[1] // unit * unit] for image in images]
    kept = [image.copy() for image in cut if image.size]
    if not kept:
        raise SystemExit(f"no image has {unit} pixels a side, which these scales need")
    return kept


def megapixels(images: Sequence[np.ndarray]) -> float:
    """Pixels of all images, in millions."""
    return sum(image.shape[0] * image.shape[1] for image in images) / 1e6


def speeds(methods: dict[str, Callable], images: list[np.ndarray], scale: int, rounds: int) -> dict[str, float]:
    """Megapixels of HR in a second of one processor, by each method: the fastest call for each image."""
    seconds = dict.fromkeys(methods, 0.0)
    for image in images:
        planes = as_planes(image)
        best = dict.fromkeys(methods, float("inf"))
        for _ in range(rounds):
            for name, shrink in methods.items():
                taken = planes if name.startswith("srzoo") else image
                shrink(taken, scale)  # not timed: it finds caches and memory as the method before left them
                start = time.thread_time()
                shrink(taken, scale)
                best[name] = min(best[name], time.thread_time() - start)
        for name in methods:
            seconds[name] += best[name]
    return {name: megapixels(images) / seconds[name] for name in methods}


def measure_scale(args: argparse.Namespace, images: list[np.ndarray], scale: int) -> dict[str, Any]:
    """One row of the first table."""
    for image in images:
        for border in BORDERS:
            if not np.array_equal(srzoo_shrink(image, scale, border), numpy_port(image, scale, border)):
                raise SystemExit(f"srzoo and the NumPy port differ at x{scale}, border {border}")
    others: dict[str, Callable] = {"pillow": pillow_shrink} | ({"skimage": skimage_shrink} if args.skimage else {})
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ours = {"srzoo": shrink_planes, "srzoo_replicate": partial(shrink_planes, border="replicate")}
        row = speeds({**ours, "numpy": numpy_port, **others}, images, scale, args.rounds)
    finally:
        torch.set_num_threads(threads)
    row |= {"scale": scale, "ratio": row["srzoo"] / row["numpy"]}
    for name, shrink in {**others, "rounded_once": rounded_once}.items():
        wrong = [shrink(image, scale) != srzoo_shrink(image, scale) for image in images]
        row[f"{name}_wrong"] = sum(int(w.sum()) for w in wrong) / sum(w.size for w in wrong)
    return row


def measure_command(args: argparse.Namespace, images: list[np.ndarray]) -> dict[str, Any]:
    """Speed from HR files to PNG files; the best of the rounds."""
    with tempfile.TemporaryDirectory() as folder:
        hr = Path(args.data) if args.data else Path(folder) / "HR"
        if args.data is None:
            hr.mkdir()
            for number, image in enumerate(images):
                Image.fromarray(image).save(hr / f"{number}.png")
        seconds, pixels, files = float("inf"), 0, 0
        for turn in range(args.rounds):
            start = time.perf_counter()
            done = downscale_images([hr], Path(folder) / f"lr{turn}", workers=args.workers)
            seconds = min(seconds, time.perf_counter() - start)
            pixels = sum((image.width or 0) * (image.height or 0) for image in done)
            files = sum(len(image.made) for image in done)
        size = sum(path.stat().st_size for path in (Path(folder) / "lr0").rglob("*.png"))
    speed = pixels / 1e6 / seconds
    counts = {"files": files, "bytes": size, "megapixels": pixels / 1e6, "seconds": seconds}
    return {**counts, "megapixels_per_minute": speed * 60, "workers": args.workers}


def measure_memory(args: argparse.Namespace) -> dict[str, Any]:
    """Peak resident memory of a process that downscales one large image, and what it had before."""
    width, height = args.memory_size
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.png"
        Image.linear_gradient("L").resize((width, height)).convert("RGB").save(file, compress_level=1)
        command = [sys.executable, "-c", PEAK, str(file), str(Path(folder) / "out")]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    before, peak = (int(number) / 1024 for number in told.split())
    return {"image": f"{width}x{height}", "before_mib": before, "peak_mib": peak}


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All tables."""
    images = read_images(args)
    found: dict[str, Any] = describe_machine(torch.device("cpu"))
    found |= {"images": len(images), "megapixels": megapixels(images), "dtype": "uint8"}
    found["scales"] = [measure_scale(args, images, scale) for scale in args.scales]
    found["command"] = measure_command(args, images)
    found["memory"] = measure_memory(args) if Path("/proc/self/status").exists() else None
    return found


def show(found: dict[str, Any]) -> None:
    """The tables as text."""
    print(f"{found['device']}, torch {found['torch']}")
    print(f"{found['images']} RGB images of {found['dtype']}, {found['megapixels']:.1f} MP; megapixels of HR a second")
    names = [name for name in ("srzoo", "srzoo_replicate", "numpy", "pillow", "skimage") if name in found["scales"][0]]
    print(f"{'scale':6}" + "".join(f"{name:>17}" for name in names) + f"{'ratio':>8}")
    for row in found["scales"]:
        speed = "".join(f"{row[name]:17.2f}" for name in names)
        print(f"x{row['scale']:<5}{speed}{row['ratio']:8.1f}")
    for row in found["scales"]:
        wrong = {key.removesuffix("_wrong"): value for key, value in row.items() if key.endswith("_wrong")}
        print(f"x{row['scale']} values that differ: " + ", ".join(f"{k} {100 * v:.1f} %" for k, v in wrong.items()))
    command = found["command"]
    speed = f"{command['megapixels_per_minute']:.0f} megapixels a minute"
    print(f"command: {command['megapixels']:.1f} MP, {command['files']} files in {command['seconds']:.1f} s, {speed}")
    if found["memory"]:
        memory = found["memory"]
        print(f"memory: {memory['image']}, {memory['peak_mib']:.0f} MiB (before: {memory['before_mib']:.0f})")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of HR images (default: made)")
    parser.add_argument("--images", type=int, default=24, help="taken for the first table (default: 24)")
    parser.add_argument("--size", type=parse_size, default="768x512", help="of the image that is made")
    scales = "2,3,4,8"
    parser.add_argument("--scales", type=lambda t: [int(n) for n in t.split(",")], default=scales)
    parser.add_argument("--memory-size", type=parse_size, default="8000x5000")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--skimage", action="store_true", help="with scikit-image, which must be installed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    found = measure(args)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
