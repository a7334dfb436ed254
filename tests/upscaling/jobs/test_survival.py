"""A job that is killed at any moment and started again gives the folder of an undisturbed one, each file made once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from stand_in import album, picture, results, stamps

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Server:
    """Processes that run the command, forked from one that has imported everything."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "log.txt"
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        script = Path(__file__).with_name("job_server.py")
        self.process = subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._answer() == {"ready": 1}

    def _answer(self) -> dict[str, int]:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def run(
        self,
        *arguments: str,
        after: float | Callable[[], bool] | None = None,
        number: int = signal.SIGKILL,
        **environment: str,
    ) -> int:
        """The exit code of the command; with `after`, it is sent a signal after so many seconds, or when that is so."""
        job = {"arguments": arguments, "environment": environment, "log": str(self.log)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        pid = self._answer()["pid"]
        if after is not None:
            if callable(after):
                while not after():
                    time.sleep(0.005)
            else:
                time.sleep(after)
            with suppress(ProcessLookupError):  # it may have ended
                os.kill(pid, number)
        return self._answer()["status"]

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.close()


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".srzoo-*") if path.name != ".srzoo-upscale.jsonl"]


def undisturbed(server: Server, photos: Path, folder: Path, *options: str, **environment: Any) -> dict[str, bytes]:
    folder.mkdir()
    assert server.run(str(photos), "-o", str(folder), *options, **environment) == 0, server.log.read_text()
    return results(folder)


SLOW = {"STRIP_SECONDS": "0.004"}
REAL = {"REAL_UPSCALER": "1"}
WITH_REAL = ("--model", "bicubic_x2", "--engine", "torch")


@pytest.mark.parametrize("step", ["before_place", "before_journal", "after_journal", "after_rename"])
@pytest.mark.parametrize(
    "flags",
    [pytest.param(["--skip-existing"], id="skip-existing"), pytest.param([], id="plain", marks=pytest.mark.slow)],
)
def test_a_kill_at_each_step_of_writing(server: Server, tmp_path: Path, step: str, flags: list[str]) -> None:
    photos, out = album(tmp_path / "photos", 3), tmp_path / "out"
    expected = undisturbed(server, photos, tmp_path / "expected")
    out.mkdir()
    call = [str(photos), "-o", str(out), *flags]
    die = {"SRZOO_DIE": step, "SRZOO_DIE_AT": str(tmp_path / "died")}
    assert server.run(*call, **die) == -signal.SIGKILL
    before = stamps(out)
    assert bool(before) == (step in ("after_journal", "after_rename"))  # a new result is placed by a link
    assert [Path(name).suffix for name in sorted(leftovers(out))].count(".claim") == 1
    assert (".png" in {Path(name).suffix for name in leftovers(out)}) == (step != "after_rename")
    assert server.run(*call, **die) == 0, server.log.read_text()
    assert results(out) == expected
    assert not leftovers(out)
    assert before.items() <= stamps(out).items()  # the same files, not made again


def test_a_kill_while_a_result_is_replaced_leaves_the_old_or_the_new_one(server: Server, tmp_path: Path) -> None:
    photos, out = album(tmp_path / "photos", 3), tmp_path / "out"
    old = undisturbed(server, photos, out)
    for index, path in enumerate(sorted(photos.rglob("*.png"))):
        picture(path, seed=50 + index)
    new = undisturbed(server, photos, tmp_path / "expected")
    for step in ("before_place", "before_journal", "after_journal", "after_rename"):
        die = {"SRZOO_DIE": step, "SRZOO_DIE_AT": str(tmp_path / step)}
        assert server.run(str(photos), "-o", str(out), "--skip-existing", **die) == -signal.SIGKILL
        there = {name: data for name, data in results(out).items() if "/.srzoo" not in f"/{name}"}
        assert all(data in (old[name], new[name]) for name, data in there.items())
        assert len(there) == len(old)
    assert server.run(str(photos), "-o", str(out), "--skip-existing") == 0, server.log.read_text()
    assert results(out) == new


def disturb(
    server: Server,
    tmp_path: Path,
    kills: int,
    seed: int,
    environment: dict[str, str] = SLOW,
    options: Sequence[str] = (),
) -> None:
    """Kill jobs at random moments until so many were killed; each ends as an undisturbed one."""
    rng = random.Random(seed)
    photos = album(tmp_path / "photos", 40 if options else 8, width=16, height=24)  # the real one takes time to begin
    expected = undisturbed(server, photos, tmp_path / "expected", *options, **environment)
    start = time.perf_counter()
    undisturbed(server, photos, tmp_path / "timed", *options, **environment)
    seconds = time.perf_counter() - start
    killed = rounds = in_the_middle = 0
    while killed < kills:
        out = tmp_path / f"out{rounds}"
        out.mkdir()
        call = [str(photos), "-o", str(out), "--skip-existing", *options]
        whole: dict[str, Any] = {}
        status = -1
        while status != 0:
            moment = rng.uniform(0.2, 1.1) * seconds if killed < kills else None
            status = server.run(*call, after=moment, **environment)
            assert status in (0, -signal.SIGKILL), server.log.read_text()
            killed += status != 0
            now = stamps(out)
            assert whole.items() <= now.items()
            in_the_middle += status != 0 and len(whole) < len(now)
            whole = now
        assert results(out) == expected
        assert not leftovers(out)
        rounds += 1
    assert in_the_middle >= kills // 5  # it did not only begin again and again
    print(f"{killed} kills in {rounds} jobs, {in_the_middle} of them after a result was made")


def test_a_few_kills_at_random_moments(server: Server, tmp_path: Path) -> None:
    disturb(server, tmp_path, kills=3, seed=1)


@pytest.mark.slow
def test_many_kills_at_random_moments(server: Server, tmp_path: Path) -> None:
    disturb(server, tmp_path, kills=60, seed=2)


def test_kills_of_the_upscaler_itself(server: Server, tmp_path: Path) -> None:
    disturb(server, tmp_path, 2, 3, REAL, WITH_REAL)


@pytest.mark.slow
def test_many_kills_of_the_upscaler_itself(server: Server, tmp_path: Path) -> None:
    disturb(server, tmp_path, 40, 4, REAL, WITH_REAL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_told_to_stop_ends_in_order(server: Server, tmp_path: Path, number: int, code: int) -> None:
    photos, out = album(tmp_path / "photos", 8), tmp_path / "out"
    expected = undisturbed(server, photos, tmp_path / "expected")
    out.mkdir()
    call = [str(photos), "-o", str(out), "--skip-existing"]

    def has_begun() -> bool:
        return len(stamps(out)) > 1

    assert server.run(*call, after=has_begun, number=number, STRIP_SECONDS="0.1") == code, server.log.read_text()
    assert "start the same command with --skip-existing to go on" in server.log.read_text()
    assert not leftovers(out)
    there = results(out)
    assert len(there) < 8
    assert all(data == expected[name] for name, data in there.items())
    assert server.run(*call) == 0
    assert results(out) == expected


@pytest.mark.slow
def test_two_jobs_in_one_folder_at_a_time_do_not_harm_each_other(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path)
    try:
        photos, out = album(tmp_path / "photos", 6), tmp_path / "out"
        expected = undisturbed(server, photos, tmp_path / "expected")
        out.mkdir()
        job = {
            "arguments": [str(photos), "-o", str(out), "--skip-existing"],
            "environment": {"STRIP_SECONDS": "0.01"},
            "log": str(other.log),
        }
        assert other.process.stdin is not None
        other.process.stdin.write(json.dumps(job) + "\n")
        other.process.stdin.flush()
        assert server.run(*job["arguments"], STRIP_SECONDS="0.01") == 0, server.log.read_text()
        assert "pid" in other._answer()
        assert other._answer()["status"] == 0, other.log.read_text()
        assert results(out) == expected
        assert server.run(*job["arguments"], "--json") == 0
        summary = json.loads(server.log.read_text())["summary"]
        assert summary["skipped"] == 6
    finally:
        other.close()
