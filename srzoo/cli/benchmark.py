"""`srzoo benchmark`: the papers' tables, measured."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from srzoo.benchmark.drift import TOLERANCE, Check, check_result
from srzoo.benchmark.journal import Journal
from srzoo.benchmark.page import page
from srzoo.benchmark.plan import PROTOCOL_NAMES, Job, Settings, plan_benchmark
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.rows import Row
from srzoo.benchmark.runs import forget, kept_rows, run_benchmark
from srzoo.cli.benchmark_paper import (
    add_paper_options,
    check_paper_alone,
    check_writable,
    plan_paper,
    read_scales,
    read_sets,
)  # fmt: skip
from srzoo.cli.benchmark_progress import checking, progress_bar, say, show, write_text
from srzoo.cli.sigterm import sigterm_exits
from srzoo.data.check import listed
from srzoo.distributed import WorkerLost, World, joined_world, launched_rank
from srzoo.upscaling.tiling import DEFAULT_TILE

LOGGER = logging.getLogger("srzoo")
SECONDS_TO_TELL = 5.0
"""How long the other processes wait for the first to tell of a mistake; it ends the launcher, which ends them."""
MOST_NAMES = 5
IF_LOST = "start the same command again, finished images are kept"


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "benchmark",
        help="score models on benchmark sets",
        description="Score models on sets of images: PSNR, SSIM, time and memory, beside bicubic and what was "
        "published. A killed run goes on where it was when the same command is started again; under torchrun the "
        "processes share the images.",
        epilog="Exit code 0 if all went well, 1 if an output held NaN or infinity, or --check or --check-order failed, "
        "2 for a mistake.",
    )
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help="model name, name.tag, glob in quotes, edsr_baseline for all its scales, weight file, folder of a run, "
        "or hf-hub:owner/name",
    )
    parser.add_argument(
        "--sets",
        help="names of benchmark sets or folders of images, with commas (default: Set5,Set14; with --paper those of "
        "the paper that are at hand)",
    )
    parser.add_argument("--data", metavar="DIR", help="folder that the sets are in (default: SRZOO_DATA)")
    parser.add_argument("--lr", metavar="DIR", help="folder of LR images (default: made from HR by MATLAB's bicubic)")
    parser.add_argument(
        "--fetch", action="store_true", help="get sets, and with --paper weights, that are not at hand from the Hub"
    )
    parser.add_argument("--scale", "--scales", metavar="2,3", help="only these scales (default: all that a model has)")
    parser.add_argument(
        "--tta", choices=("none", "flips", "x8"), default="none", help="x8: self-ensemble, EDSR+ (default: none)"
    )
    parser.add_argument(
        "--protocol", choices=PROTOCOL_NAMES, default="paper", help="paper: each set's own (Y; DIV2K: RGB)"
    )
    parser.add_argument(
        "--path", choices=("rgb", "luma"), default="rgb", help="luma: LR of the luma, not rounded, as before EDSR"
    )
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps, xpu (default: auto)")
    parser.add_argument(
        "--tile",
        type=int,
        default=DEFAULT_TILE,
        help=f"largest tile side in LR pixels; the scores do not depend on it (default: {DEFAULT_TILE})",
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
    parser.add_argument("--fresh", action="store_true", help="measure anew what a killed run has measured")
    parser.add_argument("--quiet", action="store_true", help="no plan and no progress")
    add_paper_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Benchmark; under torchrun, as one of several processes, of which the first prints and writes."""
    try:
        with sigterm_exits(), ExitStack() as stack:
            try:
                finish = (plan_paper if args.paper else _plan)(args, stack)
            except (ValueError, TypeError, OSError, ImportError):
                if launched_rank() == 0:
                    raise
                time.sleep(SECONDS_TO_TELL)  # the same in every process: the first tells, before the launcher ends it
                return 2
            return finish()
    except WorkerLost:  # which was told in the log when it was noticed
        return 1


def _plan(args: argparse.Namespace, stack: ExitStack) -> Callable[[], int]:
    """Find and check everything; returns what runs it and gives the exit code."""
    scales, sets, settings = _read_options(args)
    world, device = stack.enter_context(joined_world(args.device, if_lost=IF_LOST))
    job = plan_benchmark(
        args.models, sets, data=args.data, lr=args.lr, scales=scales, settings=settings, device=device,
        fetch=args.fetch, report=checking(args.quiet), world=world,
    )  # fmt: skip
    return lambda: _run(job, args, world)


def _read_options(args: argparse.Namespace) -> tuple[tuple[int, ...] | None, list[str], Settings]:
    """Scales, sets and settings; what cannot be is told before anything is read."""
    if not args.models:
        raise ValueError(
            "no model was given; name one, such as edsr_baseline_x4, or take --paper for the paper's table"
        )
    check_paper_alone(args)
    scales, sets = read_scales(args.scale), read_sets("Set5,Set14" if args.sets is None else args.sets)
    if args.tolerance is not None and not args.check:
        raise ValueError("--tolerance is for --check; add it")
    if args.tolerance is not None and not args.tolerance >= 0:
        raise ValueError(f"--tolerance is {args.tolerance}; it must be 0 dB or more")
    for option, value in (("--json", args.json), ("--html", args.html)):
        if value is not None and (option, value) != ("--json", "-"):
            check_writable(option, value)
    if args.json == "-" and args.per_image:
        raise ValueError("--json - takes the place of the table, and has a row an image; leave out --per-image")
    if args.html == "-":
        raise ValueError("--html writes a file; give its path, such as result.html")
    if args.json and args.html and Path(args.json).resolve() == Path(args.html).resolve():
        raise ValueError(f"--json and --html are both {args.json}; give two files")
    if args.save_images is not None:
        try:
            Path(args.save_images).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            told = f"--save-images: {args.save_images} is a file, or would be in one; give a folder"
            raise NotADirectoryError(told) from None
    settings = Settings(tta=args.tta, protocol=args.protocol, path=args.path, tile=args.tile, limit=args.limit)
    return scales, sets, settings


def _run(job: Job, args: argparse.Namespace, world: World) -> int:
    """Run what was planned, and tell and write what came of it."""
    journal = Journal(rank=world.rank)
    tells = world.is_main and not args.quiet
    if args.fresh:
        forget(job, journal)
    folder = Path(args.save_images) if args.save_images is not None else None
    kept = kept_rows(job, journal, folder) if world.is_main else None
    if tells:
        say(job.describe())
        _tell_cropped(job)
        if count := sum(map(len, kept or [])):
            say(f"kept {count} of {job.num_images} rows of a run that was cut off; {job.num_images - count} to go")
    done = 0
    try:
        with progress_bar(tells) as progress:

            def listen(finished: int, total: int, row: Row) -> None:
                nonlocal done
                done = finished
                progress(finished, total, row)

            result = run_benchmark(job, save_images=folder, journal=journal, kept=kept, progress=listen)
    except (KeyboardInterrupt, SystemExit) as told:
        if world.is_main:
            what = f"stopped after {done} images, whose" if world.size == 1 else "stopped; the finished images'"
            say(f"{what} rows are kept; start the same command again to go on")
        raise SystemExit(130 if isinstance(told, KeyboardInterrupt) else told.code) from None
    check = check_result(result, TOLERANCE if args.tolerance is None else args.tolerance) if args.check else None
    if world.is_main:
        text = _write_files(result, check, args)
        forget(job, journal)  # only now: nothing is lost if a file cannot be written
        _tell(result, check, text, to_stderr=args.json == "-")
    return 1 if result.nonfinite or (check is not None and not check.passed) else 0


def _tell_cropped(job: Job) -> None:
    """Say which images are not scored whole."""
    for name, scale, names in job.cropped:
        [images] = [one for one in job.sets if one.name == name]
        of = len(images.names[: job.settings.limit])
        say(f"{len(names)} of {of} images of {name} cropped to a multiple of {scale}: {listed(names, MOST_NAMES)}")


def _write_files(result: BenchmarkResult, check: Check | None, args: argparse.Namespace) -> str:
    """Write the files; returns what to print."""
    told = {**result.to_json(), "check": None if check is None else check.to_json()}
    text = json.dumps(told, indent=2, allow_nan=False) if args.json else ""
    if args.json not in (None, "-"):
        write_text(Path(args.json), text + "\n")
    if args.html is not None:
        write_text(Path(args.html), page(result, check))
    return text if args.json == "-" else result.table(images=args.per_image)


def _tell(result: BenchmarkResult, check: Check | None, text: str, *, to_stderr: bool) -> None:
    """Print the tables or JSON, say what is wrong; the check to standard error, where JSON is printed."""
    show(text)
    for row in result.nonfinite:
        values = f"{row.nonfinite} values of the output are" if row.nonfinite > 1 else "1 value of the output is"
        say(f"{row.model} on {row.set} {row.image} x{row.scale}: {values} NaN or infinite")
    if check is not None:
        _tell_check(check, to_stderr=to_stderr)


def _tell_check(check: Check, to_stderr: bool) -> None:
    """Print each comparison, and say whether the check failed."""
    lines = [*map(str, check.comparisons), *check.skipped, *(f"FAILED: {problem}" for problem in check.problems)]
    if to_stderr:
        with suppress(BrokenPipeError):
            sys.stderr.write("\n".join(lines) + "\n")
    else:
        show("\n" + "\n".join(lines))
    drifted = sum(one.drifted for one in check.comparisons)
    if drifted:
        say(f"the check failed: {drifted} of {len(check.comparisons)} means differ from what the weights record")
    elif not check.passed:
        say(f"the check failed: {check.problems[0]}")
