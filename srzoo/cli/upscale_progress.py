"""What `srzoo upscale` says while it runs: a bar on a terminal, a line an image elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from srzoo.cli.plain import plain, plain_lines
from srzoo.cli.stopping import Stopping
from srzoo.upscaling.jobs import Job, Listener, Outcome

SECONDS_BEFORE_ESTIMATE = 1.0


class Pace:
    """How far a job is, by pixels of results, and how long it will take.

    Args:
        pixels: Expected pixels of the result of each image that is to be made.
        clock: Gives seconds.
    """

    def __init__(self, pixels: Sequence[int], clock: Callable[[], float] = time.perf_counter) -> None:
        self._expected = list(pixels)
        self._clock = clock
        self._start = clock()
        self._before = 0
        self._now = 0
        self.images = len(self._expected)
        self.ended = 0

    @property
    def total(self) -> int:
        """Expected pixels of all results."""
        return sum(self._expected)

    @property
    def done(self) -> int:
        """Pixels done; those of an image that failed count as done."""
        return self._before + self._now

    def move(self, done: int, total: int) -> None:
        """So many pixels of the current image are done, of so many, which may be other than expected."""
        if self.ended < self.images:
            self._expected[self.ended] = total
        self._now = done

    def end(self) -> None:
        """The current image is over."""
        if self.ended < self.images:
            self._before += self._expected[self.ended]
        self._now = 0
        self.ended += 1

    def told(self) -> str:
        """Megapixels a second, and time left once it can be told."""
        seconds = self._clock() - self._start
        if not self.done or seconds <= 0:
            return ""
        speed = self.done / seconds
        words = f"{megapixels(speed)} MP/s"
        left = (self.total - self.done) / speed
        if self.ended < self.images and seconds >= SECONDS_BEFORE_ESTIMATE:
            words += f", {duration(left)} left"
        return words


def megapixels(pixels: float | int) -> str:
    """Pixels in millions, with two digits at least.

    Examples:
        >>> megapixels(192_000_000), megapixels(1_234_567), megapixels(432)
        ('192.0', '1.23', '0.00043')
    """
    millions = pixels / 1e6
    return f"{millions:.1f}" if millions >= 10 else f"{millions:.2f}" if millions >= 0.1 else f"{millions:.2g}"


def duration(seconds: float | int) -> str:
    """Seconds in the two largest units.

    Examples:
        >>> duration(42.4), duration(200), duration(7300), duration(200_000)
        ('42 s', '3 min 20 s', '2 h 1 min', '2 d 7 h')
    """
    whole = max(0, round(seconds))
    for unit, name, below, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= unit:
            rest = whole % unit // below
            return f"{whole // unit} {name}" + (f" {rest} {small}" if rest else "")
    return f"{whole} s"


class Lines(Listener):
    """A line an image.

    Args:
        pace: How far the job is.
        model: The model's name.
        say: Prints a line about a result.
        complain: Prints a line about a failure.
        counted: Whether lines are numbered and tell how long the job will take.
    """

    def __init__(
        self, pace: Pace, model: str, say: Callable[[str], None], complain: Callable[[str], None], *, counted: bool
    ) -> None:
        self.pace = pace
        self.model = model
        self.say = say
        self.complain = complain
        self.counted = counted

    def move(self, done: int, total: int) -> None:
        """Count the pixels."""
        self.pace.move(done, total)

    def end(self, outcome: Outcome) -> None:
        """Say what became of the image, if there is something to say."""
        if outcome.status in ("done", "failed"):
            self.pace.end()
        if outcome.is_failure:
            self.complain(failure(outcome))
        elif outcome.status == "done" and outcome.size is not None:
            told = f"{outcome.input} -> {outcome.output} ({outcome.size[0]}x{outcome.size[1]}, {self.model}, "
            told += f"{outcome.engine} {outcome.precision}, {outcome.seconds:.1f} s)"
            if self.counted:
                pace = self.pace.told()
                told = f"{self.pace.ended}/{self.pace.images} {told}" + (f" {pace}" if pace else "")
            self.say(plain("; ".join((told, *outcome.notes))))


class Bar(Lines):
    """A bar over the whole job, with lines above it.

    Args:
        lines: What is printed, and how.
        bars: The `rich` progress display.
    """

    def __init__(self, lines: Lines, bars: Any) -> None:
        super().__init__(lines.pace, lines.model, lines.say, lines.complain, counted=False)
        self.bars = bars
        self.task = bars.add_task("", total=max(1, self.pace.total), told="")

    def begin(self, job: Job) -> None:
        """Name the image."""
        self._draw(f"{min(self.pace.ended + 1, self.pace.images)}/{self.pace.images} {plain(_short(job.input))}")

    def move(self, done: int, total: int) -> None:
        """Move the bar."""
        super().move(done, total)
        self._draw()

    def end(self, outcome: Outcome) -> None:
        """Move the bar and say what became of the image."""
        super().end(outcome)
        self._draw()

    def _draw(self, description: str | None = None) -> None:
        named = {} if description is None else {"description": description}
        self.bars.update(
            self.task, completed=self.pace.done, total=max(1, self.pace.total), told=self.pace.told(), **named
        )


class Stoppable(Listener):
    """A listener that stops the job where files can be closed in order, and not once the last row is there.

    Args:
        inner: What is told of the job.
        stopping: Whether the process was told to stop.
    """

    def __init__(self, inner: Listener, stopping: Stopping) -> None:
        self.inner = inner
        self.stopping = stopping

    def begin(self, job: Job) -> None:
        """Pass it on."""
        self.stopping.begin()
        self.inner.begin(job)

    def move(self, done: int, total: int) -> None:
        """Pass it on."""
        self.inner.move(done, total)
        if done < total:
            self.stopping.check()

    def end(self, outcome: Outcome) -> None:
        """Pass it on."""
        self.inner.end(outcome)
        self.stopping.end()


def failure(outcome: Outcome) -> str:
    """One line about an image that the user does not have as asked for."""
    return outcome.error if outcome.error is not None else f"{outcome.output} {outcome.reason}"


def complain(text: str) -> None:
    """Print a line about a failure to standard error."""
    sys.stderr.write(f"srzoo: {plain_lines(text)}\n")
    sys.stderr.flush()


def _short(text: str, most: int = 40) -> str:
    return text if len(text) <= most else f"...{text[3 - most :]}"


@contextmanager
def telling(
    pixels: Callable[[], Sequence[int]], model: str, *, silent: bool, lines: bool, batch: bool, to_stderr: bool
) -> Iterator[Listener]:
    """A listener for a job.

    Args:
        pixels: Gives the expected pixels of each result that is to be made; asked for only if it is to be shown.
        model: The model's name.
        silent: Only failures are told.
        lines: Whether results are told, not only the bar drawn.
        batch: Whether there are several images.
        to_stderr: Lines about results go to standard error, since an image goes to standard output.
    """

    def say(text: str) -> None:
        print(text, file=sys.stderr if to_stderr else sys.stdout, flush=True)

    if silent or not (lines or sys.stderr.isatty()):
        yield Lines(Pace([]), model, lambda text: None, complain, counted=False)
        return
    told = Lines(Pace(pixels()), model, say if lines else lambda text: None, complain, counted=batch)
    if not sys.stderr.isatty():
        yield told
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[told]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as bars:

        def above(text: str) -> None:
            console.print(text, markup=False, highlight=False, soft_wrap=True)

        if lines and (to_stderr or sys.stdout.isatty()):
            told.say = above
        told.complain = lambda text: above(f"srzoo: {plain_lines(text)}")
        yield Bar(told, bars)
