"""A cheap stand-in for `srzoo.Upscaler`: pixels repeated, row by row, through the real sources and sinks."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from srzoo.image import Header, WriteOptions, open_sink, open_source

AS_USUAL = WriteOptions()


@dataclass(frozen=True)
class Made:
    width: int
    height: int
    mode: str
    dtype: str
    notes: tuple[str, ...]
    engine: str = "stand-in"
    precision: str = "fp32"


class StandIn:
    """What `Upscaler` promises, without a network.

    STRIP_SECONDS makes it slow; SRZOO_DIE names a step of writing at which it kills itself, once a file named by
    SRZOO_DIE_AT is not there yet.
    """

    made: list[str]
    strip_seconds = float(os.environ.get("STRIP_SECONDS", "0"))

    def __init__(self, model: str = "stand_in", *, scale: int | None = None, **options: Any) -> None:
        self.model = model
        self.networks = SimpleNamespace(stages=lambda _: [SimpleNamespace(model=model)])
        self.scale = scale or 2
        self.options = options
        self.device = torch.device("cpu")
        self.engine, self.precision = "stand-in", "fp32"
        self.made = []

    @property
    def settings(self) -> dict[str, Any]:
        return {"model": self.model, "scale": self.scale, "tta": self.options.get("tta"), "engine": "stand-in"}

    def file(
        self,
        source: Any,
        target: Any,
        *,
        format: str | None = None,
        options: WriteOptions = AS_USUAL,
        strip: bool = False,
        max_pixels: int = 10**9,
        uncertainty: Path | None = None,
        progress: Callable[[int, int], None] | None = None,
        before_place: Callable[[Path], None] | None = None,
    ) -> Made:
        with open_source(source, max_pixels) as image:
            header, scale = image.header, self.scale
            width, height = header.width * scale, header.height * scale
            larger = Header(width, height, header.mode, header.dtype)
            placed = {} if before_place is None else {"before_place": lambda work: self._place(before_place, work)}
            with open_sink(target, larger, options, format=format, **placed) as sink:
                for top in range(0, header.height, 4):
                    rows = image.rows(top, min(top + 4, header.height))
                    if self.strip_seconds:
                        time.sleep(self.strip_seconds)
                    sink.write(np.repeat(np.repeat(rows, scale, 0), scale, 1))
                    if progress:
                        progress(width * scale * (top + len(rows)), width * height)
                if uncertainty is not None:
                    Image.new("L", (width, height)).save(uncertainty)
                _die("before_place")
            _die("after_rename")
            notes = image.notes
        self.made.append(str(target))
        return Made(width, height, header.mode, header.dtype, notes)

    def _place(self, before_place: Callable[[Path], None], work: Path) -> None:
        _die("before_journal")
        before_place(work)
        _die("after_journal")


def _die(step: str) -> None:
    """Kill this process at a step, once."""
    told = os.environ.get("SRZOO_DIE_AT")
    if os.environ.get("SRZOO_DIE") == step and told is not None and not Path(told).exists():
        Path(told).touch()
        os.kill(os.getpid(), signal.SIGKILL)


def picture(path: Path, width: int = 12, height: int = 9, seed: int = 0, mode: str = "RGB") -> Path:
    """A small image of noise in a file."""
    rng = np.random.default_rng(seed)
    channels = len(Image.new(mode, (1, 1)).getbands())
    pixels = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    raw = np.ascontiguousarray(pixels).tobytes()
    Image.frombytes(mode, (width, height), raw).save(path)
    return path


def album(folder: Path, count: int = 4, **size: int) -> Path:
    """A folder of small images, some of them in a folder within it."""
    for index in range(count):
        place = folder if index % 3 else folder / "sub"
        picture(place / f"p{index:02}.png", seed=index, **size)
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """What lies in a folder of results, by name, but for the journals."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".srzoo-upscale.jsonl"
    }


def stamps(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of each result."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".")
    }
