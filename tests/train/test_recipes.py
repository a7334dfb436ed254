import json

import pytest
import torch

import srzoo
from srzoo.data.presets import PRESETS
from srzoo.train import (
    MSE,
    RECIPES,
    SGD,
    Adam,
    Constant,
    Halving,
    Stepped,
    Timm,
    TrainConfig,
    find_recipe,
    parameter_groups,
    suggest_config,
)
from srzoo.train.recipes import check_recipe

PAPER = ("edsr_baseline", "edsr", "mdsr_baseline", "mdsr")
OLDER = ("srcnn", "fsrcnn", "espcn", "vdsr", "srresnet_l2", "srresnet_l1")


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


def test_every_trainable_model_of_the_papers_has_its_papers_recipe():
    names = (*PAPER, *OLDER)
    covered = {model for name in names for pattern in RECIPES[name].models for model in srzoo.list_models(pattern)}
    families = ("edsr", "mdsr", "srcnn", "fsrcnn", "espcn", "vdsr", "srresnet")
    assert covered == {model for family in families for model in srzoo.list_models(f"{family}*")}


@pytest.mark.parametrize("name", [name for name in RECIPES if RECIPES[name].config.rates])
def test_the_rates_of_a_recipe_name_a_part_of_each_of_its_models(name):
    recipe = RECIPES[name]
    for pattern in recipe.models:
        for model in srzoo.list_models(pattern):
            groups = parameter_groups(srzoo.create_model(model), recipe.config.rates, recipe.config.lr)
            assert [group["lr"] for group in groups] == pytest.approx([recipe.config.lr, 0.1 * recipe.config.lr])


@pytest.mark.parametrize(
    ("name", "side", "rate"),
    [("srcnn", 21, 1e-4), ("fsrcnn", 19, 1e-3), ("vdsr", 41, 0.1)],
)
def test_losses_and_rates_are_those_of_the_papers_which_halve_the_sum_of_squares(name, side, rate):
    """Caffe's loss is half the sum over the values of a sub-image, and the mean over the batch."""
    recipe = RECIPES[name]
    luma, wanted = torch.rand(2, 3, 1, side, side).unbind(0)
    half_sums = (luma - wanted).square().sum((1, 2, 3)) / 2
    torch.testing.assert_close(recipe.loss(luma, wanted), half_sums.mean())
    colours = [image.expand(-1, 3, -1, -1) for image in (luma, wanted)]
    torch.testing.assert_close(recipe.loss(*colours), half_sums.mean() * (219 / 255) ** 2)
    assert recipe.config.lr == rate


def test_the_two_networks_of_caffe_are_trained_by_plain_sgd_at_one_rate():
    for name in ("srcnn", "fsrcnn"):
        assert RECIPES[name].optimizer == SGD(momentum=0.9)
        assert RECIPES[name].config.schedule == Constant()


def test_the_steps_of_vdsr_are_a_tenth_every_20_of_80_epochs():
    config = RECIPES["vdsr"].config
    assert (config.steps, config.batch_size, config.lr) == (9_960, 64, 0.1)
    assert config.schedule == Stepped(2_490, by=0.1)
    factors = [config.schedule.factor(step, config.steps) for step in (0, 2_489, 2_490, 4_980, 7_470, 9_959)]
    assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.001, 0.001])
    assert RECIPES["vdsr"].optimizer == SGD(momentum=0.9, weight_decay=1e-4)


def test_espcn_comes_down_from_a_hundredth_to_a_ten_thousandth():
    config = RECIPES["espcn"].config
    rates = [config.lr * config.schedule.factor(step, config.steps) for step in (0, config.steps)]
    assert rates == pytest.approx([1e-2, 1e-4])
    assert config.patch_size == 17


def test_srresnet_differs_between_its_recipes_as_the_papers_do():
    squares, absolute = (RECIPES[f"srresnet_{name}"] for name in ("l2", "l1"))
    assert (squares.config.steps, squares.config.batch_size, squares.config.patch_size) == (1_000_000, 16, 24)
    assert (squares.config.lr, squares.config.schedule, squares.loss) == (1e-4, Constant(), MSE())
    assert absolute.config == RECIPES["edsr_baseline"].config
    assert absolute.loss == srzoo.train.L1()


def test_quick_recipes_are_those_of_two_cores_by_adamuon():
    for name in ("muon", "jpeg", "luma"):
        config = RECIPES[name].config
        assert (config.batch_size, config.patch_size, config.ema_decay) == (4, 48, 0.998)
        assert RECIPES[name].optimizer == Timm("adamuon")


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_plain_json_whose_configuration_comes_back(name):
    told = json.loads(json.dumps(RECIPES[name].to_json()))
    assert TrainConfig.from_json(told["config"]) == RECIPES[name].config
    assert told["loss"]["kind"] in ("L1", "MSE", "OnLuma", "WeightedSum")
    assert told["optimizer"]["kind"] in ("Adam", "SGD", "Timm")
    assert all(told[key] for key in ("name", "title", "models", "start", "data", "degradation", "source", "reached"))


def test_a_recipe_makes_lr_images_by_a_preset_there_is():
    assert {recipe.degradation for recipe in RECIPES.values()} <= set(PRESETS)
    assert {name for name, recipe in RECIPES.items() if recipe.degradation != "bicubic"} == {"jpeg"}


def test_a_recipe_for_other_models_is_refused_and_those_that_fit_are_told():
    for recipe in RECIPES.values():
        for pattern in recipe.models:
            for model in srzoo.list_models(pattern):
                check_recipe(recipe, model)
    with pytest.raises(ValueError, match=r"the recipe srcnn is for srcnn_x\*; for vdsr there are vdsr, vdsr_luma"):
        check_recipe(RECIPES["srcnn"], "vdsr")
    with pytest.raises(ValueError, match="there is none for mine: give its settings"):
        check_recipe(RECIPES["srcnn"], "mine")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("edsr_baselin", "there is no recipe 'edsr_baselin'; did you mean 'edsr_baseline'?"),
        ("mdrs", "there is no recipe 'mdrs'; did you mean 'mdsr'?"),
        ("zzz", f"there is no recipe 'zzz'; there are {', '.join(RECIPES)}"),
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
