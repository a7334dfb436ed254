"""Listeners to a training run: the protocol, the log file, progress on a terminal or as plain lines."""

import errno
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from torch import nn

from srzoo.data.pairs import Pair
from srzoo.files import replacing
from srzoo.train.config import TrainConfig

if TYPE_CHECKING:
    from rich.progress import Progress

LOGGER = logging.getLogger("srzoo")

Row = dict[str, int | float]
"""Numbers of one moment: `step`, `seconds`, and either scores, such as `Set5 x2 psnr`, or `steps_per_second`, `lr`,
`loss` (the mean since the row before; absent if all updates were dropped) and `skipped` (how many were, if any)."""


@runtime_checkable
class Run(Protocol):
    """What a callback sees of a run; `srzoo.train.Trainer` is one."""

    @property
    def step(self) -> int:
        """Updates done so far, counted from the first start, not from the last resume."""
        ...

    @property
    def seconds(self) -> float:
        """Time spent training, resumes included."""
        ...

    @property
    def config(self) -> TrainConfig:
        """All settings."""
        ...

    @property
    def model(self) -> nn.Module:
        """The network being trained."""
        ...

    @property
    def averaged(self) -> nn.Module:
        """The network that is validated and kept: the moving average of the weights where there is one."""
        ...

    @property
    def validation(self) -> Mapping[str, Sequence[Pair]]:
        """Name of a set -> its pairs."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Settings, progress, data, versions and device, as plain JSON values."""
        ...


class Callback:
    """A listener to a run; override what is needed, each method does nothing by itself.

    An error raised by a callback ends the run. With several processes, callbacks live in the first one only.

    Examples:
        >>> class Best(Callback):
        ...     psnr = 0.0
        ...     def log(self, run: Run, row: Row) -> None:
        ...         self.psnr = max(self.psnr, row.get("Set5 x2 psnr", 0.0))
    """

    def start(self, run: Run) -> None:
        """The run is about to take its first step, or goes on after a resume: `run.step` says where."""

    def log(self, run: Run, row: Row) -> None:
        """There is a row of numbers: a loss row every `log_every` steps, a scores row after each validation."""

    def saving(self, run: Run) -> None:
        """A checkpoint is about to be written: what a resume from it must find has to be on disk on return."""

    def close(self, run: Run) -> None:
        """The run has ended, well or not; `start` may not have been called."""


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Have an OSError of the block say in one sentence which file it was.

    Examples:
        >>> with written_to(Path("run/log.jsonl")):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        OSError: run/log.jsonl cannot be written (No space left on device)
    """
    try:
        yield
    except OSError as error:
        told = type(error)(f"{path} cannot be written ({error.strerror or error})")
        told.errno = error.errno
        raise told from error


def json_line(row: Row) -> str:
    """A row as JSON in one line; what JSON has no number for (NaN, infinity) becomes null.

    Examples:
        >>> json_line({"step": 100, "loss": float("nan")})
        '{"step": 100, "loss": null}'
    """
    finite = {key: value if math.isfinite(value) else None for key, value in row.items()}
    return json.dumps(finite, allow_nan=False)


def _step_of(line: str) -> float | None:
    """The step of a line of a log; None if it is no row."""
    try:
        return float(json.loads(line)["step"])
    except (ValueError, TypeError, KeyError):
        return None


class JsonLines(Callback):
    """Appends each row to a file, a JSON object a line.

    The file follows the run: at the start, rows of steps that the run is going to take (again) are dropped, and so is
    a last row that was cut in half. A run that is killed and resumed leaves each row once.

    Args:
        path: The file; its folder is made if need be. A run from step 0 empties it.

    Raises:
        OSError: By its methods, if the file cannot be written; a row is written whole or not at all.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._first = 0
        self._there: list[set[str]] = []  # keys of the rows of the first step that the file has already

    def start(self, run: Run) -> None:
        """Drop what lies after the step the run starts from."""
        with written_to(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lines: list[str] = []
            if run.step and self._path.exists():
                lines = self._rows_up_to(run.step)
            self._first = run.step
            self._there = [set(json.loads(line)) for line in lines if _step_of(line) == run.step]
            with replacing(self._path) as work:
                work.write_text("".join(line + "\n" for line in lines), encoding="utf-8", newline="\n")

    def _rows_up_to(self, step: int) -> list[str]:
        """Lines of the file that are rows of that step or an earlier one."""
        lines = self._path.read_text(encoding="utf-8", errors="replace").split("\n")
        steps = [_step_of(line) for line in lines]
        broken = sum(found is None for found in steps[:-1])  # the last line may well be: empty, or cut by a kill
        if broken:
            LOGGER.warning("%s had %d lines that are no rows; they are left out from here on", self._path, broken)
        return [line for line, found in zip(lines, steps, strict=True) if found is not None and found <= step]

    def log(self, run: Run, row: Row) -> None:
        """Append the row; the file is not kept open, so it may be moved or read meanwhile."""
        if row["step"] == self._first and set(row) in self._there:
            return  # scores of the step it starts from, which a run killed right after it validated makes again
        line = json_line(row).encode() + b"\n"
        with written_to(self._path), open(self._path, "ab", buffering=0) as file:
            size = file.seek(0, os.SEEK_END)
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError:
                file.truncate(size)
                raise

    def saving(self, run: Run) -> None:
        """Have the rows on disk before the checkpoint is, so that no crash loses rows a resume will not make again."""
        with written_to(self._path), open(self._path, "ab") as file:
            os.fsync(file.fileno())


def describe_seconds(seconds: int | float) -> str:
    """A length of time in its two largest units.

    Examples:
        >>> describe_seconds(100), describe_seconds(7_500), describe_seconds(180_000)
        ('1 min 40 s', '2 h 5 min', '2 d 2 h')
    """
    whole = round(seconds)
    for name, size, smaller, part in (("d", 86_400, "h", 3_600), ("h", 3_600, "min", 60)):
        if whole >= size:
            return f"{whole // size} {name} {whole % size // part} {smaller}"
    return f"{whole // 60} min {whole % 60} s"


def _describe_training(row: Row, steps: int) -> list[str]:
    speed = row["steps_per_second"]
    loss = f"loss {row['loss']:.5f}" if "loss" in row else "no loss"
    left = describe_seconds((steps - row["step"]) / speed) if speed > 0 else "unknown time"
    return [loss, f"{speed:.2f} steps/s", f"{left} left"]


def _describe_skipped(row: Row) -> str:
    return f"{row['skipped']:.0f} update{'s' if row['skipped'] > 1 else ''} skipped"


def describe_row(row: Row, steps: int) -> str:
    """A row of a run of `steps` in one line.

    Examples:
        >>> describe_row({"step": 100, "seconds": 50.0, "loss": 0.02, "steps_per_second": 2.0}, 300)
        'step 100/300  loss 0.02000  2.00 steps/s  1 min 40 s left'
    """
    parts = [f"step {row['step']:.0f}/{steps}"]
    if "steps_per_second" in row:
        parts += _describe_training(row, steps)
    if row.get("skipped", 0) > 0:
        parts.append(_describe_skipped(row))
    parts += [f"{key} {value:.4f}" for key, value in row.items() if key.endswith(("psnr", "ssim"))]
    return "  ".join(parts)


class PlainProgress(Callback):
    """A line a row: for logs and pipes.

    Args:
        stream: Where the lines go; None is stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def log(self, run: Run, row: Row) -> None:
        """Write the row as a line."""
        stream = self._stream or sys.stderr
        stream.write(describe_row(row, run.config.steps) + "\n")
        stream.flush()


class BarProgress(Callback):
    """A bar on stderr with loss, speed, time left and the best mean PSNR since the start; scores go above it."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._numbers = self._best = ""
        self._best_psnr = -math.inf

    def start(self, run: Run) -> None:
        """Show the bar, at the step the run starts from."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.close(run)
        self._numbers = self._best = ""
        self._best_psnr = -math.inf
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(stderr=True),
        )
        self._bar.add_task("", total=run.config.steps, completed=run.step)
        self._bar.start()

    def log(self, run: Run, row: Row) -> None:
        """Move the bar; scores and skipped updates are told above it."""
        assert self._bar is not None, "start comes first"
        steps = run.config.steps
        if "steps_per_second" in row:
            self._numbers = "  ".join(_describe_training(row, steps))
            if row.get("skipped", 0) > 0:
                self._say(f"step {row['step']:.0f}/{steps}  {_describe_skipped(row)}")
        else:
            self._say(describe_row(row, steps))
        scores = [value for key, value in row.items() if key.endswith("psnr")]
        if scores and (mean := sum(scores) / len(scores)) > self._best_psnr:
            self._best_psnr = mean
            self._best = f"best {mean:.2f} dB at step {row['step']:.0f}"
        text = "  ".join(part for part in (self._numbers, self._best) if part)
        self._bar.update(self._bar.task_ids[0], completed=row["step"], description=text)

    def _say(self, text: str) -> None:
        assert self._bar is not None, "start comes first"
        self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def close(self, run: Run) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
