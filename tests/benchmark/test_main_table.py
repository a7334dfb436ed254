"""The paper's main table: measured, resumed, told as JSON and as a page."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_benchmarks import make_images, tiny

import srzoo
from srzoo.benchmark import benchmark, main_runs
from srzoo.benchmark.main_page import main_html, main_markdown
from srzoo.benchmark.main_runs import MainJob, kept_of, plan_main_table, run_main_table
from srzoo.benchmark.main_table import Cell, MainTable, Missing, SetFacts
from srzoo.benchmark.systems import Cost, pick_systems, registered_name

ROOT = Path(__file__).parents[2]
CELL = Cell(
    system="Bicubic", set="Set5", scale=2, model="bicubic_x2", license="", protocol="Y, 8-bit, border 2", psnr=33.678,
    ssim=0.93041, seconds=0.01, megapixels_per_second=5.0,
)  # fmt: skip
TABLE = MainTable(
    cells=(CELL, replace(CELL, system="VDSR", model="vdsr.photos", license="CC-BY-SA-4.0", psnr=37.4, ssim=0.958)),
    missing=(Missing(system="A+", scale=2, why="no weights"), Missing(system="EDSR+", scale=2, why="left out")),
    sets=(SetFacts(name="Set5", images=5, is_whole=True), SetFacts(name="B100", images=0, is_whole=False)),
    scales=(2,),
    costs=(Cost(variant="vdsr", scale=2, parameters=664704, gigamacs=612.6),),
    measured_with="srzoo 1; torch 2; cpu, 1 thread",
    command="srzoo benchmark --paper --data DIR",
)


@pytest.fixture(autouse=True)
def no_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes are counted in a test of their own."""
    monkeypatch.setattr(main_runs, "cost_of", lambda *_: None)


def plan(*given: Path, **options: Any) -> MainJob:
    return plan_main_table(given, device="cpu", **options)


def row_of(table: str, start: str) -> list[str]:
    [line] = [line for line in table.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.split("|")][1:-1]


def section(page: str, title: str) -> str:
    [part] = [part for part in page.split("\n## ") if part.startswith(title)]
    return part


def test_a_given_model_takes_the_place_of_the_zoos_with_and_without_ensemble(weights: Path, images: Path) -> None:
    job = plan(weights, sets=[str(images)], scales=[2], systems=["Bicubic", "EDSR-baseline", "EDSR-baseline+", "EDSR"])
    labels = {(unit.entry.label, unit.tta) for one in job.jobs for unit in one.units}
    assert labels == {("bicubic_x2", "none"), (str(weights), "none"), (str(weights), "x8")}
    rows: list[tuple[int, int]] = []
    table = run_main_table(job, progress=lambda done, total, row: rows.append((done, total)))
    assert rows == [(i, 9) for i in range(1, 10)]
    [plain, ensemble] = [table.cell(name, "tiny", 2) for name in ("EDSR-baseline", "EDSR-baseline+")]
    assert plain is not None
    assert ensemble is not None
    assert plain.psnr != ensemble.psnr
    [expected] = benchmark(weights, images, device="cpu", baseline=False).means
    assert plain.psnr == expected.psnr
    missing = {one.system: one.why for one in table.missing}
    assert missing["EDSR"] == "no weights"
    assert missing["VDSR"] == "left out"
    assert len(missing) == 15 - 3


def test_an_interrupted_table_goes_on(weights: Path, images: Path) -> None:
    def interrupt(done: int, total: int, row: object) -> None:
        if done == 4:
            raise KeyboardInterrupt

    options: dict[str, Any] = {"sets": [str(images)], "scales": [2], "systems": ["EDSR-baseline", "EDSR-baseline+"]}
    job = plan(weights, **options)
    with pytest.raises(KeyboardInterrupt):
        run_main_table(job, progress=interrupt)
    again = plan(weights, **options)
    kept = kept_of(again, main_runs.Journal())
    assert [sum(map(len, rows)) for rows in kept] == [3, 1]
    seen: list[tuple[int, int]] = []
    table = run_main_table(again, kept=kept, progress=lambda done, total, row: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]
    assert len(table.cells) == 2


def test_nan_is_told_and_violates_the_order(broken: Path, images: Path) -> None:
    table = run_main_table(plan(broken, sets=[str(images)], scales=[2], systems=["Bicubic", "EDSR-baseline"]))
    cell = table.cell("EDSR-baseline", "tiny", 2)
    assert cell is not None
    assert cell.nonfinite == ("a", "b", "c")
    [one] = table.order.violated
    assert math.isnan(one.higher_psnr)
    again = MainTable.from_json(json.loads(json.dumps(table.to_json(), allow_nan=False)))
    assert main_markdown(again) == main_markdown(table)
    assert "EDSR-baseline x2: NaN or infinity in a, b, c" in main_markdown(table)


def test_what_cannot_be_is_told(weights: Path, images: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    srzoo.save_model(tiny(), other)
    options: dict[str, Any] = {"sets": [str(images)], "scales": [2], "systems": ["EDSR-baseline"]}
    with pytest.raises(ValueError, match="are both edsr_baseline at x2; give one of them"):
        plan(weights, other, **options)
    with pytest.raises(ValueError, match="the table has scales 2, 3 and 4; 8 was given"):
        plan(sets=[str(images)], scales=[8], systems=["Bicubic"])
    with pytest.raises(ValueError, match="none of EDSR has weights at hand"):
        plan(sets=[str(images)], scales=[2], systems=["EDSR"])
    with pytest.raises(FileNotFoundError, match="Set14"):
        plan(sets=["Set14"], data=images, systems=["Bicubic"])
    with pytest.raises(FileNotFoundError, match="none of the paper's sets is at hand; Set5 was not found"):
        plan(data=images, systems=["Bicubic"])


def test_a_model_of_no_system_is_refused(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    srzoo.save_model(srzoo.create_model("bicubic_x2"), tmp_path / "b.safetensors")
    monkeypatch.setattr(main_runs, "SYSTEMS", pick_systems(["VDSR"]))
    with pytest.raises(ValueError, match=r"is bicubic_x2, which is no system of the table; those are vdsr"):
        plan(tmp_path / "b.safetensors", sets=[str(images)], scales=[2], systems=["Bicubic"])


def test_sets_that_are_not_at_hand_are_left_empty(tmp_path: Path, data_dir: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/Set5").symlink_to(data_dir / "bench/Set5")
    job = plan(data=tmp_path / "data", scales=[4], systems=["Bicubic"], limit=1)
    assert set(job.missing_sets) == {"Set14", "B100", "Urban100", "DIV2K"}
    table = run_main_table(job)
    assert [(one.name, one.images) for one in table.sets] == [
        ("Set5", 1), ("Set14", 0), ("B100", 0), ("Urban100", 0), ("DIV2K", 0),
    ]  # fmt: skip
    page = main_markdown(table)
    assert "## Urban100: not at hand" in page
    assert row_of(section(page, "Urban100"), "| EDSR+ ") == ["EDSR+", "26.86 / 0.8080"]
    assert str(tmp_path) not in page
    assert table.differences(pick_systems(["Bicubic"])[0], "Set5", 4) == (None, None)  # one image of five


def test_ours_published_and_the_difference() -> None:
    page = main_markdown(TABLE)
    part = section(page, "Set5")
    assert row_of(part, "| Bicubic ") == ["Bicubic", "33.68 / 0.9304", "33.66 / 0.9299", "+0.02 / +0.0005"]
    assert row_of(part, "| VDSR ") == ["VDSR", "37.40 / 0.9580", "37.53 / 0.9587 \\*", "-0.13 / -0.0007"]
    assert row_of(part, "| A+ ") == ["A+", "-", "36.54 / 0.9544 \\*", "-"]
    assert row_of(part, "| EDSR-baseline+ ") == ["EDSR-baseline+", "-", "-", "-"]
    overview = section(page, "PSNR")
    assert row_of(overview, "| Set5 ")[:5] == ["Set5", "x2", "ours", "33.68", "-"]
    assert row_of(overview, "| B100 ")[:5] == ["B100", "x2", "published", "29.56", "31.21"]
    assert row_of(section(page, "Size"), "| VDSR ") == [
        "VDSR", "664.7 k", "612.6", "5.00", "vdsr.photos", "CC-BY-SA-4.0",
    ]  # fmt: skip
    assert section(page, "Not measured").splitlines()[2:4] == ["- A+ x2: no weights", "- EDSR+ x2: left out"]
    told = (
        "1 of 6 relations could be checked, all hold; without A+, SRCNN, EDSR-baseline, EDSR-baseline+, MDSR-baseline"
    )
    assert f"\n{told}.\n" in section(page, "Order")
    assert f"**The order of the systems:** {told}; see below." in page
    assert "Timofte et al." in section(page, "Sources")


def test_ssim_of_another_kind_has_no_difference() -> None:
    cell = replace(CELL, set="DIV2K", psnr=31.0, ssim=0.9)
    table = replace(TABLE, cells=(cell,), sets=(SetFacts(name="DIV2K", images=100, is_whole=True),))
    part = section(main_markdown(table), "DIV2K")
    assert row_of(part, "| Bicubic ") == ["Bicubic", "31.00 / 0.9000", "31.01 / 0.9393", "-0.01"]
    assert "the difference has PSNR alone" in part


def test_a_violation_stands_out() -> None:
    table = replace(TABLE, cells=(CELL, replace(CELL, system="VDSR", psnr=33.0)))
    page = main_markdown(table)
    assert "**The order of the systems:** 1 of 6 relations could be checked, 1 is violated; without A+" in page
    assert "- **VIOLATED: Set5 x2: Bicubic 33.678 < VDSR 33.000 (-0.678 dB)**" in page


def test_html_is_one_page_without_marks_of_markdown() -> None:
    page = main_html(TABLE)
    assert page.startswith("<!doctype html>")
    assert "<td>37.53 / 0.9587 *</td>" in page
    assert "http" not in page.split("<style>")[0]
    assert "<script" not in page
    assert "**" not in page


def test_json_gives_the_same_table_and_anything_else_is_refused() -> None:
    told = json.loads(json.dumps(TABLE.to_json(), allow_nan=False))
    assert MainTable.from_json(told) == TABLE
    assert told["cells"][0]["published"]["psnr"] == 33.66
    assert told["cells"][0]["difference"] == pytest.approx([0.018, 0.00051])
    assert told["order"]["passed"] is True
    with pytest.raises(ValueError, match="this is no table of"):
        MainTable.from_json({"means": []})


def test_the_page_of_the_docs_is_what_its_results_give() -> None:
    results, page = ROOT / "docs/assets/paper_table.json", ROOT / "docs/reproduce.md"
    table = MainTable.from_json(json.loads(results.read_text(encoding="utf-8")))
    assert page.read_text(encoding="utf-8") == main_markdown(table), (
        "docs/reproduce.md is not of these results; write it anew: "
        "srzoo benchmark --paper --from docs/assets/paper_table.json -o docs/reproduce.md"
    )


def test_the_page_of_the_docs_is_of_the_bundled_weights() -> None:
    table = MainTable.from_json(json.loads((ROOT / "docs/assets/paper_table.json").read_text(encoding="utf-8")))
    stale: list[str] = []
    for cell in table.cells:
        [system] = pick_systems([cell.system])
        if "." not in cell.model or system.tta != "none":
            continue
        [row] = srzoo.model_info(cell.model).weights
        recorded = row.metrics.get(cell.set, {}).get(f"x{cell.scale}")
        if recorded is not None and abs(recorded - cell.psnr) > 0.005:
            stale.append(f"{cell.model} on {cell.set} x{cell.scale}: {cell.psnr:.3f}, recorded {recorded:.3f}")
    for one in table.missing:
        [system] = pick_systems([one.system])
        name = registered_name(system.variant, one.scale)
        if name is not None and (srzoo.model_info(name).weights or not srzoo.model_info(name).parameters):
            stale.append(f"{one.system} x{one.scale}: {one.why}, though {name} can be had")
    assert not stale, "docs/reproduce.md is of other weights; measure it anew: " + "; ".join(stale)


def test_images_of_a_users_folder_have_no_published_figures(tmp_path: Path) -> None:
    make_images(tmp_path / "mine", (36, 36))
    table = run_main_table(plan(sets=[str(tmp_path / "mine")], scales=[2], systems=["Bicubic"]))
    assert row_of(section(main_markdown(table), "mine"), "| Bicubic ")[2:] == ["-", "-"]
