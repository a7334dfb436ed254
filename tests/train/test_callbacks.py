import errno
import io
import json
import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import srzoo.train.callbacks as module
from srzoo.data.pairs import Pair
from srzoo.train.callbacks import BarProgress, Callback, JsonLines, PlainProgress, Row, Run, describe_row
from srzoo.train.config import TrainConfig

LOSS: Row = {"step": 20, "seconds": 4.0, "loss": 0.0312, "steps_per_second": 5.0}
SCORES: Row = {"step": 20, "seconds": 4.0, "Set5 x2 psnr": 31.98761, "Set5 x2 ssim": 0.91234}


@dataclass
class FakeRun:
    step: int = 0
    seconds: float = 0.0
    config: TrainConfig = field(default_factory=lambda: TrainConfig(steps=100))
    model: nn.Module = field(default_factory=nn.Identity)
    averaged: nn.Module = field(default_factory=nn.Identity)
    validation: dict[str, list[Pair]] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        return {"steps": self.step}


RUN = FakeRun()


def rows_of(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def simulate(path: Path, until: int, start: int = 0, checkpoint_every: int = 30) -> int:
    """A run that logs a loss and scores every ten steps and is killed after `until`; returns its last checkpoint."""
    log = JsonLines(path)
    log.start(FakeRun(step=start))
    saved = start
    for step in range(start + 1, until + 1):
        if step % 10 == 0:
            log.log(RUN, {"step": step, "loss": 1 / step})
            log.log(RUN, {"step": step, "Set5 x2 psnr": 30 + step / 100})
        if step % checkpoint_every == 0:
            log.saving(RUN)
            saved = step
    return saved


def test_a_stand_in_is_a_run():
    assert isinstance(RUN, Run)
    assert not isinstance(object(), Run)


def test_a_callback_does_nothing_by_itself():
    callback = Callback()
    callback.start(RUN)
    callback.log(RUN, LOSS)
    callback.saving(RUN)
    callback.close(RUN)


def test_json_lines_makes_its_folder_and_writes_an_object_a_row(tmp_path):
    path = tmp_path / "runs" / "first" / "log.jsonl"
    log = JsonLines(path)
    log.start(RUN)
    for row in (LOSS, SCORES):
        log.log(RUN, row)
    assert rows_of(path) == [LOSS, SCORES]  # before it is closed
    log.close(RUN)


def test_a_fresh_run_empties_an_older_log(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text(json.dumps(LOSS) + "\n")
    log = JsonLines(path)
    log.start(RUN)
    assert path.read_text() == ""
    log.log(RUN, SCORES)
    assert rows_of(path) == [SCORES]


@pytest.mark.parametrize("killed_at", [1, 29, 30, 35, 59, 60, 99])
@pytest.mark.parametrize("torn", [0, 1, 17])
def test_a_killed_and_resumed_run_leaves_each_row_once(tmp_path, killed_at, torn):
    whole, path = tmp_path / "whole.jsonl", tmp_path / "log.jsonl"
    simulate(whole, 100)
    saved = simulate(path, killed_at)
    path.write_bytes(path.read_bytes() + b'{"step": 100, "loss": 0.0123}\n'[:torn])
    simulate(path, 100, start=saved)
    assert path.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("cut", range(1, 25))
def test_a_row_cut_in_half_goes_wherever_the_cut_is(tmp_path, cut):
    path = tmp_path / "log.jsonl"
    row = '{"step": 3, "loss": 0.5}\n'
    path.write_text('{"step": 2, "loss": 0.7}\n' + row[:-cut])
    JsonLines(path).start(FakeRun(step=3))
    kept = [2, 3] if cut == 1 else [2]  # only the line end was missing
    assert [entry["step"] for entry in rows_of(path)] == kept
    assert path.read_bytes().endswith(b"}\n")


def test_rows_of_one_step_are_both_kept_and_those_after_it_dropped(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    log.start(RUN)
    for row in (LOSS, SCORES, {**LOSS, "step": 21}):
        log.log(RUN, row)
    JsonLines(path).start(FakeRun(step=20))
    assert rows_of(path) == [LOSS, SCORES]


def test_scores_that_a_resumed_run_makes_again_are_not_doubled(tmp_path):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    for _ in range(3):  # killed each time between validation and the next checkpoint
        log.start(FakeRun(step=20))
        log.log(RUN, SCORES)
    assert rows_of(path) == [SCORES]
    log.log(RUN, LOSS)
    log.log(RUN, {**SCORES, "step": 40})
    log.log(RUN, {**SCORES, "step": 40, "Set5 x2 psnr": 3.0})  # only the first step is looked at
    assert len(rows_of(path)) == 4


def test_a_broken_line_in_the_midst_is_told_and_left_out(tmp_path, caplog):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n\x00\xff\x00\n[3]\n"x"\n{"loss": 2}\n{"step": 2}\n')
    JsonLines(path).start(FakeRun(step=5))
    assert rows_of(path) == [{"step": 1}, {"step": 2}]
    assert "4 lines that are no rows" in caplog.text
    assert str(path) in caplog.text


def test_the_old_log_stays_where_the_new_one_cannot_be_made(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    simulate(path, 60)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"log\.jsonl cannot be written \(No space left on device\)$"):
        JsonLines(path).start(FakeRun(step=30))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("values", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_becomes_null(tmp_path, values):
    log = JsonLines(tmp_path / "log.jsonl")
    log.start(RUN)
    log.log(RUN, {**LOSS, "loss": values})
    text = (tmp_path / "log.jsonl").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {**LOSS, "loss": None}


def limited_writes(monkeypatch: pytest.MonkeyPatch, room: int, *, error: bool) -> None:
    """Files opened by the module hold `room` more bytes: what is beyond is cut off or an error, as on a full disk."""

    class Full(io.FileIO):
        def write(self, data: Any) -> int:
            if len(data) > room and error:
                super().write(data[:room])
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data[:room])

    monkeypatch.setattr(module, "open", lambda path, mode, buffering: Full(path, mode.replace("b", "")), raising=False)


@pytest.mark.parametrize("error", [True, False])
def test_a_full_disk_is_one_sentence_and_leaves_no_half_row(tmp_path, monkeypatch, error):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    log.start(RUN)
    log.log(RUN, LOSS)
    with monkeypatch.context() as patch:
        limited_writes(patch, 10, error=error)
        with pytest.raises(OSError, match="cannot be written") as caught:
            log.log(RUN, SCORES)
    assert str(caught.value) == f"{path} cannot be written (No space left on device)"
    assert caught.value.errno == errno.ENOSPC
    assert rows_of(path) == [LOSS]
    log.log(RUN, SCORES)  # there is room again
    assert rows_of(path) == [LOSS, SCORES]


def test_rows_are_on_disk_before_a_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "log.jsonl"
    log = JsonLines(path)
    log.start(RUN)
    log.log(RUN, LOSS)
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number)))
    log.saving(RUN)
    assert [(found.st_ino, found.st_size) for found in synced] == [(path.stat().st_ino, path.stat().st_size)]
    assert rows_of(path) == [LOSS]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file/run/log\.jsonl cannot be written"):
        JsonLines(tmp_path / "file" / "run" / "log.jsonl").start(RUN)


def test_plain_progress_writes_a_plain_line_a_row(as_users_call):
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.start(RUN)
    progress.log(RUN, LOSS)
    progress.log(RUN, SCORES)
    progress.log(RUN, {**LOSS, "skipped": 3})
    progress.log(RUN, {"step": 20, "seconds": 4.0, "lr": 0.1, "steps_per_second": 5.0, "skipped": 20})
    progress.close(RUN)
    assert stream.getvalue().splitlines() == [
        "step 20/100  loss 0.03120  5.00 steps/s  0 min 16 s left",
        "step 20/100  Set5 x2 psnr 31.9876  Set5 x2 ssim 0.9123",
        "step 20/100  loss 0.03120  5.00 steps/s  0 min 16 s left  3 updates skipped",
        "step 20/100  no loss  5.00 steps/s  0 min 16 s left  20 updates skipped",
    ]


def test_plain_progress_goes_to_stderr_unless_told_otherwise(capsys):
    PlainProgress().log(RUN, LOSS)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("steps_per_second", "left"),
    [
        (1.0, "2 min 0 s"),
        (120 / 119.7, "2 min 0 s"),
        (120 / 59.4, "0 min 59 s"),
        (120 / 3599.7, "1 h 0 min"),
        (120 / 3725, "1 h 2 min"),
        (120 / 200_000, "2 d 7 h"),
        (0.0, "unknown time"),
    ],
)
def test_the_time_left_is_told_in_two_units(steps_per_second, left):
    row = {**LOSS, "step": 0, "steps_per_second": steps_per_second}
    assert describe_row(row, 120).endswith(f"  {left} left")


def test_a_row_without_skipped_updates_does_not_speak_of_them():
    assert "skipped" not in describe_row({**LOSS, "skipped": 0}, 100)
    assert describe_row({**LOSS, "skipped": 1}, 100).endswith("  1 update skipped")


def test_the_bar_shows_progress_and_scores_on_stderr_and_leaves_stdout_alone(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    bar = BarProgress()
    bar.start(RUN)
    bar.log(RUN, LOSS)
    bar.log(RUN, {**SCORES, "a [b] x2 psnr": 32.98761})
    bar.log(RUN, {**SCORES, "step": 30, "Set5 x2 psnr": 20.0})
    bar.log(RUN, {"step": 35, "seconds": 4.0, "steps_per_second": 5.0, "skipped": 5})
    bar.log(RUN, {**LOSS, "step": 40, "skipped": 2})
    bar.close(RUN)
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 20/100  Set5 x2 psnr 31.9876  Set5 x2 ssim 0.9123  a [b] x2 psnr 32.9876\n" in err
    assert "step 35/100  5 updates skipped\n" in err
    assert "step 40/100  2 updates skipped\n" in err
    last = err.splitlines()[-1]
    assert "40/100 loss 0.03120  5.00 steps/s  0 min 12 s left  best 32.49 dB at step 20" in last


def test_the_bar_starts_where_the_run_does_and_can_be_started_again(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "150")
    bar = BarProgress()
    bar.close(RUN)  # a run that failed before its start
    for start in (0, 60):
        bar.start(FakeRun(step=start))
        bar.log(RUN, {**SCORES, "step": start, "Set5 x2 psnr": 35.0 - start})
        bar.close(RUN)
    last = capsys.readouterr().err.splitlines()[-1]
    assert "60/100" in last
    assert "best -25.00 dB at step 60" in last
