"""`srzoo benchmark --paper`: the paper's main table in one command."""

import argparse
import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from srzoo.benchmark.journal import Journal
from srzoo.benchmark.main_page import main_html, main_markdown
from srzoo.benchmark.main_runs import MainJob, kept_of, plan_main_table, run_main_table
from srzoo.benchmark.main_table import MainTable
from srzoo.benchmark.runs import forget
from srzoo.cli.benchmark_progress import checking, progress_bar, say, show, write_text
from srzoo.distributed import World, joined_world
from srzoo.upscaling.tiling import DEFAULT_TILE

KINDS = (".md", ".html", ".json")
IF_LOST = "start the same command again, finished images are kept"
ALONE = (
    ("--tta", "tta", "none"), ("--protocol", "protocol", "paper"), ("--path", "path", "rgb"), ("--lr", "lr", None),
         ("--per-image", "per_image", False), ("--save-images", "save_images", None), ("--check", "check", False),
         ("--tolerance", "tolerance", None))  # fmt: skip
"""Options that do not go with --paper: option, name, default."""
WITHOUT_FROM = (
    ("--data", "data", None), ("--sets", "sets", None), ("--scale", "scale", None), ("--systems", "systems", None),
    ("--limit", "limit", None), ("--device", "device", "auto"), ("--tile", "tile", DEFAULT_TILE),
    ("--fetch", "fetch", False), ("--fresh", "fresh", False), ("a MODEL", "models", []),
)  # fmt: skip
"""What does not go with --from."""
FOR_PAPER = (("--systems", "systems"), ("--output", "output"), ("--check-order", "check_order"), ("--from", "measured"))
"""Options that go with it only."""


def add_paper_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the paper's table."""
    group = parser.add_argument_group("the paper's main table", "These need --paper.")
    group.add_argument(
        "--paper",
        action="store_true",
        help="measure every system of the paper's main table that has weights on the sets at hand, beside what was "
        "published; a MODEL takes the place of the zoo's weights",
    )
    group.add_argument("--systems", metavar="A,B", help="only these systems, such as Bicubic,VDSR,EDSR-baseline+")
    group.add_argument(
        "-o", "--output", action="append", metavar="FILE", help="write the page: .md, .html or .json; may be repeated"
    )
    group.add_argument(
        "--check-order",
        action="store_true",
        help="exit code 1 if the systems are not in order, or one that the order needs has no score and was not left "
        "out by --systems",
    )
    group.add_argument(
        "--from", dest="measured", metavar="FILE", help="write the page anew from the .json of a run; measures nothing"
    )


def check_paper_alone(args: argparse.Namespace) -> None:
    """See that no option of the paper's table was given without --paper.

    Raises:
        ValueError: If one was.
    """
    for option, name in FOR_PAPER:
        if getattr(args, name):
            raise ValueError(f"{option} is for --paper; add it")


def read_scales(text: str | None) -> tuple[int, ...] | None:
    """Scales with commas, such as `2,3` or `x2,x3`.

    Raises:
        ValueError: If they are none.
    """
    try:
        return None if text is None else tuple(int(part.strip().removeprefix("x")) for part in text.split(","))
    except ValueError:
        raise ValueError(f"--scale is {text!r}; give whole numbers with commas, such as 2,3") from None


def read_sets(text: str) -> list[str]:
    """Names of sets with commas.

    Raises:
        ValueError: If there are none.
    """
    sets = [part.strip() for part in text.split(",") if part.strip()]
    if not sets:
        raise ValueError("--sets is empty; name a set, such as Set5, or a folder of images")
    return sets


def check_writable(option: str, path: str) -> None:
    """See that a file can be written.

    Raises:
        FileNotFoundError: If its folder does not exist.
        PermissionError: If it is a folder or its folder cannot be written to.
    """
    if not Path(path).parent.is_dir():
        raise FileNotFoundError(f"{option}: folder {Path(path).parent} does not exist; create it first")
    if Path(path).is_dir() or not os.access(Path(path).parent, os.W_OK):
        raise PermissionError(f"{option}: {path} is a folder or cannot be written; give the path of a file")


def plan_paper(args: argparse.Namespace, stack: ExitStack) -> Callable[[], int]:
    """Find and check everything; returns what measures, tells and writes the table, and gives the exit code."""
    outputs = _outputs(args)
    if args.measured is not None:
        table = _read_table(Path(args.measured))
        return lambda: _finish(table, outputs, args)
    scales, sets = read_scales(args.scale), None if args.sets is None else read_sets(args.sets)
    systems = None if args.systems is None else [part.strip() for part in args.systems.split(",") if part.strip()]
    world, device = stack.enter_context(joined_world(args.device, if_lost=IF_LOST))
    job = plan_main_table(
        args.models, sets=sets, scales=scales, systems=systems, data=args.data, limit=args.limit, tile=args.tile,
        device=device, fetch=args.fetch, report=checking(args.quiet), world=world,
    )  # fmt: skip

    def run() -> int:
        journal = Journal(rank=world.rank)
        table = _measure(job, journal, args, world)
        code = _finish(table, outputs, args) if world.is_main else _code(table, args)
        for one in job.jobs:
            forget(one, journal)  # only now: nothing is lost if a file cannot be written
        return code

    return run


def _outputs(args: argparse.Namespace) -> list[tuple[str, Path]]:
    """Kind and path of each file to write; what does not go together is told before anything is read."""
    for option, name, usual in ALONE:
        if getattr(args, name) != usual:
            told = (
                f"{option} does not go with --paper, which has its own protocol and runs with and without self-ensemble"
            )
            raise ValueError(told)
    for option, name, usual in WITHOUT_FROM if args.measured is not None else ():
        if getattr(args, name) != usual:
            raise ValueError(f"--from takes a table as it was measured; leave out {option}, which it does not use")
    if args.html == "-":
        raise ValueError("--html writes a file; give its path, such as result.html")
    named = [("--output", Path(one).suffix.lower(), one) for one in args.output or ()]
    named += [("--json", ".json", args.json)] if args.json not in (None, "-") else []
    named += [("--html", ".html", args.html)] if args.html is not None else []
    for option, kind, path in named:
        if kind not in KINDS:
            raise ValueError(f"{option}: {path} ends in none of {', '.join(KINDS)}; give the page one of these endings")
        check_writable(option, path)
    found = [(kind, Path(path)) for _, kind, path in named]
    if len({path.resolve() for _, path in found}) < len(found):
        raise ValueError(f"two outputs are one file ({', '.join(path for *_, path in named)}); give each its own")
    return found


def _read_table(path: Path) -> MainTable:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return MainTable.from_json(values)
    except ValueError as error:
        raise ValueError(f"--from: {path} cannot be read: {error}") from None


def _measure(job: MainJob, journal: Journal, args: argparse.Namespace, world: World) -> MainTable:
    """Run what was planned."""
    if args.fresh:
        for one in job.jobs:
            forget(one, journal)
    kept = kept_of(job, journal) if world.is_main else None
    tells = world.is_main and not args.quiet
    if world.is_main:
        _tell_plan(job, sum(len(rows) for one in kept or () for rows in one), quiet=args.quiet)
    done = 0
    try:
        with progress_bar(tells) as progress:

            def listen(finished: int, total: int, row: Any) -> None:
                nonlocal done
                done = finished
                progress(finished, total, row)

            return run_main_table(job, journal=journal, kept=kept, progress=listen)
    except (KeyboardInterrupt, SystemExit) as told:
        if world.is_main:
            say(f"stopped after {done} images, whose rows are kept; start the same command again to go on")
        raise SystemExit(130 if isinstance(told, KeyboardInterrupt) else told.code) from None


def _tell_plan(job: MainJob, kept: int, *, quiet: bool) -> None:
    """Say what will be run, and what cannot be."""
    if quiet:
        return
    say(job.describe())
    for name, why in job.missing_sets.items():
        say(f"{name} is not at hand: {why}")
    reasons: dict[str, list[str]] = {}
    for one in job.missing:
        reasons.setdefault(one.why, []).append(f"{one.system} x{one.scale}")
    for why, names in reasons.items():
        say(f"{why}: {', '.join(names)}")
    if kept:
        say(f"kept {kept} of {job.num_images} rows of a run that was cut off; {job.num_images - kept} to go")


def _finish(table: MainTable, outputs: list[tuple[str, Path]], args: argparse.Namespace) -> int:
    """Write and print the table; returns the exit code."""
    values = table.to_json()
    # pages are of the digits that the JSON file has, so that --from makes them again
    table = MainTable.from_json(values)
    told = json.dumps(values, indent=1, allow_nan=False) + "\n"
    for kind, path in outputs:
        write_text(path, main_markdown(table) if kind == ".md" else main_html(table) if kind == ".html" else told)
    if args.json == "-":
        show(told.rstrip())
    elif not (args.quiet and outputs):
        show(main_markdown(table).rstrip())
    order = table.order
    for one in order.violated:
        say(str(one))
    if order.violated or args.check_order:
        say(f"the order of the systems: {order.describe()}")
    if args.check_order and table.unchecked:
        say(f"--check-order fails: no score of {', '.join(table.unchecked)}; --systems leaves them out")
    for cell in table.cells:
        for image in cell.nonfinite:
            say(f"{cell.system} on {cell.set} {image} x{cell.scale}: values of the output are NaN or infinite")
    return _code(table, args)


def _code(table: MainTable, args: argparse.Namespace) -> int:
    out_of_order = args.check_order and (not table.order.passed or table.unchecked)
    return 1 if any(cell.nonfinite for cell in table.cells) or out_of_order else 0
