"""Rows on their way into a file: cut into blocks of one height, packed by a few threads, handed on in order."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from jaxtyping import Shaped

Pack = Callable[[Shaped[np.ndarray, "rows w c"], Shaped[np.ndarray, "w c"] | None], tuple[bytes, int]]


class RowBlocks:
    """Calls `emit` with each packed block of rows, from the first to the last.

    Where the blocks begin depends on the image alone, never on how rows come or on the number of threads, so that the
    same picture always gives the same file. Memory: the block being filled, and one more for each thread and one.

    Args:
        height: Number of rows of the image.
        block_rows: Number of rows of a block.
        pack: (rows, the row above them or None) -> (bytes, a number of its own); called in threads.
        emit: Takes what `pack` returned; called in the thread that writes, in order.
        threads: How many pack at once; None takes as many as there are processors, 4 at most. 0 packs in the thread
            that writes.
    """

    def __init__(
        self,
        height: int,
        block_rows: int,
        pack: Pack,
        emit: Callable[[bytes, int], None],
        threads: int | None = None,
    ) -> None:
        threads = min(4, _num_processors()) if threads is None else threads
        self._height, self._block_rows, self._pack, self._emit = height, block_rows, pack, emit
        self._pool = ThreadPoolExecutor(threads, "srzoo-write") if threads and height > block_rows else None
        self._most_waiting = threads + 1
        self._waiting: deque[Future[tuple[bytes, int]]] = deque()
        self._block: np.ndarray | None = None
        self._above: np.ndarray | None = None
        self._filled = self._taken = 0

    def write(self, rows: Shaped[np.ndarray, "rows w c"]) -> None:
        """Take the next rows; they are copied."""
        while len(rows):
            if self._block is None:
                self._block = np.empty((min(self._block_rows, self._height - self._taken), *rows.shape[1:]), rows.dtype)
                self._filled = 0
            fits = rows[: len(self._block) - self._filled]
            self._block[self._filled : self._filled + len(fits)] = fits
            self._filled += len(fits)
            rows = rows[len(fits) :]
            if self._filled == len(self._block):
                self._pass_on(self._block)

    def finish(self) -> None:
        """Hand on what is still being packed."""
        while self._waiting:
            self._emit(*self._waiting.popleft().result())

    def close(self) -> None:
        """Stop the threads; what was not handed on is dropped."""
        self._waiting.clear()
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _pass_on(self, block: np.ndarray) -> None:
        above, self._above = self._above, block[-1].copy()
        self._taken += len(block)
        self._block = None
        if self._pool is None:
            self._emit(*self._pack(block, above))
            return
        self._waiting.append(self._pool.submit(self._pack, block, above))
        if len(self._waiting) > self._most_waiting:
            self._emit(*self._waiting.popleft().result())


def rows_in(num_bytes: int, row: int) -> int:
    """How many rows of `row` bytes make a block of about so many bytes: one at least."""
    return max(1, num_bytes // row)


def _num_processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
