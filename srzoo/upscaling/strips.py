"""Strips of an image through a network, from top to bottom: nothing is computed twice, and memory stays flat."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor

from srzoo.tta.merges import MeanAndSpread, Merge
from srzoo.upscaling.ahead import ahead
from srzoo.upscaling.engines import CompiledStep, Engine, States
from srzoo.upscaling.layers import Layers
from srzoo.upscaling.planner import StripPlan
from srzoo.upscaling.steps import Phase, build_step, plan_flow, plan_strips

Read = Callable[[int, int], Tensor]
"""Rows of the image from one to before another: b c rows columns, float, anywhere."""
MAX_COMPILED = 32
LARGE = 1 << 22
"""LR pixels from which a step is dropped once it is done with: what it holds is worth more than compiling it again."""


class Compiled:
    """Steps of networks compiled for the shapes that came up; the oldest are forgotten."""

    def __init__(self, engine: Engine, networks: Sequence[Layers]) -> None:
        self.engine = engine
        self.networks = tuple(networks)
        self.flows = [plan_flow(network) for network in self.networks]
        self._alone: dict[int, Compiled] = {}
        self._steps: dict[tuple[int, Phase, tuple[int, int, int], int | None], CompiledStep] = {}

    def step(self, variant: int, phase: Phase, shape: tuple[int, int, int], rows: int | None = None) -> CompiledStep:
        """The step of a phase of one of the networks for strips of a shape (batch, rows, columns).

        Args:
            variant: Which of the networks.
            phase: Which part of the image it is for.
            shape: Batch, rows and columns.
            rows: Of a middle strip.
        """
        key = variant, phase, shape, rows if phase == "last" else None
        if key not in self._steps:
            step = build_step(self.networks[variant], phase, self.flows[variant], rows)
            while len(self._steps) >= MAX_COMPILED * len(self.networks):
                self._steps.pop(next(iter(self._steps)))
            self._steps[key] = self.engine.compile(step, shape)
        return self._steps[key]

    def alone(self, variant: int) -> "Compiled":
        """One of the networks, as if there were no other; steps of it are made once."""
        if len(self.networks) == 1:
            return self
        if variant not in self._alone:
            self._alone[variant] = Compiled(self.engine, [self.networks[variant]])
        return self._alone[variant]

    def forget(self, phase: Phase) -> None:
        """Drop the compiled steps of a phase."""
        self._steps = {key: step for key, step in self._steps.items() if key[1] != phase}


@dataclass(frozen=True)
class Merged:
    """Rows of a result, and how far the passes of an ensemble lie apart, where that was asked for."""

    sr: Tensor
    spread: Tensor | None = None

    @classmethod
    def of(cls, merge: Merge) -> "Merged":
        """What a merge gives."""
        return cls(merge.result(), merge.spread() if isinstance(merge, MeanAndSpread) else None)

    @classmethod
    def beside(cls, parts: "Sequence[Merged]") -> "Merged":
        """Parts from left to right as one."""
        return cls._joined(parts, -1)

    @classmethod
    def stacked(cls, parts: "Sequence[Merged]") -> "Merged":
        """Parts from top to bottom as one."""
        return cls._joined(parts, -2)

    @classmethod
    def _joined(cls, parts: "Sequence[Merged]", dim: int) -> "Merged":
        if len(parts) == 1:
            return parts[0]
        spreads = [part.spread for part in parts if part.spread is not None]
        return cls(torch.cat([part.sr for part in parts], dim), torch.cat(spreads, dim) if spreads else None)

    def split(self, rows: int) -> "tuple[Merged, Merged]":
        """The first rows, and the rest."""
        above = Merged(self.sr[..., :rows, :], None if self.spread is None else self.spread[..., :rows, :])
        spread = None if self.spread is None else self.spread[..., rows:, :].clone()
        below = Merged(self.sr[..., rows:, :].clone(), spread)  # copied, so that the rows above can be freed
        return above, below


def run_strips(
    compiled: Compiled,
    read: Read,
    height: int,
    plan: StripPlan,
    make_merge: Callable[[], Merge] | None = None,
) -> Generator[Merged]:
    """Rows of the result from top to bottom, b c rows columns.

    Args:
        compiled: The network, or its variants, whose results are merged.
        read: Gives rows of the image; called ahead of time in a thread.
        height: Of the image.
        plan: Rows of a strip, and bands.
        make_merge: Makes what merges the variants' results of a strip; None for a network alone.
    """
    strips = plan_strips(height, plan.rows, max(flow.min_first for flow in compiled.flows))
    states: dict[tuple[int, int], States] = {}
    device, scale = compiled.engine.device, compiled.networks[0].scale
    assert make_merge or len(compiled.networks) == 1

    def reads() -> Iterator[tuple[Phase, Tensor]]:
        for phase, top, bottom in strips:
            yield phase, read(top, bottom)

    with closing(ahead(reads(), 1)) as coming:
        for phase, rows in coming:
            rows = rows.to(device, non_blocking=True)
            parts: list[Merged] = []
            for number, band in enumerate(plan.bands):
                strip = rows[..., slice(*band.window)]
                inner = slice((band.left - band.window[0]) * scale, (band.right - band.window[0]) * scale)
                shape = strip.shape[0], strip.shape[2], strip.shape[3]
                merge = make_merge() if make_merge else None
                for variant in range(len(compiled.networks)):
                    step = compiled.step(variant, phase, shape, plan.rows)
                    sr, states[number, variant] = step(strip, states.get((number, variant), ()))
                    if merge is None:
                        parts.append(Merged(sr[..., inner]))
                    else:
                        merge.add(sr[..., inner])
                if merge is not None:
                    parts.append(Merged.of(merge))
            if phase == "first" and height * rows.shape[-1] > LARGE:
                compiled.forget("first")
            yield Merged.beside(parts)
