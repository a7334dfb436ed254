"""Ctrl+C and SIGTERM taken at moments when files can be closed in order."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

TOLD = b"srzoo: stopping; once more stops at once\n"
SECONDS = 5.0
"""How long a signal is held back at most: what is worked on may be waiting for a disk that does not answer."""


class Stopping:
    """Whether the process was told to stop, and whether it may be stopped anywhere."""

    def __init__(self) -> None:
        self.told: int | None = None
        self.holds = False
        self._timer: threading.Timer | None = None

    def begin(self) -> None:
        """A file will be worked on: a signal is held back until `check`, or for some seconds."""
        self.check()
        self.holds = True

    def end(self) -> None:
        """No file is worked on."""
        self.holds = False

    def check(self) -> None:
        """Raises KeyboardInterrupt, or SystemExit for SIGTERM, if the process was told to stop."""
        if self.told is not None:
            _leave(self.told)

    def note(self, number: int, frame: FrameType | None) -> None:
        """A signal: raised at once, unless it is the first and a file is worked on."""
        if not self.holds or self.told is not None:
            _leave(number)
        self.told = number
        os.write(2, TOLD)
        main = threading.get_ident()
        self._timer = threading.Timer(SECONDS, lambda: signal.pthread_kill(main, number))  # ends a wait, too
        self._timer.daemon = True
        self._timer.start()

    def close(self) -> None:
        """No signal will be sent any more."""
        if self._timer is not None:
            self._timer.cancel()


@contextmanager
def stops_in_order() -> Iterator[Stopping]:
    """Says when the process may be stopped.

    Between `begin` and `end` a first signal is only noted, and told on standard error; otherwise it could come in
    between a file's making and the `try` that removes it. At all other times, the second time, and after 5 seconds, it
    is raised wherever the program is. Off the main thread, where signals cannot be taken, nothing changes.
    """
    stopping = Stopping()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.signal(number, stopping.note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stopping
    finally:
        stopping.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def _leave(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
