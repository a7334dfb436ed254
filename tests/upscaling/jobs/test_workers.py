"""Processes that torchrun starts share a job without doubles, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stand_in import album, results

from srzoo.cli.upscale_options import local_device
from srzoo.upscaling.jobs import Journal

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("job_worker.py")


def start(*arguments: str, strip_seconds: float = 0.0) -> subprocess.Popen[str]:
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "STRIP_SECONDS": str(strip_seconds)
    }  # fmt: skip
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.Popen(
        [*launcher, str(WORKER), *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def workers_of(launcher: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(launcher), "-f", WORKER.name], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


@pytest.mark.slow
def test_two_workers_share_a_job_and_the_first_sums_up(tmp_path):
    photos, out = album(tmp_path / "photos", 9), tmp_path / "out"
    (photos / "p01.png").write_text("words")
    out.mkdir()
    run = start(str(photos), "-o", str(out), "--json", "--skip-existing")
    stdout, stderr = run.communicate(timeout=200)
    assert run.returncode == 1, stderr
    result = json.loads(stdout)
    assert [image["status"] for image in result["images"]].count("done") == 8
    assert [Path(image["input"]).name for image in result["images"]][:3] == ["p01.png", "p02.png", "p04.png"]
    assert result["summary"]["failed"] == 1
    assert len(results(out)) == 8
    entries = {**Journal(out).read(), **Journal(out / "sub").read()}
    assert [len(found) for found in entries.values()] == [1] * 8  # each was made once
    assert "p01.png is not an image" in stderr
    again = start(str(photos), "-o", str(out), "--json", "--skip-existing")
    stdout, _ = again.communicate(timeout=200)
    assert json.loads(stdout)["summary"]["skipped"] == 8


@pytest.mark.slow
def test_a_mistake_is_told_once_and_ends_all(tmp_path):
    run = start(str(album(tmp_path / "photos", 2)), "-o", str(tmp_path / "none"))
    _, stderr = run.communicate(timeout=200)
    assert run.returncode == 1
    assert stderr.count("create it first") == 1


@pytest.mark.slow
def test_a_worker_that_dies_does_not_hang_the_other_and_a_new_start_goes_on(tmp_path):
    photos, out = album(tmp_path / "photos", 12), tmp_path / "out"
    out.mkdir()
    run = start(str(photos), "-o", str(out), "--skip-existing", strip_seconds=0.2)
    while len(results(out)) < 2:
        time.sleep(0.02)
        assert run.poll() is None
    os.kill(workers_of(run.pid)[1], signal.SIGKILL)
    _, stderr = run.communicate(timeout=100)
    assert run.returncode != 0
    there = results(out)
    assert len(there) < 12
    run = start(str(photos), "-o", str(out), "--skip-existing", "--json")
    stdout, stderr = run.communicate(timeout=200)
    assert run.returncode == 0, stderr
    assert len(results(out)) == 12
    assert json.loads(stdout)["summary"]["failed"] == 0


def test_each_worker_takes_the_device_of_its_rank(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert local_device("auto") == "auto"
    monkeypatch.setenv("WORLD_SIZE", "4")
    for rank, device in enumerate(("cuda:0", "cuda:1", "cuda:0", "cuda:1")):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert local_device("auto") == local_device("cuda") == device
        assert local_device("cpu") == "cpu"
