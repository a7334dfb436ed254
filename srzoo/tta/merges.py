"""Results of several runs merged as they come: mean, median, and how far the runs lie apart."""

from typing import Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MergeName = Literal["mean", "median"]
"""How results become one."""
_CHUNK = 1 << 20
"""Values that `Median` sorts at a time: few enough to stay in a processor's cache, enough to keep a GPU busy."""


def _exact(dtype: torch.dtype) -> torch.dtype:
    """What is summed in: half precision in float32, everything else in its own type."""
    return torch.promote_types(dtype, torch.float32)


@runtime_checkable
class Merge(Protocol):
    """What takes results one by one and gives one."""

    def add(self, sr: Float[Tensor, "b c h w"]) -> None:
        """Take one more result; it is neither kept nor changed."""
        ...

    def result(self) -> Float[Tensor, "b c h w"]:
        """The merge of all results taken, in their dtype."""
        ...


class Mean:
    """The running mean: one result is held, whatever their number. Half precision is summed in float32.

    Only operations that IEEE 754 rounds exactly are used, so a pixel's mean does not depend on where in an image or
    tile it lies.

    Examples:
        >>> mean = Mean()
        >>> for value in (1.0, 2.0, 6.0):
        ...     mean.add(torch.full((1, 1, 1, 1), value))
        >>> mean.result().item()
        3.0
    """

    def __init__(self) -> None:
        self._count = 0
        self._total: Tensor | None = None
        self._dtype = torch.float32

    def add(self, sr: Float[Tensor, "b c h w"]) -> None:
        """Take one more result."""
        if self._total is None:
            self._dtype = sr.dtype
            self._total = sr.to(_exact(sr.dtype), copy=True)
        else:
            self._total.add_(sr)
        self._count += 1

    def result(self) -> Float[Tensor, "b c h w"]:
        """The mean of all results taken, in their dtype.

        Raises:
            ValueError: If there was none.
        """
        if self._total is None:
            raise ValueError("there is no result yet; add at least one")
        return (self._total / self._count).to(self._dtype)


class MeanAndSpread(Mean):
    """The mean and the standard deviation (Welford's updates): two results are held, whatever their number.

    Examples:
        >>> both = MeanAndSpread()
        >>> for value in (1.0, 2.0, 6.0):
        ...     both.add(torch.full((1, 3, 1, 1), value))
        >>> both.result().shape, round(both.spread().item() ** 2, 4)  # the variance: (4 + 1 + 9) / 3
        (torch.Size([1, 3, 1, 1]), 4.6667)
    """

    def __init__(self) -> None:
        super().__init__()
        self._squares: Tensor | None = None

    def add(self, sr: Float[Tensor, "b c h w"]) -> None:
        """Take one more result."""
        if self._total is None:
            self._squares = torch.zeros_like(sr, dtype=_exact(sr.dtype))
        else:
            assert self._squares is not None
            step = (self._total / self._count).sub_(sr).square_()
            self._squares.add_(step.mul_(self._count / (self._count + 1)))
        super().add(sr)

    def spread(self) -> Float[Tensor, "b 1 h w"]:
        """Standard deviation over the results (their number is the divisor), mean of the channels, in units of [0, 1].

        Raises:
            ValueError: If there was no result.
        """
        if self._squares is None:
            raise ValueError("there is no result yet; add at least one")
        deviations = (self._squares / self._count).sqrt_()
        mean = deviations[:, :1]
        for channel in deviations.split(1, 1)[1:]:  # in a fixed order, for the same bits in any tile
            mean = mean + channel
        return (mean / deviations.shape[1]).to(self._dtype)


class Median:
    """The exact median; of an even number the mean of the two in the middle. NaN in a result is NaN in the median.

    A median cannot be had from two results in memory. Held are, of each pixel's values so far, only those that may
    still come to lie in the middle: at most `num_results // 2 + 1`, five for eight results.

    Args:
        num_results: How many will be added.

    Raises:
        ValueError: If `num_results` is below 1.

    Examples:
        >>> median = Median(3)
        >>> for value in (1.0, 6.0, 2.0):
        ...     median.add(torch.full((1, 1, 1, 1), value))
        >>> median.result().item()
        2.0
    """

    def __init__(self, num_results: int) -> None:
        if num_results < 1:
            raise ValueError(f"num_results is {num_results}; it must be at least 1")
        self._middle = (num_results - 1) // 2, num_results // 2  # ranks from 0
        self._num_left = num_results
        self._num_below = 0
        self._ranks: list[list[Tensor]] = []  # rising; each in the same chunks of rows

    def add(self, sr: Float[Tensor, "b c h w"]) -> None:
        """Take one more result.

        Raises:
            ValueError: If `num_results` were taken.
        """
        if not self._num_left:
            raise ValueError("all results were added already; make a new Median")
        rows = max(1, _CHUNK // max(1, sr[..., :1, :].numel()))
        highest: list[Tensor] = []
        for index, chunk in enumerate(sr.split(rows, dim=-2)):
            value = chunk.clone()
            for rank in self._ranks:
                rank[index], value = torch.minimum(rank[index], value), torch.maximum(rank[index], value)
            highest.append(value)
        self._ranks.append(highest)
        self._num_left -= 1
        low, high = self._middle
        if self._num_below + len(self._ranks) > high + 1:  # can only rise further above the middle
            self._ranks.pop()
        while self._num_below < low - self._num_left:  # too few are left to lift it to the middle
            self._ranks.pop(0)
            self._num_below += 1

    def result(self) -> Float[Tensor, "b c h w"]:
        """The median, in the results' dtype.

        Raises:
            ValueError: If fewer than `num_results` were taken.
        """
        if self._num_left:
            raise ValueError(f"{self._num_left} results are missing; add them first")
        first, last = self._ranks[0], self._ranks[-1]
        if first is last:
            return torch.cat(first, dim=-2)
        dtype = first[0].dtype
        exact = _exact(dtype)
        return torch.cat([((a.to(exact) + b) / 2).to(dtype) for a, b in zip(first, last, strict=True)], dim=-2)


class MedianAndSpread(MeanAndSpread):
    """The median, and the standard deviation around the mean: what `Median` holds and two results more.

    Args:
        num_results: How many will be added.

    Raises:
        ValueError: If `num_results` is below 1.

    Examples:
        >>> both = MedianAndSpread(3)
        >>> for value in (1.0, 6.0, 2.0):
        ...     both.add(torch.full((1, 3, 1, 1), value))
        >>> both.result()[0, 0].item(), round(both.spread().item() ** 2, 4)
        (2.0, 4.6667)
    """

    def __init__(self, num_results: int) -> None:
        super().__init__()
        self._median = Median(num_results)

    def add(self, sr: Float[Tensor, "b c h w"]) -> None:
        """Take one more result.

        Raises:
            ValueError: If `num_results` were taken.
        """
        self._median.add(sr)
        super().add(sr)

    def result(self) -> Float[Tensor, "b c h w"]:
        """The median, in the results' dtype.

        Raises:
            ValueError: If fewer than `num_results` were taken.
        """
        return self._median.result()


def make_merge(name: MergeName, num_results: int, *, spread: bool = False) -> Merge:
    """A fresh merge by its name; with `spread` one that tells how far the results lie apart, too.

    Raises:
        ValueError: If the name is unknown or `num_results` is below 1.

    Examples:
        >>> type(make_merge("median", 8)).__name__
        'Median'
    """
    if name not in get_args(MergeName):
        raise ValueError(f"merge is {name!r}; allowed are {', '.join(get_args(MergeName))}")
    if name == "median":
        return MedianAndSpread(num_results) if spread else Median(num_results)
    return MeanAndSpread() if spread else Mean()


SPREAD_STEPS = 32
"""Grey levels that `spread_to_image` draws for one 8-bit level of spread."""


def spread_to_image(spread: Float[Tensor, "b 1 h w"]) -> UInt8[Tensor, "b 1 h w"]:
    """The spread as a grey picture: linear, 32 grey levels for one 8-bit level (1/255) of standard deviation.

    Black is agreement. White (255) is 8 of 255 levels or more; so is a value that is not finite. To read a map in
    8-bit levels, divide it by 32.

    Examples:
        >>> spread_to_image(torch.tensor([0.0, 1 / 255, 4 / 255, 0.5]).view(1, 1, 1, 4)).flatten().tolist()
        [0, 32, 128, 255]
    """
    levels = spread.to(_exact(spread.dtype)) * (255 * SPREAD_STEPS)
    return levels.nan_to_num(nan=255.0).clamp(0, 255).round().to(torch.uint8)
