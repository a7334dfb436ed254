"""What a benchmark gives: rows, means, and what they were measured with."""

from dataclasses import asdict, dataclass
from typing import Any

import torch

from srzoo.benchmark.entries import Entry
from srzoo.benchmark.plan import Cropped, Settings
from srzoo.benchmark.published import PUBLISHED
from srzoo.benchmark.rows import Mean, Row
from srzoo.benchmark.tables import count, markdown, per_image
from srzoo.version import __version__


@dataclass(frozen=True, kw_only=True)
class BenchmarkResult:
    """Scores, time and memory of models on sets, ordered by set, scale and model."""

    rows: tuple[Row, ...]
    """An image each."""
    means: tuple[Mean, ...]
    """A set, scale and model each."""
    entries: tuple[Entry, ...]
    """The models."""
    sets: tuple[tuple[str, str, int], ...]
    """Name, folder and number of images."""
    settings: Settings
    device: str
    processes: int = 1
    kept: int = 0
    """Rows that an earlier, killed run had measured."""
    lr: str | None = None
    """The folder that LR images came from; None if they were made from HR."""
    cropped: tuple[Cropped, ...] = ()
    """Set, scale and names of the images that were cropped to a multiple of the scale, where there were some."""

    @property
    def nonfinite(self) -> tuple[Row, ...]:
        """Rows of images of which SR holds NaN or infinity."""
        return tuple(row for row in self.rows if row.nonfinite)

    @property
    def measured_with(self) -> str:
        """Versions, device and settings in one line."""
        parts = [f"srzoo {__version__}", f"torch {torch.__version__}", self.device]
        parts += [f"{self.processes} processes"] if self.processes > 1 else []
        parts += [f"tta {self.settings.tta}", f"path {self.settings.path}"]
        parts += [f"only the first {self.settings.limit} images of each set"] if self.settings.limit is not None else []
        parts += [f"LR from {self.lr}"] if self.lr is not None else []
        parts += [f"{count(self.kept, 'row')} kept of an earlier run"] if self.kept else []
        return "; ".join(parts)

    def table(self, *, images: bool = False) -> str:
        """A Markdown table for each set and scale, with what was published.

        Args:
            images: A row an image as well.
        """
        text = f"{markdown(self.means)}\n\n{self.measured_with}"
        return f"{text}\n\n{per_image(self.rows)}" if images else text

    def to_json(self) -> dict[str, Any]:
        """All as plain JSON values, in which a number that is not finite is None."""
        there = {(mean.set, mean.scale) for mean in self.means}
        return {
            "srzoo": __version__,
            "torch": torch.__version__,
            "device": self.device,
            "processes": self.processes,
            "kept": self.kept,
            "measured_with": self.measured_with,
            "lr": self.lr,
            **asdict(self.settings),
            "models": [entry.to_json() for entry in self.entries],
            "sets": [{"name": name, "folder": folder, "images": images} for name, folder, images in self.sets],
            "cropped": [{"set": name, "scale": scale, "images": list(names)} for name, scale, names in self.cropped],
            "means": [mean.to_json() for mean in self.means],
            "rows": [row.to_json() for row in self.rows],
            "published": [asdict(row) for row in PUBLISHED if (row.set, row.scale) in there],
        }
