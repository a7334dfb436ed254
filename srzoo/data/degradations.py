"""How LR patches are made from HR patches for training: kernels, blur, noise, JPEG, and chains of them.

A `Degradation` makes LR patches from HR ones, a `Step` changes patches without resizing them, and `Chain` puts steps
before and after a degradation. All of them work on whole batches, on the device the patches are on. What is drawn for
a patch depends on its seed only, so the rest of the batch never matters.

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
from jaxtyping import Float, Int
from torch import Tensor

from srzoo.data.crops import on_device
from srzoo.data.jpeg import doubled, halved, recoded, scaled_tables, to_rgb, to_ycc
from srzoo.resize import imresize, pad_symmetric

Range = int | float | tuple[int | float, int | float]
"""One value for every patch, or (least, most) of a uniform draw for each."""
Kernel = Literal["box", "bilinear", "lanczos", "nearest"]
Chroma = Literal["4:2:0", "4:4:4"]

_NARROWEST = 1e-3  # a Gaussian of this deviation is one pixel; 0 would divide by 0


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


def _bounds(value: Range) -> tuple[int | float, int | float]:
    """Least and most of a range."""
    least, most = value if isinstance(value, tuple | list) else (value, value)
    return least, most


def _check_range(name: str, value: Range, least: int, most: int, unit: str = "") -> None:
    """See that a setting is a number or an increasing range between two bounds."""
    ends = value if isinstance(value, tuple | list) else (value, value)
    if len(ends) != 2 or not least <= ends[0] <= ends[1] <= most:
        raise ValueError(f"{name} is {value}; give one number or (least, most), from {least} to {most}{unit}")


def _bits(seeds: Sequence[int], num: int) -> np.ndarray:
    """`num` 64-bit hashes of each seed: splitmix64 (Steele, Lea and Flood 2014), equal on all machines."""
    state = np.array([int(seed) % 2**64 for seed in seeds], dtype=np.uint64)[:, None]
    z = state + np.arange(1, num + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform_draws(seeds: Sequence[int], *bounds: tuple[int | float, int | float]) -> list[np.ndarray]:
    """For each pair of bounds, a float64 value between them for each seed."""
    units = (_bits(seeds, len(bounds)) >> np.uint64(11)) * 2.0**-53
    return [low + (high - low) * units[:, i] for i, (low, high) in enumerate(bounds)]


def _normal(seeds: Sequence[int], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Standard normal values, those of a patch drawn from its seed; other ones on another kind of device."""
    generator = torch.Generator(like.device)
    out = torch.empty(like.shape, device=like.device)
    for patch, bits in zip(out, _bits(seeds, 1)[:, 0].tolist(), strict=True):
        patch.normal_(generator=generator.manual_seed(bits))
    return out.to(like.dtype)


def _a_patch(values: np.ndarray, like: Tensor) -> Float[Tensor, "b 1 1 1"]:
    """One value for each patch, ready to be multiplied with patches."""
    return on_device(torch.from_numpy(values).to(like.dtype), like.device).view(-1, 1, 1, 1)


def _filter(
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
        return _filter(_filter(x, taps[:, :, None], (scale, 1)), taps[:, None, :], (1, scale))


def _gaussian(
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
    sigma, across = (np.maximum(s, _NARROWEST)[:, None, None] for s in (sigma, across))
    exponent = (along / sigma) ** 2 + (beside / across) ** 2
    weights = np.exp((exponent.min((1, 2), keepdims=True) - exponent) / 2)
    return torch.from_numpy(weights / weights.sum((1, 2), keepdims=True))


@dataclass(frozen=True)
class Blur:
    """Gaussian blur, isotropic or anisotropic, with a kernel drawn for each patch.

    The kernel is sampled at whole pixels out to 3 times the largest deviation that can be drawn, and sums to 1. What
    lies past the edge is mirrored.

    Args:
        sigma: Standard deviation in pixels of the image the blur is applied to (HR before the downscaling), 0 to 50; 0
            changes nothing.
        across: Standard deviation at a right angle to the first, 0 to 50. None is an isotropic blur.
        angle: Direction of `sigma` in degrees, counter-clockwise from the horizontal, -360 to 360; for anisotropic
            blur only.

    Raises:
        ValueError: If a range is not increasing or out of bounds.

    Examples:
        >>> Blur((0.2, 2.0), across=(0.2, 4.0)).reach
        12
        >>> round(Blur(1.0)(torch.eye(9).view(1, 1, 9, 9), seeds=[0])[0, 0, 4, 4].item(), 3)
        0.282
    """

    sigma: Range = (0.2, 2.0)
    across: Range | None = None
    angle: Range = (0.0, 180.0)

    def __post_init__(self) -> None:
        _check_range("sigma", self.sigma, 0, 50, " pixels")
        _check_range("angle", self.angle, -360, 360, " degrees")
        if self.across is not None:
            _check_range("across", self.across, 0, 50, " pixels")

    @property
    def reach(self) -> int:
        """Radius of the kernel: 3 times the largest deviation, rounded up."""
        widest = [_bounds(s)[1] for s in (self.sigma, self.across) if s is not None]
        return math.ceil(3 * max(widest))

    def __call__(self, x: Float[Tensor, "b c h w"], seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Blurred patches.

        Raises:
            ValueError: If the seeds are not one a patch.
        """
        checked_patches(x, seeds)
        if self.reach == 0:
            return x
        across = self.sigma if self.across is None else self.across
        sigma, beside, angle = uniform_draws(seeds, *map(_bounds, (self.sigma, across, self.angle)))
        positions = np.arange(-self.reach, self.reach + 1.0)
        x = pad_symmetric(x, self.reach)
        if self.across is not None:
            return _filter(x, _gaussian(sigma, beside, angle, positions))
        line = np.exp(-((positions / np.maximum(sigma, _NARROWEST)[:, None]) ** 2) / 2)
        line = torch.from_numpy(line / line.sum(1, keepdims=True))
        return _filter(_filter(x, line[:, :, None]), line[:, None, :])


@dataclass(frozen=True)
class Noise:
    """Gaussian noise, and shot noise that grows with the light.

    Shot noise is Poisson's in its normal approximation (Foi et al. 2008, section II): mean and variance are exact, and
    a pixel's noise does not depend on its neighbours, as it would if a sampler of whole counts rejected draws. The
    values drawn on a GPU are not those drawn on a CPU.

    Args:
        sigma: Standard deviation in 8-bit levels, 0 to 255.
        photons: Photons of a white pixel, 1 or more: a pixel of value v gets noise of standard deviation
            `sqrt(v / photons)`. None is no shot noise.
        grey: Share of patches that get the same noise in all channels, 0 to 1.

    Raises:
        ValueError: If a range is not increasing or out of bounds.

    Examples:
        >>> noisy = Noise(sigma=10.0)(torch.full((1, 3, 64, 64), 0.5), seeds=[7])
        >>> round(noisy.std().item() * 255)
        10
    """

    sigma: Range = (0.0, 10.0)
    photons: Range | None = None
    grey: int | float = 0.0

    def __post_init__(self) -> None:
        _check_range("sigma", self.sigma, 0, 255, " levels")
        if self.photons is not None:
            _check_range("photons", self.photons, 1, 10**9)
        if not 0 <= self.grey <= 1:
            raise ValueError(f"grey is {self.grey}; give the share of patches with grey noise, from 0 to 1")

    @property
    def reach(self) -> int:
        """No pixel outside matters."""
        return 0

    def __call__(self, x: Float[Tensor, "b c h w"], seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Noisy patches, not clamped.

        Raises:
            ValueError: If the seeds are not one a patch.
        """
        checked_patches(x, seeds)
        if self.photons is None and _bounds(self.sigma)[1] == 0:
            return x
        # `_normal` takes the first hash of each seed, so the parameters come from later ones.
        ranges = (0, 1), _bounds(self.sigma), _bounds(self.photons or 1), (0, 1)
        _, sigma, photons, chance = uniform_draws(seeds, *ranges)
        noise = _normal(seeds, x)
        if self.grey > 0:
            noise = torch.where(_a_patch(chance, x).double() < self.grey, noise[:, :1], noise)
        deviation = _a_patch(sigma / 255, x)
        if self.photons is not None:
            deviation = (deviation.square() + x.clamp_min(0) * _a_patch(1 / photons, x)).sqrt()
        return x + noise * deviation


@dataclass(frozen=True)
class Jpeg:
    """JPEG compression and decompression, in libjpeg's own whole-number arithmetic: the pixels Pillow gives.

    Baseline JPEG (ISO/IEC 10918-1, annexes A and K) in JFIF's full-range YCbCr: standard tables scaled by the quality
    with 8-bit entries, accurate integer DCT, triangle filter for the chroma. RGB or grey. The grid of blocks starts at
    the patch's corner. The patch is clamped and rounded to 8 bits on the way in, and comes out in steps of 1/255.

    Args:
        quality: 1 to 100, whole numbers, as for Pillow and libjpeg.
        chroma: "4:2:0" (half the resolution, what most files have) or "4:4:4" (full).

    Raises:
        ValueError: If the quality is out of bounds or not whole, or the chroma is unknown.

    Examples:
        >>> Jpeg(quality=50)(torch.full((1, 3, 16, 16), 0.5), seeds=[0])[0, 0, 0, 0].mul(255).item()
        128.0
    """

    quality: int | tuple[int, int] = (30, 95)
    chroma: Chroma = "4:2:0"

    def __post_init__(self) -> None:
        _check_range("quality", self.quality, 1, 100)
        if any(q != int(q) for q in _bounds(self.quality)):
            raise ValueError(f"quality is {self.quality}; give whole numbers from 1 to 100")
        if self.chroma not in get_args(Chroma):
            raise ValueError(f"chroma is {self.chroma!r}; allowed are '4:2:0' and '4:4:4'")

    @property
    def reach(self) -> int:
        """Pixels to the far side of a block, or of the next 16x16 pixels where chroma is shared between them."""
        return 16 if self.chroma == "4:2:0" else 7

    def tables(self, seeds: Sequence[int]) -> Int[Tensor, "b 2 8 8"]:
        """Quantisation tables of luma and chroma for the quality drawn from each seed, on the CPU."""
        least, most = _bounds(self.quality)
        quality = np.floor(uniform_draws(seeds, (least, most + 1))[0]).astype(np.int64)
        return torch.from_numpy(scaled_tables(quality))

    def __call__(self, x: Float[Tensor, "b c h w"], seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """Patches as the JPEG files of them decode, in steps of 1/255.

        Raises:
            ValueError: If the patches are neither RGB nor grey, or the seeds are not one a patch.
        """
        checked_patches(x, seeds)
        b, channels, height, width = x.shape
        if channels not in (1, 3):
            raise ValueError(f"the patches have {channels} channels; JPEG takes 1 (grey) or 3 (RGB)")
        pixels = (x * 255).add_(0.5).floor_().clamp_(0, 255).to(torch.int32)
        tables = on_device(self.tables(seeds).to(torch.int32), x.device)
        if channels == 1:
            return recoded(pixels[:, 0], tables[:, 0])[:, None].to(x.dtype) / 255
        luma, chroma = to_ycc(pixels)
        luma = recoded(luma, tables[:, 0])
        chroma, table = chroma.flatten(0, 1), tables[:, 1].repeat_interleave(2, 0)
        if self.chroma == "4:4:4":
            chroma = recoded(chroma, table)
        else:
            half = recoded(halved(chroma), table)[:, : (height + 1) // 2, : (width + 1) // 2]
            chroma = doubled(half)[:, :height, :width]
        return to_rgb(luma, chroma.view(b, 2, height, width)).to(x.dtype) / 255


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
        _check_range("sigma", self.sigma, 0, 2, " LR pixels")
        _check_range("shift", self.shift, 0, 2, " LR pixels")

    def kernel(self, scale: int) -> Float[Tensor, "k k"]:
        """The hidden kernel in HR pixels, 5 * scale on each side: not negative, sums to 1, float64, on the CPU."""
        least, most = (bound * scale for bound in _bounds(self.sigma))
        rng = np.random.default_rng([self.seed % 2**64, scale])
        sigma, across, angle = (rng.uniform(*ends, size=1) for ends in ((least, most), (least, most), (0, 180)))
        changes = rng.uniform(0.75, 1.25, size=(5 * scale, 5 * scale))
        # Drawn last, so that the kernel of a seed is the same with and without a shift but for where it lies.
        distance, towards = rng.uniform(*_bounds(self.shift)) * scale, rng.uniform(0, 2 * math.pi)
        positions = np.arange(5 * scale) - (5 * scale - 1) / 2
        centre = distance * math.cos(towards), -distance * math.sin(towards)  # rows go down, angles go up
        kernel = _gaussian(sigma, across, angle, positions, centre)[0] * torch.from_numpy(changes)
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
        hidden = Unknown(self.seed, _bounds(self.sigma), _bounds(self.shift))  # hashable, even as read from JSON
        kernel = _hidden_kernel(hidden, scale, hr.device, hr.dtype)
        x = pad_symmetric(hr, self.margin * scale)
        return _filter(x, kernel.expand(len(hr), -1, -1), (scale, scale))


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is cached must serve a later caller who trains
def _hidden_kernel(hidden: Unknown, scale: int, device: torch.device, dtype: torch.dtype) -> Float[Tensor, "k k"]:
    """The kernel of `Unknown`, there."""
    return hidden.kernel(scale).to(device, dtype)


@dataclass(frozen=True, init=False, repr=False)
class Chain:
    """Steps before and after the downscaling, in the order given; each draws from its own stream of a patch's seed.

    Args:
        steps: One `Degradation`, which does the downscaling, and any number of `Step` objects before and after it.

    Raises:
        TypeError: If one of them is neither, or a class that was not called.
        ValueError: Unless exactly one of them downscales.

    Examples:
        >>> photos = Chain(Blur((0.2, 2.0)), Downscale("box"), Noise((0.0, 8.0)), Jpeg((60, 95)))
        >>> photos.margin
        19
        >>> photos(torch.rand(2, 3, 48, 48), 2, seeds=[0, 1]).shape
        torch.Size([2, 3, 24, 24])
    """

    steps: tuple[Degradation | Step, ...]

    def __init__(self, *steps: Degradation | Step) -> None:
        for step in steps:
            if isinstance(step, type) or not isinstance(step, Degradation | Step):
                raise TypeError(f"Chain got {step!r}; give objects such as Blur(1.0), Bicubic() or Jpeg(80)")
        num = sum(isinstance(step, Degradation) for step in steps)
        if num != 1:
            raise ValueError(f"Chain got {num} parts that downscale; give exactly one, such as Bicubic()")
        object.__setattr__(self, "steps", steps)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

    @property
    def margin(self) -> int:
        """LR pixels: what the steps before the downscaling reach, as LR pixels of scale 2, and all that follows."""
        before = after = 0
        downscaling = None
        for step in self.steps:
            if isinstance(step, Degradation):
                downscaling = step.margin
            elif downscaling is None:
                before += step.reach
            else:
                after += step.reach
        return -(-before // 2) + (downscaling or 0) + after

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches.

        Raises:
            ValueError: If the sides are no multiples of the scale, the seeds are not one a patch, or `Jpeg` meets
                another number of channels than 1 or 3.
        """
        checked_patches(hr, seeds, scale)
        streams = _bits(seeds, len(self.steps)).T.tolist()
        x = hr
        for step, own in zip(self.steps, streams, strict=True):
            x = step(x, scale, own) if isinstance(step, Degradation) else step(x, own)
        return x
