import math

import numpy as np
import pytest

from srzoo.report.views import PALETTE, Entry, best, draw_errors, error_peak


def test_scores_as_text():
    assert str(Entry(28.4249, 0.81044)) == "28.42 dB / 0.8104"
    assert str(Entry(math.inf, 1)) == "∞ dB / 1.0000"


def test_the_best_is_the_highest_as_printed():
    assert best({"a": Entry(30.001, 0.9), "b": Entry(30.004, 0.8), "c": Entry(29.9, 1)}) == {"a", "b"}
    assert best({"a": Entry(math.inf, 1), "b": Entry(30, 1)}) == {"a"}
    assert best({"a": Entry(30, 1)}) == best({}) == set()


@pytest.mark.parametrize(("level", "peak"), [(0, 4), (4, 4), (5, 8), (100, 128), (255, 255)])
def test_the_peak_is_a_round_number_that_most_errors_stay_below(level, peak):
    assert error_peak({"a": np.zeros((40, 40)), "b": np.full((40, 40), float(level))}) == peak
    spot = np.full((200, 200), float(level))
    spot[0, 0] = 255  # a single pixel does not set the scale
    assert error_peak({"a": spot}) == peak


def test_the_ramp_gets_lighter_all_the_way():
    luma = PALETTE.astype(float) @ [0.299, 0.587, 0.114]
    assert (np.diff(luma) >= 0).all()
    assert luma[-1] - luma[0] > 230
    drawn = np.asarray(draw_errors(np.array([[0, 16, 32, 200]], np.float32), 32))[0]
    assert np.array_equal(drawn, PALETTE[[0, 128, 255, 255]])
