import math
from dataclasses import dataclass, replace

import pytest
from train_stand_ins import CONFIG, Waves, plain_network

from srzoo.train import Constant, Cosine, Halving, Stepped, Trainer


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 1), (199_999, 1), (200_000, 0.5), (399_999, 0.5), (400_000, 0.25), (600_000, 0.125)]
)
def test_halving_is_the_papers_every_200_000_steps(step, factor):
    assert Halving().factor(step, 1_000_000) == factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.25), (1, 0.5), (3, 1), (4, 1), (6, 0.5 + math.sqrt(0.125)), (8, 0.5), (10, 0.5 - math.sqrt(0.125)), (12, 0)],
)
def test_cosine_climbs_in_a_line_to_one_then_falls_by_half_a_cosine(step, factor):
    assert Cosine(warmup=4).factor(step, 12) == pytest.approx(factor, abs=1e-12)


@pytest.mark.parametrize(("step", "factor"), [(4, 1), (8, 0.55), (12, 0.1)])
def test_cosine_ends_at_its_final_factor(step, factor):
    assert Cosine(warmup=4, final=0.1).factor(step, 12) == pytest.approx(factor, abs=1e-12)


def test_cosine_without_warm_up_starts_at_the_full_rate():
    assert Cosine(warmup=0).factor(0, 10) == 1


def test_constant_never_changes():
    assert {Constant().factor(step, steps) for step in (0, 10, 10**6) for steps in (1, 10**6)} == {1}


@pytest.mark.parametrize(("schedule", "name"), [(Halving, "every"), (Stepped, "every"), (Cosine, "warmup")])
def test_a_schedule_that_cannot_run_is_refused(schedule, name):
    with pytest.raises(ValueError, match=f"^{name} is -1; "):
        schedule(-1)


@pytest.mark.parametrize(("step", "factor"), [(0, 1), (9, 1), (10, 0.2), (19, 0.2), (20, 0.04), (30, 0.008)])
def test_stepped_multiplies_the_rate_again_and_again(step, factor):
    assert Stepped(10, by=0.2).factor(step, 40) == pytest.approx(factor)


@pytest.mark.parametrize("by", [0.0, 1.0, -0.1])
def test_a_factor_that_is_no_step_down_is_refused(by):
    with pytest.raises(ValueError, match=f"^by is {by}; it must lie between 0 and 1"):
        Stepped(10, by=by)


@dataclass(frozen=True)
class Steps:
    """A schedule of the user's own."""

    def factor(self, step: int, steps: int) -> float:
        return 1 / (1 + step)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Constant(), [1] * 6),
        (Halving(2), [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (Cosine(warmup=2), [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
        (Steps(), [1, 1 / 2, 1 / 3, 1 / 4, 1 / 5, 1 / 6]),
    ],
    ids=str,
)
def test_each_step_runs_at_the_rate_of_the_schedule(schedule, factors):
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, schedule=schedule))
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda adam, *_: rates.append(float(adam.param_groups[0]["lr"])))
    trainer.fit()
    assert rates == pytest.approx([CONFIG.lr * factor for factor in factors])


def test_a_schedule_given_apart_takes_the_place_of_the_configurations():
    config = replace(CONFIG, schedule=Halving(2))
    trainer = Trainer(plain_network(), Waves(), config, schedule=Cosine(warmup=2))
    same = Trainer(plain_network(), Waves(), replace(CONFIG, schedule=Cosine(warmup=2)))
    assert trainer.config == same.config
    assert trainer.recipe()["config"]["schedule"] == {"kind": "Cosine", "warmup": 2, "final": 0.0}
