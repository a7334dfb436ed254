import os
from pathlib import Path

import pytest
from stand_in import picture

from srzoo.upscaling.jobs import Job, Journal, Rules, decide, prepare_folders
from srzoo.upscaling.jobs.checking import look_again
from srzoo.upscaling.jobs.journal import JOURNAL, Identity


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """A job whose result is there, and in the journal."""
    source, target = picture(tmp_path / "in/a.png"), picture(tmp_path / "out/a_x2.png", 24, 18)
    Journal(target.parent).record(target, target.name, "digest", Identity.of(source, target.parent))
    return Job(source, target)


def action(job: Job, settings: str = "digest", **rules: bool) -> tuple[str, bool]:
    [decision] = decide([job], Rules(**rules), settings)
    return decision.action, decision.is_failure


@pytest.mark.parametrize(
    ("what", "plain", "overwrite", "skip", "both"),
    [
        ("absent", ("make", False), ("make", False), ("make", False), ("make", False)),
        ("whole", ("leave", False), ("again", False), ("skip", False), ("skip", False)),
        ("outdated", ("leave", False), ("again", False), ("again", False), ("again", False)),
        ("damaged", ("leave", False), ("again", False), ("again", False), ("again", False)),
        ("edited", ("leave", False), ("again", False), ("leave", True), ("again", False)),
        ("foreign", ("leave", False), ("again", False), ("leave", True), ("again", False)),
        ("a folder", ("leave", True), ("leave", True), ("leave", True), ("leave", True)),
    ],
)
def test_what_is_done_with_a_result(job, what, plain, overwrite, skip, both):
    assert job.target is not None
    digest = "other" if what == "outdated" else "digest"
    if what in ("absent", "a folder"):
        job.target.unlink()
    if what == "a folder":
        job.target.mkdir()
    if what == "damaged":
        job.target.write_bytes(job.target.read_bytes()[:50])
    if what == "edited":
        picture(job.target, 24, 18, seed=3)
    if what == "foreign":
        (job.target.parent / JOURNAL).unlink()
    assert action(job, digest) == plain
    assert action(job, digest, overwrite=True) == overwrite
    assert action(job, digest, skip_existing=True) == skip
    assert action(job, digest, skip_existing=True, overwrite=True) == both


def test_one_image_by_itself_whose_result_exists_is_a_failure(job):
    assert action(job, batch=False) == ("leave", True)
    assert action(job, batch=False, skip_existing=True) == ("skip", False)


def test_an_image_of_the_job_is_never_replaced(job):
    other = Job(job.target, job.target.with_name("a_x2_x2.png"))
    for rules in (Rules(overwrite=True), Rules(overwrite=True, skip_existing=True)):
        decisions = decide([job, other], rules, "digest")
        assert (decisions[0].action, decisions[0].is_failure) == ("leave", True)


def test_a_result_whose_map_of_uncertainty_is_gone_is_made_again(job, tmp_path):
    with_map = Job(job.source, job.target, tmp_path / "map.png")
    assert action(with_map, skip_existing=True) == ("again", False)
    enter_map(with_map)
    assert action(with_map, skip_existing=True) == ("skip", False)
    (tmp_path / "map.png").write_bytes(b"damaged")
    assert action(with_map, skip_existing=True) == ("again", False)


def enter_map(job: Job) -> None:
    """Put a map in its place, and into the journal there."""
    assert job.source is not None
    assert job.spread is not None
    picture(job.spread, mode="L")
    folder = job.spread.parent
    Journal(folder).record(job.spread, job.spread.name, "digest", Identity.of(job.source, folder))


@pytest.mark.parametrize("there", [True, False], ids=["result there", "no result"])
def test_a_map_of_somebody_else_is_not_replaced_unless_told(job, tmp_path, there):
    with_map = Job(job.source, job.target, picture(tmp_path / "map.png"))
    if not there:
        job.target.unlink()
    for rules in ({"skip_existing": True}, *([] if there else [{}])):
        [decision] = decide([with_map], Rules(**rules), "digest")
        assert (decision.action, decision.is_failure) == ("leave", True)
        assert "map.png is not known to have been made by srzoo; --overwrite replaces it" in decision.reason
    assert action(with_map, overwrite=True, skip_existing=True) == ("again" if there else "make", False)


def test_the_result_of_another_image_is_not_replaced_unless_told(job, tmp_path):
    for settings in ("digest", "other"):
        other = Job(picture(tmp_path / "other/a.png", seed=9), job.target)
        [decision] = decide([other], Rules(skip_existing=True), settings)
        assert (decision.action, decision.is_failure) == ("leave", True)
        assert "was made of another image and was left alone; --overwrite" in decision.reason
        assert action(other, settings, skip_existing=True, overwrite=True) == ("again", False)
    picture(job.source, seed=9)  # at its own place, it is another version
    assert action(job, skip_existing=True) == ("again", False)


def test_a_pipe_in_a_results_place_is_not_replaced(job):
    job.target.unlink()
    os.mkfifo(job.target)
    assert action(job, overwrite=True) == ("leave", True)


def test_looking_again_sees_what_somebody_did_since(job):
    job.target.rename(job.target.with_name("away"))
    [decision] = decide([job], Rules(skip_existing=True), "digest")
    assert decision.action == "make"
    assert look_again(decision, "digest") is decision
    job.target.with_name("away").rename(job.target)
    assert look_again(decision, "digest").action == "skip"


def test_folders_are_made_ready_and_only_stale_files_go(job, tmp_path):
    assert job.target is not None
    stale = job.target.with_name(".srzoo-0123456789ab.png")
    stale.write_bytes(b"half")
    mine = job.target.with_name(".srzoo-notes.png")
    mine.write_bytes(b"mine")
    (tmp_path / "maps").mkdir()
    stale_map = tmp_path / "maps/.srzoo-0123456789ab.png"
    stale_map.write_bytes(b"half")
    there = Job(job.source, tmp_path / "new/b.png", tmp_path / "maps/b.png")
    assert prepare_folders([job, there], journal=True, clean=False) == 0
    assert prepare_folders([job, there], journal=True) == 2
    assert not stale.exists()
    assert not stale_map.exists()
    assert mine.exists()
    assert (job.target.parent / JOURNAL).exists()
    assert not (tmp_path / "new").exists()  # until there is something to write


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_told_before_work(job):
    assert job.target is not None
    job.target.parent.chmod(0o500)
    with pytest.raises(PermissionError, match="not writable"):
        prepare_folders([job], journal=True)
