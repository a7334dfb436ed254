"""Rows of a benchmark on disk while it runs, so that a killed run goes on where it was."""

import json
import logging
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import NamedTuple

from srzoo.benchmark.rows import Row
from srzoo.data.cache import cache_root

LOGGER = logging.getLogger("srzoo")
DAYS_KEPT = 30
"""After so many days, what a killed run left is taken for stale and removed."""
_FIELDS = {field.name for field in fields(Row)}


class Line(NamedTuple):
    """A finished row, and the SHA-256 of the file its image was saved as; "" if it was not saved."""

    row: Row
    picture: str


class Journal:
    """Finished rows, in a folder for each key and a file in it for each process; lines are appended, never rewritten.

    A line that a kill cut short is left out when they are read. A folder that cannot be written to is told once, and
    the run goes on without.

    Args:
        root: Where the folders are; None is `benchmark` in srzoo's cache folder (`SRZOO_CACHE`).
        rank: Which process this is.
    """

    def __init__(self, root: Path | None = None, rank: int = 0) -> None:
        self.root = root if root is not None else cache_root() / "benchmark"
        self.rank = rank
        self._whole: set[Path] = set()
        self._told = False

    def read(self, key: str) -> list[Line]:
        """The lines of a key, of every process that wrote some; an image may have several."""
        found: list[Line] = []
        for path in sorted((self.root / key).glob("*.jsonl")):
            try:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            except OSError as error:
                LOGGER.warning("%s cannot be read (%s); its rows are measured again", path, error)
                continue
            found += filter(None, map(_parse, lines))
        return found

    def append(self, key: str, row: Row, picture: str = "") -> None:
        """Add a line; it is in the system's hands before this returns, so a kill of the process does not lose it."""
        path = self.root / key / f"rank{self.rank}.jsonl"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "ab", buffering=0) as file:
                if path not in self._whole and file.tell() and not path.read_bytes().endswith(b"\n"):
                    file.write(b"\n")  # after a line that was cut short
                self._whole.add(path)
                file.write(json.dumps({**asdict(row), "picture": picture}).encode() + b"\n")
        except OSError as error:
            if not self._told:
                LOGGER.warning("%s cannot be written (%s); if this run is cut off, it starts anew", path, error)
            self._told = True

    def remove(self, keys: Iterable[str]) -> None:
        """Forget the rows of these keys, and of any others that are long stale."""
        for key in keys:
            shutil.rmtree(self.root / key, ignore_errors=True)
        now = time.time()
        for folder in self.root.glob("*"):
            try:
                times = [path.stat().st_mtime for path in folder.iterdir()] or [folder.stat().st_mtime]
                if now - max(times) > DAYS_KEPT * 86_400:
                    shutil.rmtree(folder, ignore_errors=True)
            except OSError:  # another run has removed it
                continue


def _parse(line: str) -> Line | None:
    """What a line holds; None if it was cut short, or is of another version."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    if not isinstance(values, dict) or values.keys() != {*_FIELDS, "picture"}:
        return None
    picture = values.pop("picture")
    return Line(Row(**values), picture)
