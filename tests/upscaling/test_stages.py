import math
from itertools import product
from typing import Any

import pytest
import torch

import srzoo
from srzoo.upscaling.stages import Family, chain, find_siblings, products, tell

CPU = torch.device("cpu")


def tiny(name: str = "edsr_baseline_x2", **overrides: Any) -> srzoo.SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1, **overrides).eval()


@pytest.mark.parametrize("scales", [(2,), (3,), (4,), (2, 4), (2, 3, 4), (2, 3, 4, 8)])
def test_chains_are_the_fewest_networks_and_none_is_left_out(scales: tuple[int, ...]) -> None:
    fewest: dict[int, int] = {}
    for number in range(1, 7):
        for combination in product(scales, repeat=number):
            fewest.setdefault(math.prod(combination), number)
    for factor in range(2, 65):
        found = chain(factor, scales)
        assert (found is None) == (factor not in fewest)
        if found is not None:
            assert math.prod(found) == factor
            assert set(found) <= set(scales)
            assert len(found) == fewest[factor]
    assert products(scales) == tuple(sorted(factor for factor in fewest if factor <= 64))


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(4, (4,)), (6, (2, 3)), (8, (2, 4)), (9, (3, 3)), (16, (4, 4)), (32, (2, 4, 4)), (64, (4, 4, 4))],
)
def test_a_name_takes_its_siblings(factor: int, expected: tuple[int, ...]) -> None:
    for name in ("edsr_baseline_x4", "edsr_baseline_x4.photos"):
        stages = Family.of(name, CPU).stages(factor)
        assert tuple(stage.scale for stage in stages) == expected
        assert [stage.model.name for stage in stages] == [f"edsr_baseline_x{scale}" for scale in expected]
        assert {stage.model.origin.name for stage in stages if stage.model.origin} == {
            f"edsr_baseline_x{scale}.photos" for scale in expected
        }


def test_a_multi_scale_model_follows_itself() -> None:
    model = tiny("mdsr_baseline")
    stages = Family.of(model, CPU).stages(24)
    assert [stage.scale for stage in stages] == [2, 3, 4]
    assert all(stage.model is model for stage in stages)
    assert tell(stages) == "x24 by mdsr_baseline x2, then mdsr_baseline x3, then mdsr_baseline x4"
    assert tell(stages[:1]) is None


def test_a_model_that_is_no_name_follows_itself_alone() -> None:
    family = Family.of(tiny(), CPU)
    assert family.factors == (2, 4, 8, 16, 32, 64)
    with pytest.raises(ValueError, match=r"scale 6 was given; edsr_baseline_x2 offers 2, 4, 8.*give a list of models"):
        family.stages(6)


def test_a_native_scale_comes_before_a_cascade() -> None:
    model = tiny("edsr_baseline_x8")
    assert [stage.model for stage in Family.of(model, CPU).stages(8)] == [model]
    assert [stage.scale for stage in Family.of(model, CPU).stages(64)] == [8, 8]


def test_a_list_is_run_in_its_order() -> None:
    four, two = tiny("edsr_baseline_x4"), tiny()
    family = Family.of([four, two], CPU)
    assert family.check_scale(None) == 8
    assert [stage.model for stage in family.stages(8)] == [four, two]
    with pytest.raises(ValueError, match="scale 16 was given; the models after each other make 8"):
        family.check_scale(16)
    family = Family.of([tiny("mdsr_baseline"), two], CPU)
    assert family.factors == (4, 6, 8)
    assert [stage.scale for stage in family.stages(6)] == [3, 2]
    with pytest.raises(ValueError, match="no scale was given; the models after each other make 4, 6, 8"):
        family.check_scale(None)


def test_only_factors_above_one_networks_take_several() -> None:
    family = Family.of("edsr_baseline_x2", CPU)
    assert family.most == 4
    assert family.factors_for(2.5) == (2,)
    assert family.factors_for(4.03) == (2,)
    assert family.factors_for(4.1)[:4] == (2, 6, 8, 9)
    with pytest.raises(ValueError, match=r"scale 3 was given; edsr_baseline_x2 offers 2$"):
        family.check_scale(3)


@pytest.mark.parametrize("scale", [5, 7, 10, 65, 128])
def test_what_no_product_makes_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=rf"scale {scale} was given; edsr_baseline_x4 offers 4, 6, 8, 9.* 54, 64$"):
        Family.of("edsr_baseline_x4", CPU).check_scale(scale)


def test_a_sibling_without_weights_is_named() -> None:
    model = tiny("edsr_baseline_x4")
    there, missing = find_siblings("edsr_baseline_x4.mine", model)
    assert there == {}
    assert "edsr_baseline_x2.mine" in missing
    family = Family([model], {4: "edsr_baseline_x4.mine"}, ["edsr_baseline_x2.mine"])
    with pytest.raises(ValueError, match=r"scale 8 was given; .* offers 4, 16, 64; there are no weights .*x2\.mine"):
        family.check_scale(8)
    with pytest.raises(ValueError, match=r"offers 4, 16, 64$"):
        family.check_scale(5)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], "the list of models is empty"),
        ([tiny(), tiny(channels=1)], "take edsr_baseline_x2 3, edsr_baseline_x2 1"),
        ([tiny("edsr_baseline_x8"), tiny("edsr_baseline_x8"), tiny()], "make 128, and 64 is the most"),
    ],
)
def test_lists_that_cannot_be_run_are_refused(given: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Family.of(given, CPU).check_scale(None)
