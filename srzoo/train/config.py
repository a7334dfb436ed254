"""Everything a training run is told, in one place."""

import math
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any, Literal, Protocol, runtime_checkable


@runtime_checkable  # for the run-time type checks of the tests
class Schedule(Protocol):
    """Learning-rate factor over a run."""

    def factor(self, step: int, steps: int) -> float:
        """Factor on the learning rate at `step` (from 0) of `steps`."""
        ...


@dataclass(frozen=True)
class Halving:
    """Half the learning rate every `every` steps: the paper's, with 200,000 (section 5.2)."""

    every: int = 200_000

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be at least 1")

    def factor(self, step: int, steps: int) -> float:
        """0.5 ** (step // every)."""
        return 0.5 ** (step // self.every)


@dataclass(frozen=True)
class Cosine:
    """Linear warm-up over `warmup` steps, then half a cosine down to `final` of the learning rate."""

    warmup: int = 200
    final: float = 0.0

    def __post_init__(self) -> None:
        if self.warmup < 0:
            raise ValueError(f"warmup is {self.warmup}; it must be 0 or more")

    def factor(self, step: int, steps: int) -> float:
        """(step + 1) / warmup while warming up, then the cosine."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, steps - self.warmup)
        return self.final + (1 - self.final) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A training run; the defaults are the paper's (section 5.2) except for precision and EMA.

    Raises:
        ValueError: If a value is out of range.
    """

    steps: int = 300_000
    """Parameter updates."""
    batch_size: int = 16
    patch_size: int = 48
    """Side of the LR patch in pixels."""
    lr: float = 1e-4
    """Peak learning rate of Adam."""
    schedule: Schedule = field(default_factory=Halving)
    clip_norm: float | None = None
    """Largest norm of the whole gradient (loss taken in [0, 1]); None does not clip."""
    ema_decay: float | None = 0.999
    """Decay of the averaged weights that are validated and saved; None keeps no average."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the convolutions (autocast); weights and loss stay fp32. "auto" takes the fastest of the device."""
    device: str = "auto"
    seed: int = 0
    validate_every: int = 1_000
    checkpoint_every: int = 1_000
    log_every: int = 100
    minutes: float | None = None
    """Stop after this long with a checkpoint; `Trainer.resume` goes on."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "patch_size", "validate_every", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it must be 0 or more")
        if not self.lr > 0:
            raise ValueError(f"lr is {self.lr}; it must be positive")
        if self.precision not in ("auto", "fp32", "bf16", "fp16"):
            raise ValueError(f"precision is {self.precision!r}; allowed are auto, fp32, bf16, fp16")
        if self.ema_decay is not None and not 0 < self.ema_decay < 1:
            raise ValueError(f"ema_decay is {self.ema_decay}; it must lie between 0 and 1, or be None")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise ValueError(f"clip_norm is {self.clip_norm}; it must be positive, or None")

    def to_json(self) -> dict[str, Any]:
        """The configuration as plain JSON values; the schedule is named by its class."""
        schedule = asdict(self.schedule) if is_dataclass(self.schedule) else vars(self.schedule)
        return {**asdict(self), "schedule": {"kind": type(self.schedule).__name__, **schedule}}

    def trajectory(self) -> dict[str, Any]:
        """What decides the sequence of weights: all but where and how often things are run and written."""
        free = {"device", "validate_every", "checkpoint_every", "log_every", "minutes"}
        return {key: value for key, value in self.to_json().items() if key not in free}
