"""`srzoo compare`: models on the same images, as a page and as a figure."""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from srzoo.cli.plain import plain
from srzoo.report import Comparison, Crop, ImageResult, compare
from srzoo.report.comparison import NUM_CROPS
from srzoo.report.embed import EMBED_PIXELS
from srzoo.upscaling.tiling import DEFAULT_TILE

DEFAULT_PAGE = "comparison.html"


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "compare",
        help="compare models on images: a page with sliders, a figure",
        description="Upscale LR images by several models and write one HTML file to look at, and a figure as papers "
        "print it. With --hr the results are scored; HR images alone (--hr DIR, or --from-hr) are shrunk by bicubic "
        "first. bicubic is always among the methods.",
    )
    parser.add_argument("images", nargs="?", metavar="IMAGES", help="LR image or folder of LR images")
    parser.add_argument(
        "--models", required=True, metavar="A,B,C", help="model names, weight files, or folders of runs; or bicubic"
    )
    parser.add_argument("--scale", type=int, help="upscaling factor, where the models offer several")
    parser.add_argument("--hr", metavar="HR", help="HR image or folder; LR images are found by name (a, or ax2)")
    parser.add_argument("--from-hr", action="store_true", help="IMAGES are HR images: make LR from them")
    parser.add_argument(
        "--tta", choices=("none", "flips", "x8"), default="none", help="self-ensemble of the models, not of bicubic"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
    parser.add_argument("--tile", type=int, default=DEFAULT_TILE, help="largest tile side in input pixels")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--crop", action="append", metavar="X,Y,W,H", help="part to show enlarged, in HR pixels; can be repeated"
    )
    where.add_argument(
        "--crops", type=int, metavar="N", help=f"parts to choose where the methods differ most (default: {NUM_CROPS})"
    )
    parser.add_argument(
        "-o", "--output", metavar="HTML", help=f"page to write (default: {DEFAULT_PAGE}, or none if there is a --grid)"
    )
    parser.add_argument("--grid", metavar="PNG", help="figure to write")
    parser.add_argument("--limit", type=int, metavar="N", help="take the first N images only")
    parser.add_argument(
        "--embed-pixels",
        type=int,
        default=EMBED_PIXELS,
        metavar="N",
        help="images of more pixels are shown reduced on the page, their parts never (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a page and a figure that exist")
    parser.add_argument("--quiet", action="store_true", help="only errors")
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compare everything; a bad image is reported and the job goes on.

    Exit code 0 if all went well, 1 if some images failed, 2 if all did.
    """
    models = [name.strip() for name in args.models.split(",")]
    if "" in models:
        raise ValueError(f"--models is {args.models!r}; give names with a comma between them, such as bicubic,mdsr")
    page = args.output if args.output is not None or args.grid is not None else DEFAULT_PAGE
    if "" in (page, args.grid):
        raise ValueError("the name of an output is empty; was a variable not set?")
    crops = [Crop.parse(text) for text in args.crop] if args.crop else NUM_CROPS if args.crops is None else args.crops
    with _progress(args) as tell:
        found = compare(
            args.images,
            models,
            hr=args.hr,
            from_hr=args.from_hr,
            scale=args.scale,
            page=page,
            grid=args.grid,
            crops=crops,
            limit=args.limit,
            device=args.device,
            tta=args.tta,
            tile=args.tile,
            embed_pixels=args.embed_pixels,
            overwrite=args.overwrite,
            progress=tell,
        )
    if args.json:
        print(json.dumps(as_json(found), indent=2))
    elif not args.quiet:
        _tell(found)
    if found.failed and not args.json and len(found.images) > 1:
        sys.stderr.write(f"srzoo: {len(found.failed)} of {len(found.images)} images failed\n")
    return 2 if len(found.failed) == len(found.images) else 1 if found.failed else 0


@contextmanager
def _progress(args: argparse.Namespace) -> Iterator[Callable[[ImageResult, int, int], None]]:
    """A line for each image, and a bar below them on a terminal; errors on standard error in any case."""
    show = not (args.quiet or args.json)

    def line(result: ImageResult, done: int, images: int) -> None:
        if result.error is not None:
            sys.stderr.write(f"srzoo: {plain(f'{result.name}: {result.error}')}\n")
        elif show:
            scores = ", ".join(f"{label} {entry}" for label, entry in result.scores.items())
            print(f"{done}/{images} {plain(result.name + (': ' if scores else '') + scores)}", flush=True)

    if not (show and sys.stderr.isatty()):
        yield line
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("comparing", total=None)

        def move(result: ImageResult, done: int, images: int) -> None:
            line(result, done, images)
            bars.update(task, completed=done, total=images)

        yield move


def _tell(found: Comparison) -> None:
    """Mean scores, and what was written."""
    means = found.means()
    if means and len(found.images) > 1:
        print(plain("mean: " + ", ".join(f"{label} {entry}" for label, entry in means.items())))
    if means:
        print(f"PSNR / SSIM by the papers' protocol: {found.protocol}")
    for path in (found.page, found.grid):
        if path is not None:
            print(f"{plain(str(path))} ({Path(path).stat().st_size / 1e6:.1f} MB)")


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison as plain values; PSNR of an image equal to HR is null, as JSON has no infinity."""
    record = asdict(found)
    scores = [image["scores"] for image in record["images"]]
    record["mean"] = {label: asdict(entry) for label, entry in found.means().items()}
    for entries in (*scores, record["mean"]):
        for entry in entries.values():
            entry["psnr"] = entry["psnr"] if math.isfinite(entry["psnr"]) else None
    return {key: str(value) if isinstance(value, Path) else value for key, value in record.items()}
