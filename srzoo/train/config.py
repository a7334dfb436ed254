"""Everything a training run is told in numbers, in one place, checked."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from srzoo.train.describe import describe
from srzoo.train.schedules import Constant, Cosine, Halving, Schedule, Stepped

HARMLESS = frozenset(
    (
        *("device", "precision", "capture", "accumulate", "minutes", "early_stop"),
        *("validate_every", "checkpoint_every", "keep_last", "log_every"),
        *("steps", "schedule"),  # compared by the factors they give
    )
)
"""Settings in which a resumed run may differ from the one it goes on with."""


_WHOLE = (
    *("steps", "batch_size", "accumulate", "patch_size", "skip_window", "seed"),
    *("validate_every", "checkpoint_every", "keep_last", "log_every", "early_stop"),
)
_NUMBERS = ("lr", "clip_norm", "skip_above", "ema_decay", "minutes")
_MAY_BE_NONE = ("clip_norm", "skip_above", "ema_decay", "minutes", "early_stop")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run; the defaults are the paper's (section 5.2) except for precision and the average.

    Raises:
        ValueError: If a value is out of range.

    Examples:
        >>> TrainConfig(steps=1000, batch_size=8).lr
        0.0001
    """

    steps: int = 300_000
    """Parameter updates."""
    batch_size: int = 16
    """Patches of one update, over all processes and micro-batches."""
    accumulate: int = 1
    """Micro-batches an update is made in: less memory, the same gradient."""
    patch_size: int = 48
    """Side of the LR patch in pixels."""
    lr: float = 1e-4
    """Peak learning rate."""
    schedule: Schedule = field(default_factory=Halving)
    rates: Mapping[str, float | int] = field(default_factory=dict)
    """Part of the model (`body`, `body.3`, or a pattern of parameter names) -> factor on `lr`; 0 freezes it."""
    clip_norm: float | None = None
    """Largest norm of the whole gradient (loss taken in [0, 1]); None does not clip."""
    skip_above: float | None = None
    """Drop an update whose loss is above this many times the mean of the last `skip_window` steps, the rule of the
    paper's own code (there 2 or 3 times the last 1,000 steps); None drops only those that are not finite."""
    skip_window: int = 1_000
    ema_decay: float | None = 0.999
    """Decay of the averaged weights that are validated and saved; None keeps no average."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the convolutions (autocast); weights and loss stay fp32. "auto" takes the fastest of the device."""
    device: str = "auto"
    capture: Literal["auto", "none", "graph", "compile"] = "auto"
    """How a step is run: "graph" replays it as a CUDA graph, "compile" through `torch.compile`; "auto" takes the
    graph on CUDA and "none" elsewhere."""
    seed: int = 0
    validate_every: int = 1_000
    checkpoint_every: int = 1_000
    keep_last: int = 2
    """Checkpoints to keep; the weights with the best validation score are kept apart."""
    log_every: int = 100
    minutes: float | None = None
    """Stop after this long with a checkpoint; `Trainer.resume` goes on."""
    early_stop: int | None = None
    """Stop when the score has not risen for so many validations in a row."""

    def __post_init__(self) -> None:
        for name, kind in (*((name, int) for name in _WHOLE), *((name, float) for name in _NUMBERS)):
            value = getattr(self, name)
            if not (value is None and name in _MAY_BE_NONE):
                _check_number(name, value, kind)
        for name in (
            "steps", "batch_size", "accumulate", "patch_size", "skip_window", "validate_every", "checkpoint_every",
            "keep_last", "log_every",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.minutes is not None and not self.minutes >= 0:
            raise ValueError(f"minutes is {self.minutes}; it must be 0 or more, or None")
        if self.accumulate > self.batch_size:
            raise ValueError(f"accumulate is {self.accumulate}; it can be at most batch_size, {self.batch_size}")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; it must be positive")
        for name, allowed in (
            ("precision", ("auto", "fp32", "bf16", "fp16")),
            ("capture", ("auto", "none", "graph", "compile")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must lie between 0 and 1, or be None")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; it must be positive, or None")
        if self.skip_above is not None and not self.skip_above > 1:
            raise ValueError(f"skip_above is {self.skip_above}; it must be above 1, or None")
        if self.early_stop is not None and self.early_stop < 1:
            raise ValueError(f"early_stop is {self.early_stop}; it must be at least 1, or None")
        for part, rate in self.rates.items():
            _check_number(f"the rate of {part!r}", rate, float)
        if wrong := {part: rate for part, rate in self.rates.items() if not rate >= 0}:
            raise ValueError(f"rates has {wrong}; a factor on lr is 0 (frozen) or more")

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain JSON values; the schedule is named by its class."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        return {**told, "rates": dict(self.rates), "schedule": describe(self.schedule)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """The configuration `to_json` wrote, such as the one in a weight file's header (`recipe["config"]`).

        Raises:
            ValueError: If a name is unknown (the nearest right one is told), a value out of range, or the schedule
                none of srzoo's.

        Examples:
            >>> TrainConfig.from_json({"stepz": 10})
            Traceback (most recent call last):
            ValueError: TrainConfig has no setting 'stepz'; did you mean 'steps'?
        """
        values = dict(values)
        check_names(values, [f.name for f in fields(cls)], "TrainConfig has no setting")
        if isinstance(told := values.get("schedule"), Mapping):
            kinds = {kind.__name__: kind for kind in (Constant, Halving, Stepped, Cosine)}
            if told.get("kind") not in kinds:
                raise ValueError(f"schedule is {told.get('kind')!r}; known are {', '.join(kinds)}: give the object")
            kind, told = kinds[told["kind"]], {k: v for k, v in told.items() if k != "kind"}
            check_names(told, [f.name for f in fields(kind)], f"{kind.__name__} has no setting")
            values["schedule"] = kind(**told)
        return cls(**values)

    def trajectory(self) -> dict[str, Any]:
        """What decides the sequence of weights, apart from the schedule."""
        return {key: value for key, value in self.to_json().items() if key not in HARMLESS}


def _check_number(name: str, value: Any, kind: type) -> None:
    """See that a setting is a number that is finite, and a whole one where `kind` is int."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole or (kind is float and isinstance(value, float) and math.isfinite(value))):
        raise ValueError(f"{name} is {value!r}; it must be a {'whole ' if kind is int else ''}number")


def check_names(given: Mapping[str, Any], known: list[str], what: str) -> None:
    """See that all names are known.

    Raises:
        ValueError: Naming the first unknown one and the nearest that is known.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"{what} {name!r}; {hint}")
