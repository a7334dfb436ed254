"""Learning-rate schedules: a factor on the learning rate at each step of a run."""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@runtime_checkable  # for the run-time type checks of the tests
class Schedule(Protocol):
    """Learning-rate factor over a run."""

    def factor(self, step: int, steps: int) -> float:
        """Factor on the learning rate at `step` (from 0) of `steps`."""
        ...


@dataclass(frozen=True)
class Constant:
    """The same learning rate from the first step to the last."""

    def factor(self, step: int, steps: int) -> float:
        """1."""
        return 1.0


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
class Stepped:
    """The learning rate times `by` every `every` steps: VDSR's, a tenth every 20 epochs.

    Raises:
        ValueError: If `every` is below 1, or `by` does not lie between 0 and 1.

    Examples:
        >>> [round(Stepped(every=10, by=0.1).factor(step, 40), 4) for step in (9, 10, 20, 30)]
        [1.0, 0.1, 0.01, 0.001]
    """

    every: int
    by: float = 0.1

    def __post_init__(self) -> None:
        if self.every < 1:
            raise ValueError(f"every is {self.every}; it must be at least 1")
        if not 0 < self.by < 1:
            raise ValueError(f"by is {self.by}; it must lie between 0 and 1")

    def factor(self, step: int, steps: int) -> float:
        """`by` ** (step // every)."""
        return self.by ** (step // self.every)


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
