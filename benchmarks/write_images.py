"""Speed and size of image files: ours, Pillow's and tifffile's, in turn in one run, written to memory.

    srzoo upscale photos/ -o large/ --model edsr_baseline_x4.photos
    python benchmarks/write_images.py --data large/ --as-is

The pictures are upscaled x4 by bicubic unless they are taken as they are: upscaled ones compress unlike photographs.
Speeds are megabytes of pixels a second, by the clock and by the processor time of all threads; the best of `--rounds`
counts. Sizes are shares of the pixels' bytes. The last columns compare with the first row of the same format, which is
Pillow's default.

`--filters` measures the choice of our PNG encoder instead: each filter with each level and strategy of zlib, in blocks
of 1 MiB, in one thread.
"""

import argparse
import json
import sys
import time
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import torch
from machine import describe_machine, parse_size
from PIL import Image

from srzoo.data import find_images
from srzoo.image import Picture, WriteOptions, open_sink, read_pixels
from srzoo.image.png_filter import filter_paeth

Write = Callable[[np.ndarray, BytesIO], None]
STRATEGIES = {"default": zlib.Z_DEFAULT_STRATEGY, "rle": zlib.Z_RLE, "huffman": zlib.Z_HUFFMAN_ONLY}
BLOCK_BYTES = 1 << 20


def read_images(args: argparse.Namespace) -> list[np.ndarray]:
    """RGB images, upscaled."""
    if args.data is None:
        width, height = args.size
        noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), np.uint8)
        images = [np.asarray(Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC))]
    else:
        images = [read_pixels(path, 3) for path in find_images(args.data)[: args.images]]
    if args.as_is:
        return images
    bicubic = Image.Resampling.BICUBIC
    return [np.asarray(Image.fromarray(i).resize((4 * i.shape[1], 4 * i.shape[0]), bicubic)) for i in images]


def by_srzoo(name: str, **options: Any) -> Write:
    """Our writer, given rows as an upscaler gives them."""

    def write(pixels: np.ndarray, stream: BytesIO) -> None:
        with open_sink(stream, Picture(pixels, "RGB").header, WriteOptions(**options), format=name) as sink:
            for top in range(0, len(pixels), 256):
                sink.write(pixels[top : top + 256])

    return write


def by_pillow(name: str, **options: Any) -> Write:
    """Pillow's `save`."""
    return lambda pixels, stream: Image.fromarray(pixels).save(stream, name, **options)


def by_tifffile(**options: Any) -> Write:
    """tifffile, in strips of 256 KiB."""
    import tifffile

    def write(pixels: np.ndarray, stream: BytesIO) -> None:
        rows = max(1, (1 << 18) // (pixels.shape[1] * 3))
        tifffile.imwrite(stream, pixels, photometric="rgb", rowsperstrip=rows, metadata=None, **options)

    return write


def writers() -> dict[str, dict[str, Write]]:
    """Format -> row -> how it is written."""
    rows: dict[str, dict[str, Write]] = {
        "PNG": {
            "pillow (level 6)": by_pillow("PNG"),
            "pillow, level 1": by_pillow("PNG", compress_level=1),
            "srzoo (level 1)": by_srzoo("PNG"),
            **{f"srzoo, level {level}": by_srzoo("PNG", png_level=level) for level in (0, 6)},
        },
        "TIFF": {
            "pillow (none)": by_pillow("TIFF"),
            "pillow, deflate": by_pillow("TIFF", compression="tiff_adobe_deflate"),
            "srzoo (none)": by_srzoo("TIFF"),
            "srzoo, deflate": by_srzoo("TIFF", compression="deflate"),
        },
        "WEBP": {"pillow, lossless": by_pillow("WEBP", lossless=True), "srzoo (lossless)": by_srzoo("WEBP")},
        "JPEG": {"pillow (75)": by_pillow("JPEG"), "srzoo (95)": by_srzoo("JPEG")},
    }
    try:
        import imagecodecs  # noqa: F401  # pyright: ignore[reportMissingImports]  # without it tifffile deflates at level 6 only

        rows["TIFF"]["tifffile, deflate"] = by_tifffile(
            compression="zlib", compressionargs={"level": 1}, predictor=True, maxworkers=2
        )
    except ImportError:
        pass
    return rows


def measure_writers(images: list[np.ndarray], rounds: int, formats: list[str]) -> list[dict[str, Any]]:
    """One row for each way to write each format."""
    found = []
    for name, rows in writers().items():
        if name not in formats:
            continue
        wall: dict[str, float] = dict.fromkeys(rows, 0.0)
        busy, size = dict(wall), dict.fromkeys(rows, 0)
        for pixels in images:
            best = {row: (float("inf"), float("inf")) for row in rows}
            for _ in range(rounds):
                for row, write in rows.items():
                    stream = BytesIO()
                    clock, cpu = time.perf_counter(), time.process_time()
                    write(pixels, stream)
                    taken = time.perf_counter() - clock, time.process_time() - cpu
                    best[row] = min(best[row][0], taken[0]), min(best[row][1], taken[1])
                    if _ == 0:
                        size[row] += len(stream.getvalue())
            for row in rows:
                wall[row], busy[row] = wall[row] + best[row][0], busy[row] + best[row][1]
        total, first = sum(pixels.nbytes for pixels in images), next(iter(rows))
        found += [
            {
                "format": name,
                "writer": row,
                "speed": total / 1e6 / wall[row],
                "cpu_speed": total / 1e6 / busy[row],
                "share": size[row] / total,
                "times_faster": wall[first] / wall[row],
                "times_larger": size[row] / size[first],
            }
            for row in rows
        ]
    return found


def filter_block(name: str, rows: np.ndarray, above: np.ndarray | None, step: int) -> np.ndarray:
    """Rows with one of PNG's filters."""
    if name == "paeth":
        return filter_paeth(rows, above, step)
    up = np.concatenate([np.zeros_like(rows[:1]) if above is None else above[None], rows[:-1]])
    left = np.pad(rows, ((0, 0), (step, 0)))[:, :-step]
    guess = {"none": np.zeros_like(up), "sub": left, "up": up, "average": (left & up) + ((left ^ up) >> 1)}[name]
    return np.pad(rows - guess, ((0, 0), (1, 0)))


def measure_filters(images: list[np.ndarray]) -> list[dict[str, Any]]:
    """Speed and size of each filter with each level and strategy."""
    ways = [(level, "default") for level in (1, 2, 3, 4, 6)] + [(1, "rle"), (1, "huffman")]
    found = []
    total = sum(pixels.nbytes for pixels in images)
    for name in ("none", "sub", "up", "average", "paeth"):
        for level, strategy in ways:
            filtering = deflating = size = 0.0
            for pixels in images:
                raw = pixels.reshape(len(pixels), -1)
                num = max(1, BLOCK_BYTES // raw.shape[1])
                for top in range(0, len(raw), num):
                    start = time.thread_time()
                    block = filter_block(name, raw[top : top + num], raw[top - 1] if top else None, 3)
                    middle = time.thread_time()
                    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, STRATEGIES[strategy])
                    size += len(deflate.compress(block.data)) + len(deflate.flush())
                    filtering, deflating = filtering + middle - start, deflating + time.thread_time() - middle
            speeds = {"speed": total / 1e6 / (filtering + deflating), "filter_speed": total / 1e6 / filtering}
            found.append({"filter": name, "level": level, "strategy": strategy, **speeds, "share": size / total})
    return found


def show(found: dict[str, Any]) -> None:
    """The tables as text."""
    print(f"{found['device']}, {found['images']} images, {found['megabytes']:.0f} MB, zlib {found['zlib']}")
    for row in found.get("writers", ()):
        print(
            f"{row['format']:5} {row['writer']:20} {row['speed']:8.1f} MB/s {row['cpu_speed']:8.1f} by cpu "
            f"{row['share']:7.3f} {row['times_faster']:7.2f} x as fast {row['times_larger']:6.2f} x as large"
        )
    for row in found.get("filters", ()):
        print(
            f"{row['filter']:8} {row['level']} {row['strategy']:8} {row['speed']:7.1f} MB/s "
            f"(filter {row['filter_speed']:6.0f}) {row['share']:.3f}"
        )


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of images (default: made)")
    parser.add_argument("--images", type=int, default=4, help="taken (default: 4)")
    parser.add_argument("--size", type=parse_size, default="384x256", help="of the image that is made")
    parser.add_argument("--as-is", action="store_true", help="the images are upscaled already")
    parser.add_argument("--formats", default="PNG,TIFF,WEBP,JPEG")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--filters", action="store_true", help="measure the filters of PNG instead")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    images = read_images(args)
    found: dict[str, Any] = describe_machine(torch.device("cpu"))
    found |= {
        "images": len(images),
        "megabytes": sum(i.nbytes for i in images) / 1e6,
        "zlib": zlib.ZLIB_RUNTIME_VERSION,
    }
    if args.filters:
        found["filters"] = measure_filters(images)
    else:
        found["writers"] = measure_writers(images, args.rounds, args.formats.split(","))
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
