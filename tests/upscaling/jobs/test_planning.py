from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from stand_in import album, picture

from srzoo.upscaling.jobs.journal import Identity, Journal
from srzoo.upscaling.jobs.naming import Naming
from srzoo.upscaling.jobs.planning import plan_jobs, share_jobs

NAMING = Naming("x2", "bicubic_x2", 2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    picture(tmp_path / "a.png")
    return tmp_path


def targets(inputs: list[str], output: str | None = None, naming: Naming = NAMING, **options) -> list[str]:
    return [Path(job.output).as_posix() for job in plan_jobs(inputs, output, naming, **options).jobs]


def named(template: str, format: str | None = None) -> Naming:
    return Naming("x2", "bicubic_x2", 2, template, format)


def test_a_result_goes_beside_its_image_or_where_the_user_says(here):
    (here / "out").mkdir()
    assert targets(["a.png"]) == ["a_x2.png"]
    assert targets(["a.png"], "b.webp") == ["b.webp"]
    assert targets(["a.png"], "out") == ["out/a_x2.png"]
    assert targets(["a.png"], "-") == ["-"]
    assert targets(["-"]) == ["-"]
    assert targets(["-"], "b.png") == ["b.png"]


def test_a_folder_goes_to_a_folder_of_its_own_with_its_tree(here):
    album(here / "photos", 3)
    assert targets(["photos"]) == ["photos_x2/p01_x2.png", "photos_x2/p02_x2.png", "photos_x2/sub/p00_x2.png"]
    (here / "out").mkdir()
    assert targets(["photos/"], "out")[-1] == "out/sub/p00_x2.png"
    assert targets(["photos/**/*.png"], "out")[-1] == "out/sub/p00_x2.png"
    assert targets(["photos/**/*.png"])[-1] == "photos/sub/p00_x2.png"
    assert targets(["photos"], recursive=False) == ["photos_x2/p01_x2.png", "photos_x2/p02_x2.png"]


def test_the_folder_one_is_in_goes_beside_itself(here, monkeypatch):
    album(here / "photos", 1)
    monkeypatch.chdir(here / "photos/sub")
    [target] = targets(["."])
    assert Path(target).resolve() == here / "photos/sub_x2/p00_x2.png"


def test_the_default_format_holds_what_the_image_has(here):
    picture(here / "inks.jpg", mode="CMYK")
    tifffile.imwrite(here / "float.tif", np.zeros((4, 5, 3), np.float32), photometric="rgb")
    Image.new("RGB", (4, 4)).save(here / "plain.tif")
    picture(here / "photo.jpg")
    (here / "broken.jpg").write_text("words")
    inputs = ["inks.jpg", "float.tif", "plain.tif", "photo.jpg", "broken.jpg"]
    assert [Path(target).suffix for target in targets(inputs)] == [".tif", ".tif", ".png", ".png", ".png"]
    assert {Path(target).suffix for target in targets(inputs, naming=named("{stem}", "webp"))} == {".webp"}
    assert {Path(target).suffix for target in targets(inputs, naming=named("{stem}_.jpg"))} == {".jpg"}


def test_twins_are_told_apart_by_their_suffix_and_by_nothing_else(here):
    picture(here / "a.jpg")
    assert targets(["a.jpg", "a.png"]) == ["a_jpg_x2.png", "a_png_x2.png"]
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png have the same name: both would go to big-a\.png"):
        targets(["a.jpg", "a.png"], naming=named("big-{stem}"))
    assert targets(["a.jpg", "a.png"], naming=named("{stem}-{source_suffix}")) == ["a-jpg.png", "a-png.png"]


def test_two_folders_that_meet_in_one_are_told_before_any_work(here):
    (here / "out").mkdir()
    for folder in ("p", "q"):
        picture(here / folder / "x.png")
    with pytest.raises(ValueError, match=r"both would go to out/x(_png)?_x2\.png"):
        targets(["p", "q"], "out")
    assert targets(["p", "q"], "out", named("{parent}/{stem}")) == ["out/p/x.png", "out/q/x.png"]


def test_a_twin_that_comes_or_goes_does_not_rename_what_was_made(here):
    def make(inputs: list[str]) -> list[str]:
        for job in plan_jobs(inputs, None, NAMING).jobs:
            assert job.source is not None
            assert job.target is not None
            picture(job.target)
            Journal(here).record(job.target, job.target.name, "digest", Identity.of(job.source, Path()))
        return targets(inputs)

    picture(here / "b.png")
    assert make(["a.png"]) == ["a_x2.png"]
    picture(here / "a.jpg")
    assert make(["a.jpg", "a.png"]) == ["a_jpg_x2.png", "a_x2.png"]
    picture(here / "b.jpg")
    assert make(["b.jpg", "b.png"]) == ["b_jpg_x2.png", "b_png_x2.png"]
    assert targets(["b.png"]) == ["b_png_x2.png"]
    assert targets(["a.jpg"]) == ["a_jpg_x2.png"]
    (here / "a_x2.png").unlink()
    assert targets(["a.jpg", "a.png"]) == ["a_jpg_x2.png", "a_png_x2.png"]


def test_a_folder_of_maps_below_the_input_is_no_input(here):
    album(here / "photos", 2)
    picture(here / "photos/maps/p01_x2_spread.png")
    plan = plan_jobs(["photos"], None, NAMING, spread="photos/maps")
    assert [job.source.name for job in plan.jobs if job.source is not None] == ["p01.png", "p00.png"]


def test_a_name_that_no_file_system_takes_is_told_before_any_work(here):
    picture(here / ("n" * 250 + ".png"))
    with pytest.raises(ValueError, match="is a name of 257 bytes, of which there can be 255; give -o FILE"):
        plan_jobs(["n" * 250 + ".png"], None, NAMING)


@pytest.mark.parametrize(
    ("inputs", "output", "options", "told"),
    [
        (["a.png"], "none", {}, "output folder none does not exist; create it first"),
        (["a.png"], "", {}, "is empty"),
        (["a.png"], "/dev/null", {}, "/dev/null is a pipe or device; send the image there: -o - > /dev/null"),
        (["photos"], "b.png", {}, "the images? of photos cannot go to one file|2 images cannot go"),
        (["a.png", "c.png"], "b.png", {}, "2 images cannot go to one file, b.png"),
        (["photos"], "-", {}, "standard output takes one image"),
        (["-"], "out", {}, "standard input has no name"),
        (["a.png"], None, {"naming": named("{stem}")}, "a.png would be replaced by its own result"),
        (["a.png"], "a.png", {}, "a.png would be replaced by its own result"),
        (["link.png"], "a.png", {}, "link.png would be replaced by its own result"),
        (["a.png"], "b.png", {"naming": named("{stem}_x", "jpg")}, "does not end as jpg files do"),
        (["a.png"], "b.png", {"naming": named("{stem}_x")}, "a name template has no use"),
        (["a.png", "c.png"], None, {"spread": "map.png"}, "map.png is no folder for maps"),
        (["a.png"], None, {"spread": "a_x2.png"}, "result and map of uncertainty are both"),
    ],
)
def test_mistakes_are_told_before_any_work(here, inputs, output, options, told):
    album(here / "photos", 2)
    (here / "out").mkdir()
    picture(here / "c.png")
    (here / "link.png").symlink_to(here / "a.png")
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        targets(inputs, output, **options)


def test_maps_of_uncertainty_keep_the_tree(here):
    album(here / "photos", 2)
    (here / "maps").mkdir()
    plan = plan_jobs(["photos"], None, NAMING, spread="maps")
    assert [job.spread.as_posix() for job in plan.jobs] == ["maps/p01_x2_spread.png", "maps/sub/p00_x2_spread.png"]
    [job] = plan_jobs(["a.png"], None, NAMING, spread="map.png").jobs
    assert job.spread == Path("map.png")


def test_what_is_a_batch(here):
    album(here / "photos", 1)
    assert plan_jobs(["photos"], None, NAMING).is_batch
    assert plan_jobs(["*.png"], None, NAMING).is_batch
    assert not plan_jobs(["a.png"], None, NAMING).is_batch


@given(st.lists(st.integers(0, 10**9), max_size=60), st.integers(1, 9))
def test_every_job_is_done_once_and_shares_are_balanced(work, workers):
    shares = share_jobs(work, workers)
    assert len(shares) == workers
    assert sorted(index for share in shares for index in share) == list(range(len(work)))
    loads = [sum(max(1, work[index]) for index in share) for share in shares]
    assert max(loads) - min(loads) <= max([1, *work])
    assert all(share == sorted(share) for share in shares)


def test_unreadable_images_are_spread_as_well():
    assert [len(share) for share in share_jobs([0] * 8, 4)] == [2, 2, 2, 2]


def test_no_worker_is_a_mistake():
    with pytest.raises(ValueError, match="at least 1"):
        share_jobs([1], 0)
