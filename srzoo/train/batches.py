"""Batches of patches on the device, each a pure function of the seed and the step."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from srzoo.distributed import World
from srzoo.train.config import TrainConfig

Targets = Callable[[Tensor, int], Tensor]
"""(lr, scale) -> what is to be learnt in place of the HR patches, such as `srzoo.train.teacher.Teacher`."""


@runtime_checkable
class Patches(Protocol):
    """Where batches come from; `srzoo.data.PatchSource` is one.

    A source may also have `to(device)`, called once, to keep its images on the device, and `resident`, which says
    whether they are there.
    """

    @property
    def scales(self) -> tuple[int, ...]:
        """The scales there are patches of."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal fingerprints, equal batches for an equal generator."""
        ...

    def check(self, patch_size: int) -> object:
        """Raise ValueError if patches of that LR size cannot be had."""
        ...

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int, part: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """LR and HR patches, uint8, b c h w: the rows `part` of a batch that is a pure function of `rng`'s state."""
        ...


@dataclass(frozen=True)
class Batch:
    """LR and HR patches of one scale in [0, 1], on the device, b c h w: one process's share.

    With a teacher, `hr` is what the teacher makes of `lr`, which is not clamped to [0, 1].
    """

    lr: Tensor
    hr: Tensor
    scale: int

    def split(self, parts: int) -> Iterator["Batch"]:
        """The batch in `parts` micro-batches, or as many as it has samples."""
        parts = min(parts, len(self.lr))
        for lr, hr in zip(self.lr.tensor_split(parts), self.hr.tensor_split(parts), strict=True):
            yield Batch(lr, hr, self.scale)


class Batches:
    """Draws the batches of a run; where images go from the host to a GPU, the next one is made ready meanwhile.

    Args:
        data: Source of patches.
        config: Seed, batch and patch size.
        world: The processes that share each batch.
        device: Where the batches go.
        targets: Makes what is to be learnt from the LR patches; None takes the HR patches.
    """

    def __init__(
        self, data: Patches, config: TrainConfig, world: World, device: torch.device, targets: Targets | None = None
    ) -> None:
        self._data, self._config, self._device, self._targets = data, config, device, targets
        self._part = world.share(config.batch_size)
        self._whole = world.size == 1
        if callable(to := getattr(data, "to", None)):
            to(device)
        self._prefetches = device.type == "cuda" and not getattr(data, "resident", False)
        self._ahead: tuple[int, Future[Batch]] | None = None
        self._pool: ThreadPoolExecutor | None = None

    def draw(self, step: int) -> Batch:
        """This process's share of the batch of a step."""
        config = self._config
        rng = np.random.default_rng([config.seed, step])
        scale = int(rng.choice(self._data.scales))
        part = {} if self._whole else {"part": self._part}
        lr, hr = self._data.sample(rng, scale=scale, batch_size=config.batch_size, patch_size=config.patch_size, **part)
        lr = self._moved(lr)
        return Batch(lr, self._moved(hr) if self._targets is None else self._targets(lr, scale), scale)

    def _moved(self, x: Tensor) -> Tensor:
        """Pixels on the device, in [0, 1]."""
        return x.to(self._device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)

    def next(self, step: int) -> Batch:
        """As `draw`, with the batch of the step after it begun."""
        if not self._prefetches:
            return self.draw(step)
        self._pool = self._pool or ThreadPoolExecutor(1, "srzoo-batches")
        ready, self._ahead = self._ahead, (step + 1, self._pool.submit(self.draw, step + 1))
        return ready[1].result() if ready is not None and ready[0] == step else self.draw(step)

    def close(self) -> None:
        """Let go of the thread that reads ahead."""
        self._ahead = None
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
