import os
import signal
import time

import pytest

from srzoo.cli.stopping import stops_in_order


def told_twice(steps: list[str], number: int, *, check_between: bool) -> None:
    """A block that is told to stop while a file is worked on, and goes on a little."""
    with stops_in_order() as stopping:
        stopping.begin()
        signal.raise_signal(number)
        steps.append("after the first")
        if check_between:
            stopping.check()
        else:
            signal.raise_signal(number)
        steps.append("after the second")


@pytest.mark.parametrize("check_between", [True, False], ids=["where asked for", "at once the second time"])
@pytest.mark.parametrize(
    ("number", "kind", "code"), [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)]
)
def test_a_signal_is_raised_in_order(number, kind, code, check_between, capfd):
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    steps: list[str] = []
    with pytest.raises(kind) as left:
        told_twice(steps, number, check_between=check_between)
    assert steps == ["after the first"]
    assert getattr(left.value, "code", None) == code
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before
    assert capfd.readouterr().err == "srzoo: stopping; once more stops at once\n"


def told_between_files(steps: list[str]) -> None:
    with stops_in_order() as stopping:
        stopping.begin()
        stopping.end()
        signal.raise_signal(signal.SIGINT)
        steps.append("after")


def told_while_it_waits(end: int) -> None:
    with stops_in_order() as stopping:
        stopping.begin()
        signal.raise_signal(signal.SIGINT)
        os.read(end, 1)  # to which nobody writes


def test_a_signal_is_raised_at_once_where_no_file_is_worked_on():
    steps: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        told_between_files(steps)
    assert not steps


def test_a_signal_after_the_last_file_was_begun_does_not_undo_it(capfd):
    with stops_in_order() as stopping:
        stopping.begin()
        signal.raise_signal(signal.SIGINT)
        stopping.end()


def test_a_wait_that_does_not_end_is_ended_for_a_signal(monkeypatch, capfd):
    monkeypatch.setattr("srzoo.cli.stopping.SECONDS", 0.05)
    ends = os.pipe()
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        told_while_it_waits(ends[0])
    assert time.monotonic() - start < 5
    for end in ends:
        os.close(end)
