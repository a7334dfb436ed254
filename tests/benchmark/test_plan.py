"""Everything is found and checked before anything runs."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tiny_benchmarks import make_images, tiny

from srzoo.benchmark.plan import Job, Settings, plan_benchmark
from srzoo.data.benchmarks import find_set
from srzoo.distributed import World
from srzoo.registry import create_model


def plan(models: Any, sets: Any, **options: Any) -> Job:
    fields = Settings.__dataclass_fields__
    settings = Settings(**{key: value for key, value in options.items() if key in fields})
    rest = {key: value for key, value in options.items() if key not in fields}
    return plan_benchmark(models, sets, settings=settings, device="cpu", **rest)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"tta": "x4"}, "tta is 'x4'; allowed are none, flips, x8"),
        ({"protocol": "y"}, "protocol is 'y'; allowed are paper, rgb, y-rounded"),
        ({"path": "grey"}, "path is 'grey'; allowed are rgb, luma"),
        ({"tile": 0}, "tile is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"path": "luma", "protocol": "rgb"}, "path luma has none"),
    ],
)
def test_settings_that_cannot_be_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Settings(**values)


def test_every_problem_of_a_set_is_told_before_anything_runs(images: Path) -> None:
    (images / "b.png").write_bytes((images / "b.png").read_bytes()[:100])
    Image.new("RGB", (8, 8)).save(images / "small.png")
    with pytest.raises(ValueError, match="2 problems") as told:
        plan(tiny(), images)
    assert "b.png" in str(told.value)
    assert "small" in str(told.value)


def test_a_set_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Set5"):
        plan(tiny(), "Set5", data=tmp_path)


def test_what_is_wrong_with_any_set_is_told_at_once(images: Path, tmp_path: Path) -> None:
    other = make_images(tmp_path / "other", (36, 36))
    for folder in (images, other):
        (folder / "a.png").write_bytes(b"none")
    with pytest.raises(ValueError, match="a problem") as told:
        plan(tiny(), [images, other])
    assert str(images) in str(told.value)
    assert str(other) in str(told.value)
    with pytest.raises(FileNotFoundError, match="2 sets cannot be scored") as told:
        plan(tiny(), ["Set5", images, "nonsense", "nonsense"], data=tmp_path)
    assert "Set5 was not found" in str(told.value)
    assert str(told.value).count("nonsense is neither") == 1


def test_sets_and_models_may_come_from_a_generator(images: Path) -> None:
    job = plan((tiny(scale) for scale in (2, 3)), (folder for folder in [images]), scales=iter([2, 3]), fetch=True)
    assert [unit.entry.label for unit in job.units if not unit.entry.is_baseline] == [
        "edsr_baseline_x2",
        "edsr_baseline_x3",
    ]


def test_images_that_are_cropped_are_named(images: Path) -> None:
    job = plan([tiny(), tiny(3)], images)
    assert job.cropped == (("tiny", 2, ("b",)), ("tiny", 3, ("b",)))
    assert plan(tiny(), images, limit=1).cropped == ()


def test_no_set_and_two_sets_of_one_name_are_refused(images: Path, tmp_path: Path) -> None:
    other = make_images(tmp_path / "other/tiny", (36, 36))
    with pytest.raises(ValueError, match="two sets have the same name"):
        plan(tiny(), [images, other])
    with pytest.raises(ValueError, match="no set was given"):
        plan(tiny(), [])


def test_the_plan_in_one_line(images: Path) -> None:
    job = plan([tiny(), tiny(3)], images, tta="flips")
    assert job.num_images == 12
    line = job.describe()
    assert line.startswith(
        "edsr_baseline_x2, edsr_baseline_x3 on tiny at x2, x3; 12 images with bicubic's; protocol Y, "
    )
    assert line.endswith("tta flips; cpu")


def test_bicubic_is_run_without_ensemble(images: Path) -> None:
    job = plan(tiny(), images, tta="x8")
    assert [(unit.entry.label, unit.tta) for unit in job.units] == [("bicubic_x2", "none"), ("edsr_baseline_x2", "x8")]


def test_the_protocol_is_the_sets_own_or_the_one_asked_for(images: Path) -> None:
    def rules(**options: Any) -> list[str]:
        return [str(unit.rule) for unit in plan(tiny(), images, baseline=False, **options).units]

    assert rules() == ["Y, 8-bit, border 2"]
    assert rules(protocol="rgb") == ["RGB, 8-bit, border 2"]
    assert rules(protocol="y-rounded") == ["Y rounded, 8-bit, border 2"]
    div2k = find_set(str(images))
    div2k.protocol = "div2k"
    assert [str(Settings(protocol=name).rule(div2k)(4)) for name in ("paper", "rgb")] == [
        "RGB, 8-bit, border 10",
        "RGB, 8-bit, border 4",
    ]


def test_a_set_scored_on_rgb_does_not_go_with_luma(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    div2k = find_set(str(images), path="luma")
    div2k.protocol = "div2k"
    monkeypatch.setattr("srzoo.benchmark.plan.find_set", lambda *_, **__: div2k)
    with pytest.raises(ValueError, match="tiny is scored on RGB, and path luma has none"):
        plan("bicubic_x2", images, path="luma")


def test_a_key_changes_with_all_that_a_row_depends_on(images: Path) -> None:
    model = tiny()

    def keys(given: Any = model, **options: Any) -> set[str]:
        return {unit.key for unit in plan(given, images, baseline=False, **options).units}

    first = keys()
    assert keys() == first
    assert keys(limit=1) == first  # rows of the images that are left are the same
    scaled = create_model("edsr_baseline_x2", width=4, num_blocks=1, res_scale=0.5).eval()
    scaled.load_state_dict(model.state_dict())
    others = [keys(tta="flips"), keys(protocol="rgb"), keys(tile=8), keys(tiny(3)), keys(tiny()), keys(scaled)]
    on_luma = [keys("bicubic_x2", path=path) for path in ("rgb", "luma")]
    assert on_luma[0] != on_luma[1]
    for part, value in (
        ("plan.describe_device", lambda _: "cpu, 99 threads"),
        ("plan.__version__", "9"),
        ("entries._own_code", lambda _: "edited"),
    ):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(f"srzoo.benchmark.{part}", value)
            others.append(keys())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "gather", lambda self, thing: [thing] * self.size)
        patch.setattr(World, "share_object", lambda self, thing: thing)
        others.append(keys(world=World(0, 2)))  # which slow each other down
    Image.open(images / "a.png").rotate(180).save(images / "a.png")
    others.append(keys())
    assert len(set.union(first, *others)) == 1 + len(others)


def test_published_figures_stand_beside_what_is_comparable_only(data_dir: Path, images: Path) -> None:
    def shown(models: Any = "bicubic_x2", sets: Any = "Set5", **options: Any) -> list[str | None]:
        job = plan(models, sets, data=data_dir, baseline=False, **options)
        return [None if unit.published is None else str(unit.published) for unit in job.units]

    assert shown() == ["33.66 / 0.9299"]
    assert shown(path="luma") == ["33.66 / 0.9299"]
    assert shown(limit=2) == [None]
    assert shown(protocol="rgb") == [None]
    assert shown(tta="x8") == [None]
    assert shown(sets=images) == [None]
    assert shown(lr=data_dir / "bench/Set5") == [None]
    assert shown(models="bicubic_x8") == [None]


def test_a_problem_in_one_process_is_raised_in_all(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(1, 2)
    problem = ValueError("the first process found a problem")
    monkeypatch.setattr(World, "gather", lambda self, thing: [problem, thing])
    with pytest.raises(ValueError, match="the first process found"):
        plan(tiny(), images, world=world)
