"""What is done to patches before and after the downscaling: blur, noise, JPEG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from srzoo.data.crops import on_device
from srzoo.data.degradations import (
    NARROWEST,
    Range,
    bounds,
    check_range,
    checked_patches,
    correlate,
    gaussian_kernels,
    seed_hashes,
    uniform_draws,
)
from srzoo.data.jpeg import doubled, halved, recoded, scaled_tables, to_rgb, to_ycc
from srzoo.resize import pad_symmetric

Chroma = Literal["4:2:0", "4:4:4"]


def _normal(seeds: Sequence[int], like: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Standard normal values, those of a patch drawn from its seed; other ones on another kind of device."""
    generator = torch.Generator(like.device)
    out = torch.empty(like.shape, device=like.device)
    for patch, bits in zip(out, seed_hashes(seeds, 1)[:, 0].tolist(), strict=True):
        patch.normal_(generator=generator.manual_seed(bits))
    return out.to(like.dtype)


def _a_patch(values: np.ndarray, like: Tensor) -> Float[Tensor, "b 1 1 1"]:
    """One value for each patch, ready to be multiplied with patches."""
    return on_device(torch.from_numpy(values).to(like.dtype), like.device).view(-1, 1, 1, 1)


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
        check_range("sigma", self.sigma, 0, 50, " pixels")
        check_range("angle", self.angle, -360, 360, " degrees")
        if self.across is not None:
            check_range("across", self.across, 0, 50, " pixels")

    @property
    def reach(self) -> int:
        """Radius of the kernel: 3 times the largest deviation, rounded up."""
        widest = [bounds(s)[1] for s in (self.sigma, self.across) if s is not None]
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
        sigma, beside, angle = uniform_draws(seeds, *map(bounds, (self.sigma, across, self.angle)))
        positions = np.arange(-self.reach, self.reach + 1.0)
        x = pad_symmetric(x, self.reach)
        if self.across is not None:
            return correlate(x, gaussian_kernels(sigma, beside, angle, positions))
        line = np.exp(-((positions / np.maximum(sigma, NARROWEST)[:, None]) ** 2) / 2)
        line = torch.from_numpy(line / line.sum(1, keepdims=True))
        return correlate(correlate(x, line[:, :, None]), line[:, None, :])


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
        check_range("sigma", self.sigma, 0, 255, " levels")
        if self.photons is not None:
            check_range("photons", self.photons, 1, 10**9)
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
        if self.photons is None and bounds(self.sigma)[1] == 0:
            return x
        # `_normal` takes the first hash of each seed, so the parameters come from later ones.
        ranges = (0, 1), bounds(self.sigma), bounds(self.photons or 1), (0, 1)
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
        check_range("quality", self.quality, 1, 100)
        if any(q != int(q) for q in bounds(self.quality)):
            raise ValueError(f"quality is {self.quality}; give whole numbers from 1 to 100")
        if self.chroma not in get_args(Chroma):
            raise ValueError(f"chroma is {self.chroma!r}; allowed are '4:2:0' and '4:4:4'")

    @property
    def reach(self) -> int:
        """Pixels to the far side of a block, or of the next 16x16 pixels where chroma is shared between them."""
        return 16 if self.chroma == "4:2:0" else 7

    def tables(self, seeds: Sequence[int]) -> Int[Tensor, "b 2 8 8"]:
        """Quantisation tables of luma and chroma for the quality drawn from each seed, on the CPU."""
        least, most = bounds(self.quality)
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
