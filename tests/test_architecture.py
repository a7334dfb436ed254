from collections.abc import Sequence

import pytest

from srzoo.models.edsr import ARCH as EDSR_ARCH
from srzoo.models.edsr import EDSR
from srzoo.models.mdsr import ARCH as MDSR_ARCH
from srzoo.models.mdsr import MDSR


def edsr(scale: int) -> EDSR:
    return EDSR(scale=scale, width=4, num_blocks=1)


def mdsr(scales: Sequence[int]) -> MDSR:
    return MDSR(scales=scales, width=4, num_blocks=1)


def test_a_single_scale_model_runs_at_its_own_scale_named_or_not():
    assert (edsr(3).check_scale(None), edsr(3).check_scale(3)) == (3, 3)


def test_a_multi_scale_model_runs_at_each_of_its_scales():
    assert [mdsr((2, 4)).check_scale(scale) for scale in (2, 4)] == [2, 4]


def test_a_scale_that_is_not_offered_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match=r"^scale 3 was given; MDSR offers 2, 4$"):
        mdsr((2, 4)).check_scale(3)


def test_a_model_of_several_scales_asks_for_one():
    with pytest.raises(ValueError, match=r"^no scale was given; MDSR offers 2, 4$"):
        mdsr((2, 4)).check_scale(None)


def test_a_model_of_the_zoo_is_called_by_its_name_in_errors():
    model = edsr(2)
    model.name = "edsr_baseline_x2"
    with pytest.raises(ValueError, match="edsr_baseline_x2 offers 2"):
        model.check_scale(5)


def test_single_scale_families_name_each_variant_at_each_scale():
    names = EDSR_ARCH.model_names()
    assert set(names) == {f"{variant}_x{scale}" for variant in ("edsr", "edsr_baseline") for scale in (2, 3, 4, 8)}
    assert names["edsr_baseline_x3"] == {"width": 64, "num_blocks": 16, "scale": 3}


def test_multi_scale_families_name_each_variant_once():
    assert MDSR_ARCH.model_names()["mdsr"] == {"num_blocks": 80, "scales": (2, 3, 4)}
    assert set(MDSR_ARCH.model_names()) == {"mdsr", "mdsr_baseline"}
