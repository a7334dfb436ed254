"""What `srzoo benchmark` says while it works, and how it prints and writes."""

import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from srzoo.benchmark.rows import Row
from srzoo.files import replacing

SECONDS_BETWEEN_LINES = 5.0


def write_text(path: Path, text: str) -> None:
    """Write a file whole, or not at all."""
    with replacing(path) as work:
        work.write_text(text, encoding="utf-8")


def show(text: str) -> None:
    """Print; a reader that has gone, such as `head`, changes neither the files nor the exit code."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        with suppress(io.UnsupportedOperation):  # else the interpreter tries again when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(text: str) -> None:
    """Say a sentence on standard error."""
    with suppress(BrokenPipeError):
        sys.stderr.write(f"srzoo: {text}\n")
        sys.stderr.flush()


def checking(quiet: bool) -> Callable[[int, int, str], None] | None:
    """A listener that writes a line every few seconds while sets are checked."""
    if quiet:
        return None
    last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            say(f"{what}: {done} of {total} files")

    return report


@contextmanager
def progress_bar(show: bool) -> Iterator[Callable[[int, int, Row], None]]:
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
            say(f"{done} of {total} images: {row.model} on {row.set} x{row.scale} {row.image}, {row.psnr:.2f} dB")

    return tell
