import signal

import pytest

from srzoo.cli.sigterm import sigterm_exits


def close_when_told(closed: list[bool]) -> None:
    with sigterm_exits():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            closed.append(True)


def test_sigterm_leaves_the_block_with_143_and_the_handler_before_is_back():
    before = signal.getsignal(signal.SIGTERM)
    closed: list[bool] = []
    with pytest.raises(SystemExit) as left:
        close_when_told(closed)
    assert left.value.code == 143
    assert closed == [True]
    assert signal.getsignal(signal.SIGTERM) is before
