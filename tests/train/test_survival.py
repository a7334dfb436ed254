"""Runs that are killed, told to stop, or left without room end as an undisturbed one does."""

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from srzoo.train import Callback, JsonLines, Row, Run, TrainConfig, Trainer, load_checkpoint
from srzoo.train.checkpoint import find_checkpoints, load_newest, save_newest
from srzoo.train.loss_watch import LossWatch

Do = Callable[..., dict[str, Any]]
PRECISIONS = ("fp32", "bf16", "fp16")
STEPS = 40
KILL, TERM, INT = signal.SIGKILL.value, signal.SIGTERM.value, signal.SIGINT.value


def rows_of(folder: Path) -> list[dict[str, float]]:
    """The rows of a run's log, without what depends on the clock."""
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("seconds", "steps_per_second")} for row in rows]


def assert_equal(a: object, b: object, where: str = "") -> None:
    """Nested state is equal to the bit."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert isinstance(b, dict), where
        assert list(a) == list(b), where
        for key in a:
            assert_equal(a[key], b[key], f"{where}/{key}")
    elif isinstance(a, list):
        assert isinstance(b, list), where
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_equal(x, y, f"{where}/{i}")
    else:
        assert a == b, where


def assert_same_end(folder: Path, undisturbed: Path) -> None:
    """All that two runs left is equal to the bit, but for times; nothing else lies there."""
    left = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    last, end = (f"checkpoints/step_{step:08d}.safetensors" for step in (STEPS - 5, STEPS))
    assert left == {last, end, "best.safetensors", "log.jsonl"}
    for name in (last, end):
        states = [load_checkpoint(run / name) for run in (folder, undisturbed)]
        for state in states:
            del state["seconds"]
        assert {"model", "ema", "optimizer", "scaler", "watch", "best", "random"} <= states[0].keys()
        assert_equal(states[0], states[1])
    assert_equal(load_file(folder / "best.safetensors"), load_file(undisturbed / "best.safetensors"))
    assert rows_of(folder) == rows_of(undisturbed)


def newest_step(folder: Path) -> int:
    return int(re.findall(r"\d+", find_checkpoints(folder)[-1].name)[0])


@pytest.fixture(scope="module")
def undisturbed(do: Do, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, float]]:
    """By precision, the folder of a run that nothing happened to, and its seconds."""
    known: dict[str, tuple[Path, float]] = {}

    def find(precision: str) -> tuple[Path, float]:
        if precision not in known:
            folder = tmp_path_factory.mktemp(precision) / "run"
            ended = do(folder=folder, precision=precision)
            assert ended["codes"] == [0], ended["stderr"]
            known[precision] = folder, ended["seconds"]
        return known[precision]

    return find


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_undisturbed_run_has_all_that_can_be_lost(undisturbed, precision):
    folder, _ = undisturbed(precision)
    assert_same_end(folder, folder)
    rows = rows_of(folder)
    assert [row["step"] for row in rows if "loss" in row] == list(range(5, STEPS + 1, 5))
    assert [row["step"] for row in rows if "waves x3 psnr" in row] == list(range(10, STEPS + 1, 10))
    state = load_newest(folder)
    assert state is not None
    trained = [key for key in state["model"] if ".x4." not in key]  # no batch was at x4
    assert len(state["optimizer"]["state"]) == len(trained) > 0
    assert bool(state["scaler"]) == (precision == "fp16")
    assert any(not torch.equal(state["ema"][key], state["model"][key]) for key in state["model"])


# kill -9


def kill_at_random(do: Do, undisturbed: Callable[[str], tuple[Path, float]], tmp_path: Path, kills: int) -> None:
    """Kill runs at random times until enough were; each one is resumed until it gets to its end."""
    rng, killed, runs = np.random.default_rng(3), 0, 0
    while killed < kills:
        precision = PRECISIONS[runs % 3]
        whole, seconds = undisturbed(precision)
        folder = tmp_path / f"run{runs}"
        ended = {"codes": [-9]}
        while ended["codes"] == [-9]:
            ended = do(folder=folder, precision=precision, after=rng.uniform(0.05, 1.0) * seconds, signals=[KILL])
            killed += ended["codes"] == [-9]
        assert ended["codes"] == [0], ended
        assert_same_end(folder, whole)
        runs += 1


def test_runs_killed_at_ten_random_moments_end_as_undisturbed_ones_do(do, undisturbed, tmp_path):
    kill_at_random(do, undisturbed, tmp_path, kills=10)


@pytest.mark.slow
def test_runs_killed_at_a_hundred_random_moments_end_as_undisturbed_ones_do(do, undisturbed, tmp_path):
    kill_at_random(do, undisturbed, tmp_path, kills=100)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_run_killed_inside_each_of_its_writes_ends_as_an_undisturbed_one_does(do, undisturbed, tmp_path, precision):
    for at, nth, saved in (
        ("before the log is renamed", 1, None),
        ("inside a row", 1, None),
        ("inside a checkpoint", 1, None),
        ("inside a checkpoint", 2, 7),
        ("inside best", 1, 7),
        ("before best is renamed", 1, 7),
        ("before a validation", 1, 7),
        ("inside a row", 2, 7),
        ("before a checkpoint is renamed", 2, 14),
        ("before the log is renamed", 1, 14),
        ("before an old checkpoint is removed", 2, 28),
        ("inside an update", 3, 28),
        ("before a checkpoint", 2, 35),
        ("inside a checkpoint", 1, 35),
        ("inside a row", 2, 35),
    ):
        ended = do(folder=tmp_path / "run", precision=precision, kill={"at": at, "nth": nth})
        assert ended["codes"] == [-9], (at, ended["stderr"])
        assert (newest_step(tmp_path / "run") if saved else None) == saved, at
    assert do(folder=tmp_path / "run", precision=precision)["codes"] == [0]
    assert_same_end(tmp_path / "run", undisturbed(precision)[0])


# Ctrl+C and SIGTERM


@pytest.mark.parametrize(("signum", "code"), [(TERM, 143), (INT, 130)])
def test_a_run_told_to_stop_saves_the_step_it_is_at_and_loses_nothing(do, undisturbed, tmp_path, signum, code):
    folder = tmp_path / "run"
    for at, nth, saved in (
        ("inside an update", 3, 3),
        ("before a row", 1, 5),
        ("before a validation", 1, 10),
        ("inside best", 1, 10),  # of the validation that was broken off
        ("before a checkpoint", 1, 14),
        ("inside an update", 1, 15),
        ("inside a checkpoint", 1, 21),
        ("before a checkpoint is renamed", 1, 28),
        ("before a validation", 2, 40),
        ("before a row", 1, 40),
    ):
        ended = do(folder=folder, kill={"at": at, "nth": nth, "signals": [signum]})
        assert ended["codes"] == [code], (at, ended["stderr"])
        assert newest_step(folder) == saved, at
    assert do(folder=folder)["codes"] == [0]
    assert_same_end(folder, undisturbed("fp32")[0])


def test_a_run_told_twice_in_an_update_leaves_at_once_and_saves_no_half_update(do, undisturbed, tmp_path):
    folder = tmp_path / "run"
    ended = do(folder=folder, kill={"at": "inside an update", "nth": 10, "signals": [INT, INT]})
    assert ended["codes"] == [130]
    assert newest_step(folder) == 7
    assert do(folder=folder)["codes"] == [0]
    assert_same_end(folder, undisturbed("fp32")[0])


# No room, no rights


def test_a_disk_that_gets_full_is_one_sentence_and_the_last_good_checkpoint_stays(do, undisturbed, tmp_path):
    folder = tmp_path / "run"
    ended = do(folder=folder, limits={"step": 15, "file_size": 50_000})
    assert ended["codes"] == [2]
    assert re.fullmatch(
        r"srzoo: the checkpoint .*step_00000021.safetensors could not be written \(.*File too large.*\); the one "
        r"before is kept: make room or choose another folder, then go on with --resume\n",
        ended["stderr"],
    )
    assert newest_step(folder) == 14
    assert do(folder=folder)["codes"] == [0]
    assert_same_end(folder, undisturbed("fp32")[0])


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own with room for two checkpoints and a half."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=420k", "tmpfs", str(disk)]
    if os.getuid() or not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted by root only, and not in every container")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_file_system_without_room_is_one_sentence_and_the_last_good_checkpoint_stays(
    do, undisturbed, small_disk, tmp_path
):
    ended = do(folder=small_disk / "run")
    assert ended["codes"] == [2]
    assert re.fullmatch(
        r"srzoo: the checkpoint .* could not be written \(.*No space left.*\); the one .*\n", ended["stderr"]
    )
    assert newest_step(small_disk / "run") == 14
    shutil.copytree(small_disk / "run", tmp_path / "run")
    assert do(folder=tmp_path / "run")["codes"] == [0]
    assert_same_end(tmp_path / "run", undisturbed("fp32")[0])


def test_no_room_for_the_best_weights_is_one_sentence(do, undisturbed, tmp_path):
    folder = tmp_path / "run"
    ended = do(folder=folder, limits={"step": 9, "file_size": 20_000})
    assert ended["codes"] == [2], ended["stderr"]
    assert re.fullmatch(r"srzoo: .*best.safetensors .*written \(.*File too large.*\).*\n", ended["stderr"])
    assert newest_step(folder) == 7
    assert do(folder=folder)["codes"] == [0]
    assert_same_end(folder, undisturbed("fp32")[0])


def test_a_folder_that_gets_read_only_is_one_sentence(do, undisturbed, tmp_path):
    folder = tmp_path / "run"
    ended = do(folder=folder, limits={"step": 18, "read_only": str(folder)})
    folder.chmod(0o755)
    assert ended["codes"] == [2]
    assert re.fullmatch(r"srzoo: .*log.jsonl cannot be written \(Permission denied\)\n", ended["stderr"])
    assert newest_step(folder) == 14
    ended = do(folder=folder, limits={"step": 18, "read_only": str(folder / "checkpoints")}, quiet=True)
    (folder / "checkpoints").chmod(0o755)
    assert ended["codes"] == [2]
    assert re.fullmatch(
        r"srzoo: the checkpoint .* could not be written \(.*Permission denied.*\); the one before is kept: .*\n",
        ended["stderr"],
    )
    assert newest_step(folder) == 14
    assert do(folder=folder)["codes"] == [0]
    assert_same_end(folder, undisturbed("fp32")[0])


def test_a_file_where_the_folder_should_be_is_one_sentence(do, tmp_path):
    (tmp_path / "run").write_text("a file")
    ended = do(folder=tmp_path / "run")
    assert ended["codes"] == [2]
    assert re.fullmatch(r"srzoo: .*run.* cannot be written \(.*\)\n", ended["stderr"])
    assert (tmp_path / "run").read_text() == "a file"


# Checkpoints


def save_steps(folder: Path, *steps: int, keep: int = 2) -> list[int]:
    """Save at these steps, and list what is there."""
    for step in steps:
        save_newest(folder, step, {"step": step, "x": torch.ones(1)}, keep)
    return [int(path.stem.removeprefix("step_")) for path in find_checkpoints(folder)]


def test_the_last_k_checkpoints_are_kept(tmp_path):
    assert save_steps(tmp_path, 9, 10, 100, 1000, keep=3) == [10, 100, 1000]


def test_the_newest_checkpoint_that_can_be_read_is_taken_and_damaged_ones_go_with_the_next(tmp_path, caplog):
    save_steps(tmp_path, 10, 20, 30, keep=3)
    for path in find_checkpoints(tmp_path)[1:]:
        path.write_bytes(path.read_bytes()[:-1])
    state = load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 10
    assert caplog.text.count("trying the one before") == 2
    assert save_steps(tmp_path, 15) == [10, 15]
    assert "step_00000015.safetensors is the newest checkpoint now; removed step_00000020.safetensors" in caplog.text


def test_a_changed_tensor_is_noticed(tmp_path):
    save_steps(tmp_path, 10)
    path = find_checkpoints(tmp_path)[0]
    damaged = bytearray(path.read_bytes())
    damaged[-2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ValueError, match="its tensors were changed after it was written"):
        load_newest(tmp_path)


def test_half_written_files_are_removed_and_nothing_else(tmp_path):
    save_steps(tmp_path, 10)
    torn = [".tmpAb12_3", ".srzoo-0123456789ab.safetensors"]
    own = ["notes.txt", ".tmp", ".tmpfile.txt", ".srzoo-notes", ".hidden"]
    for name in (*torn, *own):
        for place in (tmp_path, tmp_path / "checkpoints"):
            (place / name).write_text("")
    load_newest(tmp_path)
    for place in (tmp_path, tmp_path / "checkpoints"):
        assert {path.name for path in place.iterdir()} >= set(own)
        assert not {path.name for path in place.iterdir()} & set(torn)


# Resuming something else


@pytest.mark.parametrize(
    "change",
    [
        {"precision": "bf16"},
        {"config": {"accumulate": 3}},
        {"config": {"keep_last": 5, "log_every": 4, "validate_every": 9, "checkpoint_every": 3}},
        {"validates": False},
        {"config": {"steps": 44}},
    ],
)
def test_a_resume_with_harmless_changes_goes_on(do, stopped, change):
    ended = do(folder=stopped, **change)
    assert ended["codes"] == [0], ended["stderr"]
    assert newest_step(stopped) >= STEPS


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"data": "others"}, "the run to resume had other training images"),
        ({"width": 6}, r"had other settings \(arguments was .*'width': 4.*, is .*'width': 6"),
        ({"model": "edsr_baseline_x2", "scales": (2,)}, "model was 'mdsr_baseline', is 'edsr_baseline_x2'"),
        ({"scales": (2, 4)}, r"scales was \[2, 3\], is \[2, 4\]"),
        ({"config": {"batch_size": 4}}, "batch_size was 3, is 4"),
        ({"config": {"ema_decay": None}}, r"ema_decay was 0\.95, is None"),
    ],
)
def test_a_resume_of_another_run_is_refused_in_one_sentence_and_changes_nothing(do, stopped, change, told):
    before = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    ended = do(folder=stopped, **change)
    assert ended["codes"] == [2]
    assert re.fullmatch(rf"srzoo: .*{told}.*\n", ended["stderr"])
    assert before == {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}


@pytest.fixture
def stopped(do: Do, tmp_path: Path) -> Path:
    """The folder of a run that was killed at step 20."""
    assert do(folder=tmp_path / "run", kill={"step": 20})["codes"] == [-9]
    return tmp_path / "run"


# Losses that are no numbers


@dataclass(frozen=True)
class Spoiled:
    """L1, spoiled at some steps."""

    steps: tuple[int, ...]
    factor: float

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean() * (self.factor if RUN[0].step in self.steps else 1)


RUN: list[Trainer] = []
"""The trainer the spoiled loss looks at."""


class Noise:
    """Random patches."""

    scales = (2,)
    fingerprint = "noise"

    def check(self, patch_size: int) -> None:
        pass

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        hr = torch.from_numpy(rng.integers(0, 256, (batch_size, 3, 2 * patch_size, 2 * patch_size), dtype=np.uint8))
        return hr[part, :, ::2, ::2].contiguous(), hr[part]


class Rows(Callback):
    def __init__(self) -> None:
        self.rows: list[Row] = []

    def log(self, run: Run, row: Row) -> None:
        self.rows.append(row)


def spoiled_trainer(loss: Spoiled, folder: Path | None = None, **settings: Any) -> tuple[Trainer, Rows]:
    """A trainer of one convolution with that loss."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    rows = Rows()
    given = {"steps": 12, "precision": "fp32", "log_every": 4, "checkpoint_every": 4, "ema_decay": 0.9, **settings}
    config = TrainConfig(batch_size=2, patch_size=4, lr=1e-3, device="cpu", **given)
    callbacks = [rows, *([JsonLines(folder / "log.jsonl")] if folder is not None else [])]
    trainer = Trainer(network, Noise(), config, loss=loss, callbacks=callbacks, folder=folder)
    RUN[:] = [trainer]
    return trainer, rows


@pytest.mark.parametrize(
    ("factor", "settings"),
    [
        (math.nan, {}),
        (math.inf, {}),
        (-math.inf, {}),
        (math.nan, {"clip_norm": 0.1}),
        (math.inf, {"precision": "fp16"}),
        (math.nan, {"accumulate": 2}),
    ],
)
def test_an_update_whose_loss_is_no_number_is_dropped_and_logged(factor, settings):
    trainer, rows = spoiled_trainer(Spoiled((2, 6, 7), factor), **settings)
    kept: list[dict[str, Tensor]] = []
    trainer.optimizer.register_step_post_hook(lambda *_: kept.append({}))
    for step in range(12):
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        trainer.train_step(trainer.batch(step))
        same = all(torch.equal(before[key], value) for key, value in trainer.model.state_dict().items())
        assert same == (step in (2, 6, 7)), step
    assert len(kept) == 9
    again, rows = spoiled_trainer(Spoiled((2, 6, 7), factor), **settings)
    again.fit()
    assert [row.get("skipped", 0) for row in rows.rows] == [1, 2, 0]
    assert all(np.isfinite(row["loss"]) for row in rows.rows)
    for trained in (again.model, again.averaged):
        assert all(value.isfinite().all() for value in trained.state_dict().values())
    assert_equal(trainer.model.state_dict(), again.model.state_dict())


def test_a_loss_far_above_the_last_windows_mean_is_dropped_as_the_paper_does():
    skipping = {"skip_above": 2.0, "skip_window": 4}
    for steps, factor, dropped in (((6,), 5.0, 1), ((6,), 1.2, 0), ((2,), 5.0, 0)):  # no mean is known at step 2
        trainer, rows = spoiled_trainer(Spoiled(steps, factor), **skipping)
        trainer.fit()
        assert sum(row.get("skipped", 0) for row in rows.rows) == dropped


def test_a_hundred_dropped_updates_in_a_row_end_the_run_and_the_checkpoints_stay_good(tmp_path):
    trainer, _ = spoiled_trainer(Spoiled(tuple(range(10, 200)), math.nan), tmp_path, steps=200)
    with pytest.raises(ValueError, match=r"the last 1\d\d updates were dropped, .*; start a new run with a lower lr"):
        trainer.fit()
    assert trainer.step == 112
    state = load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 108
    assert all(value.isfinite().all() for part in ("model", "ema") for value in state[part].values())
    again, rows = spoiled_trainer(Spoiled((), 1.0), None, steps=200)
    assert len(rows.rows) == 0
    assert again.step == 0


def test_99_dropped_updates_in_a_row_do_not_end_it_and_a_kept_one_starts_the_count_anew():
    watch, one = LossWatch(torch.device("cpu"), None, 1000), torch.ones(())
    for _ in range(3):
        assert not any(watch.judge(one * math.nan, one) for _ in range(99))
        assert watch.take() == (None, 0, 99)
        assert watch.judge(one, one)
        assert watch.take() == (1.0, 1, 0)
    for _ in range(100):
        watch.judge(one, one * math.inf)
    with pytest.raises(ValueError, match="the last 100 updates were dropped"):
        watch.take()


# The command


def start_command(photos: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    """`srzoo train` of a tiny EDSR."""
    command = [
        sys.executable, "-m", "srzoo", "train", "--model", "edsr_baseline_x2", "--set", "width=4", "--set",
        "num_blocks=1", "--data", str(photos), "--run", str(folder), "--batch-size", "2", "--patch-size", "8",
        "--lr", "1e-3", "--ema-decay", "0.9", "--schedule", "constant", "--device", "cpu", "--log-every", "5",
        "--checkpoint-every", "5", *more,
    ]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SRZOO_CACHE": str(folder.parent / "cache")}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run in the background
    )  # fmt: skip


@pytest.mark.parametrize(("signum", "code"), [(TERM, 143), (INT, 130)])
def test_the_command_told_to_stop_says_in_one_line_how_to_go_on(photo_folder, tmp_path, signum, code):
    folder = tmp_path / "run"
    with start_command(photo_folder, folder, "--steps", "1000000") as process:
        while process.poll() is None and not find_checkpoints(folder):
            time.sleep(0.05)
        process.send_signal(signum)
        _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    assert len(re.findall(r"^srzoo: .*--resume$", said, re.MULTILINE)) == 1, said
    step = newest_step(folder)
    with start_command(photo_folder, folder, "--steps", str(step + 3), "--resume", "--json") as process:
        told, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert f"resumed at step {step} of {step + 3}" in said
    assert json.loads(told)["steps"] == step + 3
    logged = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines() if "loss" in line]
    assert logged == sorted(set(logged))
