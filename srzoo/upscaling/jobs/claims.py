"""A result is made by one process at a time: two runs of the same command do not make it twice."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: results are whole there, too, but may be made twice
    fcntl = None

LOGGER = logging.getLogger("srzoo")


@contextmanager
def claimed(target: Path | None) -> Iterator[None]:
    """Nobody else makes this result for the time of the block; who does so at the moment is waited for.

    The claim is a locked file beside the result, which goes with the block; that of a killed process holds nobody
    up, and `remove_stale` removes it. Where the file system knows no locks, or the folder cannot be written to (which
    is told when the result is written), there is no claim.

    Args:
        target: The result; None for a stream.
    """
    held = None if target is None else _hold(target)
    try:
        yield
    finally:
        if held is not None:
            path, descriptor = held
            path.unlink(missing_ok=True)  # before the lock goes
            os.close(descriptor)


def _hold(target: Path) -> tuple[Path, int] | None:
    """The claim's file and its descriptor."""
    if fcntl is None:
        return None
    path = target.parent / f".srzoo-{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:12]}.claim"
    while True:
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        except OSError:
            return None
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                LOGGER.info("%s is being made by another run, which is waited for", target)
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_at(descriptor, path):
                return path, descriptor
        except OSError:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # whoever held it has removed it since


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file still has its name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
