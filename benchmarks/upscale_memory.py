"""Memory of upscaling from file to file: the peak of a process, over what it holds once libraries and model are loaded.

    python benchmarks/upscale_memory.py --models edsr_baseline_x4                  # whole pictures: minutes each
    python benchmarks/upscale_memory.py --models edsr_baseline_x4 --rows 600       # the first 600 rows of each
    python benchmarks/upscale_memory.py --cases photo-png --engines torch --memory 200MB

Each row is a process of its own. It imports what it needs, loads the model, upscales 64x64 pixels from file to file
("ready" is what it holds then), and does the picture. The peak is the kernel's own count of resident memory (VmHWM), so
nothing between two samples is missed; `over` is what the picture took. Linux only. Pictures are made, and are the same
at each call; the result goes to a temporary folder (`--folder` for another disk).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

TARGET_MB = 1500
"""What a picture may take, in 10^6 bytes."""


@dataclass(frozen=True)
class Case:
    """A picture, and the file it becomes."""

    width: int
    height: int
    suffix: str
    """Of the file that is read."""
    dtype: str
    target: str
    """Suffix of the file that is written."""


CASES = {
    "photo-png": Case(4000, 3000, ".jpg", "uint8", ".png"),
    "photo-tiff": Case(4000, 3000, ".jpg", "uint8", ".tif"),
    "tiff-tiff": Case(8000, 5000, ".tif", "uint8", ".tif"),
    "tiff16-bigtiff": Case(8000, 5600, ".tif", "uint16", ".tif"),  # x4 is more than 4 GiB
}


def write_picture(path: Path, case: Case, rows: int) -> None:
    """A picture with waves, edges and noise, written by rows."""
    from srzoo.image import Header, WriteOptions, open_sink

    rng = np.random.default_rng(0)
    noise = rng.integers(0, 16, (256, case.width, 3), np.uint8)
    wave = (90 * (1 + np.sin(np.arange(case.width + rows)[:, None] / [17, 23, 31]))).astype(np.uint8)
    with open_sink(path, Header(case.width, rows, "RGB", case.dtype), WriteOptions()) as sink:  # pyright: ignore[reportArgumentType]
        for top in range(0, rows, 256):
            number = min(256, rows - top)
            index = np.arange(case.width)[None] + np.arange(top, top + number)[:, None]
            edges = 40 * ((index // 97 + np.arange(case.width) // 61) % 2).astype(np.uint8)
            block = wave[index] + noise[:number] + edges[..., None]
            sink.write(block if case.dtype == "uint8" else block.astype(np.uint16) * 257)


def read_status(key: str) -> int:
    """Bytes of one line of this process's status, such as VmRSS or VmHWM."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{key}:"))
    return 1024 * int(line.split()[1])


def work(job: Mapping[str, Any]) -> dict[str, Any]:
    """What a child does: one picture; what it held before, and at most."""
    import srzoo

    folder, source, target = Path(job["folder"]), Path(job["source"]), Path(job["target"])
    libraries = read_status("VmRSS")
    model = srzoo.create_model(job["model"], **job["overrides"])
    upscaler = srzoo.Upscaler(
        model, scale=model.scales[-1], engine=job["engine"], device="cpu", precision=job["precision"],
        memory=job["memory"], tta=job["tta"],
    )  # fmt: skip
    small = folder / f"small{source.suffix}"
    write_picture(small, Case(64, 64, source.suffix, job["dtype"], target.suffix), 64)
    upscaler.file(small, folder / f"small_out{target.suffix}")
    ready = read_status("VmRSS")
    with suppress(OSError):  # the peak starts anew; else it is that of the whole life, which is the same here
        Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    result = upscaler.file(source, target, max_pixels=10**10)
    seconds = time.perf_counter() - start
    return {
        "precision": upscaler.precision,
        "result": f"{result.width}x{result.height}",
        "notes": list(result.notes),
        "libraries_mb": libraries / 1e6,
        "ready_mb": ready / 1e6,
        "peak_mb": read_status("VmHWM") / 1e6,
        "seconds": seconds,
        "file_mb": target.stat().st_size / 1e6,
    }


def is_bigtiff(path: Path) -> bool:
    """Whether a file is a TIFF with 64-bit places."""
    with path.open("rb") as file:
        return file.read(4) in (b"II+\0", b"MM\0+")


def measure(args: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """A row for each case, model and engine."""
    rows = []
    for name in args.cases:
        case = CASES[name]
        width, height = args.width or case.width, min(args.rows or case.height, case.height)
        case = Case(width, height, case.suffix, case.dtype, case.target)
        source, target = folder / f"{name}{case.suffix}", folder / f"{name}_out{case.target}"
        write_picture(source, case, height)
        for model in args.models:
            for engine in args.engines:
                job = {
                    "folder": str(folder), "source": str(source), "target": str(target), "dtype": case.dtype,
                    "model": model, "engine": engine, "precision": args.precision, "memory": args.memory,
                    "tta": args.tta, "overrides": args.overrides,
                }  # fmt: skip
                row = {"case": name, "model": model, "engine": engine, "image": f"{width}x{height}"}
                command = [sys.executable, __file__, "--child", json.dumps(job)]
                child = subprocess.run(command, capture_output=True, text=True, check=False)
                if child.returncode:
                    rows.append({**row, "told": child.stderr.strip().splitlines()[-1]})
                    continue
                found = json.loads(child.stdout)
                found["over_mb"] = found["peak_mb"] - found["ready_mb"]
                rows.append({**row, **found, "bigtiff": is_bigtiff(target), "told": None})
                target.unlink()
        source.unlink()
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as a table, in 10^6 bytes."""
    print(f"{'case':14} {'model':18} {'engine':9} {'LR image':10} ready   peak   over seconds  file MB")
    for row in rows:
        start = f"{row['case']:14} {row['model']:18} {row['engine']:9} {row['image']:10}"
        if row["told"] is not None:
            print(start, row["told"])
            continue
        figures = f"{row['ready_mb']:5.0f} {row['peak_mb']:6.0f} {row['over_mb']:6.0f} {row['seconds']:7.1f}"
        more = " BigTIFF" if row["bigtiff"] else ""
        print(f"{start} {figures} {row['file_mb']:8.0f}{more}", *row["notes"], sep="; " if row["notes"] else "")


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    from machine import parse_names, parse_overrides

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=parse_names, default=list(CASES), help=f"default: {','.join(CASES)}")
    parser.add_argument("--models", type=parse_names, default="edsr_baseline_x4", help="default: edsr_baseline_x4")
    parser.add_argument("--engines", type=parse_names, default="openvino,torch", help="default: openvino,torch")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--tta", default="none")
    parser.add_argument("--memory", help="the upscaler's budget, such as 2GB")
    parser.add_argument("--rows", type=int, help="of each picture, if not all")
    parser.add_argument("--width", type=int, help="of each picture, if not its own")
    parser.add_argument("--overrides", type=parse_overrides, default={}, help="constructor arguments: width=8")
    parser.add_argument("--folder", type=Path, help="for the pictures (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    args = parser.parse_args(argv)
    if wrong := set(args.cases) - CASES.keys():
        parser.error(f"--cases knows {', '.join(CASES)}, not {', '.join(sorted(wrong))}")
    if not Path("/proc/self/status").exists():
        parser.error("the peak is read from /proc/self/status, which this system does not have; Linux has it")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        rows = measure(args, Path(folder))
    print(json.dumps({"target_mb": TARGET_MB, "rows": rows}, indent=2)) if args.json else show(rows)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(work(json.loads(sys.argv[2]))))
        sys.exit(0)
    sys.exit(main())
