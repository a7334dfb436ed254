"""Doing the jobs: one image after another, each whole or not at all, past those that fail."""

import errno
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, runtime_checkable

from srzoo.files import Writable, replacing
from srzoo.image import Readable, WriteOptions
from srzoo.image.formats import find_format
from srzoo.upscaling.jobs.checking import Decision, look_again, seen_at
from srzoo.upscaling.jobs.claims import claimed
from srzoo.upscaling.jobs.inputs import missing
from srzoo.upscaling.jobs.journal import Identity, Journal, relative_path
from srzoo.upscaling.jobs.outcome import Outcome
from srzoo.upscaling.jobs.peeking import peek
from srzoo.upscaling.jobs.planning import Job

LOGGER = logging.getLogger("srzoo")
STOPS_ALL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENOTCONN, errno.ESTALE)
"""Errors that the next image would meet, too: disk full, quota used up, disk gone."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@runtime_checkable
class FileUpscaler(Protocol):
    """What makes results: `srzoo.Upscaler`, or a stand-in."""

    def file(
        self,
        source: Any,
        target: Any,
        *,
        progress: Callable[[int, int], None] | None = None,
        before_place: Callable[[Path], None] | None = None,
        **options: Any,
    ) -> Any:
        """Upscale one file; see `srzoo.Upscaler.file`."""
        ...


class Listener:
    """What is told of a job while it runs; this one says nothing. Methods are called from the thread that runs it."""

    def begin(self, job: Job) -> None:
        """A job begins."""

    def move(self, done: int, total: int) -> None:
        """So many pixels of its result are done, of so many."""

    def end(self, outcome: Outcome) -> None:
        """It is over: made, skipped, left alone or failed."""


@dataclass(frozen=True)
class Making:
    """How results are made.

    Args:
        settings: Digest of all that results depend on; see `digest_of`.
        options: Further arguments of `FileUpscaler.file`, the same for every image.
        writing: How files are written. Where the results are of several formats, each takes the options it has.
        journal: Whether results are entered in the journals of their folders.
        make_folders: Whether folders of results are created.
        format: Format on standard output; None is PNG, or TIFF for what PNG cannot hold.
    """

    settings: str
    options: Mapping[str, Any] = field(default_factory=dict)
    writing: WriteOptions | None = None
    journal: bool = True
    make_folders: bool = True
    format: str | None = None


@dataclass(frozen=True)
class Streams:
    """Standard input and output, where a job uses them."""

    stdin: Readable | None = None
    stdout: Writable | None = None


class JobsStopped(Exception):  # noqa: N818 - it names what happened
    """A failure that would meet every image to come; the message says what went wrong and what to do about it."""


def run_jobs(
    decisions: Sequence[Decision],
    upscaler: FileUpscaler,
    making: Making,
    *,
    outcomes: list[Outcome],
    listener: Listener | None = None,
    streams: Streams | None = None,
) -> None:
    """Do what was decided. An image that fails is told and passed over.

    Args:
        decisions: What is to be done, in order.
        upscaler: What makes the results.
        making: How.
        outcomes: Filled with what became of each job as it ends, so that they are known if an exception comes
            through; those not reached are missing at its end.
        listener: Told of each job.
        streams: Where "-" is read from and written to.

    Raises:
        JobsStopped: If a failure would meet every image to come, such as a full disk.
        KeyboardInterrupt, SystemExit: When told to stop; no result is half-written then.
    """
    listener, streams = listener or Listener(), streams or Streams()
    run = _Run(upscaler, making, streams)
    try:
        with _identities(decisions, making.journal) as identities:
            for decision, identity in zip(decisions, identities, strict=True):
                stop = _attend(decision, identity, run, outcomes, listener)
                if stop is not None:
                    raise JobsStopped(stop)
    finally:
        for journal in run.journals.values():
            with suppress(OSError):  # it was told at the line that could not be written
                journal.sync()


@dataclass(frozen=True)
class _Run:
    """What is the same for all images."""

    upscaler: FileUpscaler
    making: Making
    streams: Streams
    journals: dict[Path, Journal] = field(default_factory=dict)

    def journal_in(self, folder: Path) -> Journal:
        """The journal of a folder."""
        return self.journals.setdefault(folder, Journal(folder))


def _attend(
    decision: Decision,
    identity: Callable[[], Identity] | None,
    run: _Run,
    outcomes: list[Outcome],
    listener: Listener,
) -> str | None:
    """Do what was decided for one job, unless that is done by now; why all must stop, if they must."""
    job, stop = decision.job, None
    with ExitStack() as stack:
        if decision.action in ("make", "again"):
            with suppress(OSError):  # told below
                _make_folders(job, run.making)
            stack.enter_context(claimed(job.target))
            decision = look_again(decision, run.making.settings)
        outcome = Outcome(job.input, job.output, reason=decision.reason or None)
        if decision.action in ("make", "again"):
            listener.begin(job)
            stop = _attempt(decision, run, outcome, identity, listener.move)
        else:
            outcome.status = "skipped" if decision.action == "skip" else "exists"
            outcome.is_failure = decision.is_failure
        outcomes.append(outcome)
        listener.end(outcome)
    return stop


def _attempt(
    decision: Decision,
    run: _Run,
    outcome: Outcome,
    identity: Callable[[], Identity] | None,
    progress: Callable[[int, int], None],
) -> str | None:
    """Do one job and fill in what became of it; why all must stop, if they must."""
    start, job = time.perf_counter(), decision.job
    try:
        result = _do(decision, run, identity, progress)
    except BrokenPipeError:  # the reader of standard output has gone
        raise
    except Exception as error:  # of any kind: what one image brings about must not end the job of the others
        known = isinstance(error, ValueError | OSError | MemoryError | ImportError)
        disk = error if isinstance(error, OSError) and error.errno in STOPS_ALL else None
        told = _told(error) if disk is None else _told_of_disk(disk, job)
        outcome.status, outcome.is_failure = "failed", True
        outcome.error = told if known else f"{job.input}: {type(error).__name__}: {told}"
        if not known:
            LOGGER.debug("%s failed", job.input, exc_info=True)
        return None if disk is None else f"{told}; {_remedy(disk)}"
    outcome.status = "done"
    outcome.seconds = round(time.perf_counter() - start, 3)
    outcome.size, outcome.pixels = (result.width, result.height), result.width * result.height
    outcome.mode, outcome.dtype, outcome.notes = str(result.mode), str(result.dtype), tuple(result.notes)
    outcome.engine, outcome.precision = str(result.engine), str(result.precision)
    return None


def _told_of_disk(error: OSError, job: Job) -> str:
    """What a disk said, with the place the result goes to: the error itself often has no name."""
    place = "standard output" if job.target is None else job.target.parent
    return f"{job.input}: {place} does not take the result ({error.strerror})"


def _remedy(error: OSError) -> str:
    return "make room there" if error.errno in NO_ROOM else "see that the disk is there and may be written to"


def _make_folders(job: Job, making: Making) -> None:
    if making.make_folders:
        for path in filter(None, (job.target, job.spread)):
            path.parent.mkdir(parents=True, exist_ok=True)


def _applicable(writing: WriteOptions, target: Path) -> WriteOptions:
    """Those of the options that the format of a file has."""
    had = find_format(target).options
    return WriteOptions(**{name: value for name, value in asdict(writing).items() if name in had})


def _told(error: BaseException) -> str:
    if isinstance(error, MemoryError) and not str(error):
        return "there is not enough memory; try a smaller --memory or --tile"
    return str(error) or type(error).__name__


def _do(
    decision: Decision,
    run: _Run,
    identity: Callable[[], Identity] | None,
    progress: Callable[[int, int], None],
) -> Any:
    """Make one result; raises what goes wrong."""
    job, making = decision.job, run.making
    options: dict[str, Any] = {**making.options, "progress": progress}
    if job.source is not None and not job.source.exists():
        raise missing(job.source)
    if making.writing is not None:
        options["options"] = making.writing if job.target is None else _applicable(making.writing, job.target)
    _make_folders(job, making)
    known = identity() if identity is not None else None
    with ExitStack() as stack:
        drawn: Path | None = None
        if job.spread is not None:  # it takes its place after the result, which is looked for first the next time
            drawn = options["uncertainty"] = stack.enter_context(replacing(job.spread))
        source: Path | BinaryIO | None = job.source
        if source is None:
            assert run.streams.stdin is not None
            source = stack.enter_context(tempfile.TemporaryFile())  # images are not read from front to back
            while piece := run.streams.stdin.read(1 << 20):
                source.write(piece)
            source.seek(0)
        if job.target is None:
            assert run.streams.stdout is not None
            return _to_stream(source, run.streams.stdout, run.upscaler, making, options)

        def enter(work: Path) -> None:
            if known is not None:
                _record(run, job, work, drawn, known)
            _keep_others(decision, work)

        return run.upscaler.file(source, job.target, before_place=enter, **options)


def _record(run: _Run, job: Job, work: Path, drawn: Path | None, source: Identity) -> None:
    """Enter what is whole on disk and about to take its place in the journals."""
    assert job.target is not None
    if drawn is not None and job.spread is not None and job.source is not None:
        folder = job.spread.parent
        seen_from = replace(source, path=relative_path(job.source, folder))
        run.journal_in(folder).record(drawn, job.spread.name, run.making.settings, seen_from)
    run.journal_in(job.target.parent).record(work, job.target.name, run.making.settings, source)


def _keep_others(decision: Decision, work: Path) -> None:
    """Place a result that is new so that it cannot replace a file.

    A link cannot; the renaming that follows finds the file in its place and does nothing.

    Raises:
        FileExistsError: If there is a file by now, or another one than before, which may not be replaced.
    """
    job = decision.job
    if decision.rules.overwrite or job.target is None:
        return
    was_there, map_was_there = decision.seen
    is_free = seen_at(job.target) == was_there and seen_at(job.spread) == map_was_there
    if is_free and was_there is None:
        try:
            os.link(work, job.target)
        except FileExistsError:
            is_free = False
        except OSError:  # the file system has no links
            is_free = seen_at(job.target) is None
    if not is_free:
        raise FileExistsError(
            f"{job.output} was written by somebody else in the meantime and was left alone; --overwrite replaces it"
        )


def _to_stream(
    source: Path | BinaryIO, stdout: Writable, upscaler: FileUpscaler, making: Making, options: Mapping[str, Any]
) -> Any:
    """Make a result in a file of its own, and hand it on once it is whole: nobody reads half an image."""
    header = peek(source)
    kind = making.format or ("tiff" if header is not None and header.needs_tiff else "png")
    with tempfile.TemporaryFile() as whole:
        result = upscaler.file(source, whole, format=kind, **options)
        whole.seek(0)
        shutil.copyfileobj(whole, stdout, 1 << 20)
        stdout.flush()
    return result


@contextmanager
def _identities(decisions: Sequence[Decision], wanted: bool) -> Iterator[Iterator[Callable[[], Identity] | None]]:
    """For each job, what gives its source's identity; the next one is read while an image is worked on.

    So its bytes are at hand when its turn comes. At most one is read ahead.
    """
    pool = ThreadPoolExecutor(1, thread_name_prefix="srzoo-read-ahead")

    def begin(position: int) -> Future[Identity] | None:
        for decision in decisions[position : position + 1]:
            job = decision.job
            if wanted and decision.action in ("make", "again") and job.source is not None and job.target is not None:
                return pool.submit(Identity.of, job.source, job.target.parent)
        return None

    def each() -> Iterator[Callable[[], Identity] | None]:
        following = begin(0)
        for position in range(len(decisions)):
            current, following = following, None
            if current is not None:
                current.exception()  # it has been read
            following = begin(position + 1)
            yield current.result if current is not None else None

    try:
        yield each()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
