"""`srzoo benchmark`: the papers' tables, measured."""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from srzoo.benchmark.drift import TOLERANCE, Check, check_result
from srzoo.benchmark.journal import Journal
from srzoo.benchmark.page import page
from srzoo.benchmark.plan import PROTOCOL_NAMES, Job, Settings, plan_benchmark
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.rows import Row
from srzoo.benchmark.runs import forget, kept_rows, run_benchmark
from srzoo.distributed import WorkerLost, World, joined_world
from srzoo.files import replacing
from srzoo.upscaling.upscaler import DEFAULT_TILE

LOGGER = logging.getLogger("srzoo")
SECONDS_BETWEEN_LINES = 5.0


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "benchmark",
        help="score models on benchmark sets",
        description="Score models on sets of images: PSNR, SSIM, time and memory, beside bicubic and what was "
        "published. A killed run goes on where it was when the same command is started again; under torchrun the "
        "processes share the images.",
        epilog="Exit code 0 if all went well, 1 if an output held NaN or infinity or --check failed, 2 for a mistake.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="model name, name.tag, glob in quotes, edsr_baseline for all its scales, weight file, folder of a run, "
        "or hf-hub:owner/name",
    )
    parser.add_argument(
        "--sets", default="Set5,Set14", help="names of benchmark sets or folders of images, with commas (Set5,Set14)"
    )
    parser.add_argument("--data", metavar="DIR", help="folder that the sets are in (default: SRZOO_DATA)")
    parser.add_argument("--lr", metavar="DIR", help="folder of LR images (default: made from HR by MATLAB's bicubic)")
    parser.add_argument("--fetch", action="store_true", help="fetch a set from the Hugging Face Hub if it is not found")
    parser.add_argument("--scale", metavar="2,3", help="only these scales (default: all that a model has)")
    parser.add_argument("--tta", choices=("none", "flips", "x8"), default="none", help="self-ensemble; x8 is EDSR+")
    parser.add_argument(
        "--protocol", choices=PROTOCOL_NAMES, default="paper", help="paper: each set's own (Y; DIV2K: RGB)"
    )
    parser.add_argument(
        "--path", choices=("rgb", "luma"), default="rgb", help="luma: LR of the luma, not rounded, as before EDSR"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps, xpu")
    parser.add_argument(
        "--tile", type=int, default=DEFAULT_TILE, help="largest tile side in LR pixels; the scores do not depend on it"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images of each set")
    parser.add_argument("--per-image", action="store_true", help="print a row an image as well")
    parser.add_argument(
        "--json", metavar="FILE", help="write everything to this file; - prints it instead of the table"
    )
    parser.add_argument("--html", metavar="FILE", help="write one page that needs no network")
    parser.add_argument("--save-images", metavar="DIR", help="write the scored images: DIR/model/set/x4/name.png")
    parser.add_argument("--check", action="store_true", help="fail if a mean differs from what the weights record")
    parser.add_argument("--tolerance", type=float, metavar="DB", help=f"what --check lets pass (default: {TOLERANCE})")
    parser.add_argument("--quiet", action="store_true", help="no plan and no progress")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Benchmark; under torchrun, as one of several processes, of which the first prints and writes."""
    scales, sets, settings = _read_options(args)
    before = signal.signal(signal.SIGTERM, _terminate)  # so that the user is told how to go on
    try:
        with joined_world(args.device, if_lost="start the same command again, finished images are kept") as (
            world,
            device,
        ):
            try:
                job = plan_benchmark(
                    args.models, sets, data=args.data, lr=args.lr, scales=scales, settings=settings, device=device,
                    fetch=args.fetch, report=_checking(args.quiet), world=world,
                )  # fmt: skip
            except (ValueError, TypeError, OSError, ImportError):
                if world.is_main:
                    raise
                return 2  # the same in every process; the first tells
            return _run(job, args, world)
    except WorkerLost:  # which was told in the log when it was noticed
        return 1
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)


def _read_options(args: argparse.Namespace) -> tuple[tuple[int, ...] | None, list[str], Settings]:
    """Scales, sets and settings; what cannot be is told before anything is read."""
    try:
        scales = (
            None if args.scale is None else tuple(int(part.strip().removeprefix("x")) for part in args.scale.split(","))
        )
    except ValueError:
        raise ValueError(f"--scale is {args.scale!r}; give whole numbers with commas, such as 2,3") from None
    sets = [part.strip() for part in args.sets.split(",") if part.strip()]
    if not sets:
        raise ValueError("--sets is empty; name a set, such as Set5, or a folder of images")
    if args.tolerance is not None and not args.check:
        raise ValueError("--tolerance is for --check; add it")
    if args.tolerance is not None and not args.tolerance >= 0:
        raise ValueError(f"--tolerance is {args.tolerance}; it must be 0 dB or more")
    for option, value in (("--json", args.json), ("--html", args.html)):
        if value is None or (option, value) == ("--json", "-"):
            continue
        if not Path(value).parent.is_dir():
            raise FileNotFoundError(f"{option}: folder {Path(value).parent} does not exist; create it first")
        if Path(value).is_dir() or not os.access(Path(value).parent, os.W_OK):
            raise PermissionError(f"{option}: {value} is a folder or cannot be written; give the path of a file")
    if args.save_images is not None:
        Path(args.save_images).mkdir(parents=True, exist_ok=True)
    settings = Settings(tta=args.tta, protocol=args.protocol, path=args.path, tile=args.tile, limit=args.limit)
    return scales, sets, settings


def _run(job: Job, args: argparse.Namespace, world: World) -> int:
    """Run what was planned, and tell and write what came of it."""
    journal = Journal(rank=world.rank)
    tells = world.is_main and not args.quiet
    if tells:
        _say(job.describe())
        folder = Path(args.save_images) if args.save_images is not None else None
        kept = sum(map(len, kept_rows(job, journal, folder)))
        if kept:
            _say(f"kept {kept} of {job.num_images} rows of a run that was cut off; {job.num_images - kept} to go")
    done = 0
    try:
        with _progress(tells) as progress:

            def count(finished: int, total: int, row: Row) -> None:
                nonlocal done
                done = finished
                progress(finished, total, row)

            result = run_benchmark(job, save_images=args.save_images, journal=journal, progress=count)
    except (KeyboardInterrupt, SystemExit) as told:
        if world.is_main:
            _say(f"stopped after {done} images, whose rows are kept; start the same command again to go on")
        raise SystemExit(130 if isinstance(told, KeyboardInterrupt) else told.code) from None
    check = check_result(result, TOLERANCE if args.tolerance is None else args.tolerance) if args.check else None
    if world.is_main:
        _tell(result, check, args)
        forget(job, journal)  # only now: nothing is lost if a file cannot be written
    return 1 if result.nonfinite or (check is not None and not check.passed) else 0


def _tell(result: BenchmarkResult, check: Check | None, args: argparse.Namespace) -> None:
    """Print the tables, write the files, say what is wrong."""
    told = {**result.to_json(), "check": None if check is None else check.to_json()}
    text = json.dumps(told, indent=2, allow_nan=False) if args.json else ""
    print(text if args.json == "-" else result.table(images=args.per_image))
    if args.json not in (None, "-"):
        _write(Path(args.json), text + "\n")
    if args.html is not None:
        _write(Path(args.html), page(result, check))
    for row in result.nonfinite:
        values = f"{row.nonfinite} values of the output are" if row.nonfinite > 1 else "1 value of the output is"
        _say(f"{row.model} on {row.set} {row.image} x{row.scale}: {values} NaN or infinite")
    if check is not None:
        _tell_check(check, to_stderr=args.json == "-")


def _tell_check(check: Check, to_stderr: bool) -> None:
    """Print each comparison, and say whether the check failed."""
    lines = [*map(str, check.comparisons), *(f"FAILED: {problem}" for problem in check.problems)]
    if to_stderr:
        sys.stderr.write("\n".join(lines) + "\n")
    else:
        print("\n" + "\n".join(lines))
    drifted = sum(one.drifted for one in check.comparisons)
    if drifted:
        _say(f"the check failed: {drifted} of {len(check.comparisons)} means differ from what the weights record")
    elif not check.passed:
        _say(f"the check failed: {check.problems[0]}")


def _write(path: Path, text: str) -> None:
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8")


def _say(text: str) -> None:
    sys.stderr.write(f"srzoo: {text}\n")
    sys.stderr.flush()


def _checking(quiet: bool) -> Callable[[int, int, str], None] | None:
    """A listener that writes a line every few seconds while sets are checked."""
    if quiet:
        return None
    last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _say(f"{what}: {done} of {total} files")

    return report


@contextmanager
def _progress(show: bool) -> Iterator[Callable[[int, int, Row], None]]:
    """A bar on standard error, or a line every few seconds where that is no terminal."""
    if not show:
        yield lambda done, total, row: None
        return
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, redirect_stdout=False) as bars:
        task = bars.add_task("benchmark", total=None)

        def move(done: int, total: int, row: Row) -> None:
            bars.update(task, completed=done, total=total, description=f"{row.model} {row.set} x{row.scale}")

        yield move


def _lines() -> Callable[[int, int, Row], None]:
    last = time.monotonic()

    def tell(done: int, total: int, row: Row) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            _say(f"{done} of {total} images: {row.model} on {row.set} x{row.scale} {row.image}, {row.psnr:.2f} dB")

    return tell
