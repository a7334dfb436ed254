"""`srzoo upscale`: images, folders and patterns, larger; a job that can be stopped and started again."""

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from typing import Any

from srzoo.cli.plain import plain, plain_lines
from srzoo.cli.sigterm import sigterm_exits
from srzoo.cli.stopping import stops_in_order
from srzoo.cli.upscale_options import (
    Sizing,
    add_options,
    check_options,
    check_used,
    default_model,
    file_options,
    naming_of,
    result_size,
    settings_digest,
    upscaler_options,
    write_options,
)
from srzoo.cli.upscale_progress import Stoppable, complain, duration, failure, megapixels, telling
from srzoo.distributed import WorkerLost, World, joined_world, launched_rank
from srzoo.upscaling import Upscaler
from srzoo.upscaling.jobs import (
    Decision,
    Job,
    JobsStopped,
    Journal,
    Making,
    Outcome,
    Plan,
    Rules,
    Streams,
    decide,
    plan_jobs,
    prepare_folders,
    run_jobs,
    share_jobs,
    summarize,
)
from srzoo.upscaling.jobs.advice import advise_weights
from srzoo.upscaling.jobs.checking import folders_of
from srzoo.upscaling.jobs.naming import Naming
from srzoo.upscaling.jobs.peeking import peek

LOGGER = logging.getLogger("srzoo")
MISTAKES = (ValueError, TypeError, OSError, ImportError, MemoryError)
SECONDS_TO_TELL = 5.0
"""How long other processes wait for the first to tell of a mistake; it ends the launcher, which ends them."""
GO_ON = "start the same command with --skip-existing to go on"
MOST_NAMES = 5


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "upscale",
        help="upscale images",
        description="Upscale image files, every image of a folder, or all that match a pattern. photo.jpg becomes "
        "photo_x4.png beside it; the images of photos/ go to photos_x4/. A job that was stopped goes on with "
        "--skip-existing; under torchrun the processes share the images.",
        epilog="Exit code 0 if all went well, 1 if some images failed, 2 if all did or for a mistake in the call.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Upscale everything; a bad file in a batch is reported and the job goes on.

    Exit code 0 if all went well, 1 if some images failed, 2 if all did. Under torchrun this is one of several
    processes, of which the first plans and sums up.
    """
    try:
        with sigterm_exits(), ExitStack() as stack:
            try:
                check_options(args)
                world, _ = stack.enter_context(joined_world("cpu", if_lost=GO_ON))
                call = _prepare(args, world)
            except MISTAKES:
                if launched_rank() > 0:  # the same in every process: the first tells, and ends the others
                    time.sleep(SECONDS_TO_TELL)
                raise
            return _dry_run(call) if args.dry_run else _run(call)
    except WorkerLost:  # which was told in the log when it was noticed
        return 1


@dataclass(frozen=True)
class _Call:
    """One call of the command, understood."""

    args: argparse.Namespace
    sizing: Sizing
    model: str
    upscaler: Any
    plan: Plan
    decisions: list[Decision]
    """What is to be done with each of the plan's jobs."""
    share: list[int]
    """Which of them this process does."""
    settings: str
    world: World
    notes: list[str]
    """What the user should know of the whole job."""

    @property
    def streams(self) -> Streams:
        """Standard input and output, if they are used."""
        uses_stdin = any(job.source is None for job in self.plan.jobs)
        return Streams(sys.stdin.buffer if uses_stdin else None, sys.stdout.buffer if self.uses_stdout else None)

    @property
    def uses_stdout(self) -> bool:
        """Whether standard output is where the image goes."""
        return any(job.target is None for job in self.plan.jobs)


def _prepare(args: argparse.Namespace, world: World) -> _Call:
    """Load the model and plan; raises the user's mistakes."""
    if "" in args.inputs or args.output == "":
        raise ValueError("an input or the output is empty; was a variable not set?")
    sizing = Sizing.of(args)
    model = args.model or default_model(sizing.factor)
    upscaler, sizing = _open(model, args, sizing)
    naming = naming_of(args, sizing, model, upscaler.scale)
    plan, decisions, share = _plan(args, naming, upscaler, world)
    settings = _settings(args, plan, upscaler)
    notes = _advise(upscaler, decisions) if world.is_main else []
    return _Call(args, sizing, model, upscaler, plan, decisions, share, settings, world, notes)


def _advise(upscaler: Any, decisions: Sequence[Decision]) -> list[str]:
    """What there is to say about the choice of weights for the images that are to be made."""
    first = upscaler.model if upscaler.scale is None else upscaler.networks.stages(upscaler.scale)[0].model
    origin = getattr(first, "origin", None)  # of a cascade, the later networks see no JPEG
    files = [decision.job.source for decision in decisions if decision.action in ("make", "again")]
    advice = None if origin is None else advise_weights(files, origin.name)
    return [] if advice is None else [advice]


def _open(model: str, args: argparse.Namespace, sizing: Sizing) -> tuple[Any, Sizing]:
    """The upscaler; a whole factor that the model does not offer is made like any other, by a resize at the end."""
    if sizing.by_model:
        with suppress(ValueError):  # of any other mistake, which is told the second time
            return Upscaler(model, **upscaler_options(args, sizing)), sizing
        sizing = replace(sizing, by_model=False)
    return Upscaler(model, **upscaler_options(args, sizing)), sizing


def _settings(args: argparse.Namespace, plan: Plan, upscaler: Any) -> str:
    """Digest of what results depend on; empty if no journal is kept."""
    return settings_digest(upscaler, args) if _keeps_journal(args, plan) else ""


def _plan(
    args: argparse.Namespace, naming: Naming, upscaler: Any, world: World
) -> tuple[Plan, list[Decision], list[int]]:
    """All jobs, what is to be done with them, and which of them this process does.

    The first process plans: others might find results by then. Only what is to be made is work to be shared.
    """
    told: tuple[Plan, list[Decision], list[list[int]]] | Exception | None = None
    if world.is_main:
        try:
            plan = plan_jobs(args.inputs, args.output, naming, recursive=args.recursive, spread=args.uncertainty)
            check_used(args, plan.jobs)
            _check_streams(plan)
            _ready_folders(args, plan)
            rules = Rules(overwrite=args.overwrite, skip_existing=args.skip_existing, batch=plan.is_batch)
            decisions = decide(plan.jobs, rules, _settings(args, plan, upscaler))
            work = [_pixels(decision) if world.size > 1 else 0 for decision in decisions]
            told = plan, decisions, share_jobs(work, world.size)
        except MISTAKES as error:
            told = error
    told = world.share_object(told)
    if isinstance(told, Exception) or told is None:
        if world.is_main and told is not None:
            raise told
        time.sleep(SECONDS_TO_TELL)
        raise SystemExit(2)
    return told[0], told[1], told[2][world.rank]


def _check_streams(plan: Plan) -> None:
    if any(job.target is None for job in plan.jobs) and sys.stdout.isatty():
        raise ValueError("the image would be written to the terminal; give -o FILE, or send it on with | or >")
    if any(job.source is None for job in plan.jobs) and sys.stdin.isatty():
        raise ValueError("the image is to come from standard input, which is the terminal; send it with | or <")


def _keeps_journal(args: argparse.Namespace, plan: Plan) -> bool:
    """Whether results are entered in journals: not for one image by itself, unless there is a journal already."""
    there = any(Journal(folder).path.exists() for folder in folders_of(plan.jobs))
    return plan.is_batch or args.skip_existing or there


def _ready_folders(args: argparse.Namespace, plan: Plan) -> None:
    """See that folders and journals can be written, and clear away what a killed run left half-written."""
    if not plan.is_batch and not all(folder.is_dir() for folder in folders_of(plan.jobs)):
        return  # told when the file is written
    removed = prepare_folders(plan.jobs, journal=_keeps_journal(args, plan), clean=not args.dry_run)
    if removed:
        LOGGER.info("removed %d files that a killed run left unfinished", removed)
    if plan.left_out:
        names = ", ".join(path.name for path in plan.left_out[:MOST_NAMES])
        more = f" and {len(plan.left_out) - MOST_NAMES} more" if len(plan.left_out) > MOST_NAMES else ""
        LOGGER.info("left out, since they are results of an earlier run: %s%s", names, more)


def _dry_run(call: _Call) -> int:
    """Say what would be done with each image; the exit code tells what cannot be done as asked for."""
    if not call.world.is_main:
        return 0
    decisions = call.decisions
    outcomes = [_foreseen(decision) for decision in decisions]
    code = summarize(outcomes, 0.0).exit_code
    if call.args.json:
        _print_json(call, outcomes, 0.0, dry_run=True, code=code)
        return code
    for note in () if call.args.quiet else call.notes:
        complain(note)
    words = {"make": "make", "again": "make again", "skip": "skip", "leave": "leave alone"}
    for decision in decisions:
        why = f" ({decision.reason})" if decision.reason else ""
        print(plain(f"{words[decision.action]}: {decision.job.input} -> {decision.job.output}{why}"))
    counts = {word: sum(one.action == action for one in decisions) for action, word in words.items()}
    print("; ".join(f"{word} {count}" for word, count in counts.items() if count))
    return code


def _foreseen(decision: Decision) -> Outcome:
    """The outcome of a job that is not done."""
    status = {"skip": "skipped", "leave": "exists"}.get(decision.action, "to do")
    reason = decision.reason or None
    told = decision.job.input, decision.job.output
    return Outcome(*told, status, reason, is_failure=decision.is_failure)  # pyright: ignore[reportArgumentType]


def _run(call: _Call) -> int:
    """Do this process's share, and sum up."""
    args = call.args
    start = time.perf_counter()
    decisions = [call.decisions[index] for index in call.share]
    making = Making(
        settings=call.settings,
        options=file_options(args),
        writing=write_options(args),
        journal=bool(call.settings),
        make_folders=call.plan.is_batch or args.output is None,
        format=args.format,
    )
    outcomes: list[Outcome] = []
    silent = args.quiet or not call.world.is_main
    shown = {"lines": not args.json, "batch": call.plan.is_batch, "to_stderr": call.uses_stdout}

    def pixels() -> list[int]:
        return [_expected(decision.job, call) for decision in decisions if decision.action in ("make", "again")]

    for note in () if silent or args.json else call.notes:
        complain(note)
    stopped: str | None = None
    try:
        with telling(pixels, call.model, silent=silent, **shown) as inner, stops_in_order() as stopping:
            listener = Stoppable(inner, stopping)
            run_jobs(decisions, call.upscaler, making, outcomes=outcomes, listener=listener, streams=call.streams)
    except JobsStopped as error:
        stopped = str(error)
        if call.uses_stdout:
            with suppress(OSError):  # what it did not take is not offered again at the end of the process
                sys.stdout.close()
    except (KeyboardInterrupt, SystemExit) as told:
        code = told.code if isinstance(told, SystemExit) and isinstance(told.code, int) else 130
        if call.world.is_main:
            _tell_stopped(call, decisions, outcomes, time.perf_counter() - start, code)
        raise SystemExit(code) from None
    outcomes += [_foreseen(decision) for decision in decisions[len(outcomes) :]]
    return _sum_up(call, outcomes, time.perf_counter() - start, stopped)


def _pixels(decision: Decision) -> int:
    """Pixels of the image of a job by its header; 0 if that cannot be read, or there is nothing to do."""
    source = decision.job.source
    header = peek(source) if source is not None and decision.action in ("make", "again") else None
    return header.width * header.height if header is not None else 0


def _expected(job: Job, call: _Call) -> int:
    """Pixels the result of a job will have, by the header of its image; 0 if that cannot be read."""
    header = peek(job.source) if job.source is not None else None
    if header is None:
        return 0
    upscaler = call.upscaler
    scales = upscaler.model.scales if upscaler.scale is None else (upscaler.scale,)
    width, height = result_size(header.width, header.height, call.sizing, scales)
    return width * height


def _tell_stopped(
    call: _Call, decisions: Sequence[Decision], outcomes: Sequence[Outcome], seconds: float, code: int
) -> None:
    """Say what is done of a job that was told to stop, and how to go on."""
    done = sum(one.status in ("done", "skipped") for one in outcomes)
    if call.args.json:
        rest = [_foreseen(decision) for decision in decisions[len(outcomes) :]]
        _print_json(call, [*outcomes, *rest], seconds, stopped=True, code=code)
    if call.plan.is_batch:
        of = f"{done} of {len(decisions)} images are done and stay" if call.world.size == 1 else "what is done stays"
        complain(f"stopped; {of}; {GO_ON}")
    else:
        complain(f"stopped; {outcomes[0].output} is done" if done else "stopped; nothing was written")


def _sum_up(call: _Call, own: list[Outcome], seconds: float, stopped: str | None) -> int:
    """Gather what became of all images, tell, and give the exit code."""
    gathered = call.world.gather((call.share, own, stopped))
    if not call.world.is_main:
        return 0
    by_index = {index: one for share, outcomes, _ in gathered for index, one in zip(share, outcomes, strict=True)}
    outcomes = [by_index[index] for index in sorted(by_index)]
    stops = [why for _, _, why in gathered if why is not None]
    summary = summarize(outcomes, seconds)
    code = 1 if stops and summary.exit_code != 2 else summary.exit_code
    if call.args.json:
        _print_json(call, outcomes, seconds, stopped=bool(stops), code=code)
    elif call.plan.is_batch:
        _tell_batch(call, outcomes, seconds)
    if stops and call.plan.is_batch:
        complain(f"the job was stopped, since the next image would fail, too: {stops[0]}, then {GO_ON}")
    return code


def _tell_batch(call: _Call, outcomes: Sequence[Outcome], seconds: float) -> None:
    """The end of a batch: numbers, results left alone, and a list of the failures."""
    summary = summarize(outcomes, seconds)
    if not call.args.quiet:
        words = {"done": "made", "skipped": "skipped", "exists": "left alone", "failed": "failed", "to do": "to do"}
        counts = ", ".join(f"{count} {words[status]}" for status, count in summary.counts.items() if count)
        speed = summary.megapixels_per_second
        pace = "" if speed is None else f"; {megapixels(summary.pixels)} megapixels, {megapixels(speed * 1e6)} a second"
        print(f"{counts} in {duration(seconds)}{pace}")
        left = sum(one.status == "exists" and not one.is_failure for one in outcomes)
        if left:
            results = "result exists" if left == 1 else "results exist"
            complain(f"{left} {results} and stayed; --skip-existing checks them, --overwrite replaces them")
    failures = [failure(one) for one in outcomes if one.is_failure]
    if failures:
        told = "".join(f"\n- {plain(text)}" for text in failures)
        sys.stderr.write(f"srzoo: {len(failures)} of {len(outcomes)} images failed:{plain_lines(told)}\n")


def _facts(call: _Call) -> dict[str, Any]:
    """What a machine-readable result starts with."""
    return {
        "model": call.model,
        "scale": call.upscaler.scale,
        "size": f"x{call.upscaler.scale}" if call.sizing.target is None else call.sizing.target.word,
        "tta": call.args.tta,
        "device": str(call.upscaler.device),
        "engine": call.upscaler.engine,
        "precision": call.upscaler.precision,
    }


def _print_json(
    call: _Call,
    outcomes: Sequence[Outcome],
    seconds: float,
    *,
    code: int,
    stopped: bool = False,
    dry_run: bool = False,
) -> None:
    """The result as JSON: on standard output, or on standard error if that takes the image."""
    told = {
        **_facts(call),
        "dry_run": dry_run,
        "stopped": stopped,
        "notes": call.notes,
        "summary": {**summarize(outcomes, seconds).to_json(), "exit_code": code},
        "images": [one.to_json() for one in outcomes],
    }
    print(json.dumps(told, indent=2), file=sys.stderr if call.uses_stdout else sys.stdout)
