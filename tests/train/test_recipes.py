import json

import pytest

import srzoo
from srzoo.train import RECIPES, Adam, Halving, TrainConfig, find_recipe, suggest_config

PAPER = ("edsr_baseline", "edsr", "mdsr_baseline", "mdsr")


@pytest.mark.parametrize("name", PAPER)
def test_the_constants_are_the_papers(name):
    """Section 5.2 and table 1: 16 patches of 48 LR pixels, Adam with its defaults, 1e-4 halved every 200,000 steps."""
    recipe = find_recipe(name)
    config = recipe.config
    assert (config.batch_size, config.patch_size, config.lr) == (16, 48, 1e-4)
    assert (config.schedule, config.steps) == (Halving(200_000), 600_000)
    assert (config.ema_decay, config.clip_norm) == (None, None)
    assert recipe.optimizer == Adam(betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    assert recipe.loss == srzoo.train.L1()


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_for_models_that_exist(name):
    recipe = RECIPES[name]
    assert recipe.name == name
    assert recipe.models
    for pattern in recipe.models:
        assert srzoo.list_models(pattern)


def test_every_trainable_model_of_the_papers_has_a_recipe():
    covered = {model for name in PAPER for pattern in RECIPES[name].models for model in srzoo.list_models(pattern)}
    assert covered == {*srzoo.list_models("edsr*"), *srzoo.list_models("mdsr*")}


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_plain_json_whose_configuration_comes_back(name):
    told = json.loads(json.dumps(RECIPES[name].to_json()))
    assert TrainConfig.from_json(told["config"]) == RECIPES[name].config
    assert told["loss"]["kind"] == "L1"
    assert told["optimizer"]["kind"] == "Adam"
    assert all(told[key] for key in ("name", "title", "models", "start", "data", "source", "reached"))


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("edsr_baselin", "there is no recipe 'edsr_baselin'; did you mean 'edsr_baseline'?"),
        ("mdrs", "there is no recipe 'mdrs'; did you mean 'mdsr'?"),
        ("zzz", "there is no recipe 'zzz'; there are edsr_baseline, edsr, mdsr_baseline, mdsr, two_cores"),
    ],
)
def test_a_recipe_that_is_not_there_is_told_with_the_nearest(name, told):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole message is compared
        find_recipe(name)
    assert str(caught.value) == told


@pytest.mark.parametrize("on_gpu", [False, True])
def test_more_images_are_trained_on_for_longer_and_a_gpu_takes_more_at_a_time(on_gpu):
    few, some, many = (suggest_config(count, on_gpu=on_gpu) for count in (10, 100, 1000))
    assert few.steps < some.steps < many.steps
    assert few.lr < many.lr
    assert {config.batch_size for config in (few, some, many)} == {16 if on_gpu else 4}


def test_a_network_that_knows_nothing_yet_is_trained_for_longer_at_a_higher_rate():
    fresh, learnt = (suggest_config(100, on_gpu=False, learnt=learnt) for learnt in (False, True))
    assert fresh.steps > learnt.steps
    assert fresh.lr > learnt.lr


@pytest.mark.parametrize("steps", [1, 7, 100, 2_000, 100_000])
def test_any_number_of_steps_is_warmed_up_for_and_logged_and_validated_within_reason(steps):
    config = suggest_config(100, on_gpu=False, steps=steps)
    assert config.steps == steps
    for every, least in ((config.validate_every, 20), (config.log_every, 5)):
        assert least <= every <= max(least, steps / 8)  # neither all the time nor only at the end
    assert config.checkpoint_every <= config.validate_every  # the best so far is never far from a checkpoint
    factors = [config.schedule.factor(step, steps) for step in range(0, steps, max(1, steps // 100))]
    assert max(factors) > 0.9
    if steps > 1:
        assert config.schedule.factor(steps, steps) < 0.01
