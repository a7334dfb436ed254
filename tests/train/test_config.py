import dataclasses
import json
import math
from types import MappingProxyType

import pytest

from srzoo.train import Constant, Cosine, Halving, Stepped, TrainConfig
from srzoo.train.config import HARMLESS


def test_the_defaults_are_the_papers():
    config = TrainConfig()
    found = (config.steps, config.batch_size, config.patch_size, config.lr, config.schedule, config.clip_norm)
    assert found == (300_000, 16, 48, 1e-4, Halving(200_000), None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("steps", 0),
        ("batch_size", 0),
        ("accumulate", 0),
        ("accumulate", 17),
        ("patch_size", -1),
        ("skip_window", 0),
        ("validate_every", 0),
        ("checkpoint_every", 0),
        ("keep_last", 0),
        ("log_every", 0),
        ("early_stop", 0),
        ("lr", 0.0),
        ("lr", math.nan),
        ("seed", -1),
        ("precision", "int8"),
        ("capture", "jit"),
        ("ema_decay", 1.0),
        ("ema_decay", 0.0),
        ("clip_norm", 0.0),
        ("skip_above", 1.0),
        ("skip_above", math.nan),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(as_users_call, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value!r}; "):
        TrainConfig(**{name: value})


@pytest.mark.parametrize("factor", [-1.0, -0.5])
def test_a_rate_below_0_is_refused_with_its_part(factor):
    with pytest.raises(ValueError, match=rf"^rates has {{'body': {factor}}}; a factor on lr is 0 \(frozen\) or more"):
        TrainConfig(rates={"head": 0.0, "body": factor})


def test_a_configuration_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainConfig().steps = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_the_configuration_is_plain_json_with_the_schedule_named():
    config = TrainConfig(schedule=Cosine(warmup=10, final=0.1), ema_decay=None, rates=MappingProxyType({"head": 0.5}))
    values = json.loads(json.dumps(config.to_json()))
    assert values == config.to_json()
    assert values["schedule"] == {"kind": "Cosine", "warmup": 10, "final": 0.1}
    assert values["rates"] == {"head": 0.5}
    assert set(values) == {field.name for field in dataclasses.fields(TrainConfig)}


OTHERS = dict(
    steps=7,
    batch_size=3,
    accumulate=2,
    patch_size=9,
    lr=1e-3,
    schedule=Cosine(warmup=3, final=0.5),
    rates={"body.*": 0.1},
    clip_norm=0.5,
    skip_above=2.0,
    skip_window=5,
    ema_decay=None,
    precision="bf16",
    device="cpu",
    capture="none",
    seed=3,
    validate_every=4,
    checkpoint_every=5,
    keep_last=6,
    log_every=8,
    minutes=1.5,
    early_stop=9,
)
"""A value of each setting that is not the default."""


@pytest.mark.parametrize("schedule", [Constant(), Halving(7), Stepped(7, by=0.2), Cosine(warmup=0)], ids=str)
def test_a_configuration_comes_back_from_its_json(schedule):
    config = TrainConfig(**{**OTHERS, "schedule": schedule})
    assert all(getattr(config, name) != getattr(TrainConfig(), name) for name in OTHERS)
    assert set(OTHERS) == {field.name for field in dataclasses.fields(TrainConfig)}
    assert TrainConfig.from_json(json.loads(json.dumps(config.to_json()))) == config


def test_settings_that_are_not_told_keep_their_defaults():
    assert TrainConfig.from_json({"steps": 5}) == TrainConfig(steps=5)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"batchsize": 4}, "TrainConfig has no setting 'batchsize'; did you mean 'batch_size'?"),
        ({"steps": 4, "patch": 4}, "TrainConfig has no setting 'patch'; did you mean 'patch_size'?"),
        ({"zzz": 4}, "TrainConfig has no setting 'zzz'; there are steps, batch_size, "),
        (
            {"schedule": {"kind": "Linear"}},
            "schedule is 'Linear'; known are Constant, Halving, Stepped, Cosine: give the object",
        ),
        ({"schedule": {"kind": "Halving", "evry": 2}}, "Halving has no setting 'evry'; did you mean 'every'?"),
        ({"steps": 0}, "steps is 0; it must be at least 1"),
    ],
)
def test_what_cannot_be_understood_is_refused_by_name(values, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole start is compared
        TrainConfig.from_json(values)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("name", sorted(HARMLESS))
def test_where_and_how_often_things_are_done_is_not_part_of_the_trajectory(name):
    assert TrainConfig(**{name: OTHERS[name]}).trajectory() == TrainConfig().trajectory()


@pytest.mark.parametrize("name", sorted(OTHERS.keys() - HARMLESS))
def test_whatever_else_changes_the_trajectory(name):
    assert TrainConfig(**{name: OTHERS[name]}).trajectory() != TrainConfig().trajectory()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"steps": "100"}, "steps is '100'; it must be a whole number"),
        ({"batch_size": 2.5}, "batch_size is 2.5; it must be a whole number"),
        ({"lr": math.inf}, "lr is inf; it must be a number"),
        ({"lr": None}, "lr is None; it must be a number"),
        ({"minutes": -1.0}, "minutes is -1.0; it must be 0 or more"),
        ({"rates": {"body": "0.1"}}, "the rate of 'body' is '0.1'; it must be a number"),
    ],
)
def test_what_is_no_number_is_refused_with_its_name(settings, told, as_users_call):
    with pytest.raises(ValueError, match=told):
        TrainConfig(**settings)
