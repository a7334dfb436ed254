"""`srzoo upscale`: image files and folders, larger."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from srzoo.data.folders import find_images
from srzoo.image import MAX_PIXELS, check_writable, read_picture, write_picture
from srzoo.registry import list_models
from srzoo.upscaling import Upscaler
from srzoo.upscaling.upscaler import DEFAULT_MODEL, DEFAULT_TILE
from srzoo.upscaling.upscaler import Progress as TileProgress


@dataclass
class Job:
    """One image: where it comes from, where it goes, and what became of it."""

    input: str
    output: str
    status: str = "to do"
    """"done", "exists" or "failed"."""
    size: tuple[int, int] | None = None
    """Width and height of the output."""
    seconds: float | None = None
    error: str | None = None


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "upscale",
        help="upscale images",
        description="Upscale image files, or every image of a folder. photo.jpg becomes photo_x4.png beside it; "
        "the images of photos/ go to photos_x4/.",
    )
    parser.add_argument("inputs", nargs="+", metavar="IN", help="image file or folder")
    parser.add_argument("-o", "--output", metavar="OUT", help="file (for one image) or existing folder to write to")
    parser.add_argument(
        "--model",
        help="model name, weight file, folder of a run, or hf-hub:owner/name@revision (default: edsr_baseline at "
        "--scale, or x4)",
    )
    parser.add_argument("--scale", type=int, help="upscaling factor")
    parser.add_argument(
        "--tta",
        choices=("none", "flips", "x8"),
        default="none",
        help="self-ensemble: slower, a little better",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
    parser.add_argument(
        "--tile",
        type=int,
        default=DEFAULT_TILE,
        help="largest tile side in input pixels; the result does not depend on it",
    )
    parser.add_argument("--max-pixels", type=int, default=MAX_PIXELS, help="refuse larger images before decoding them")
    parser.add_argument("--overwrite", action="store_true", help="replace outputs that exist")
    parser.add_argument("--quiet", action="store_true", help="only errors")
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.set_defaults(run=run)


def plan(inputs: list[str], output: str | None, scale: int) -> list[Job]:
    """What to read and where to write, before anything is done.

    Raises:
        FileNotFoundError: If an input, or the output folder, does not exist.
        ValueError: If several images would go to one file.
    """
    if "" in inputs or output == "":
        raise ValueError("an input or the output is empty; was a variable not set?")
    target = Path(output) if output is not None else None
    into_folder = target is not None and (target.is_dir() or not target.suffix)
    if into_folder and target is not None and not target.is_dir():
        raise FileNotFoundError(f"output folder {target} does not exist; create it first")
    pairs: list[tuple[Path, Path]] = []  # input, output without the name's ending
    for name in inputs:
        source = Path(name)
        if source.is_dir():
            root = target if target is not None else source.resolve().with_name(f"{source.resolve().name}_x{scale}")
            pairs += [(path, root / path.relative_to(source).parent) for path in find_images(source)]
        elif source.exists():
            pairs.append((source, target if into_folder and target is not None else source.parent))
        else:
            raise FileNotFoundError(f"{source} does not exist")
    if target is not None and not into_folder:
        if len(pairs) > 1 or Path(inputs[0]).is_dir():
            raise ValueError(f"{len(pairs)} images cannot go to one file, {target}; give an existing folder")
        return [Job(str(pairs[0][0]), str(target))]
    stems = Counter((folder, source.stem) for source, folder in pairs)
    jobs = []
    for source, folder in pairs:
        twin = stems[folder, source.stem] > 1  # photo.jpg and photo.png
        stem = f"{source.stem}_{source.suffix.lstrip('.')}" if twin else source.stem
        jobs.append(Job(str(source), str(folder / f"{stem}_x{scale}.png")))
    if len({job.output for job in jobs}) < len(jobs):
        raise ValueError("two inputs have the same name; upscale them one at a time with -o")
    return jobs


@contextmanager
def _bar(show: bool, label: str) -> Iterator[TileProgress | None]:
    """A bar for one image on standard error, gone at the end so that results can be printed; None off a terminal."""
    if not (show and sys.stderr.isatty()):
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bars:
        task = bars.add_task(label, total=None)

        def move(done: int, tiles: int) -> None:
            bars.update(task, completed=done, total=tiles)

        yield move


def _do(job: Job, upscaler: Upscaler, args: argparse.Namespace, progress: TileProgress | None) -> None:
    """Upscale one image; raises the user's mistakes."""
    if Path(job.output).exists() and not args.overwrite:
        raise FileExistsError(f"{job.output} exists; --overwrite replaces it")
    check_writable(job.output)
    start = time.perf_counter()
    picture = read_picture(job.input, args.max_pixels)
    check_writable(job.output, picture.mode)
    picture = upscaler.picture(picture, progress)
    write_picture(picture, job.output)
    job.status, job.seconds = "done", round(time.perf_counter() - start, 3)
    job.size = (picture.samples.shape[-1], picture.samples.shape[-2])


def _tell(job: Job, args: argparse.Namespace, model: str) -> None:
    """One line for a finished job."""
    if job.error is not None:
        sys.stderr.write(f"srzoo: {job.error}\n")
    elif not (args.quiet or args.json) and job.size is not None:
        print(f"{job.input} -> {job.output} ({job.size[0]}x{job.size[1]}, {model}, {job.seconds:.1f} s)")


def run(args: argparse.Namespace) -> int:
    """Upscale everything; a bad file in a batch is reported and the job goes on.

    Exit code 0 if all went well, 1 if some images failed, 2 if all did.
    """
    name = args.model or default_model(args.scale)
    upscaler = Upscaler(name, scale=args.scale, device=args.device, tta=args.tta, tile=args.tile)
    jobs = plan(args.inputs, args.output, upscaler.scale)
    alone = len(jobs) == 1 and not Path(args.inputs[0]).is_dir()
    for number, job in enumerate(jobs, start=1):
        try:
            if not alone:
                Path(job.output).parent.mkdir(parents=True, exist_ok=True)
            with _bar(not (args.quiet or args.json), f"{number}/{len(jobs)} {job.input}") as progress:
                _do(job, upscaler, args, progress)
        except (ValueError, OSError, MemoryError) as error:
            job.status = "exists" if isinstance(error, FileExistsError) else "failed"
            job.error = str(error) or type(error).__name__
        _tell(job, args, name)
    failed = sum(job.status == "failed" or (alone and job.status == "exists") for job in jobs)
    if args.json:
        result = {"model": name, "scale": upscaler.scale, "tta": args.tta, "device": str(upscaler.device)}
        print(json.dumps({**result, "images": [asdict(job) for job in jobs]}, indent=2))
    elif failed and not alone:
        sys.stderr.write(f"srzoo: {failed} of {len(jobs)} images failed\n")
    return 2 if failed == len(jobs) else 1 if failed else 0


def default_model(scale: int | None) -> str:
    """The model that upscales where none is named.

    Raises:
        ValueError: If there are no weights for the scale.
    """
    if scale is None:
        return DEFAULT_MODEL
    family = DEFAULT_MODEL.rpartition("_x")[0]
    there = list_models(f"{family}_x*", pretrained=True)
    if f"{family}_x{scale}" not in there:
        scales = ", ".join(name.rpartition("_x")[2] for name in there)
        raise ValueError(f"scale {scale} is not offered; {family} has weights for {scales}")
    return f"{family}_x{scale}"
