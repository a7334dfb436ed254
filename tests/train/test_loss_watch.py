import math

import pytest
import torch

from srzoo.train.loss_watch import MOST_DROPPED, LossWatch

CPU = torch.device("cpu")
FINE = torch.tensor(1.0)


def judged(watch: LossWatch, losses: list[float], start: int = 0) -> list[bool]:
    kept = []
    for step, loss in enumerate(losses, start + 1):
        kept.append(bool(watch.judge(torch.tensor(loss), FINE)))
        watch.end_step(step)
    return kept


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_dropped(bad):
    watch = LossWatch(CPU, None, 10)
    assert not watch.judge(torch.tensor(bad), FINE)
    assert not watch.judge(FINE, torch.tensor(bad))
    assert watch.judge(FINE, FINE)
    assert watch.take() == (1.0, 1, 2)


def test_an_outlier_is_measured_by_the_mean_of_the_last_full_window():
    watch = LossWatch(CPU, 2.0, 4)
    first = judged(watch, [1.0, 2.0, 3.0, 2.0])  # nothing to compare with yet; mean 2
    second = judged(watch, [4.0, 4.1, 1.0, 1.0], 4)  # up to 4; mean of what is kept 2
    third = judged(watch, [4.0, 4.1, 0.5, 0.6], 8)  # mean 1.7
    fourth = judged(watch, [3.41, 3.39], 12)
    assert first == [True] * 4
    assert second == third == [True, False, True, True]
    assert fourth == [False, True]


def test_a_window_of_which_nothing_is_kept_leaves_the_measure():
    watch = LossWatch(CPU, 2.0, 2)
    assert judged(watch, [1.0, 1.0, math.nan, 9.0]) == [True, True, False, False]
    assert judged(watch, [1.9, 2.1], 4) == [True, False]


def test_without_the_rule_every_finite_loss_is_kept():
    assert judged(LossWatch(CPU, None, 1), [1.0, 1e9, 1.0, 1e30]) == [True] * 4


def test_the_mean_is_of_the_kept_updates_since_the_last_one_taken():
    watch = LossWatch(CPU, None, 10)
    judged(watch, [1.0, math.nan, 2.0])
    assert watch.take() == (1.5, 2, 1)
    judged(watch, [4.0], 3)
    assert watch.take() == (4.0, 1, 0)
    assert watch.take() == (None, 0, 0)
    judged(watch, [math.nan], 4)
    assert watch.take() == (None, 0, 1)


def test_a_million_losses_are_summed_without_loss_of_bits():
    watch = LossWatch(CPU, None, 10)
    watch._counts[:2] = torch.tensor([1e6 * 0.1, 1e6])
    watch.judge(torch.tensor(1e-4), FINE)
    mean, _, _ = watch.take()
    assert mean == pytest.approx((1e5 + 1e-4) / 1_000_001, rel=1e-12)


def test_too_many_dropped_in_a_row_are_a_run_that_has_diverged():
    watch = LossWatch(CPU, None, 10)
    judged(watch, [math.nan] * (MOST_DROPPED - 1))
    assert watch.take() == (None, 0, MOST_DROPPED - 1)
    judged(watch, [1.0] + [math.nan] * (MOST_DROPPED - 1))  # one that is kept begins the count anew
    assert watch.take() == (1.0, 1, MOST_DROPPED - 1)
    judged(watch, [math.nan])
    with pytest.raises(ValueError, match=r"the last 100 updates were dropped, .*; start a new run with a lower lr"):
        watch.take()


def test_the_counts_and_the_measure_are_taken_over():
    losses = [1.0, 2.0, 3.0, 2.0, 4.1, 1.0, 9.0, math.nan, 1.0, 3.0]
    whole, first, second = (LossWatch(CPU, 2.0, 4) for _ in range(3))
    expected = judged(whole, losses)
    kept = judged(first, losses[:6])
    state = first.state_dict()
    judged(first, [5.0])  # the state is a copy
    second.load_state_dict(state)
    assert kept + judged(second, losses[6:], 6) == expected
    assert second.take() == whole.take()
