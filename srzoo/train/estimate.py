"""What a run would take: a few of its steps, timed, and nothing written."""

import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch

from srzoo.device import tuned_convolutions
from srzoo.train.trainer import Trainer


@dataclass(frozen=True)
class Estimate:
    """Time and memory of a run.

    Args:
        steps_per_second: Measured over the steps that were tried.
        hours: For all steps that remain, validation not counted.
        memory_mib: Peak memory: of the GPU's allocator, or of the whole process on a processor; None where the
            system does not tell.
        steps_tried: How many.
    """

    steps_per_second: float
    hours: float
    memory_mib: float | None
    steps_tried: int

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)


def estimate_run(trainer: Trainer, seconds: float = 10.0) -> Estimate:
    """Time and memory of a run, from its own first steps; the trainer's weights are changed by them.

    Args:
        trainer: A trainer that will not be used further.
        seconds: How long to try, at least one step.
    """
    first, seen = trainer.step, set()
    with tuned_convolutions():
        while seen != set(trainer.data.scales):  # makes the optimizer's state, picks kernels, records graphs
            batch = trainer.batch(trainer.step)
            trainer.train_step(batch)
            seen.add(batch.scale)
        _wait(trainer.device)
        start, tried = time.perf_counter(), 0
        while trainer.world.any(tried < 1 or (time.perf_counter() - start < seconds and tried < 50), trainer.device):
            trainer.train_step(trainer.batch(trainer.step))
            tried += 1
            _wait(trainer.device)
        speed = tried / (time.perf_counter() - start)
    left = max(0, trainer.config.steps - first)
    return Estimate(speed, left / speed / 3600, _peak_mib(trainer.device), tried)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _peak_mib(device: torch.device) -> float | None:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        import resource
    except ImportError:  # not a POSIX system
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
