import threading
import time
from collections.abc import Iterator

import pytest

from srzoo.upscaling.ahead import ahead, behind


@pytest.fixture(autouse=True)
def _no_threads_are_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def test_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []


@pytest.mark.parametrize("depth", [1, 3])
def test_no_more_items_are_made_than_may_wait_and_the_one_in_hand(depth: int) -> None:
    made = []

    def items() -> Iterator[int]:
        for i in range(50):
            made.append(i)
            yield i

    coming = ahead(items(), depth)
    assert made == []  # nothing before it is asked for
    for i in range(10):
        assert next(coming) == i
        time.sleep(0.005)
        assert len(made) <= i + 1 + depth + 1
    coming.close()
    assert len(made) <= 10 + depth + 2


def test_an_error_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    coming = ahead(items(), 5)
    assert [next(coming), next(coming)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        next(coming)
    with pytest.raises(StopIteration):
        next(coming)


def test_closing_early_is_quick() -> None:
    coming = ahead(iter(range(10**9)))
    next(coming)
    time.sleep(0.02)  # the thread waits for room now
    start = time.perf_counter()
    coming.close()
    assert time.perf_counter() - start < 0.09


def test_an_error_of_the_reader_ends_the_thread() -> None:
    coming = ahead(range(10**9))
    with pytest.raises(RuntimeError, match="mine"):
        coming.throw(RuntimeError("mine")) if next(coming) == 0 else None


def test_all_is_taken_in_order_at_the_end_of_the_block() -> None:
    taken: list[int] = []

    def take(item: int) -> None:
        time.sleep(0.001)
        taken.append(item)

    with behind(take) as hand:
        for i in range(20):
            hand(i)
    assert taken == list(range(20))


def test_an_error_of_the_taker_is_raised_and_nothing_more_is_taken() -> None:
    taken = []

    def take(item: int) -> None:
        if item == 2:
            raise OSError("disk full")
        taken.append(item)

    def work() -> None:
        with behind(take) as hand:
            for i in range(1000):
                hand(i)

    with pytest.raises(OSError, match="disk full"):
        work()
    assert taken == [0, 1]
    with pytest.raises(OSError, match="disk full"), behind(take) as hand:  # at the end, if not before
        hand(2)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_block_drops_what_waits(error: type[BaseException]) -> None:
    taken: list[int] = []
    gate = threading.Event()

    def take(item: int) -> None:
        gate.wait(5)
        taken.append(item)

    def work() -> None:
        with behind(take, depth=3) as hand:
            for i in range(3):
                hand(i)
            time.sleep(0.01)
            threading.Timer(0.02, gate.set).start()
            raise error

    with pytest.raises(error):
        work()
    time.sleep(0.03)
    assert taken == [0]
