"""The order of the systems: what holds, what is violated, what is left out."""

import json
import math

import pytest

from srzoo.benchmark.order import CHAIN, NEAR, TIE, check_order
from srzoo.benchmark.systems import SYSTEMS

GOOD = {
    "Bicubic": 33.66, "A+": 36.54, "SRCNN": 36.66, "VDSR": 37.53, "EDSR-baseline": 37.98, "EDSR-baseline+": 38.06,
    "MDSR-baseline": 37.95,
}  # fmt: skip
PLACE = ("Set5", 2)


def violated(**changed: float) -> list[str]:
    names = {key.replace("_", "-"): value for key, value in changed.items()}
    names = {("A+" if key == "Aplus" else key.replace("-plus", "+")): value for key, value in names.items()}
    check = check_order({PLACE: GOOD | names})
    assert not check.skipped
    assert check.passed is not bool(check.violated)
    return [f"{one.lower} {one.relation} {one.higher}" for one in check.violated]


def test_all_relations_are_checked_and_hold() -> None:
    check = check_order({PLACE: GOOD})
    assert [f"{one.lower} {one.relation} {one.higher}" for one in check.relations] == [
        "Bicubic < A+", "A+ <= SRCNN", "SRCNN < VDSR", "VDSR < EDSR-baseline",
        "EDSR-baseline < EDSR-baseline+", "EDSR-baseline ~ MDSR-baseline",
    ]  # fmt: skip
    assert check.passed
    assert not check.violated
    assert check.describe() == "6 of 6 relations could be checked, all hold"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"Bicubic": 36.6}, ["Bicubic < A+"]),
        ({"Aplus": 36.7}, ["A+ <= SRCNN"]),
        ({"SRCNN": 37.6}, ["SRCNN < VDSR"]),
        ({"VDSR": 38.0}, ["VDSR < EDSR-baseline"]),
        ({"EDSR_baseline_plus": 37.97}, ["EDSR-baseline < EDSR-baseline+"]),
        ({"MDSR_baseline": 37.98 - NEAR - 0.001}, ["EDSR-baseline ~ MDSR-baseline"]),
        ({"MDSR_baseline": 37.98 + NEAR + 0.001}, ["EDSR-baseline ~ MDSR-baseline"]),
        ({"MDSR_baseline": 37.98 + NEAR - 0.001}, []),
        ({"VDSR": 36.66 + TIE / 2}, ["SRCNN < VDSR"]),
        ({"VDSR": 36.66 + TIE * 2}, []),
        ({"Aplus": 36.66 + TIE / 2}, []),
        ({"Aplus": 36.66 + TIE * 2}, ["A+ <= SRCNN"]),
        ({"VDSR": math.nan}, ["SRCNN < VDSR", "VDSR < EDSR-baseline"]),
        ({"MDSR_baseline": math.nan}, ["EDSR-baseline ~ MDSR-baseline"]),
    ],
)
def test_a_violation_is_found(changed: dict[str, float], told: list[str]) -> None:
    assert violated(**changed) == told


def test_figures_of_a_violation_are_told() -> None:
    [one] = check_order({PLACE: GOOD | {"VDSR": 38.0}}).violated
    assert str(one) == "VIOLATED: Set5 x2: VDSR 38.000 < EDSR-baseline 37.980 (-0.020 dB)"


@pytest.mark.parametrize("absent", [name for name in GOOD if name != "Bicubic"])
def test_a_missing_system_is_said_and_its_neighbours_are_compared(absent: str) -> None:
    check = check_order({PLACE: {name: psnr for name, psnr in GOOD.items() if name != absent}})
    assert check.skipped == (f"not checked: {absent} (Set5 x2 has no score of it)",)
    assert check.passed
    chain = [one for one in check.relations if one.relation != "~" and one.higher != "EDSR-baseline+"]
    assert [one.lower for one in chain] + [chain[-1].higher] == [name for name in CHAIN if name != absent]


def test_neighbours_of_a_missing_system_may_not_tie() -> None:
    [one] = check_order({PLACE: {"A+": 36.5, "VDSR": 36.5}}).violated
    assert one.relation == "<"
    assert not check_order({PLACE: {"A+": 36.5, "SRCNN": 36.5}}).violated


def test_what_could_not_be_checked_is_counted() -> None:
    scores = {("Set5", scale): {"Bicubic": 30.0, "EDSR-baseline": 31.0, "MDSR-baseline": 31.0} for scale in (2, 3, 4)}
    told = "6 of 18 relations could be checked, all hold; without A+, SRCNN, VDSR, EDSR-baseline+"
    assert check_order(scores).describe() == told
    scores["Set5", 4] = {"Bicubic": 32.0, "EDSR-baseline": 31.0}
    told = "5 of 18 relations could be checked, 1 is violated; without A+, SRCNN, VDSR, EDSR-baseline+, MDSR-baseline"
    assert check_order(scores).describe() == told
    assert check_order({PLACE: {}}).describe().startswith("none of 6 relations could be checked; without Bicubic, A+")


def test_each_set_and_scale_is_checked_by_itself() -> None:
    check = check_order({PLACE: GOOD, ("Set5", 3): GOOD | {"VDSR": 30.0}, ("Set14", 2): {}})
    assert {(one.set, one.scale) for one in check.violated} == {("Set5", 3)}
    assert "not checked: VDSR (Set14 x2 has no score of it)" in check.skipped


def test_nothing_to_check_does_not_pass() -> None:
    assert not check_order({}).passed
    assert not check_order({PLACE: {"VDSR": 37.5}}).passed


def test_the_result_is_json_even_with_nan() -> None:
    told = json.loads(json.dumps(check_order({PLACE: GOOD | {"VDSR": math.nan}}).to_json(), allow_nan=False))
    assert told["passed"] is False
    assert [one["higher_psnr"] for one in told["relations"] if not one["holds"]] == [None, 37.98]


def test_published_figures_are_in_order() -> None:
    scores = {
        (name, scale): {s.name: row.psnr for s in SYSTEMS if (row := s.published(name, scale)) is not None}
        for name in ("Set5", "Set14", "B100", "Urban100", "DIV2K")
        for scale in (2, 3, 4)
    }
    check = check_order(scores)
    assert check.passed
    assert len(check.relations) == 15 * 4 + 3  # MDSR-baseline was published on DIV2K alone
