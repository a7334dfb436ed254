"""What a resumed run must have in common with the one it goes on with, and what may differ."""

import json
import math
import platform
from collections.abc import Mapping
from typing import Any

import torch

from srzoo.train.schedules import Schedule
from srzoo.version import __version__


def describe_environment(device: torch.device, precision: str, num_processes: int) -> dict[str, Any]:
    """What the last bits of a run depend on besides its settings, and which srzoo it was."""
    on_cuda = device.type == "cuda"
    return {
        "srzoo": __version__,
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(device) if on_cuda else device.type,
        "precision": precision,
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "processor": platform.machine(),
        "processes": num_processes,
    }


def check_same_run(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """See that two runs have the same settings, images and network; settings that one of them lacks are passed over.

    Raises:
        ValueError: With both values of every setting that differs.
    """
    then, now = (json.loads(json.dumps(one)) for one in (then, now))  # tuples become lists, as they do in a file
    changed = [key for key in now if key in then and then[key] != now[key]]
    if not changed:
        return
    if changed == ["data"]:
        raise ValueError(
            "the run to resume had other training images, sampling weights or degradations; give the same ones or "
            "start anew"
        )
    told = "; ".join(f"{key} was {then[key]!r}, is {now[key]!r}" for key in changed if key != "data")
    raise ValueError(f"the run to resume had other settings ({told}); give the same ones or start anew")


def check_same_teacher(then: Mapping[str, str] | None, now: Mapping[str, str] | None) -> None:
    """See that two runs have the same teacher, whatever it is called.

    Args:
        then: `content`, which is equal for equal teachers, and `told`, its name; None without a teacher.
        now: The same of the run that is to go on.

    Raises:
        ValueError: If the teachers differ, or one of the runs has none.
    """
    one, other = ({} if teacher is None else teacher for teacher in (then, now))
    if one.get("content") != other.get("content"):
        had, has = (f"the teacher {teacher['told']}" if teacher else "no teacher" for teacher in (one, other))
        raise ValueError(f"the run to resume had {had}, now there is {has}; give the same (--teacher) or start anew")


def check_same_schedule(factors: list[float], done: int, schedule: Schedule, steps: int) -> None:
    """See that a schedule gives what it gave so far: a run may be made longer if that leaves its past as it was.

    Args:
        factors: Factors of the run so far, at the steps `probe_steps(done)` names.
        done: Steps taken so far.
        schedule: The one to go on with.
        steps: The length it is to have now.

    Raises:
        ValueError: If the past would have been another.
    """
    now = [schedule.factor(step, steps) for step in probe_steps(done)]
    if not all(math.isclose(one, other, rel_tol=1e-9) for one, other in zip(factors, now, strict=False)):
        raise ValueError(
            f"the run to resume had another schedule or, with this schedule, another number of steps than {steps}; "
            "give the same ones or start anew"
        )


def probe_steps(done: int) -> list[int]:
    """The steps a schedule is compared at: 0, 1, 3, 7, 15 and so on, and the last one that was taken.

    Examples:
        >>> probe_steps(12)
        [0, 1, 3, 7, 11]
    """
    return sorted({*(2**i - 1 for i in range(done.bit_length())), max(0, done - 1)})


def describe_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs between two environments, in words; empty if nothing does.

    Examples:
        >>> describe_changes({"torch": "2.6", "threads": 2}, {"torch": "2.6", "threads": 8})
        'threads was 2, is 8'
    """
    return "; ".join(f"{key} was {then[key]}, is {now[key]}" for key in now if key in then and then[key] != now[key])
