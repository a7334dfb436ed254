"""Rows survive a kill, a torn line, a full disk; they go when they are not needed."""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import pytest
from tiny_benchmarks import ROW

from srzoo.benchmark.journal import Journal


def images(journal: Journal) -> set[str]:
    return {line.row.image for line in journal.read("key")}


def test_rows_come_back_from_every_process(tmp_path: Path) -> None:
    for rank, image in enumerate("ab"):
        Journal(tmp_path, rank).append("key", replace(ROW, image=image, psnr=30.0 + rank))
    Journal(tmp_path).append("other", ROW)
    found = Journal(tmp_path).read("key")
    assert {line.row.image: line.row.psnr for line in found} == {"a": 30.0, "b": 31.0}
    assert found[0] == (ROW, "")
    assert Journal(tmp_path).read("none") == []


def test_a_line_says_which_file_its_image_was_saved_as_and_all_lines_of_an_image_come_back(tmp_path: Path) -> None:
    for picture in ("", "0123", "4567"):
        Journal(tmp_path).append("key", ROW, picture)
    assert [line.picture for line in Journal(tmp_path).read("key")] == ["", "0123", "4567"]


def test_scores_that_json_has_not_come_back(tmp_path: Path) -> None:
    Journal(tmp_path).append("key", replace(ROW, psnr=float("inf"), ssim=float("nan"), nonfinite=2))
    [(row, _)] = Journal(tmp_path).read("key")
    assert row.psnr == float("inf")
    assert row.ssim != row.ssim
    assert row.nonfinite == 2


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_cut_short_is_left_out_and_the_next_row_is_whole(tmp_path: Path, cut: int) -> None:
    journal = Journal(tmp_path)
    journal.append("key", ROW)
    journal.append("key", replace(ROW, image="torn"))
    [path] = tmp_path.glob("key/*")
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(tmp_path)
    found = images(again)
    assert found == ({"a", "torn"} if cut == 1 else {"a"})  # without its newline the row is whole
    again.append("key", replace(ROW, image="next"))
    assert images(again) == found | {"next"}


@pytest.mark.parametrize("line", ["[]", "{}", '{"model": 1}', "\x00\x00", "null", '{"model'])
def test_lines_that_are_no_rows_are_left_out(tmp_path: Path, line: str) -> None:
    Journal(tmp_path).append("key", ROW)
    [path] = tmp_path.glob("key/*")
    path.write_text(f"{line}\n{path.read_text()}")
    assert images(Journal(tmp_path)) == {"a"}


def test_rows_are_removed_and_stale_ones_with_them(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for key in ("mine", "other", "old", "long"):
        journal.append(key, ROW)
    month = time.time() - 31 * 86_400
    os.utime(tmp_path / "old/rank0.jsonl", (month, month))
    for key in ("old", "long"):  # a folder's time is that of its first line: a run may go on for longer
        os.utime(tmp_path / key, (month, month))
    journal.remove(["mine", "never written"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long", "other"]


def test_a_folder_that_cannot_be_written_is_told_once_and_the_run_goes_on(tmp_path: Path, caplog) -> None:
    (tmp_path / "file").write_text("")
    journal = Journal(tmp_path / "file")
    with caplog.at_level(logging.WARNING, "srzoo"):
        journal.append("key", ROW)
        journal.append("key", ROW)
    assert len(caplog.records) == 1
    assert "if this run is cut off, it starts anew" in caplog.text


def test_the_folder_is_in_srzoos_cache(cache: Path) -> None:
    Journal().append("key", ROW)
    assert (cache / "benchmark/key/rank0.jsonl").is_file()
