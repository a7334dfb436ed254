import errno
import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from stand_in import picture

from srzoo.upscaling.jobs.journal import JOURNAL, Entry, Identity, Journal, digest_of, judge

SETTINGS = digest_of({"scale": 2})


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path, Journal]:
    """A source, its result, and the journal that tells of it."""
    source, target = picture(tmp_path / "in/a.png"), picture(tmp_path / "out/a_x2.png", 24, 18, seed=1)
    journal = Journal(target.parent)
    journal.record(target, target.name, SETTINGS, Identity.of(source, target.parent))
    return source, target, journal


def state(source: Path, target: Path, settings: str = SETTINGS) -> str:
    return judge(target, source, settings, Journal(target.parent).read().get(target.name, ())).state


def flip_a_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


def test_a_result_is_whole_until_something_changes(made):
    assert state(*made[:2]) == "whole"


def test_nothing_there_is_absent_and_a_file_without_entry_is_foreign(made):
    source, target, _ = made
    assert state(source, target.with_name("b_x2.png")) == "absent"
    other = picture(target.with_name("c_x2.png"))
    assert state(source, other) == "foreign"


def test_other_settings_make_it_outdated(made):
    assert state(*made[:2], settings=digest_of({"scale": 3})) == "outdated"


@pytest.mark.parametrize("harm", ["cut", "emptied", "garbage", "same size"])
def test_what_is_no_image_any_more_is_damaged(made, harm):
    source, target, _ = made
    data = target.read_bytes()
    target.write_bytes(
        {"cut": data[:-40], "emptied": b"", "garbage": b"words", "same size": bytes(len(data))}[harm]
    )  # fmt: skip
    assert state(source, target) == "damaged"


def test_a_result_that_somebody_edited_is_not_taken_for_damage(made):
    source, target, _ = made
    picture(target, 24, 18, seed=2)
    assert state(source, target) == "changed"


def test_a_copied_folder_with_other_times_is_known_by_content(made, tmp_path):
    moved = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "in", moved / "in", copy_function=shutil.copyfile)
    shutil.copytree(tmp_path / "out", moved / "out", copy_function=shutil.copyfile)
    for path in moved.rglob("*.png"):
        os.utime(path, ns=(1, 1))
    assert state(moved / "in/a.png", moved / "out/a_x2.png") == "whole"


def test_a_source_with_another_content_makes_the_result_outdated(made):
    source, target, _ = made
    status = source.stat()
    picture(source, seed=7)  # of another size in bytes, or of another content
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert state(source, target) == "outdated"


def test_the_same_name_size_and_time_from_another_folder_is_not_the_same_source(made, tmp_path):
    source, target, _ = made
    other = tmp_path / "other/a.png"
    other.parent.mkdir()
    shutil.copy2(source, other)
    assert state(other, target) == "whole"  # the same bytes
    flip_a_byte(other, 20)
    status = source.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert state(other, target) == "other"
    link = tmp_path / "link"
    link.symlink_to(source.parent, target_is_directory=True)
    picture(source, seed=8)
    assert state(link / "a.png", target) == "outdated"  # the same file by another way


def test_an_edit_that_keeps_size_and_time_is_seen(made):
    source, target, _ = made
    status = source.stat()
    flip_a_byte(source, 60)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert state(source, target) == "outdated"


def test_a_kill_between_journal_and_rename_leaves_the_old_result_known(made, tmp_path):
    source, target, journal = made
    newer = picture(tmp_path / "newer.png", 24, 18, seed=5)
    journal.record(newer, target.name, digest_of({"scale": 9}), Identity.of(source, target.parent))
    assert state(source, target) == "whole"  # of the settings it was made with
    assert state(source, target, digest_of({"scale": 9})) == "outdated"
    os.replace(newer, target)
    assert state(source, target, digest_of({"scale": 9})) == "whole"


def test_a_torn_line_is_left_out_and_does_not_take_the_next_one_with_it(made):
    source, target, journal = made
    whole = journal.path.read_bytes()
    for cut in (1, 8, 9, 50, len(whole) - 1):
        journal.path.write_bytes(whole[:cut])  # as after a full disk
        journal.record(target, target.name, SETTINGS, Identity.of(source, target.parent))
        assert [len(entries) for entries in Journal(target.parent).read().values()][-1] >= 1
        assert state(source, target) == "whole", cut
        journal.path.write_bytes(whole + whole[:cut])
        assert len(Journal(target.parent).read()[target.name]) >= 1


@pytest.mark.parametrize("line", ["{}", "[1]", '{"name":1}', '{"name":"a","source":3}', "\x00\x01", '{"name":"a"'])
def test_lines_of_others_are_left_out(tmp_path, line):
    (tmp_path / JOURNAL).write_text(line + "\n")
    assert Journal(tmp_path).read() == {}


def test_any_file_name_survives(tmp_path):
    for name in ('a"b.png', 'x{"name":y.png', "é\n.png", os.fsdecode(b"\xff\xfe.png")):
        Journal(tmp_path).add(Entry(name, 1, 2, "s", "d", Identity("p", 1, 2, 3, "s")))
        assert Journal(tmp_path).read()[name][-1].bytes == 1


def test_many_writers_at_once_keep_every_line(tmp_path):
    def write(worker: int) -> None:
        for index in range(40):
            Journal(tmp_path).add(Entry(f"{worker}-{index}", index, 0, "s" * 64, "d", Identity("p", 1, 2, 3, "s")))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len(Journal(tmp_path).read()) == 160
    assert all(json.loads(line) for line in (tmp_path / JOURNAL).read_text().splitlines())


def test_a_line_that_the_disk_has_no_room_for_is_an_error(tmp_path, monkeypatch):
    real = os.write
    monkeypatch.setattr(os, "write", lambda file, data: real(file, data[:10]))
    with pytest.raises(OSError, match="No space left") as raised:
        Journal(tmp_path).add(Entry("a", 1, 2, "s", "d", Identity("p", 1, 2, 3, "s")))
    assert raised.value.errno == errno.ENOSPC
    assert (tmp_path / JOURNAL).read_bytes() == b""


def test_lines_are_brought_to_disk_once_a_second_and_at_the_end(tmp_path, monkeypatch):
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    now = 10.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    journal = Journal(tmp_path)
    for index in range(20):
        journal.add(Entry(f"{index}", 1, 2, "s", "d", Identity("p", 1, 2, 3, "s")))
    assert len(synced) == 1
    journal.sync()
    journal.sync()
    assert len(synced) == 2
    now = 12.0
    journal.add(Entry("a", 1, 2, "s", "d", Identity("p", 1, 2, 3, "s")))
    assert len(synced) == 3


def test_a_journal_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / JOURNAL).mkdir()
    with pytest.raises(PermissionError, match="cannot be written"):
        Journal(tmp_path).check()
    Journal(tmp_path / "not/there/yet").check()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"):
        Journal(tmp_path / "file" / "within").check()
    assert not (tmp_path / "not").exists()


def test_a_digest_depends_on_every_value_and_not_on_order():
    assert digest_of({"a": 1, "b": [2, None]}) == digest_of({"b": [2, None], "a": 1})
    assert len({digest_of({"a": value}) for value in (1, 2, "1", None, [1], 1.5)}) == 6
    with pytest.raises(TypeError):
        digest_of({"a": np.float32(1)})


def test_checking_reads_no_file_whose_size_and_time_are_known(made, monkeypatch):
    source, target, _ = made

    def no_reading(path: Path) -> str:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr("srzoo.upscaling.jobs.journal.file_digest", no_reading)
    assert state(source, target) == "whole"
