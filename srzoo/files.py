"""Writing files whole or not at all."""

import errno
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

try:
    import fcntl
except ImportError:  # Windows, where a file that somebody has open cannot be removed: that is the lock
    fcntl = None

UNFINISHED = re.compile(r"\.srzoo-[0-9a-f]{12}(\.[^.]*)?")
"""What a file is called that is not whole yet."""
SPOOLED_BYTES = 1 << 24
"""What goes through a pipe and must be sought in is kept in memory up to here, and in a temporary file beyond."""


@runtime_checkable
class Writable(Protocol):
    """A stream that takes bytes, such as a pipe."""

    def write(self, data: bytes, /) -> object:
        """Take these bytes."""
        ...

    def flush(self) -> object:
        """Pass on what was taken."""
        ...


@runtime_checkable
class Seekable(Writable, Protocol):
    """A stream whose beginning can be written again."""

    def seek(self, offset: int, whence: int = 0, /) -> object:
        """Go to so many bytes from the beginning (whence 0) or the end (2)."""
        ...


@runtime_checkable
class Rereadable(Protocol):
    """A stream that can be read from any place."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes at most."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> object:
        """Go to so many bytes from the beginning (whence 0), from here (1) or the end (2)."""
        ...


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A new empty file in the folder of `path` that takes its place at the end of the block, if nothing was raised.

    The old file stays until the new one is whole and on disk; permissions are those of any new file. While it is
    written it is locked against `remove_stale`, unless the writer puts another file in its place.

    Args:
        path: The file to write.

    Raises:
        OSError: If the folder cannot be written to.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing(target) as work:
        ...     _ = work.write_text("whole")
        >>> target.read_text()
        'whole'
    """
    path = Path(path)
    work, held = _new_file(path)
    try:
        if fcntl is None:
            os.close(held)  # nobody else may write to it otherwise
        mode = stat.S_IMODE(work.stat().st_mode)
        yield work
        work.chmod(mode)  # some writers, such as safetensors, put a private file in its place
        with open(work, "r+b") as file:  # Windows syncs only what may be written to
            os.fsync(file.fileno())
        work.replace(path)
    finally:
        work.unlink(missing_ok=True)
        if fcntl is not None:
            os.close(held)


@contextmanager
def replacing_file(path: str | Path, *, before_place: Callable[[Path], None] | None = None) -> Iterator[BinaryIO]:
    """A new file, open for writing and reading, that takes the place of `path` at the end of the block.

    It stands in the same folder under a name of its own (`.srzoo-<token><suffix>`) and is locked while it is written,
    so that `remove_stale` can tell it from one that a killed process left. The old file stays until the new one is
    whole and on disk; if anything is raised, it stays for good and the new one is removed.

    Args:
        path: The file to write.
        before_place: Called with the path of the new file once it is whole and on disk, before it is renamed. What
            it raises keeps the old file.

    Raises:
        OSError: If the folder cannot be written to or the disk is full.

    Examples:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "notes.txt"
        >>> with replacing_file(target) as file:
        ...     _ = file.write(b"whole")
        >>> target.read_bytes()
        b'whole'
    """
    path = Path(path)
    work, descriptor = _new_file(path)
    file = os.fdopen(descriptor, "w+b")
    try:
        yield file
        file.flush()
        os.fsync(descriptor)
        if fcntl is None:
            file.close()  # Windows renames only what is closed
        if before_place is not None:
            before_place(work)
        work.replace(path)
    finally:
        if fcntl is not None:
            work.unlink(missing_ok=True)  # before the lock goes
        with suppress(OSError):  # what could not be written before cannot be written now, and was told
            file.close()
        work.unlink(missing_ok=True)


def remove_stale(folder: str | Path) -> int:
    """How many files were removed that killed processes left in a folder, half-written.

    Files that a running process is writing by `replacing` or `replacing_file` are left alone, here and on other
    hosts that share the folder, as far as its file system knows locks (where it has none, nothing is removed). A file
    that somebody removes at the same time, or that may not be removed, is left to others.

    Args:
        folder: The folder; folders within it are not looked at.

    Raises:
        OSError: If the folder cannot be read.

    Examples:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".srzoo-0123456789ab.png").touch()
        >>> remove_stale(folder), list(folder.iterdir())
        (1, [])
    """
    named = [path for path in Path(folder).iterdir() if UNFINISHED.fullmatch(path.name)]
    return sum(_remove_unless_held(path) for path in named if path.is_file() and not path.is_symlink())


def _new_file(path: Path) -> tuple[Path, int]:
    """A new empty file beside `path`, locked, with its descriptor."""
    while True:
        work = path.parent / f".srzoo-{secrets.token_hex(6)}{path.suffix}"
        descriptor = os.open(work, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_BINARY", 0), 0o666)
        try:
            _lock(descriptor)
            if work.exists():
                return work, descriptor
        except BaseException:
            work.unlink(missing_ok=True)
            os.close(descriptor)
            raise
        os.close(descriptor)  # `remove_stale` found it between its birth and its lock


def _lock(descriptor: int) -> None:
    """Hold the file until it is closed, where the file system knows locks."""
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL):
            raise


def _remove_unless_held(path: Path) -> bool:
    """Whether the file was left behind, and is gone now."""
    try:
        if fcntl is None:
            path.unlink()
            return True
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()  # while it is locked: nobody can begin to write it
            return True
    except OSError:
        return False
