"""Networks after each other: rows of one's result are the next one's image as they come, in flat memory."""

import math
import threading
from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import torch
from torch import Tensor

from srzoo.upscaling.executor import Block, Executor, regrouped
from srzoo.upscaling.strips import Merged, Read

LAST_ONLY = "the map shows how far the passes of the last network lie apart"
TOO_LITTLE = "{:.0f} MB of memory are too little for networks after each other; they are expected to take {:.0f} MB"


class RowFeed:
    """Rows of one network's result for the next one to read, made when they are first asked for.

    Values are clamped to [0, 1], which is what networks are trained on, and not rounded. Rows are kept until they are
    released; any thread may read.

    Args:
        blocks: The result, from top to bottom.
    """

    def __init__(self, blocks: Generator[Block]) -> None:
        self._blocks = blocks
        self._held: deque[Tensor] = deque()
        self._top = self._bottom = 0
        self._error: BaseException | None = None
        self._lock = threading.Lock()

    def read(self, top: int, bottom: int) -> Tensor:
        """Rows from one to before another, b c rows columns."""
        with self._lock:
            while self._bottom < bottom:
                self._take()
            assert top >= self._top, f"row {top} is gone, of those from {self._top} on"
            parts: list[Tensor] = []
            start = self._top
            for rows in self._held:
                stop = start + rows.shape[-2]
                if start < bottom and stop > top:
                    parts.append(rows[..., max(0, top - start) : min(stop, bottom) - start, :])
                start = stop
            return parts[0] if len(parts) == 1 else torch.cat(parts, -2)

    def release(self, row: int) -> None:
        """Rows above this one are not read any more."""
        with self._lock:
            while self._held and self._top + self._held[0].shape[-2] <= row:
                self._top += self._held.popleft().shape[-2]

    def _take(self) -> None:
        if self._error is not None:  # a reader that tries again is to meet it again
            raise self._error
        try:
            rows = next(self._blocks).sr.clamp(0, 1)
        except BaseException as error:
            self._error = error
            raise
        self._held.append(rows)
        self._bottom += rows.shape[-2]


@dataclass
class Cascade:
    """Networks run on a whole image, each on the result of the one before; one image at a time.

    Args:
        executors: What runs each network, first to last.
        memory: Bytes to get along with, for all together.
        most: Bytes to take at most, where the work cannot be done well with `memory`.
    """

    executors: Sequence[Executor]
    memory: int
    most: int

    @property
    def scale(self) -> int:
        """What all together magnify by."""
        return math.prod(executor.network.scale for executor in self.executors)

    @property
    def channels(self) -> int:
        """Image channels in and out."""
        return self.executors[0].network.channels

    def stream(
        self,
        read: Read,
        height: int,
        width: int,
        batch: int = 1,
        *,
        spread: bool = False,
        notes: list[str] | None = None,
    ) -> Generator[Block]:
        """The result of an image, block by block of whole LR rows from top to bottom; as `Executor.stream`.

        Earlier networks run in the threads in which later ones read, so their work goes on beside each other. Of a
        map of the spread only the last network's is had.

        Raises:
            MemoryError, ValueError: As `Executor.stream` does.
        """
        expected, most = self.share_memory(height, width, batch), max(self.memory, self.most)
        if len(self.executors) > 1 and notes is not None:
            notes += [LAST_ONLY] if spread else []
            notes += [TOO_LITTLE.format(most / 1e6, expected / 1e6)] if expected > most else []
        with ExitStack() as stack:
            factor, feed = 1, None
            for executor in self.executors[:-1]:
                blocks = executor.stream(read, height * factor, width * factor, batch, notes=notes, done=feed)
                stack.enter_context(closing(blocks))
                factor *= executor.network.scale
                rows = RowFeed(blocks)
                read, feed = rows.read, rows.release
            last = self.executors[-1]
            size = height * factor, width * factor
            blocks = last.stream(read, *size, batch, spread=spread, notes=notes, done=feed)
            stack.enter_context(closing(blocks))
            if factor == 1:
                yield from blocks
            else:
                yield from regrouped((Merged(block.sr, block.spread) for block in blocks), self.scale)

    def share_memory(self, height: int, width: int, batch: int = 1) -> int:
        """Give each network its part of the memory: an equal one at most, and what is not needed goes to the later.

        Of its part, rows of its image that wait to be read are taken off first, half of it at most.

        Returns:
            Bytes that several are expected to take together.
        """
        memory, most = self.memory, self.most
        if len(self.executors) == 1:
            self.executors[0].limit(memory, most)
            return 0
        block = total = 0
        for position, executor in enumerate(self.executors):
            left = len(self.executors) - position
            shares = memory // left, most // left
            executor.limit(*shares)
            plan, held = executor.shapes.plan(height, width, batch), 0
            if position:
                held = executor.shapes.feed_bytes(plan, (height, width), batch, block)
                executor.limit(*(max(share // 2, share - held) for share in shares))
                plan = executor.shapes.plan(height, width, batch)
            total += plan.bytes + held
            memory, most = (whole - min(plan.bytes + held, whole // left) for whole in (memory, most))
            block = executor.shapes.rows_at_once(plan, height) * executor.network.scale
            height, width = height * executor.network.scale, width * executor.network.scale
        return total
