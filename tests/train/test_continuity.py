import copy

import pytest
import torch

from srzoo.train import Constant, Cosine, Halving
from srzoo.train.continuity import (
    check_same_run,
    check_same_schedule,
    describe_changes,
    describe_environment,
    probe_steps,
)
from srzoo.version import __version__

RUN = {"model": "edsr", "arguments": {"scales": (2, 3)}, "lr": 1e-4, "batch_size": 16, "data": "abc"}


def test_the_same_settings_are_the_same_run_also_after_a_way_through_a_file():
    check_same_run(RUN, copy.deepcopy(RUN))
    check_same_run({**RUN, "arguments": {"scales": [2, 3]}}, RUN)


def test_a_setting_that_only_one_srzoo_knows_is_passed_over():
    check_same_run({**RUN, "old": 1}, {**RUN, "new": 2})


def test_every_setting_that_differs_is_told_with_both_values():
    told = r"\(lr was 0\.0001, is 0\.1; batch_size was 16, is 8\)"
    with pytest.raises(ValueError, match=rf"^the run to resume had other settings {told}; give the same ones"):
        check_same_run(RUN, {**RUN, "lr": 0.1, "batch_size": 8, "data": "other"})


def test_other_images_are_told_in_words():
    with pytest.raises(ValueError, match="the run to resume had other training images"):
        check_same_run(RUN, {**RUN, "data": "other"})


def goes_on(then, now, done: int, steps: int, now_steps: int) -> bool:
    factors = [then.factor(step, steps) for step in probe_steps(done)]
    try:
        check_same_schedule(factors, done, now, now_steps)
    except ValueError:
        return False
    return True


def test_what_to_do_about_another_length_is_told():
    factors = [Cosine(1).factor(step, 50) for step in probe_steps(9)]
    told = "another schedule or, with this schedule, another number of steps than 60; give the same ones or start anew"
    with pytest.raises(ValueError, match=told):
        check_same_schedule(factors, 9, Cosine(1), 60)


@pytest.mark.parametrize("schedule", [Constant(), Halving(7), Cosine(3)], ids=str)
@pytest.mark.parametrize("done", [0, 1, 2, 5, 8, 50])
def test_the_same_schedule_and_length_go_on(schedule, done):
    assert goes_on(schedule, schedule, done, 50, 50)


@pytest.mark.parametrize("schedule", [Constant(), Halving(7)], ids=str)
@pytest.mark.parametrize("done", [0, 1, 20, 50])
def test_a_run_whose_past_does_not_depend_on_its_length_can_be_made_longer(schedule, done):
    assert goes_on(schedule, schedule, done, 50, 500)


@pytest.mark.parametrize(("done", "allowed"), [(0, True), (5, True), (6, True), (7, False), (8, False), (50, False)])
def test_a_cosine_can_be_made_longer_only_while_it_warms_up(done, allowed):
    """Warm-up is steps 0 to 4, and step 5 is the top of the cosine: step 6 is the first to know the length."""
    assert goes_on(Cosine(5), Cosine(5), done, 50, 60) == allowed


@pytest.mark.parametrize(("done", "allowed"), [(0, True), (7, True), (8, False), (9, False), (40, False)])
def test_another_schedule_is_refused_where_it_changed_the_past(done, allowed):
    assert goes_on(Constant(), Halving(7), done, 50, 50) == allowed


def test_a_last_bit_of_another_machines_cosine_is_no_other_schedule():
    schedule = Cosine(3)
    factors = [schedule.factor(step, 50) * (1 + 2**-52) for step in probe_steps(30)]
    check_same_schedule(factors, 30, schedule, 50)


@pytest.mark.parametrize(("done", "steps"), [(0, [0]), (1, [0]), (2, [0, 1]), (7, [0, 1, 3, 6]), (8, [0, 1, 3, 7])])
def test_the_probes_are_steps_that_were_taken(done, steps):
    assert probe_steps(done) == steps


def test_changes_are_told_with_both_values():
    then = {"torch": "2.6", "threads": 2, "device": "cpu"}
    assert describe_changes(then, dict(then)) == ""
    assert describe_changes(then, {**then, "threads": 8, "new": 1}) == "threads was 2, is 8"
    assert describe_changes(then, {"torch": "2.9", "device": "H100"}) == (
        "torch was 2.6, is 2.9; device was cpu, is H100"
    )


def test_the_environment_tells_all_that_the_last_bits_depend_on():
    found = describe_environment(torch.device("cpu"), "bf16", 3)
    expected = {"srzoo": __version__, "torch": torch.__version__, "device": "cpu", "precision": "bf16", "processes": 3}
    assert found.items() >= expected.items()
    assert found["threads"] == torch.get_num_threads()
    assert {"instructions", "processor"} <= found.keys()
