"""Ctrl+C and SIGTERM held back until a run's state is whole: half an update must not reach a checkpoint."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from srzoo.distributed import World


class Told(KeyboardInterrupt):
    """A signal to stop, taken at a moment when the state is whole."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum

    def take_effect(self) -> None:
        """Do what the signal does outside of a run; returns only if the user's handler does.

        Raises:
            SystemExit: If the signal would have ended the process (status 128 + its number), so that files are closed.
        """
        if signal.getsignal(self.signum) is signal.SIG_DFL:
            raise SystemExit(128 + self.signum) from None
        signal.raise_signal(self.signum)


class Interrupts:
    """The signals of a run that have come and wait for the end of a step."""

    def __init__(self) -> None:
        self.pending: int | None = None
        self.is_whole = True
        """Whether the state is not in the middle of an update that was broken off."""
        self._may_raise = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside `held_back` a signal waits; elsewhere in this block it raises `Told`; twice, it stops at once.

        One of several processes leaves when all do, and goes on waiting if a signal comes twice: a launcher passes
        on one that the process may have got itself.

        Raises:
            Told: When a signal comes.
            KeyboardInterrupt: When one comes while another waits; `is_whole` says whether the state is half an update.
        """
        self.pending, self.is_whole, self._may_raise = None, True, True
        is_alone = World.current().size == 1
        if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
            yield
            return

        def hold(signum: int, frame: FrameType | None) -> None:
            if self._may_raise:
                raise Told(signum)
            if self.pending is not None and is_alone:
                raise KeyboardInterrupt
            self.pending = signum

        before = {signum: signal.signal(signum, hold) for signum in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    @contextmanager
    def held_back(self, *, whole: bool, also_after: bool) -> Iterator[None]:
        """A signal in this block waits in `pending`.

        Args:
            whole: Whether the state is whole all through the block, so that it may be saved if it is broken off.
            also_after: Signals go on waiting after the block.

        Raises:
            Told: At the end, if a signal waits and is not to wait any longer.
        """
        self._may_raise, self.is_whole = False, whole
        yield
        self.is_whole = True  # not reached if the block was broken off
        self._may_raise = not also_after
        if self._may_raise and self.pending is not None:
            raise Told(self.pending)
