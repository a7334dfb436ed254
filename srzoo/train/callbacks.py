"""Listeners to a training run: the log file, progress on a terminal or as plain lines."""

import json
import sys
from pathlib import Path
from typing import Protocol, TextIO, runtime_checkable

Row = dict[str, int | float]


@runtime_checkable
class Callback(Protocol):
    """Told of every logged row of a run."""

    def log(self, row: Row, steps: int) -> None:
        """Take a row of a run of `steps`: `step`, `seconds`; `loss` and `steps_per_second`, or scores."""
        ...

    def close(self) -> None:
        """The run has ended, well or not."""
        ...


class JsonLines:
    """Appends each row to a file, a JSON object a line."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._path.parent.mkdir(parents=True, exist_ok=True)

    def log(self, row: Row, steps: int) -> None:
        """Append the row; the file is not kept open, so that an interrupted run can go on."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def close(self) -> None:
        """Nothing to do."""


def describe_row(row: Row, steps: int) -> str:
    """A row in one line.

    Examples:
        >>> describe_row({"step": 100, "seconds": 50.0, "loss": 0.02, "steps_per_second": 2.0}, 300)
        'step 100/300  loss 0.02000  2.00 steps/s  1 min 40 s left'
    """
    parts = [f"step {row['step']:.0f}/{steps}"]
    if "loss" in row:
        left = round((steps - row["step"]) / row["steps_per_second"])
        parts.append(f"loss {row['loss']:.5f}")
        parts.append(f"{row['steps_per_second']:.2f} steps/s")
        parts.append(f"{left // 60} min {left % 60} s left")
    parts += [f"{key} {value:.4f}" for key, value in row.items() if key.endswith(("psnr", "ssim"))]
    return "  ".join(parts)


class PlainProgress:
    """A line a row: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream

    def log(self, row: Row, steps: int) -> None:
        """Write the row as a line."""
        stream = self._stream or sys.stderr
        stream.write(describe_row(row, steps) + "\n")
        stream.flush()

    def close(self) -> None:
        """Nothing to do."""


class BarProgress:
    """A bar on stderr with the time left, scores above it: for terminals."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task("", total=None)
        self._bar.start()

    def log(self, row: Row, steps: int) -> None:
        """Move the bar; scores go above it."""
        if "loss" in row:
            text = f"loss {row['loss']:.5f}  {row['steps_per_second']:.2f} steps/s"
            self._bar.update(self._task, completed=row["step"], total=steps, description=text)
        else:
            self._bar.console.print(describe_row(row, steps))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._bar.stop()
