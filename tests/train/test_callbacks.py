import io
import json

import pytest

from srzoo.train import BarProgress, JsonLines, PlainProgress
from srzoo.train.callbacks import describe_row

LOSS = {"step": 20, "seconds": 4.0, "loss": 0.0312, "steps_per_second": 5.0}
SCORES = {"step": 20, "seconds": 4.0, "Set5 psnr": 31.98761, "Set5 ssim": 0.91234}


def test_json_lines_makes_its_folder_and_writes_an_object_a_row(tmp_path):
    path = tmp_path / "runs" / "first" / "log.jsonl"
    log = JsonLines(path)
    for row in (LOSS, SCORES):
        log.log(row, 100)
    assert [json.loads(line) for line in path.read_text().splitlines()] == [LOSS, SCORES]  # before it is closed
    log.close()


def test_json_lines_goes_on_where_an_earlier_run_stopped(tmp_path):
    first = JsonLines(tmp_path / "log.jsonl")
    first.log(LOSS, 100)
    first.close()
    first.log(SCORES, 100)  # an interrupted run that is continued in the same process
    JsonLines(tmp_path / "log.jsonl").log(LOSS, 100)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [LOSS, SCORES, LOSS]


def test_plain_progress_writes_a_plain_line_a_row(as_users_call):
    stream = io.StringIO()
    progress = PlainProgress(stream)
    progress.log(LOSS, 100)
    progress.log(SCORES, 100)
    progress.close()
    assert stream.getvalue() == (
        "step 20/100  loss 0.03120  5.00 steps/s  0 min 16 s left\nstep 20/100  Set5 psnr 31.9876  Set5 ssim 0.9123\n"
    )


def test_plain_progress_goes_to_stderr_unless_told_otherwise(capsys):
    PlainProgress().log(LOSS, 100)
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    ("steps_per_second", "left"),
    [(1.0, "2 min 0 s"), (120 / 119.7, "2 min 0 s"), (120 / 59.4, "0 min 59 s"), (120 / 3725, "62 min 5 s")],
)
def test_the_time_left_never_says_sixty_seconds(steps_per_second, left):
    row = {**LOSS, "step": 0, "steps_per_second": steps_per_second}
    assert describe_row(row, 120).endswith(f"  {left} left")


def test_the_bar_shows_progress_and_scores_on_stderr_and_leaves_stdout_alone(capsys):
    bar = BarProgress()
    bar.log(LOSS, 100)
    bar.log(SCORES, 100)
    bar.close()
    out, err = capsys.readouterr()
    assert out == ""
    assert "20/100" in err
    assert "Set5 psnr 31.9876" in err
