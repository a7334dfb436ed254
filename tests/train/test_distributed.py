"""Several processes train as one does, and end together when one is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from srzoo.train.checkpoint import load_newest

Do = Callable[..., dict[str, Any]]
ROOT = Path(__file__).parents[2]
TERM = signal.SIGTERM.value
LOST = (
    r"(srzoo: )?another process of the run was lost \(.+\); start the same command with --resume to go on from the last"
)


def state_of(folder: Path) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    state = load_newest(folder)
    assert state is not None
    return state


def largest_difference(a: dict[str, Tensor], b: dict[str, Tensor]) -> float:
    assert a.keys() == b.keys()
    return max(float((a[key] - b[key]).abs().max()) for key in a)


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# Two processes


@pytest.fixture(scope="module")
def two(do: Do, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an undisturbed run of two processes."""
    folder = tmp_path_factory.mktemp("two") / "run"
    ended = do(folder=folder, ranks=2)
    assert ended["codes"] == [0, 0], ended["stderr"]
    return folder


def test_two_processes_give_the_weights_and_files_of_one(do, tmp_path):
    config = {"steps": 20, "batch_size": 5, "accumulate": 2, "checkpoint_every": 20}  # shares of 3 and 2 samples
    for ranks in (1, 2):
        ended = do(folder=tmp_path / f"{ranks}", ranks=ranks, scales=(2, 3, 4), config=config)
        assert ended["codes"] == [0] * ranks, ended["stderr"]
    one, both = (state_of(tmp_path / f"{ranks}") for ranks in (1, 2))
    assert one["step"] == both["step"] == 20
    for part in ("model", "ema"):
        assert largest_difference(one[part], both[part]) <= 1e-6
    assert largest_difference(one["model"], one["ema"]) > 1e-4  # they have moved
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2")
    rows, others = (
        [json.loads(line) for line in (tmp_path / f"{ranks}/log.jsonl").read_text().splitlines()] for ranks in (1, 2)
    )
    assert [row["step"] for row in rows] == [row["step"] for row in others]
    for row, other in zip(rows, others, strict=True):
        assert row.get("loss", 0) == pytest.approx(other.get("loss", 0), rel=1e-5)


@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_others_with_one_line_and_a_resume_goes_on(do, two, tmp_path, killed):
    folder = tmp_path / "run"
    ended = do(folder=folder, ranks=2, kill={"step": 24, "rank": killed})
    assert ended["codes"] == [2 if rank != killed else -9 for rank in range(2)]
    assert len(ended["stderr"].splitlines()) == 1
    assert re.match(LOST, ended["stderr"])
    assert state_of(folder)["step"] == 21
    again = do(folder=folder, ranks=2)
    assert (again["codes"], again["stderr"]) == ([0, 0], "")
    assert_same_run(folder, two)


def assert_same_run(folder: Path, other: Path) -> None:
    """Equal to the bit: weights, average, optimizer, best."""
    one, two = state_of(folder), state_of(other)
    assert one["step"] == two["step"] == 40
    for part in ("model", "ema"):
        assert largest_difference(one[part], two[part]) == 0
    for key, moments in one["optimizer"]["state"].items():
        assert largest_difference(moments, two["optimizer"]["state"][key]) == 0
    assert one["best"] == two["best"]
    assert largest_difference(*(load_file(run / "best.safetensors") for run in (folder, other))) == 0
    assert files_of(folder) == files_of(other)


def test_all_processes_leave_together_when_told_and_lose_nothing(do, two, tmp_path):
    folder = tmp_path / "run"
    config = {"checkpoint_every": 1000}
    for nth, saved in ((3, 3), (15, 18)):  # on processors they ask each other at each step
        kill = {"at": "inside an update", "nth": nth, "rank": nth % 2, "signals": [TERM, TERM]}  # only one is told
        ended = do(folder=folder, ranks=2, config=config, kill=kill)
        assert sorted(ended["codes"]) == [130, 143], ended["stderr"]
        assert ended["stderr"] == ""
        assert state_of(folder)["step"] == saved
    assert do(folder=folder, ranks=2, config={"checkpoint_every": 5})["codes"] == [0, 0]
    assert largest_difference(state_of(folder)["model"], state_of(two)["model"]) == 0


def test_another_number_of_processes_is_said_and_harmless(do, two, tmp_path):
    folder = tmp_path / "run"
    do(folder=folder, ranks=2, kill={"step": 30, "rank": 1})
    ended = do(folder=folder, ranks=1)
    assert ended["codes"] == [0]
    assert (
        "the run goes on elsewhere (processes was 2, is 1): the last bits of the weights may differ"
        in (ended["stderr"])
    )
    assert 0 < largest_difference(state_of(folder)["model"], state_of(two)["model"]) < 1e-5


# torchrun


def start_torchrun(*command: str, restarts: int = 0) -> subprocess.Popen[str]:
    """Two processes of a command, by torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [*launcher, "--max-restarts", str(restarts), *command],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT,
    )  # fmt: skip


def pid_of_rank(launcher: int, rank: int) -> int:
    """The process of a rank that a torchrun has started."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            is_child = f"PPid:\t{launcher}\n" in status.read_text()
            if is_child and f"RANK={rank}" in status.with_name("environ").read_text().split("\0"):
                return int(status.parent.name)
        except OSError:  # it has gone
            continue
    raise AssertionError(f"there is no rank {rank}")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="processes are found by /proc")
def test_the_command_under_torchrun_ends_with_one_line_when_a_process_is_killed(tmp_path):
    photos, folder = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{i}.png")
    command = [
        "-m", "srzoo.cli", "train", "--model", "edsr_baseline_x2", "--set", "width=4", "--set", "num_blocks=1",
        "--data", str(photos), "--folder", str(folder), "--batch-size", "3", "--patch-size", "8", "--checkpoint-every",
        "5", "--steps", "1000000", "--device", "cpu", "--quiet", "--resume",
    ]  # fmt: skip
    with start_torchrun(*command) as process:
        while process.poll() is None and not list(folder.glob("checkpoints/*")):
            time.sleep(0.05)
        assert process.poll() is None, process.communicate()[1]
        os.kill(pid_of_rank(process.pid, 1), signal.SIGKILL)
        start = time.monotonic()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    assert time.monotonic() - start < 60
    assert len(re.findall(rf"^{LOST}", said, re.MULTILINE)) == 1, said
    assert "srzoo/train/" not in said  # the only traceback is torchrun's own
    assert state_of(folder)["step"] >= 5


@pytest.mark.slow
def test_torchruns_own_restart_goes_on_from_the_last_checkpoint(two, tmp_path):
    script = str(Path(__file__).with_name("tiny_run.py"))
    job = {"folder": str(tmp_path / "run"), "kill": {"step": 24, "rank": 1, "once": str(tmp_path / "killed")}}
    with start_torchrun(script, json.dumps(job), restarts=1) as process:
        _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert (tmp_path / "killed").exists()
    assert_same_run(tmp_path / "run", two)
