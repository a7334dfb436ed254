import math
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch

import srzoo
from srzoo.catalog import catalog
from srzoo.upscaling.stages import Networks, Sisters, chain

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


@pytest.mark.parametrize(
    ("factor", "expected"),
    [(4, (4,)), (6, (2, 3)), (8, (2, 4)), (9, (3, 3)), (16, (4, 4)), (32, (2, 4, 4)), (64, (4, 4, 4))],
)
def test_a_name_takes_its_sisters(factor: int, expected: tuple[int, ...]) -> None:
    for name in ("edsr_baseline_x4", "edsr_baseline_x4.photos"):
        stages = Networks.of(name, CPU).stages(factor)
        assert tuple(stage.scale for stage in stages) == expected
        assert [stage.model.name for stage in stages] == [f"edsr_baseline_x{scale}" for scale in expected]
        assert {stage.model.origin.name for stage in stages if stage.model.origin} == {
            f"edsr_baseline_x{scale}.photos" for scale in expected
        }


def test_a_multi_scale_model_follows_itself() -> None:
    model = tiny("mdsr_baseline")
    networks = Networks.of(model, CPU)
    stages = networks.stages(24)
    assert [stage.scale for stage in stages] == [2, 3, 4]
    assert all(stage.model is model for stage in stages)
    assert networks.tell(24) == "x24 by mdsr_baseline x2, then mdsr_baseline x3, then mdsr_baseline x4"
    assert networks.tell(4) is None


def test_a_model_that_is_no_name_follows_itself_alone() -> None:
    networks = Networks.of(tiny(), CPU)
    assert networks.factors == (2, 4, 8, 16, 32, 64)
    with pytest.raises(ValueError, match=r"scale 6 was given; edsr_baseline_x2 offers 2, 4, 8.*give a list of models"):
        networks.stages(6)


def test_a_native_scale_comes_before_a_cascade() -> None:
    model = tiny("edsr_baseline_x8")
    assert [stage.model for stage in Networks.of(model, CPU).stages(8)] == [model]
    assert [stage.scale for stage in Networks.of(model, CPU).stages(64)] == [8, 8]


def test_a_list_is_run_in_its_order() -> None:
    four, two = tiny("edsr_baseline_x4"), tiny()
    networks = Networks.of([four, two], CPU)
    assert networks.check_scale(None) == 8
    assert [stage.model for stage in networks.stages(8)] == [four, two]
    with pytest.raises(ValueError, match="scale 16 was given; the models after each other make 8"):
        networks.check_scale(16)
    networks = Networks.of([tiny("mdsr_baseline"), two], CPU)
    assert networks.factors == (4, 6, 8)
    assert [stage.scale for stage in networks.stages(6)] == [3, 2]
    with pytest.raises(ValueError, match="no scale was given; the models after each other make 4, 6, 8"):
        networks.check_scale(None)


def test_what_the_model_does_not_make_is_made_by_its_sister() -> None:
    networks = Networks.of("edsr_baseline_x2", CPU)
    assert networks.factors[:6] == (2, 3, 4, 6, 8, 9)
    for factor in (3, 4):
        (stage,) = networks.stages(factor)
        assert (stage.scale, stage.model.name) == (factor, f"edsr_baseline_x{factor}")
        assert networks.check_scale(factor) == factor
        assert networks.tell(factor) == f"x{factor} by edsr_baseline_x{factor}"
        assert not networks.is_alone(factor)
    assert networks.is_alone(2)
    assert [stage.model.name for stage in Networks.of("bicubic_x4", CPU).stages(8)] == ["bicubic_x8"]


def test_a_size_takes_the_model_as_long_as_it_is_enough() -> None:
    networks = Networks.of("edsr_baseline_x2", CPU)
    assert networks.factors_for(1.5) == networks.factors_for(2.01) == (2,)
    assert networks.factors_for(2.03)[:4] == networks.factors_for(2.5)[:4] == (2, 3, 4, 6)
    networks = Networks.of("edsr_baseline_x4", CPU)
    assert networks.factors_for(2.5) == (4,)
    with pytest.raises(ValueError, match=r"scale 3 was given; edsr_baseline_x4 offers 4$"):
        networks.check_scale(3)


@pytest.mark.parametrize(
    ("name", "scale", "expected"),
    [
        ("edsr_baseline_x4", 8, ("x2.jpeg", "x4.photos")),
        ("edsr_baseline_x2", 2, ("x2.jpeg",)),
        ("edsr_baseline_x2", 4, ("x4.jpeg",)),
        ("edsr_baseline_x4", 12, ("x4.jpeg", "x3.photos")),  # of x3 there are none, as a first network
        ("edsr_baseline_x4", 64, ("x4.jpeg", "x4.photos", "x4.photos")),
        ("mdsr_baseline", 16, (".jpeg", ".photos")),
    ],
)
def test_weights_for_photographs_are_the_first_network_alone(
    name: str, scale: int, expected: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for family, models in {"edsr": ("edsr_baseline_x2", "edsr_baseline_x4"), "mdsr": ("mdsr_baseline",)}.items():
        arch = catalog().families[family]
        more = [replace(row, tag="jpeg") for row in arch.weights if row.model in models]
        monkeypatch.setitem(catalog().families, family, replace(arch, weights=(*arch.weights, *more)))
    networks = Networks.of(f"{name}.jpeg", CPU)
    made = [stage.model.origin.name for stage in networks.stages(scale) if stage.model.origin]
    assert made == [f"{name.rstrip('24').rstrip('x')}{one}" for one in expected]
    assert {one.split()[0] for one in networks.identify()} >= {one for one in made if not one.endswith("jpeg")}


@pytest.mark.parametrize("scale", [5, 7, 10, 65, 128])
def test_what_no_product_makes_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=rf"scale {scale} was given; edsr_baseline_x4 offers 4, 6, 8, 9.* 54, 64$"):
        Networks.of("edsr_baseline_x4", CPU).check_scale(scale)


def test_a_sister_without_weights_is_named() -> None:
    model = tiny("edsr_baseline_x4")
    sisters = Sisters.of("edsr_baseline_x4.mine", model)
    assert sisters.there == {}
    assert "edsr_baseline_x2.mine" in sisters.missing
    networks = Networks([model], Sisters({4: "edsr_baseline_x4.mine"}, ["edsr_baseline_x2.mine"]))
    with pytest.raises(ValueError, match=r"scale 8 was given; .* offers 4, 16, 64; there are no weights .*x2\.mine"):
        networks.check_scale(8)
    with pytest.raises(ValueError, match=r"offers 4, 16, 64$"):
        networks.check_scale(5)


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
        Networks.of(given, CPU).check_scale(None)
