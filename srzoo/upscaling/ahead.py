"""Work done beside the main thread: the next items of an iterator made ahead of time, results handed on behind."""

import queue
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T]:
    """The items, made in a thread while the last ones are worked on; at most `depth` wait, and one is being made.

    An error that making an item raises is raised here, in its turn. Close the generator to stop early: the item that
    is being made is waited for, so that nothing uses what the items are made from any more.

    Examples:
        >>> list(ahead(iter("abc")))
        ['a', 'b', 'c']
    """
    waiting: queue.Queue[Any] = queue.Queue(max(1, depth))
    stop = threading.Event()

    def hand(item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not hand((item, None)):
                    return
            hand((_END, None))
        except BaseException as error:
            hand((_END, error))
            del error  # it holds what was being worked on

    thread = threading.Thread(target=make, name="srzoo-ahead", daemon=True)
    thread.start()
    item = error = None
    try:
        while True:
            item, error = waiting.get()
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        stop.set()
        while not waiting.empty():  # the thread need not wait until it looks again
            waiting.get_nowait()
        thread.join()
        del item, error  # an error that holds the frame it was raised in would live on


@contextmanager
def behind(take: Callable[[T], None], depth: int = 1) -> Generator[Callable[[T], None]]:
    """A function that hands items on to `take` in a thread, in order; at most `depth` wait.

    An error of `take` is raised at the next call, or at the end of the block, which waits for all items; items after it
    are dropped. If the block raises, items that wait are dropped.

    Examples:
        >>> taken = []
        >>> with behind(taken.append) as hand:
        ...     hand(1), hand(2)
        (None, None)
        >>> taken
        [1, 2]
    """
    waiting: queue.Queue[Any] = queue.Queue(max(1, depth))
    errors: list[BaseException] = []
    dropped = threading.Event()

    def work() -> None:
        while (item := waiting.get()) is not _END:
            if errors or dropped.is_set():
                continue
            try:
                take(item)
            except BaseException as error:
                errors.append(error)
            del item

    thread = threading.Thread(target=work, name="srzoo-behind", daemon=True)
    thread.start()

    def hand(item: T) -> None:
        if errors:
            raise errors[0]
        waiting.put(item)

    try:
        yield hand
    except BaseException:
        dropped.set()
        raise
    finally:
        waiting.put(_END)
        thread.join()
    if errors:
        raise errors[0]
