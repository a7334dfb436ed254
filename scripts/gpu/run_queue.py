"""Everything there is to do on a CUDA machine, in resumable parts: tests, benchmarks, then training.

python scripts/gpu/run_queue.py --minutes 9 --packs packs/ --out runs/gpu

Options it does not know go to train.py. Each call runs what is left. See docs/guides/gpu.md.
"""

import argparse
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # srzoo need not be installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

import train as training
from options import choose_models
from options import parse_args as parse_train_args

from srzoo.files import replacing

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = {
    "train edsr_baseline_x2": ["train.py", "--model=edsr_baseline_x2", "--steps=200"],
    "train edsr_x2": ["train.py", "--model=edsr_x2", "--steps=20"],
    "upscale edsr_baseline_x4": ["upscale.py", "--models=edsr_baseline_x4", "--size=480x270", "--rounds=20"],
    "upscale edsr_x4": ["upscale.py", "--models=edsr_x4", "--size=480x270", "--rounds=5"],
    "upscale large": [
        "upscale.py", "--models=edsr_baseline_x4,edsr_x4", "--size=2048x1536", "--precisions=auto", "--no-plain",
    ],
    "upscale shapes": ["upscale.py", "--models=edsr_baseline_x4,edsr_x4", "--size=2048x512", "--shapes"],
}  # fmt: skip
TRIES = 2
"""How often a part that fails is begun; one that runs out of time is begun again in every call."""
SAVING = 0.4
"""Minutes kept for the last save of the training and for what starts it."""
SHORTEST = 0.2
"""Minutes that it takes for a part to be worth beginning."""


class NoTimeLeft(Exception):  # noqa: N818 - it names what happened
    """The minutes of a part are over; it was stopped."""


@dataclass(frozen=True)
class Clock:
    """The minutes of this call."""

    end: float

    def left(self) -> float:
        """Minutes until the end, not below 0."""
        return max(0.0, (self.end - time.monotonic()) / 60)


class Notes:
    """`queue.json`: what became of each part, over all calls."""

    def __init__(self, out: Path, state: Path | None) -> None:
        self._path = out / "queue.json"
        out.mkdir(parents=True, exist_ok=True)
        for name in ("queue.json", "tests.txt", "benchmarks.json"):
            if state is not None and not (out / name).exists() and (state / name).is_file():
                shutil.copyfile(state / name, out / name)
        self.complaints: list[str] = []
        self.parts: dict[str, dict[str, Any]] = json.loads(self._path.read_text()) if self._path.exists() else {}

    def status(self, part: str) -> str:
        """What it is: "done", "failed" (tried often enough), or "remains"."""
        found = self.parts.get(part, {})
        failed = found.get("failures", 0) >= TRIES
        return "done" if found.get("done") else "failed" if failed else "remains"

    def write(
        self, part: str, told: str, *, done: bool = False, failed: bool = False, counts: Mapping[str, int] | None = None
    ) -> None:
        """Note what became of a part."""
        failures = self.parts.get(part, {}).get("failures", 0) + failed
        self.parts[part] = {"done": done, "told": told, "failures": failures, **(counts or {})}
        write_json(self._path, self.parts)
        if failed:
            self.complain(f"{part}: {told}")
        else:
            print(f"{part}: {told}")

    def complain(self, told: str) -> None:
        """Say what went wrong in this call; it goes on."""
        self.complaints.append(told)
        print(told, file=sys.stderr)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, whole or not at all."""
    with replacing(path) as work:
        work.write_text(json.dumps(value, indent=1) + "\n")


def run_command(command: Sequence[str | Path], minutes: float, output: Path | None = None) -> int:
    """Run a command for so long at most; returns its exit code.

    Args:
        command: Arguments for this Python.
        minutes: When they are over it is told to end (SIGTERM), 20 seconds later it is killed.
        output: Where its stdout goes; None leaves it on this one.

    Raises:
        NoTimeLeft: If it had to be stopped.
    """
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}
    arguments = [sys.executable, *map(str, command)]
    with open(output or os.devnull, "wb") as file:
        stdout = file if output is not None else None
        # a process group of its own: Ctrl+C reaches it through us, once
        with subprocess.Popen(arguments, env=env, stdin=subprocess.DEVNULL, stdout=stdout, process_group=0) as process:
            try:
                return process.wait(minutes * 60)
            except subprocess.TimeoutExpired:
                _end(process)
                raise NoTimeLeft from None
            except KeyboardInterrupt:
                _end(process)
                raise


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a process, which may save first."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()
    process.wait()


def run_tests(args: argparse.Namespace, notes: Notes, clock: Clock) -> None:
    """The tests marked `gpu`: their output goes to tests.txt."""
    if importlib.util.find_spec("pytest") is None:
        notes.write("tests", "left out: pytest is not installed here")
        return
    log = args.out / "tests.txt"
    with tempfile.TemporaryDirectory() as folder:
        empty, xml = Path(folder) / "pytest.ini", Path(folder) / "tests.xml"
        empty.write_text("[pytest]\nmarkers = gpu\n")  # not pyproject.toml's options, which want plug-ins
        options = ["-c", empty, "--rootdir", ROOT, "--import-mode=importlib", "-p", "no:cacheprovider", "-rfE"]
        command = ["-m", "pytest", "-m", "gpu", *options, f"--junitxml={xml}", args.tests]
        try:
            code = run_command(command, min(clock.left(), args.test_minutes), log)
        except NoTimeLeft:
            notes.write("tests", "stopped: out of time")
            return
        counts = count_tests(xml) if xml.exists() else None
    if counts is None:
        notes.write("tests", f"pytest ended with {code} before it ran a test, see tests.txt", failed=True)
        return
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    notes.write("tests", told, done=True, counts=counts)
    if counts["failed"]:
        notes.complain(f"{counts['failed']} tests failed, see {log}")


def count_tests(xml: Path) -> dict[str, int]:
    """Tests passed, failed and skipped, from pytest's JUnit file."""
    suites = list(ElementTree.parse(xml).iter("testsuite"))
    total, errors, failures, skipped = (
        sum(int(suite.get(key, "0")) for suite in suites) for key in ("tests", "errors", "failures", "skipped")
    )
    return {"passed": total - errors - failures - skipped, "failed": errors + failures, "skipped": skipped}


def run_benchmark(args: argparse.Namespace, notes: Notes, clock: Clock, name: str, device: str) -> None:
    """One benchmark; its figures go to benchmarks.json under its name."""
    script, *options = BENCHMARKS[name]
    results = args.out / "benchmarks.json"
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "out.json"
        command = [ROOT / "benchmarks" / script, *options, "--json", f"--device={device}"]
        try:
            code = run_command(command, min(clock.left(), args.benchmark_minutes), output)
        except NoTimeLeft:
            notes.write(name, "stopped: out of time")
            return
        if code != 0:
            notes.write(name, f"ended with {code}", failed=True)
            return
        figures = json.loads(output.read_text())
    before: Mapping[str, Any] = json.loads(results.read_text()) if results.exists() else {}
    write_json(results, {**before, name: figures})
    notes.write(name, "in benchmarks.json", done=True)


def run_training(train_options: Sequence[str], notes: Notes, clock: Clock) -> None:
    """train.py with the minutes that are left."""
    minutes = clock.left() - SAVING
    if minutes < SHORTEST:
        return
    command = [ROOT / "scripts" / "gpu" / "train.py", *train_options, f"--minutes={minutes:.2f}"]
    try:
        if code := run_command(command, clock.left() + SAVING):
            notes.complain(f"train.py ended with {code}")
    except NoTimeLeft:
        notes.complain("train.py was stopped: it did not end in time")


def run(args: argparse.Namespace, train_options: Sequence[str]) -> int:
    """Run what is left until the minutes are over, and print a table; returns the exit code."""
    clock = Clock(time.monotonic() + args.minutes * 60)
    train_args = parse_train_args(train_options)
    models = choose_models(train_args)
    notes = Notes(args.out, args.state)
    folder = training.open_run(train_args)
    for part in ("tests", *BENCHMARKS):
        wanted = ("tests" if part == "tests" else "benchmarks") in args.only
        if not wanted or clock.left() < SHORTEST or (notes.status(part) != "remains" and not args.again):
            continue
        if part == "tests":
            run_tests(args, notes, clock)
        else:
            run_benchmark(args, notes, clock, part, train_args.device)
    if "train" in args.only:
        run_training(train_options, notes, clock)
    print_table(notes, training.describe_progress(folder, models))
    return 1 if notes.complaints else 0


def print_table(notes: Notes, models: Sequence[tuple[str, str, str]]) -> None:
    """What is done and what remains."""
    parts = [(notes.status(part), part, notes.parts.get(part, {}).get("told", "")) for part in ("tests", *BENCHMARKS)]
    rows = [*parts, *models]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    for state, name, told in rows:
        print(f"{state:{widths[0]}}  {name:{widths[1]}}  {told}")


def parse_args(argv: Sequence[str] | None) -> tuple[argparse.Namespace, list[str]]:
    """The command line: our options, and those for train.py."""
    parser = argparse.ArgumentParser(
        description="Tests, benchmarks and training in resumable parts; other options go to train.py.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--minutes", type=float, default=9, help="of this call, over all parts (default 9)")
    add("--out", type=Path, required=True, help="folder for all results")
    add("--state", type=Path, help="--out of an earlier call, where this call's --out is empty")
    add("--only", type=lambda text: text.split(","), default="tests,benchmarks,train", help="kinds of parts to run")
    add("--again", action="store_true", help="run tests and benchmarks that are done or failed once more")
    add("--tests", type=Path, default=ROOT / "tests" / "test_gpu.py", help="file or folder of tests")
    add("--test-minutes", type=float, default=3, help="for the tests at most (default 3)")
    add("--benchmark-minutes", type=float, default=2, help="for one benchmark at most (default 2)")
    args, rest = parser.parse_known_args(argv)
    if wrong := set(args.only) - {"tests", "benchmarks", "train"}:
        parser.error(f"--only knows tests, benchmarks and train, not {', '.join(sorted(wrong))}")
    state = [f"--state={args.state}"] if args.state is not None else []
    return args, [f"--out={args.out}", *state, *rest]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 also when parts remain, 2 for a user's mistake."""
    args, train_options = parse_args(argv)
    try:
        return run(args, train_options)
    except KeyboardInterrupt:
        print("stopped; call again to go on", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # the part is told to end, too
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    sys.exit(main())
