"""The systems of the paper's main table, and which of them can be had."""

import dataclasses

import pytest
import torch

import srzoo
from srzoo.benchmark import systems
from srzoo.benchmark.systems import (
    NO_WEIGHTS,
    SYSTEMS,
    Cost,
    cost_of,
    method_of,
    pick_systems,
    registered_name,
    variant_of,
    why_missing,
)
from srzoo.registry import model_info


def test_the_columns_are_in_the_papers_order() -> None:
    assert [system.name for system in SYSTEMS] == [
        "Bicubic", "A+", "SRCNN", "FSRCNN", "ESPCN", "VDSR", "SRResNet", "EDSR-baseline", "MDSR-baseline", "EDSR",
        "MDSR", "EDSR-baseline+", "MDSR-baseline+", "EDSR+", "MDSR+",
    ]  # fmt: skip
    assert all((system.tta == "x8") == (system.name.endswith("+") and system.name != "A+") for system in SYSTEMS)


@pytest.mark.parametrize(
    ("name", "place", "told"),
    [
        ("SRResNet", ("Set5", 4), "32.05 / 0.8910"),
        ("SRResNet", ("DIV2K", 2), "34.40 / 0.9662"),  # table 2's, by L2 loss
        ("EDSR-baseline", ("DIV2K", 2), "34.55 / 0.9671"),
        ("EDSR-baseline", ("Set5", 2), "37.98 / 0.9604"),
        ("EDSR+", ("Urban100", 4), "26.86 / 0.8080"),
        ("FSRCNN", ("Set5", 3), "33.16 / 0.9140"),
        ("ESPCN", ("Set14", 4), "27.73"),
        ("ESPCN", ("Set5", 2), "None"),
        ("EDSR-baseline+", ("Set5", 2), "None"),
    ],
)
def test_published_figures_of_a_system(name: str, place: tuple[str, int], told: str) -> None:
    [system] = pick_systems([name])
    assert str(system.published(*place)) == told


def test_systems_are_picked_in_the_tables_order_and_unknown_ones_told() -> None:
    assert [system.name for system in pick_systems(["mdsr+", "Bicubic"])] == ["Bicubic", "MDSR+"]
    with pytest.raises(ValueError, match="'RCAN' is no system of the table; there are Bicubic, A\\+"):
        pick_systems(["RCAN"])
    with pytest.raises(ValueError, match="no system was given"):
        pick_systems([])


def test_names_of_the_registry() -> None:
    assert registered_name("bicubic", 3) == "bicubic_x3"
    assert registered_name("mdsr_baseline", 3) == "mdsr_baseline"
    assert registered_name("mdsr_baseline", 8) is None
    assert registered_name("nonsense", 2) is None
    assert [variant_of(name) for name in ("vdsr", "fsrcnn_small_x3", "mdsr")] == ["vdsr", "fsrcnn_small", "mdsr"]


def test_models_without_weights_are_missing_and_bicubic_needs_none() -> None:
    assert why_missing("bicubic_x2") == ""
    assert why_missing("mdsr_baseline") == ""
    assert why_missing("edsr_x4") == NO_WEIGHTS


def test_weights_of_the_hub_are_left_alone_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[bool] = []

    def open_model(name: str, *, local_files_only: bool) -> None:
        opened.append(local_files_only)

    monkeypatch.setattr(systems, "open_model", open_model)
    monkeypatch.setattr(systems, "place", lambda row: "hub")
    assert "--fetch" in why_missing("mdsr_baseline")
    assert opened == []
    assert why_missing("mdsr_baseline", fetch=True) == ""
    assert opened == [False]


def test_damaged_weights_are_told_and_not_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    info = model_info("mdsr_baseline")
    rows = tuple(dataclasses.replace(row, sha256="0" * 64) for row in info.weights)
    monkeypatch.setattr("srzoo.registry._pick_weights", lambda *_: rows[0])
    assert "is damaged" in why_missing("mdsr_baseline")


def test_size_and_work() -> None:
    assert cost_of("edsr_baseline", 2) == Cost(variant="edsr_baseline", scale=2, parameters=1369859, gigamacs=316.2)
    assert cost_of("nonsense", 2) is None
    cost = cost_of("srcnn", 3)
    assert cost is not None
    assert cost.parameters == 57281
    assert cost.gigamacs == pytest.approx(52.7, abs=0.2)  # 57,184 weights on 0.92 megapixels
    assert Cost.from_json(cost.to_json()) == cost


def test_a_broken_model_is_told_and_not_left_without_a_count(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pixels(torch.nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return lr * lr.sum().item()

    class Broken(torch.nn.Module):
        def forward(self, lr: torch.Tensor) -> torch.Tensor:
            return lr @ torch.empty(7, 7, device=lr.device)

    def with_part(part: torch.nn.Module):
        def create_model(name: str) -> srzoo.SRModel:
            model = srzoo.create_model(name)
            model.register_forward_pre_hook(lambda _, args: (part(args[0]), *args[1:]))
            return model

        return create_model

    monkeypatch.setattr(systems, "create_model", with_part(Pixels()))
    cost = cost_of("srcnn", 2)
    assert cost is not None
    assert cost.gigamacs is None
    monkeypatch.setattr(systems, "create_model", with_part(Broken()))
    with pytest.raises(RuntimeError):
        cost_of("srcnn", 2)


@pytest.mark.parametrize(
    ("name", "tta", "method"),
    [
        ("bicubic_x3", "none", "Bicubic"),
        ("edsr_x4", "none", "EDSR"),
        ("edsr_x4", "x8", "EDSR+"),
        ("edsr_x4", "flips", None),
        ("mdsr", "x8", "MDSR+"),
        ("mdsr", "none", "MDSR"),
        ("mdsr_baseline", "none", "MDSR baseline"),
        ("edsr_baseline_x2", "none", "EDSR baseline"),
        ("edsr_baseline_x2", "x8", None),
        ("vdsr", "none", "VDSR"),
        ("srcnn_x2", "none", "SRCNN"),
    ],
)
def test_models_of_the_zoo_have_their_column(name: str, tta: str, method: str | None) -> None:
    with torch.device("cpu" if name == "vdsr" else "meta"):  # its initialisation takes seconds on meta
        assert method_of(srzoo.create_model(name), tta) == method


def test_a_model_of_other_arguments_has_no_column() -> None:
    assert method_of(srzoo.create_model("mdsr_baseline", num_blocks=1)) is None
    assert method_of(srzoo.create_model("edsr_baseline_x2", res_scale=0.1)) is None  # which the name does not set
    assert method_of(srzoo.create_model("mdsr_baseline", scales=(2,))) == "MDSR baseline"
    assert method_of(srzoo.create_model("bicubic_x2", channels=1)) == "Bicubic"
    nameless = srzoo.create_model("bicubic_x2")
    nameless.name = ""
    assert method_of(nameless) is None
