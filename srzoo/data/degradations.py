"""How LR patches are made from HR patches for training: what all ways have in common, and those that downscale.

A `Degradation` makes LR patches from HR ones, a `Step` (`srzoo.data.steps`) changes patches without resizing them, and
`Chain` (`srzoo.data.mixtures`) puts steps before and after a degradation. All of them work on whole batches, on the
device the patches are on. What is drawn for a patch depends on its seed only, so the rest of the batch never matters.

Patches are floating point in [0, 1]. Results are neither clamped nor rounded (except by `Jpeg`, which must): the caller
clamps and rounds to 8 bits once, at the end.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from srzoo.data.crops import on_device
from srzoo.resize import imresize, pad_symmetric

Range = int | float | tuple[int | float, int | float]
"""One value for every patch, or (least, most) of a uniform draw for each."""
Kernel = Literal["box", "bilinear", "lanczos", "nearest"]

NARROWEST = 1e-3  # a Gaussian of this deviation is one pixel; 0 would divide by 0


@runtime_checkable
class Degradation(Protocol):
    """Makes LR patches from HR patches.

    Called as `degradation(hr, scale, seeds)`: `hr` (b, c, H, W) in [0, 1], height and width multiples of `scale`, which
    is 2 or more, and a whole number `seeds[i]` for each patch. Gives LR patches (b, c, H / scale, W / scale) on the
    same device, a pure function of each patch and its seed.
    """

    @property
    def margin(self) -> int:
        """LR pixels from the border of a patch up to which the result depends on what lies outside, at any scale."""
        ...

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches, neither clamped nor rounded."""
        ...


@runtime_checkable
class Step(Protocol):
    """Changes patches and keeps their size: called as `step(x, seeds)`, as a `Degradation` but for the scale."""

    @property
    def reach(self) -> int:
        """Pixels from the border of a patch up to which the result depends on what lies outside."""
        ...

    def __call__(self, x: Float[Tensor, "b c h w"], seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Patches of the same size."""
        ...


def checked_patches(x: Tensor, seeds: Sequence[int], scale: int | None = None) -> None:
    """See that there is a seed for each patch, and that the size suits the scale."""
    if len(seeds) != len(x):
        raise ValueError(f"got {len(seeds)} seeds for {len(x)} patches; give one for each patch")
    if scale is None:
        return
    if scale < 2:
        raise ValueError(f"scale is {scale}; degradations shrink by a whole factor of 2 or more")
    height, width = x.shape[-2:]
    if height % scale or width % scale or not x.numel():
        raise ValueError(f"the HR patches are {height}x{width}; both sides must be multiples of the scale {scale}")


def bounds(value: Range) -> tuple[int | float, int | float]:
    """Least and most of a range."""
    least, most = value if isinstance(value, tuple | list) else (value, value)
    return least, most


def check_range(name: str, value: Range, least: int, most: int, unit: str = "") -> None:
    """See that a setting is a number or an increasing range between two bounds."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2 or not least <= ends[0] <= ends[1] <= most:
        raise ValueError(f"{name} is {value}; give one number or (least, most), from {least} to {most}{unit}")


def seed_hashes(seeds: Sequence[int], num: int) -> np.ndarray:
    """`num` 64-bit hashes of each seed: splitmix64 (Steele, Lea and Flood 2014), equal on all machines."""
    state = np.array([int(seed) % 2**64 for seed in seeds], dtype=np.uint64)[:, None]
    z = state + np.arange(1, num + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform_draws(seeds: Sequence[int], *bounds: tuple[int | float, int | float]) -> list[np.ndarray]:
    """For each pair of bounds, a float64 value between them for each seed."""
    units = (seed_hashes(seeds, len(bounds)) >> np.uint64(11)) * 2.0**-53
    return [low + (high - low) * units[:, i] for i, (low, high) in enumerate(bounds)]


def correlate(
    x: Float[Tensor, "b c h w"], weights: Float[Tensor, "b k l"], stride: tuple[int, int] = (1, 1)
) -> Float[Tensor, "b c H W"]:
    """Each patch correlated with its own kernel, only where that fits; the bits do not depend on the batch."""
    b, c, h, w = x.shape
    # Depthwise and contiguous always, for then each plane is summed in one order, however many there are.
    twins = 2 if b * c == 1 else 1
    planes = x.contiguous().view(1, b * c, h, w).repeat(1, twins, 1, 1)
    kernels = on_device(weights.to(x.dtype), x.device).repeat_interleave(c * twins, 0)[:, None].contiguous()
    y = F.conv2d(planes, kernels, stride=stride, groups=b * c * twins)[:, : b * c]
    return y.reshape(b, c, *y.shape[-2:])


@dataclass(frozen=True)
class Bicubic:
    """MATLAB's bicubic downscaling: `srzoo.resize.imresize` of the floating-point patch.

    `imresize` of a uint8 image rounds between its two passes too, so LR images made that way (those of the benchmarks)
    differ from this one, rounded, by one level here and there.

    Examples:
        >>> Bicubic()(torch.rand(2, 3, 24, 24), 2, seeds=[0, 1]).shape
        torch.Size([2, 3, 12, 12])
    """

    @property
    def margin(self) -> int:
        """LR pixels from the border up to which the result depends on what lies outside: always 2."""
        return 2

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches; the seeds are not used.

        Raises:
            ValueError: If the sides are no multiples of the scale, or the seeds are not one a patch.
        """
        checked_patches(hr, seeds, scale)
        return imresize(hr, scale=Fraction(1, scale))


def _sinc(x: Tensor) -> Tensor:
    return torch.where(x.abs() < 3, torch.sinc(x) * torch.sinc(x / 3), torch.zeros_like(x))


_KERNELS: dict[str, tuple[int, Callable[[Tensor], Tensor]]] = {  # support in LR pixels, and the kernel
    "box": (0, torch.ones_like),
    "bilinear": (1, lambda x: (1 - x.abs()).clamp_min(0)),
    "lanczos": (3, _sinc),
}


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is cached must serve a later caller who trains
def _taps(kernel: str, scale: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, " n"]:
    """Weights over an LR pixel's own HR pixels and those of its neighbours in reach: (2 support + 1) * scale."""
    with torch.device("cpu"):  # whatever device models are being built on
        if kernel == "nearest":
            return torch.eye(scale, dtype=torch.float64)[scale // 2].to(device, dtype)
        support, function = _KERNELS[kernel]
        at = torch.arange(-support * scale, (support + 1) * scale, dtype=torch.float64)
        weights = function((at - (scale - 1) / 2) / scale)
        return (weights / weights.sum()).to(device, dtype)


@dataclass(frozen=True)
class Downscale:
    """Downscaling by a kernel other than MATLAB's bicubic, antialiased: the kernel is stretched by the scale.

    The weights are those of Pillow's `Image.resize`; what lies past the edge is mirrored, as for `Bicubic`. Resampling
    by a whole factor is a strided convolution, the same for all kernels (`F.interpolate` has no Lanczos, and another
    rule at the edge for each mode).

    Args:
        kernel: "box" (the mean of the pixels, also called area), "bilinear" (a triangle), "lanczos" (3 lobes), or
            "nearest", which takes one pixel and is not antialiased: that at `scale // 2` of each `scale`, as Pillow.

    Raises:
        ValueError: If there is no such kernel.

    Examples:
        >>> Downscale("box")(torch.arange(8.0).view(1, 1, 2, 4), 2, seeds=[0]).flatten()
        tensor([2.5000, 4.5000])
    """

    kernel: Kernel = "bilinear"

    def __post_init__(self) -> None:
        if self.kernel not in get_args(Kernel):
            allowed = ", ".join(get_args(Kernel))
            raise ValueError(f"kernel is {self.kernel!r}; allowed are {allowed} (Bicubic() is MATLAB's bicubic)")

    @property
    def margin(self) -> int:
        """LR pixels the kernel reaches to each side."""
        return _KERNELS[self.kernel][0] if self.kernel in _KERNELS else 0

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches; the seeds are not used.

        Raises:
            ValueError: If the sides are no multiples of the scale, or the seeds are not one a patch.
        """
        checked_patches(hr, seeds, scale)
        taps = _taps(self.kernel, scale, hr.device, hr.dtype).expand(len(hr), -1)
        x = pad_symmetric(hr, self.margin * scale)
        return correlate(correlate(x, taps[:, :, None], (scale, 1)), taps[:, None, :], (1, scale))


def gaussian_kernels(
    sigma: np.ndarray,
    across: np.ndarray,
    angle: np.ndarray,
    positions: np.ndarray,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Float[Tensor, "b k k"]:
    """Gaussians (b, k, k) sampled at the positions and normalised: deviation `sigma` along `angle` degrees.

    `centre` is how far right and down of position 0 they lie.
    """
    y, x = positions[:, None] - centre[1], positions[None, :] - centre[0]
    cos, sin = (f(np.deg2rad(angle))[:, None, None] for f in (np.cos, np.sin))
    along, beside = x * cos - y * sin, x * sin + y * cos  # rows go down, angles go up
    sigma, across = (np.maximum(s, NARROWEST)[:, None, None] for s in (sigma, across))
    exponent = (along / sigma) ** 2 + (beside / across) ** 2
    weights = np.exp((exponent.min((1, 2), keepdims=True) - exponent) / 2)
    return torch.from_numpy(weights / weights.sum((1, 2), keepdims=True))


@dataclass(frozen=True)
class Unknown:
    """A degradation of the kind of the NTIRE 2017 "unknown" track: one hidden kernel, then plain subsampling.

    The challenge (Timofte et al. 2017) kept its kernels hidden. This one is drawn as for DIV2KRK (Bell-Kligler et al.
    2019): a Gaussian of random width along two axes and random direction, each weight changed by up to a quarter,
    normalised. All patches of a scale share it. It is 5 LR pixels wide, and its middle lies `shift` LR pixels from the
    middle of the LR pixel, in a random direction; then LR and HR images do not lie upon each other.

    Args:
        seed: Tells which kernel.
        sigma: Range of the standard deviations in LR pixels, 0 to 2.
        shift: Range of the distance in LR pixels, 0 to 2.

    Raises:
        ValueError: If a range is not increasing or out of bounds.

    Examples:
        >>> Unknown(seed=3).kernel(2).shape
        torch.Size([10, 10])
    """

    seed: int
    sigma: Range = (0.2, 1.0)
    shift: Range = 0.0

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma, 0, 2, " LR pixels")
        check_range("shift", self.shift, 0, 2, " LR pixels")

    def kernel(self, scale: int) -> Float[Tensor, "k k"]:
        """The hidden kernel in HR pixels, 5 * scale on each side: not negative, sums to 1, float64, on the CPU."""
        least, most = (bound * scale for bound in bounds(self.sigma))
        rng = np.random.default_rng([self.seed % 2**64, scale])
        sigma, across, angle = (rng.uniform(*ends, size=1) for ends in ((least, most), (least, most), (0, 180)))
        changes = rng.uniform(0.75, 1.25, size=(5 * scale, 5 * scale))
        # Drawn last, so that the kernel of a seed is the same with and without a shift but for where it lies.
        distance, towards = rng.uniform(*bounds(self.shift)) * scale, rng.uniform(0, 2 * math.pi)
        positions = np.arange(5 * scale) - (5 * scale - 1) / 2
        centre = distance * math.cos(towards), -distance * math.sin(towards)  # rows go down, angles go up
        kernel = gaussian_kernels(sigma, across, angle, positions, centre)[0] * torch.from_numpy(changes)
        return kernel / kernel.sum()

    @property
    def margin(self) -> int:
        """LR pixels from the border up to which the result depends on what lies outside: always 2."""
        return 2

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches; the seeds of the patches are not used.

        Raises:
            ValueError: If the sides are no multiples of the scale, or the seeds are not one a patch.
        """
        checked_patches(hr, seeds, scale)
        hidden = Unknown(self.seed, bounds(self.sigma), bounds(self.shift))  # hashable, even as read from JSON
        kernel = _hidden_kernel(hidden, scale, hr.device, hr.dtype)
        x = pad_symmetric(hr, self.margin * scale)
        return correlate(x, kernel.expand(len(hr), -1, -1), (scale, scale))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is cached must serve a later caller who trains
def _hidden_kernel(hidden: Unknown, scale: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "k k"]:
    """The kernel of `Unknown`, there."""
    return hidden.kernel(scale).to(device, dtype)
