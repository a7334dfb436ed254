"""A server that trains tiny networks in processes it forks, and kills them when and where it is told to.

It reads jobs from stdin, a JSON object a line, and answers each by a line. torch is imported once, so a job takes
well under a second. Under torchrun, or given a job as its argument, it does that one in its own process.
"""

import json
import os
import resource
import signal
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
import torch._dynamo  # optimizers import it at first use
from torch import Tensor, nn

import srzoo
import srzoo.train.checkpoint
import srzoo.weights
from srzoo.data.pairs import Pair
from srzoo.train import JsonLines, TrainConfig, Trainer, WorkerLost, joined_world

CONFIG: dict[str, Any] = {
    "steps": 40,
    "batch_size": 3,
    "patch_size": 6,
    "lr": 1e-3,
    "clip_norm": 1.0,
    "skip_above": 3.0,
    "skip_window": 11,
    "ema_decay": 0.95,
    "checkpoint_every": 7,
    "log_every": 5,
    "validate_every": 10,
    "keep_last": 2,
    "device": "cpu",
}
"""Events at steps that are no multiples of each other, so that a kill finds each in a state of its own."""


class Waves:
    """Patches of sine waves at random frequencies, made in memory."""

    def __init__(self, scales: tuple[int, ...], fingerprint: str = "waves") -> None:
        self.scales, self.fingerprint = scales, fingerprint

    def check(self, patch_size: int) -> None:
        pass

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        y, x = np.mgrid[: patch_size * scale, : patch_size * scale] / scale
        a, b = rng.uniform(0.2, 1, (2, batch_size, 3, 1, 1))
        hr = torch.from_numpy((127.5 + 127.5 * np.sin(a * x + b * y)).round().astype(np.uint8))
        lr = nn.functional.avg_pool2d(hr.float(), scale).round().to(torch.uint8)
        return lr[part], hr[part]


def make_pairs(scales: tuple[int, ...]) -> list[Pair]:
    """A pair for each scale."""
    waves, rng = Waves(scales), np.random.default_rng(99)
    drawn = [(waves.sample(rng, scale=scale, batch_size=1, patch_size=14), scale) for scale in scales]
    return [Pair(f"x{scale}", lr[0], hr[0], scale) for (lr, hr), scale in drawn]


def make_trainer(job: dict[str, Any]) -> Trainer:
    """The trainer of a job; every process starts from weights of its own, which must not matter."""
    scales = tuple(job.get("scales", (2, 3)))
    config = TrainConfig(**{**CONFIG, "precision": job.get("precision", "fp32"), **job.get("config", {})})
    torch.manual_seed(int(os.environ.get("RANK", "0")))
    model = srzoo.create_model(job.get("model", "mdsr_baseline"), width=job.get("width", 4), num_blocks=1)
    folder = Path(job["folder"])
    return Trainer(
        model, Waves(scales, job.get("data", "waves")), config, folder=folder,
        validation={"waves": make_pairs(scales)} if job.get("validates", True) and not job.get("quiet") else {},
        callbacks=[] if job.get("quiet") else [JsonLines(folder / "log.jsonl")],
    )  # fmt: skip


# Where a run may be stopped


def before(owner: Any, name: str, act: Callable[..., object]) -> None:
    """Have `owner.name` call `act` with its arguments first."""
    original = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        act(*args, **kwargs)
        return original(*args, **kwargs)

    setattr(owner, name, wrapped)


def half_a_file(tensors: Any, path: Path, metadata: Any) -> None:
    """Write half of a safetensors file, as the library does: into a file of its own beside the one it is given."""
    whole = safetensors.torch.save(tensors, metadata)
    path.with_name(".tmpa1B2c3").write_bytes(whole[: len(whole) // 2])


def half_a_row(callback: JsonLines, run: Any, row: dict[str, float]) -> None:
    """Append half a row to the log."""
    with open(callback._path, "a", encoding="utf-8") as file:
        file.write(json.dumps(row)[:9])


def named(start: str) -> Callable[..., bool]:
    """Whether the file that is written or removed has a name that starts so."""
    return lambda path, *to, **_: Path(to[0] if to else path).name.startswith(start)


def install(kill: dict[str, Any], trainer: Trainer) -> None:
    """Have the process told (`kill["signals"]`) when a moment (`kill["at"]`) comes for the nth time."""
    owner, name, is_it, first = {
        "inside a checkpoint": (srzoo.train.checkpoint, "save_file", None, half_a_file),
        "before a checkpoint is renamed": (Path, "replace", named("step_"), None),
        "before an old checkpoint is removed": (Path, "unlink", named("step_"), None),
        "inside best": (srzoo.weights, "save_file", None, half_a_file),
        "before best is renamed": (Path, "replace", named("best"), None),
        "before the log is renamed": (Path, "replace", named("log"), None),
        "inside a row": (JsonLines, "log", None, half_a_row),
        "before a row": (JsonLines, "log", None, None),
        "before a checkpoint": (JsonLines, "saving", None, None),
        "before a validation": (trainer, "validate", None, None),
        "inside an update": (trainer.optimizer, "", None, None),
    }[kill["at"]]
    left = [kill["nth"]]

    def act(*args: Any, **kwargs: Any) -> None:
        if is_it is not None and not is_it(*args, **kwargs):
            return
        left[0] -= 1
        if left[0] == 0:
            if first is not None:
                first(*args, **kwargs)
            for signum in kill.get("signals", [signal.SIGKILL]):
                os.kill(os.getpid(), signum)

    if name:
        before(owner, name, act)
    else:
        trainer.optimizer.register_step_post_hook(act)  # the weights have changed, the average has not


def install_at_step(kill: dict[str, Any], trainer: Trainer) -> None:
    """Have the process killed at a step; where there is a marker file, only the first time."""
    marker = Path(kill["once"]) if "once" in kill else None

    def act(*_: Any) -> None:
        if trainer.step != kill["step"] or (marker is not None and marker.exists()):
            return
        if marker is not None:
            marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    trainer.optimizer.register_step_post_hook(act)


def limit(limits: dict[str, Any], trainer: Trainer) -> None:
    """Take away room or rights at a step."""

    def act(*_: Any) -> None:
        if trainer.step != limits["step"]:
            return
        if "file_size" in limits:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_size"], limits["file_size"]))
        if limits.get("read_only"):
            os.chmod(limits["read_only"], 0o500)
            if os.getuid() == 0:  # who may do anything
                os.setuid(65534)

    before(trainer, "train_step", act)


# Processes


def run(job: dict[str, Any]) -> None:
    """Train to the end, or to the end of this process."""
    with joined_world("cpu") as (world, _):
        trainer = make_trainer(job)
        kill = job.get("kill", {})
        if kill and world.rank == kill.get("rank", 0):
            (install_at_step if "step" in kill else install)(kill, trainer)
        if "limits" in job:
            limit(job["limits"], trainer)
        trainer.resume()
        trainer.fit()


def guarded(job: dict[str, Any]) -> int:
    """`run` with mistakes told in a sentence, as the command line does; the exit code."""
    try:
        run(job)
    except WorkerLost:  # which the log has told
        return 2
    except (ValueError, OSError) as error:
        sys.stderr.write(f"srzoo: {error}\n")
        return 2
    return 0


def fork(job: dict[str, Any], environment: dict[str, str], stderr: int) -> int:
    """Do a job in a new process; its id."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
        os.environ.update(environment)
        os.dup2(stderr, 2)
        code = guarded(job)
    except SystemExit as leave:
        code = int(leave.code or 0)
    except KeyboardInterrupt:
        code = 130
    except BaseException:
        traceback.print_exc()
    sys.stderr.flush()
    os._exit(code)


def serve(job: dict[str, Any]) -> dict[str, Any]:
    """Do a job: exit codes (minus the signal for a killed process), what was said, seconds it took."""
    ranks = job.get("ranks", 1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    start = time.monotonic()
    with tempfile.TemporaryFile("w+") as stderr:
        pids = []
        for rank in range(ranks):
            environment = {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks),
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
            pids.append(fork(job, environment if ranks > 1 else {}, stderr.fileno()))
        if "after" in job:
            time.sleep(job["after"])
            for pid in [*pids] * len(job["signals"]):
                os.kill(pid, job["signals"][0])
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        stderr.seek(0)
        return {"codes": codes, "stderr": stderr.read(), "seconds": time.monotonic() - start}


def main() -> int:
    """Serve, or do the job that is given."""
    torch.set_num_threads(1)
    if len(sys.argv) > 1:
        return guarded(json.loads(sys.argv[1]))
    for line in sys.stdin:
        sys.stdout.write(json.dumps(serve(json.loads(line))) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
