import errno
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from stand_in import Made, StandIn, album, picture, results

from srzoo.image import WriteOptions
from srzoo.upscaling.jobs import (
    Job,
    JobsStopped,
    Journal,
    Listener,
    Making,
    Naming,
    Outcome,
    Rules,
    Streams,
    decide,
    plan_jobs,
    run_jobs,
    summarize,
)


def do(jobs: list[Job], upscaler: Any = None, making: Making | None = None, **options: Any) -> list[Outcome]:
    """The outcomes of jobs that are done with `skip_existing`."""
    outcomes: list[Outcome] = []
    decisions = decide(jobs, Rules(skip_existing=True), "digest")
    run_jobs(decisions, upscaler or StandIn(), making or Making("digest"), outcomes=outcomes, **options)
    return outcomes


@pytest.fixture
def jobs(tmp_path: Path) -> list[Job]:
    plan = plan_jobs([str(album(tmp_path / "photos", 4))], None, Naming("x2", "stand_in", 2))
    return list(plan.jobs)


def test_what_was_made_is_skipped_the_next_time(jobs, tmp_path):
    assert [one.status for one in do(jobs)] == ["done"] * 4
    before = results(tmp_path / "photos_x2")
    upscaler = StandIn()
    assert [one.status for one in do(jobs, upscaler)] == ["skipped"] * 4
    assert not upscaler.made
    assert results(tmp_path / "photos_x2") == before
    assert set(before) == {"p01_x2.png", "p02_x2.png", "sub/p00_x2.png", "sub/p03_x2.png"}


def test_a_bad_file_is_told_and_passed_over(jobs):
    assert jobs[1].source is not None
    jobs[1].source.write_text("words")
    outcomes = do(jobs)
    assert [one.status for one in outcomes] == ["done", "failed", "done", "done"]
    assert "p02.png is not an image" in (outcomes[1].error or "")
    assert jobs[1].target is not None
    assert not jobs[1].target.exists()
    summary = summarize(outcomes, 2.0)
    assert (summary.exit_code, summary.failures, summary.counts["done"]) == (1, 1, 3)
    assert summary.pixels == 3 * 24 * 18
    assert summary.megapixels_per_second == pytest.approx(3 * 24 * 18 / 2e6)


def test_an_outcome_tells_what_was_made(tmp_path):
    [outcome] = do([Job(picture(tmp_path / "a.png", mode="LA"), tmp_path / "b.png")])
    assert (outcome.size, outcome.pixels, outcome.mode, outcome.dtype) == ((24, 18), 432, "LA", "uint8")
    assert outcome.to_json().keys() == {
        "input", "output", "status", "size", "pixels", "seconds", "mode", "dtype", "engine", "precision", "notes"
    }  # fmt: skip


@pytest.mark.parametrize("kind", [RuntimeError, KeyError, ZeroDivisionError])
def test_even_an_unknown_error_does_not_end_the_job_of_the_others(jobs, kind):
    class Broken(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            if source.name == "p02.png":
                raise kind("odd")
            return super().file(source, target, **options)

    outcomes = do(jobs, Broken())
    assert [one.status for one in outcomes] == ["done", "failed", "done", "done"]
    assert kind.__name__ in (outcomes[1].error or "")


def test_too_little_memory_for_one_image_is_a_failure_with_advice(jobs):
    class Large(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            raise MemoryError

    assert "not enough memory; try a smaller --memory" in (do(jobs, Large())[0].error or "")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_stops_the_job_at_once(jobs, number):
    class Full(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            raise OSError(number, "No space left on device")

    outcomes: list[Outcome] = []
    told = {errno.ENOSPC: "make room there", errno.EDQUOT: "make room there", errno.EROFS: "see that the disk is there"}
    with pytest.raises(JobsStopped, match=rf"photos_x2 does not take the result \(No space left.*\); {told[number]}"):
        run_jobs(decide(jobs, Rules(), ""), Full(), Making("digest"), outcomes=outcomes)
    assert [one.status for one in outcomes] == ["failed"]


def test_a_journal_without_room_keeps_the_result_from_its_place(jobs, monkeypatch):
    def full(self: Journal, entry: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Journal, "add", full)
    assert [one.status for one in do(jobs)] == ["failed"] * 4
    assert jobs[0].target is not None
    assert list(jobs[0].target.parent.rglob("*.png")) == []


def test_a_file_that_comes_while_its_place_is_worked_on_is_not_replaced(jobs):
    class Slow(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            if source.name == "p02.png":
                target.write_bytes(b"mine")
            return super().file(source, target, **options)

    outcomes = do(jobs, Slow())
    assert [one.status for one in outcomes] == ["done", "failed", "done", "done"]
    assert "written by somebody else in the meantime and was left alone" in (outcomes[1].error or "")
    assert jobs[1].target is not None
    assert jobs[1].target.read_bytes() == b"mine"
    assert [path.name for path in jobs[1].target.parent.glob(".srzoo-*")] == [".srzoo-upscale.jsonl"]


@pytest.mark.parametrize("links", [True, False], ids=["links", "no links"])
def test_a_file_that_came_after_planning_is_looked_at(jobs, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links")))
    decisions = decide(jobs, Rules(), "digest")
    assert jobs[1].target is not None
    jobs[1].target.parent.mkdir()
    jobs[1].target.write_bytes(b"mine")
    outcomes: list[Outcome] = []
    run_jobs(decisions, StandIn(), Making("digest"), outcomes=outcomes)
    assert [one.status for one in outcomes] == ["done", "exists", "done", "done"]
    assert jobs[1].target.read_bytes() == b"mine"


def test_two_runs_at_once_make_each_result_once(jobs):
    class Slow(StandIn):
        strip_seconds = 0.01

    runs = [(Slow(), decide(jobs, Rules(skip_existing=True), "digest"), list[Outcome]()) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda run: run_jobs(run[1], run[0], Making("digest"), outcomes=run[2]), runs))
    made = [target for upscaler, _, _ in runs for target in upscaler.made]
    assert sorted(made) == sorted(str(job.target) for job in jobs)
    assert all(one.status in ("done", "skipped") for _, _, outcomes in runs for one in outcomes)


def test_maps_of_uncertainty_are_entered_and_known_again(jobs, tmp_path):
    (tmp_path / "maps").mkdir()
    with_maps = [replace(job, spread=tmp_path / f"maps/{index}.png") for index, job in enumerate(jobs)]
    assert [one.status for one in do(with_maps)] == ["done"] * 4
    assert [one.status for one in do(with_maps)] == ["skipped"] * 4
    (tmp_path / "maps/2.png").write_bytes(b"damaged")
    assert [one.status for one in do(with_maps)] == ["skipped", "skipped", "done", "skipped"]
    assert set(results(tmp_path / "maps")) == {"0.png", "1.png", "2.png", "3.png"}


def test_journals_are_on_disk_at_the_end(jobs, monkeypatch):
    synced: list[Path] = []
    monkeypatch.setattr(Journal, "sync", lambda self: synced.append(self.folder))
    do(jobs)
    assert set(synced) == {job.target.parent for job in jobs if job.target is not None}


def test_maps_beside_the_images_are_no_images_the_next_time(tmp_path):
    photos = str(album(tmp_path / "photos", 2))
    naming = Naming("x2", "stand_in", 2)
    first = plan_jobs([photos], None, naming, spread=photos)
    assert [one.status for one in do(list(first.jobs))] == ["done"] * 2
    again = plan_jobs([photos], None, naming, spread=photos)
    assert again.jobs == first.jobs
    assert len(again.left_out) == 2


@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_told_to_stop_leaves_nothing_half_written_and_keeps_what_is_done(jobs, tmp_path, stop):
    class Stopped(Listener):
        def move(self, done: int, total: int) -> None:
            if len(outcomes) == 2 and done < total:
                raise stop

    outcomes: list[Outcome] = []
    with pytest.raises(stop):
        run_jobs(decide(jobs, Rules(), ""), StandIn(), Making("digest"), outcomes=outcomes, listener=Stopped())
    assert [one.status for one in outcomes] == ["done", "done"]
    assert len(results(tmp_path / "photos_x2")) == 2
    assert [one.status for one in do(jobs)] == ["skipped", "skipped", "done", "done"]


def test_an_image_that_changes_while_it_is_worked_on_is_made_again_the_next_time(tmp_path):
    class Late(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            picture(source, seed=9)
            return super().file(source, target, **options)

    job = Job(picture(tmp_path / "a.png"), tmp_path / "a_x2.png")
    assert do([job], Late())[0].status == "done"
    [outcome] = do([job])
    assert (outcome.status, outcome.reason) == ("done", "is made again: it was made of another version of the image")


def test_streams(tmp_path):
    source = picture(tmp_path / "a.png")
    out = BytesIO()
    streams = Streams(BytesIO(source.read_bytes()), out)
    assert do([Job(None, None)], streams=streams)[0].size == (24, 18)
    with Image.open(BytesIO(out.getvalue())) as image:
        assert (image.format, image.size) == ("PNG", (24, 18))
    out = BytesIO()
    do([Job(source, None)], making=Making("", format="webp"), streams=Streams(None, out))
    assert out.getvalue()[8:12] == b"WEBP"
    out = BytesIO()
    do([Job(picture(tmp_path / "inks.jpg", mode="CMYK"), None)], streams=Streams(None, out))
    assert out.getvalue()[:2] == b"II"


def test_a_failure_sends_nothing_to_standard_output(tmp_path):
    source = picture(tmp_path / "a.png", 40, 40)
    source.write_bytes(source.read_bytes()[:-300])
    out = BytesIO()
    [outcome] = do([Job(source, None)], streams=Streams(None, out))
    assert outcome.status == "failed"
    assert out.getvalue() == b""


def test_each_format_takes_the_options_it_has(tmp_path):
    making = Making("", writing=WriteOptions(png_level=9, compression="deflate"), journal=False)
    jobs = [Job(picture(tmp_path / f"{name}.png", 64, 64), tmp_path / f"{name}_x2{name}") for name in (".png", ".tif")]
    assert [one.status for one in do(jobs, making=making)] == ["done", "done"]
    with Image.open(tmp_path / ".tif_x2.tif") as image:
        assert image.info["compression"] == "tiff_adobe_deflate"


def test_the_next_image_is_read_while_one_is_worked_on(jobs, monkeypatch):
    from srzoo.upscaling.jobs import running

    read: list[str] = []
    real = running.Identity.of
    monkeypatch.setattr(running.Identity, "of", lambda source, folder: read.append(source.name) or real(source, folder))
    seen: list[int] = []

    class Watching(StandIn):
        def file(self, source: Path, target: Path, **options: Any) -> Made:
            made = super().file(source, target, **options)
            seen.append(len(read))
            return made

    do(jobs, Watching())
    assert read == ["p01.png", "p02.png", "p00.png", "p03.png"]
    assert all(ahead <= done + 2 for done, ahead in enumerate(seen))  # one ahead, no more
