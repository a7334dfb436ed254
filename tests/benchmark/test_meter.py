"""Time and memory of a block."""

import sys
import time

import numpy as np
import pytest
import torch

from srzoo.benchmark import meter
from srzoo.benchmark.meter import describe_device, metered

CPU = torch.device("cpu")


def test_seconds_are_those_of_the_block() -> None:
    with metered(CPU) as usage:
        time.sleep(0.05)
    assert 0.05 <= usage.seconds < 5


@pytest.mark.skipif(not meter.RESET.exists(), reason="only Linux forgets an earlier peak")
def test_the_peak_is_that_of_the_block_and_not_of_an_earlier_one() -> None:
    with metered(CPU) as before:
        pass
    with metered(CPU) as large:
        np.ones(96 * 2**20, dtype=np.uint8)
    with metered(CPU) as after:
        pass
    assert before.peak_mib is not None
    assert large.peak_mib is not None
    assert after.peak_mib is not None
    assert large.peak_mib - before.peak_mib == pytest.approx(96, abs=24)
    assert after.peak_mib < large.peak_mib - 48


def test_where_the_system_tells_nothing_of_its_own_the_largest_peak_is_taken(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(meter, "STATUS", tmp_path / "none")
    monkeypatch.setattr(meter, "RESET", tmp_path / "none")
    with metered(CPU) as usage:
        pass
    if sys.platform != "win32":
        assert usage.peak_mib is not None
        assert 20 < usage.peak_mib < 1e6
    monkeypatch.setitem(sys.modules, "resource", None)
    with metered(CPU) as usage:
        pass
    assert usage.peak_mib is None


def test_the_device_in_words() -> None:
    threads = torch.get_num_threads()
    assert describe_device(torch.device("cpu")) == f"cpu, {threads} thread{'s' if threads > 1 else ''}"
    assert describe_device(torch.device("meta")) == "meta"
