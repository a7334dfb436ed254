"""What was made with which settings: a journal in each folder of results, so that a job can be started again."""

import errno
import hashlib
import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, NamedTuple

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

LOGGER = logging.getLogger("srzoo")
JOURNAL = ".srzoo-upscale.jsonl"
"""Name of the journal in a folder of results."""
START = '{"name":'
"""What each line starts with; after a line that was cut short, the next one is found by it."""

SECONDS_AT_STAKE = 1.0
"""How much of a journal a power cut may take with it. Bringing each line to disk would cost tiny images half their
pace; what is lost makes its results unknown, which are left alone then."""

State = Literal["absent", "whole", "outdated", "damaged", "other", "changed", "foreign"]
"""What a result on disk is: not there; whole and as this job would make it; whole and made otherwise; ours but no
whole image any more; made of another image; ours once but another image now; never ours."""


@dataclass(frozen=True)
class Identity:
    """A source as it was when it was read."""

    path: str
    """Relative to the folder of the results, with forward slashes."""
    bytes: int
    mtime_ns: int
    ctime_ns: int
    """Of the last change of any kind, which no program sets: an edit that keeps the other time shows."""
    sha256: str

    @classmethod
    def of(cls, source: Path, folder: Path) -> "Identity":
        """The identity of a file, which is read to its end.

        Raises:
            OSError: If it cannot be read.
        """
        status = source.stat()
        times = status.st_mtime_ns, status.st_ctime_ns
        return cls(relative_path(source, folder), status.st_size, *times, file_digest(source))


@dataclass(frozen=True)
class Entry:
    """A line of a journal: one result that was whole on disk under its working name, about to get its own name."""

    name: str
    """The name of the file in the journal's folder."""
    bytes: int
    mtime_ns: int
    sha256: str
    settings: str
    """Digest of all that the pixels and the file depend on, apart from the source; see `digest_of`."""
    source: Identity


class Standing(NamedTuple):
    """How a result stands, with the reason in words."""

    state: State
    reason: str = ""


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest_of(settings: Mapping[str, Any]) -> str:
    """A short digest of plain JSON settings, whatever their order.

    Raises:
        TypeError: If a value is no plain JSON.

    Examples:
        >>> digest_of({"scale": 2, "tta": "none"}) == digest_of({"tta": "none", "scale": 2})
        True
    """
    text = json.dumps(settings, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def relative_path(path: Path, folder: Path) -> str:
    """Where a file is, seen from a folder, so that both may be moved together; absolute on another Windows drive."""
    path, folder = path.absolute(), folder.absolute()
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:
        return path.as_posix()


class Journal:
    """The journal of one folder; lines are appended, never rewritten.

    Each line is one write to the end of the file, under a lock where the file system knows locks, so several processes
    and hosts may write at the same time. A kill loses no line; lines of the last second may be lost in a power cut
    (`sync` brings them to disk). A line that was cut short is left out when the journal is read.

    Args:
        folder: The folder of the results.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> source = Identity("../a.jpg", 9, 1, 1, "5f")
        >>> Journal(folder).add(Entry("a_x4.png", 99, 2, "a0", "c3", source))
        >>> Journal(folder).read()["a_x4.png"][0].bytes
        99
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / JOURNAL
        self._last_sync = 0.0
        self._is_on_disk = True

    def check(self) -> None:
        """Nothing, if the journal can be written; the folder need not be there yet.

        Raises:
            PermissionError: If it cannot be written.
        """
        there = next(folder for folder in (self.folder, *self.folder.absolute().parents) if folder.exists())
        if not there.is_dir():
            raise NotADirectoryError(f"{there} is a file, so the results cannot go to {self.folder}; name a folder")
        if not os.access(there, os.W_OK | os.X_OK):
            raise PermissionError(f"output folder {there} is not writable")
        if not self.path.exists():
            return
        try:
            os.close(os.open(self.path, os.O_WRONLY | os.O_APPEND))
        except OSError as error:
            raise PermissionError(
                f"{self.path}, which tells what was made, cannot be written ({error.strerror}); make it writable"
            ) from error

    def read(self) -> dict[str, list[Entry]]:
        """File name -> its entries, oldest first; empty if there is no journal.

        Raises:
            OSError: If the journal is there and cannot be read.
        """
        try:
            text = self.path.read_bytes().decode(errors="replace")
        except FileNotFoundError:
            return {}
        found: dict[str, list[Entry]] = {}
        torn = 0
        for line in text.split("\n"):
            entry = _parse(line)
            if entry is not None:
                found.setdefault(entry.name, []).append(entry)
            torn += entry is None and bool(line.strip())
        if torn:
            LOGGER.info("%s: %d lines were cut short or are of another version; they are left out", self.path, torn)
        return found

    def add(self, entry: Entry) -> None:
        """Append a line, and bring it to disk if the last time was more than a second ago.

        Raises:
            OSError: If it cannot be written whole; nothing of it stays then.
        """
        line = (json.dumps(asdict(entry), separators=(",", ":")) + "\n").encode()
        assert line.startswith(START.encode())
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _lock(file)
            written = os.write(file, line)
            if written < len(line):
                os.ftruncate(file, os.fstat(file).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            self._is_on_disk = time.monotonic() - self._last_sync >= SECONDS_AT_STAKE
            if self._is_on_disk:
                os.fsync(file)
                self._last_sync = time.monotonic()
        finally:
            os.close(file)

    def sync(self) -> None:
        """Bring to disk what `add` has not yet.

        Raises:
            OSError: If it cannot be written.
        """
        if not self._is_on_disk:
            with open(self.path, "ab") as file:
                os.fsync(file.fileno())
            self._is_on_disk = True

    def record(self, work: Path, name: str, settings: str, source: Identity) -> None:
        """Enter a result that is whole on disk under a working name and is about to be called `name`.

        Args:
            work: The file as it is now; its time of change stays when it is renamed.
            name: Its name to be.
            settings: Digest of the settings.
            source: What it was made of.

        Raises:
            OSError: If it cannot be read, or the journal not be written.
        """
        status = work.stat()
        self.add(Entry(name, status.st_size, status.st_mtime_ns, file_digest(work), settings, source))


def _lock(descriptor: int) -> None:
    """Keep other hosts from writing until the file is closed; on one host an append is whole without it."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)


def judge(target: Path, source: Path, settings: str, entries: Iterable[Entry]) -> Standing:
    """How a result stands: whether this job would make the same again.

    Size and times are compared first. Only where a time differs, as after copying, contents are hashed.

    Args:
        target: The result.
        source: What it is made of.
        settings: Digest of the job's settings.
        entries: What the journal says of the result's name.

    Raises:
        OSError: If a file cannot be read.
    """
    try:
        status = target.stat()
    except FileNotFoundError:
        return Standing("absent")
    entries = list(entries)[::-1]
    if not entries:
        return Standing("foreign", "it is not in the journal of results")
    entry = next((one for one in entries if (one.bytes, one.mtime_ns) == (status.st_size, status.st_mtime_ns)), None)
    if entry is None and any(one.bytes == status.st_size for one in entries):
        content = file_digest(target)
        entry = next((one for one in entries if one.sha256 == content), None)
    if entry is None:
        if is_whole_image(target):
            return Standing("changed", "it was changed after it was made")
        return Standing("damaged", "it is damaged")
    kept, at_its_place = _compare(source, target.parent, entry.source)
    if not kept and not at_its_place:
        return Standing("other", f"it was made of another image, {Path(target.parent, entry.source.path)}")
    if entry.settings != settings:
        return Standing("outdated", "it was made with other settings")
    return Standing("whole") if kept else Standing("outdated", "it was made of another version of the image")


def is_whole_image(path: Path) -> bool:
    """Whether a file decodes as an image to its last row."""
    from srzoo.image import open_source

    try:
        with open_source(path, 1 << 62) as image:
            for top in range(0, image.header.height, 256):
                image.rows(top, min(top + 256, image.header.height))
    except (ValueError, OSError):
        return False
    return True


def _compare(source: Path, folder: Path, known: Identity) -> tuple[bool, bool]:
    """Whether the source has the content an entry tells of, and whether it is the file the entry names.

    It is read only if its place or a time is another.
    """
    status = source.stat()
    at_its_place = os.path.realpath(source) == os.path.realpath(folder / known.path)
    now = status.st_size, status.st_mtime_ns, status.st_ctime_ns
    if at_its_place and now == (known.bytes, known.mtime_ns, known.ctime_ns):
        return True, True
    return status.st_size == known.bytes and file_digest(source) == known.sha256, at_its_place


_ENTRY, _IDENTITY = ({field.name for field in fields(kind)} for kind in (Entry, Identity))


def _parse(line: str) -> Entry | None:
    """What a line holds, or its end if its start was cut short; None if that is no entry."""
    start = line.rfind(START)
    if start < 0:
        return None
    try:
        values = json.loads(line[start:])
        source = values.pop("source")
        if values.keys() | {"source"} != _ENTRY or source.keys() != _IDENTITY:
            return None
        return Entry(**values, source=Identity(**source))
    except (ValueError, AttributeError, KeyError, TypeError):
        return None
