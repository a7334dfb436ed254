import dataclasses
import json
import math

import pytest

from srzoo.train import Cosine, Halving, TrainConfig


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


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    found = (config.steps, config.batch_size, config.patch_size, config.lr, config.schedule, config.clip_norm)
    assert found == (300_000, 16, 48, 1e-4, Halving(200_000), None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("patch_size", -1),
        ("validate_every", 0),
        ("checkpoint_every", 0),
        ("log_every", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("precision", "int8"),
        ("ema_decay", 1.0),
        ("ema_decay", 0.0),
        ("clip_norm", 0.0),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(as_users_call, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; "):
        TrainConfig(**{name: value})


@pytest.mark.parametrize(("schedule", "name"), [(Halving, "every"), (Cosine, "warmup")])
def test_a_schedule_that_cannot_run_is_refused(schedule, name):
    with pytest.raises(ValueError, match=f"^{name} is -1; "):
        schedule(-1)


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_the_configuration_is_plain_json_with_the_schedule_named():
    config = TrainConfig(schedule=Cosine(warmup=10, final=0.1), ema_decay=None)
    values = json.loads(json.dumps(config.to_json()))
    assert values == config.to_json()
    assert values["schedule"] == {"kind": "Cosine", "warmup": 10, "final": 0.1}
    assert set(values) == {field.name for field in dataclasses.fields(TrainConfig)}


def test_where_and_how_often_things_are_written_is_not_part_of_the_trajectory():
    free = dict(device="cpu", validate_every=7, checkpoint_every=7, log_every=7, minutes=7.0)
    assert TrainConfig(**free).trajectory() == TrainConfig().trajectory()


@pytest.mark.parametrize(
    "change",
    [
        dict(steps=10),
        dict(batch_size=1),
        dict(patch_size=1),
        dict(lr=1e-3),
        dict(schedule=Halving(10)),
        dict(schedule=Cosine()),
        dict(clip_norm=1.0),
        dict(ema_decay=0.5),
        dict(precision="fp32"),
        dict(seed=1),
    ],
    ids=str,
)
def test_whatever_else_changes_the_trajectory(change):
    assert TrainConfig(**change).trajectory() != TrainConfig().trajectory()
