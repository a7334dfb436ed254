"""SIGTERM as an exit of the program, so that what is open is closed."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn


@contextmanager
def sigterm_exits() -> Iterator[None]:
    """SIGTERM raises SystemExit (status 143) for the time of the block, as Ctrl+C raises KeyboardInterrupt."""
    before = signal.signal(signal.SIGTERM, _exit)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _exit(signum: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + signum)
