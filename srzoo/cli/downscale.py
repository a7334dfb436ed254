"""`srzoo downscale`: folders of LR images, pixel for pixel as MATLAB makes them."""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from srzoo.cli.plain import plain
from srzoo.data.lr_images import LAYOUTS, LRImages, Report, downscale_images
from srzoo.data.presets import PRESETS
from srzoo.image import MAX_PIXELS


def _scales(text: str) -> tuple[int, ...]:
    """`2,3,4` as numbers."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form 2,3,4") from None


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "downscale",
        help="make LR images of HR images, as MATLAB makes them",
        description="Shrink HR images by MATLAB's bicubic imresize, bit for bit. The images of HR/ go to "
        "HR_lr/x2/, HR_lr/x3/ and HR_lr/x4/ as PNG files. What exists is kept, so a job that was stopped can be "
        "started again.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="HR image or folder of them")
    parser.add_argument("-o", "--output", metavar="OUT", help="folder to write below (default: IN_lr, for one folder)")
    parser.add_argument("--scale", type=_scales, default=(2, 3, 4), help="whole factors (default: 2,3,4)")
    parser.add_argument(
        "--border",
        choices=("symmetric", "replicate"),
        default="symmetric",
        help="beyond the edge: mirrored as by MATLAB since 2007, or repeated as before",
    )
    parser.add_argument(
        "--degradation",
        choices=tuple(PRESETS),
        default="bicubic",
        help="how LR images are made; what is drawn is drawn from the file's name, so it is the same everywhere",
    )
    parser.add_argument(
        "--layout",
        choices=tuple(LAYOUTS),
        default="plain",
        help="x2/NAME.png, or LR_bicubic/X2/NAMEx2.png",
    )
    parser.add_argument("--workers", type=int, help="images worked on at a time (default: one a processor)")
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="refuse larger images before decoding them")
    parser.add_argument("--overwrite", action="store_true", help="make LR images anew that exist")
    parser.add_argument("--quiet", action="store_true", help="only errors")
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.set_defaults(run=run)


def _line(image: LRImages) -> str:
    """One line for an image that is finished."""
    told = [f"{image.hr} {image.width}x{image.height} -> {_times(image.made)}"] if image.made else [image.hr]
    if image.cropped:
        told.append(f"cropped for {_times(image.cropped)}")
    if image.kept:
        told.append(f"kept {_times(image.kept)}")
    return ", ".join(told)


def _problem(image: LRImages) -> str:
    """One line for an image that failed, and what there is of it all the same."""
    told = [f"{word} {_times(scales)}" for word, scales in (("made", image.made), ("kept", image.kept)) if scales]
    return plain(f"srzoo: {image.error}" + (f" ({', '.join(told)})" if told else ""))


def _times(scales: Sequence[int]) -> str:
    return " ".join(f"x{scale}" for scale in scales)


@contextmanager
def _report(args: argparse.Namespace) -> Iterator[Report]:
    """Tells of each image: errors always, else by a bar on a terminal and by lines off one."""
    silent = args.quiet or args.json

    def tell(done: int, images: int, image: LRImages) -> None:
        if image.error is not None:
            sys.stderr.write(f"{_problem(image)}\n")
        elif not silent:
            print(f"{done}/{images} {plain(_line(image))}", flush=True)

    if silent or not sys.stderr.isatty():
        yield tell
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("downscale"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task("downscale", total=None)

        def move(done: int, images: int, image: LRImages) -> None:
            if image.error is not None:
                bars.console.print(_problem(image), markup=False, highlight=False, soft_wrap=True)
            bars.update(task, completed=done, total=images)

        yield move


def summarize(images: Sequence[LRImages], seconds: float) -> dict[str, Any]:
    """Counts and speed of a job; megapixels are those of the HR images that were read and shrunk."""
    pixels = sum(image.width * image.height for image in images if image.made and image.width and image.height)
    return {
        "images": len(images),
        "files": sum(len(image.made) for image in images),
        "kept": sum(len(image.kept) for image in images),
        "cropped": sum(bool(image.cropped) for image in images),
        "failed": sum(image.status == "failed" for image in images),
        "megapixels": round(pixels / 1e6, 3),
        "seconds": round(seconds, 3),
        "megapixels_per_second": round(pixels / 1e6 / seconds, 2),
    }


def run(args: argparse.Namespace) -> int:
    """Make all LR images; a bad file is reported and the job goes on.

    Exit code 0 if all went well, 1 if some images failed, 2 if all did.
    """
    if "" in args.inputs or args.output == "":
        raise ValueError("an input or the output is empty; was a variable not set?")
    start = time.perf_counter()
    with _report(args) as report:
        images = downscale_images(
            args.inputs,
            args.output,
            scales=args.scale,
            border=args.border,
            degradation=None if args.degradation == "bicubic" else PRESETS[args.degradation],
            layout=args.layout,
            overwrite=args.overwrite,
            workers=args.workers,
            max_pixels=args.max_pixels,
            report=report,
        )
    summary = summarize(images, time.perf_counter() - start)
    if args.json:
        rows = [{**asdict(image), "status": image.status} for image in images]
        job = {"scales": args.scale, "border": args.border, "degradation": args.degradation, "layout": args.layout}
        print(json.dumps({**job, **summary, "results": rows}, indent=2))
    elif not args.quiet:
        for words in _told(summary):
            print(words)
    if summary["failed"] and not args.json:
        sys.stderr.write(f"srzoo: {summary['failed']} of {len(images)} images failed\n")
    return 0 if not summary["failed"] else 2 if summary["failed"] == len(images) else 1


def _told(summary: dict[str, Any]) -> Iterator[str]:
    """The summary in sentences."""
    size = f"{summary['files']} LR images of {summary['megapixels']:.1f} HR megapixels"
    yield f"{size} in {summary['seconds']:.1f} s ({summary['megapixels_per_second']:.1f} megapixels a second)"
    if summary["cropped"]:
        yield f"{summary['cropped']} images were cropped to a multiple of a scale first (--json names them)"
    if summary["kept"]:
        yield f"{summary['kept']} LR images were there already and were kept (--overwrite makes them anew)"
