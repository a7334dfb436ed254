"""PSNR and SSIM of a set, gathered batch by batch and over processes."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch.distributed as dist
from jaxtyping import Float64, Shaped
from torch import Tensor

from srzoo.metrics.protocol import Protocol, check_protocol
from srzoo.metrics.psnr import psnr
from srzoo.metrics.ssim import ssim

Kind = TypeVar("Kind", bound="Accumulator")
SAME = 1e-4
"""How far two processes' scores of one image may be apart, relatively or in all: they may have rounded differently."""
MOST_NAMES = 10
"""Of images that an error tells; of the others it tells the number."""


class Accumulator(ABC):
    """The scores of images, gathered by `update` and averaged by `compute`: what `PSNR` and `SSIM` share.

    Every image's score is kept, and their mean is rounded once (`math.fsum`), so it is the same to the bit however the
    images were split into batches or processes. An image that has a name counts once, though two processes scored it
    (`DistributedSampler` repeats images to make the shares equal).

    Args:
        protocol: Channel, border and rounding, such as `Protocol.paper(scale=4)`.

    Raises:
        TypeError: If `protocol` is no `Protocol`.
    """

    def __init__(self, protocol: Protocol) -> None:
        check_protocol(protocol)
        self.protocol = protocol
        self._named: dict[str, float] = {}
        self._unnamed: list[float] = []

    @staticmethod
    @abstractmethod
    def score(
        sr: Shaped[Tensor, "b c h w"], hr: Shaped[Tensor, "b c h w"], protocol: Protocol
    ) -> Float64[Tensor, " b"]:
        """The score of each image."""

    def update(
        self, sr: Shaped[Tensor, "b c h w"], hr: Shaped[Tensor, "b c h w"], names: Sequence[str] | None = None
    ) -> Float64[Tensor, " b"]:
        """Score a batch, keep the scores, and return them.

        Args:
            sr: Model output, as the function (`psnr`, `ssim`) takes it.
            hr: Ground truth of the same shape.
            names: A name for each image.

        Raises:
            ValueError: As the function does, or if there is not a name for each image, or a name was here before.
            TypeError: As the function does, or if `names` is one string, or a name is none.
        """
        if isinstance(names, str):
            raise TypeError(f"names is {names!r}; give a list, with a name for each image")
        names = None if names is None else list(names)
        if no_text := [name for name in names or () if not isinstance(name, str)]:
            raise TypeError(f"{no_text[0]!r} is among the names; give a string for each image, or no names at all")
        if names is not None and len(names) != len(sr):
            raise ValueError(f"{len(names)} names are given for {len(sr)} images; give one for each, or none")
        if again := sorted({name for name in names or () if name in self._named or (names or []).count(name) > 1}):
            raise ValueError(f"{', '.join(again)} was scored before; give each image a name of its own")
        values = self.score(sr, hr, self.protocol)
        if names is None:
            self._unnamed += values.tolist()
        else:
            self._named.update(zip(names, values.tolist(), strict=True))
        return values

    def compute(self, *, skip_nonfinite: bool = False) -> float:
        """The mean over images; infinite if PSNR is infinite for one of them, because SR equals HR.

        Args:
            skip_nonfinite: Average over the images whose SR was finite, instead of raising an error if one was not.

        Raises:
            ValueError: If there are no images, or SR was not finite for some; the first of them are named.
        """
        if not len(self):
            raise ValueError(f"there are no scores to average; call {type(self).__name__}.update first")
        if (bad := self.nonfinite) and not skip_nonfinite:
            more = f" and {len(bad) - MOST_NAMES} more" if len(bad) > MOST_NAMES else ""
            raise ValueError(
                f"SR is not finite (NaN or infinity) for {len(bad)} of {len(self)} images: "
                f"{', '.join(bad[:MOST_NAMES])}{more}; compute(skip_nonfinite=True) averages the others"
            )
        values = [value for _, value in self.per_image if not math.isnan(value)]
        if not values:
            raise ValueError(f"SR is not finite (NaN or infinity) for any of the {len(self)} images")
        return math.fsum(values) / len(values)

    @property
    def per_image(self) -> tuple[tuple[str, float], ...]:
        """Name and score of each image; those without a name are numbered: `#0`, `#1`."""
        unnamed = ((f"#{i}", value) for i, value in enumerate(self._unnamed))
        return (*self._named.items(), *unnamed)

    @property
    def nonfinite(self) -> tuple[str, ...]:
        """Names of the images whose SR was not finite; their score is NaN."""
        return tuple(name for name, value in self.per_image if math.isnan(value))

    def reset(self) -> None:
        """Forget all images."""
        self._named.clear()
        self._unnamed.clear()

    def merge(self, other: "Accumulator") -> None:
        """Take in the images of another accumulator; one that both have by name counts once (the lower of two scores).

        Merged with itself, images with names stay as they are, and those without count twice.

        Raises:
            TypeError: If the other one is of another metric.
            ValueError: If it has another protocol, or an image of one name has two scores.
        """
        if type(other) is not type(self):
            raise TypeError(f"a {type(other).__name__} cannot be merged into a {type(self).__name__}")
        self._check_protocol(other.protocol)
        merged = dict(self._named)
        for name, value in other._named.items():
            here = merged.get(name, value)
            if not (math.isclose(here, value, rel_tol=SAME, abs_tol=SAME) or (math.isnan(here) and math.isnan(value))):
                raise ValueError(f"{name} was scored twice, {here:g} and {value:g}; are these two images of one name?")
            merged[name] = min(here, value)
        self._named = merged
        self._unnamed += list(other._unnamed)

    def gather(self: Kind, group: Any = None) -> Kind:
        """A new accumulator with the images of all processes; each process must call it, and each gets the same.

        Without `torch.distributed` it has the images of this one. This accumulator stays as it is.

        Args:
            group: The `torch.distributed.ProcessGroup`; all processes if None.

        Raises:
            ValueError: As `merge` does.
        """
        states: list[Any] = [self.state_dict()]
        if dist.is_available() and dist.is_initialized():
            states = [None] * dist.get_world_size(group)
            dist.all_gather_object(states, self.state_dict(), group)
        total = type(self)(self.protocol)
        for state in states:
            part = type(self)(self.protocol)
            part.load_state_dict(state)
            total.merge(part)
        return total

    def state_dict(self) -> dict[str, Any]:
        """What it holds, in plain values: `torch.save`, `pickle` and Python's `json` take it."""
        return {
            "metric": type(self).__name__,
            "protocol": asdict(self.protocol),
            "named": dict(self._named),
            "unnamed": list(self._unnamed),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace what it holds by what `state_dict` gave.

        Raises:
            ValueError: If the state is of another metric or protocol, or not one that `state_dict` gave.
        """
        try:
            metric, protocol = state["metric"], Protocol(**state["protocol"])
            named = {str(name): float(value) for name, value in state["named"].items()}
            unnamed = [float(value) for value in state["unnamed"]]
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                "the state is not one of an accumulator of this version of srzoo; give what state_dict() returned"
            ) from error
        if metric != type(self).__name__:
            raise ValueError(f"the state is of {metric}, this is {type(self).__name__}")
        self._check_protocol(protocol)
        self._named, self._unnamed = named, unnamed

    def _check_protocol(self, other: Protocol) -> None:
        if other != self.protocol:
            raise ValueError(f"the other scores are by another protocol ({other}) than these ({self.protocol})")

    def __len__(self) -> int:
        return len(self._named) + len(self._unnamed)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.protocol}; {len(self)} images)"


class PSNR(Accumulator):
    """Mean PSNR in dB of images that come in batches; see `srzoo.metrics.psnr`.

    Examples:
        >>> import torch
        >>> metric = PSNR(Protocol.paper(scale=2))
        >>> hr = torch.zeros(2, 3, 16, 16)
        >>> values = metric.update(hr + 0.1, hr, names=["a", "b"])
        >>> metric, round(metric.compute(), 2)
        (PSNR(Y, 8-bit, border 2; 2 images), 21.15)
    """

    score = staticmethod(psnr)


class SSIM(Accumulator):
    """Mean SSIM of images that come in batches; see `srzoo.metrics.ssim`.

    Examples:
        >>> import torch
        >>> metric = SSIM(Protocol.paper(scale=2))
        >>> hr = torch.rand(2, 3, 16, 16)
        >>> values = metric.update(hr, hr)
        >>> metric.compute()
        1.0
    """

    score = staticmethod(ssim)
