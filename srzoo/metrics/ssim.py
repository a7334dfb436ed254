"""Structural similarity per image (Wang et al., 2004)."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from srzoo.metrics.protocol import Protocol, prepare

WINDOW = 11
SIGMA = 1.5
_BELL = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
_WEIGHTS = [value / sum(_BELL) for value in _BELL]


def _blur(x: Tensor) -> Tensor:
    """Gaussian mean over each full 11x11 window: b c h w -> b c h-10 w-10.

    A sum of shifted images: a convolution may be rounded to TF32 on CUDA, forward and backward, and is slower on CPUs.
    """
    for dim in (-2, -1):
        size = x.shape[dim] - WINDOW + 1
        total = x.narrow(dim, 0, size) * _WEIGHTS[0]
        for i, weight in enumerate(_WEIGHTS[1:], 1):
            total.add_(x.narrow(dim, i, size), alpha=weight)
        x = total
    return x


def similarity(sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"], peak: float) -> Float[Tensor, "b c H W"]:
    """Structural similarity in each full window, differentiable, of images in 0 to `peak`."""
    c1, c2 = (0.01 * peak) ** 2, (0.03 * peak) ** 2
    mean_sr, mean_hr, sr_sr, hr_hr, sr_hr = _blur(torch.cat([sr, hr, sr * sr, hr * hr, sr * hr])).chunk(5)
    covariance = sr_hr - mean_sr * mean_hr
    variances = (sr_sr - mean_sr.square()) + (hr_hr - mean_hr.square())
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr.square() + mean_hr.square() + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


def ssim(sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"], protocol: Protocol) -> Float[Tensor, " b"]:
    """SSIM of each image (float64), in [-1, 1], averaged over windows and channels.

    Gaussian window of 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, peak 255, population covariance, only windows
    that lie inside the image (Wang et al. 2004, section III-B).

    Args:
        sr: Model output, RGB or grey in [0, 1]; values outside are clamped.
        hr: Ground truth of the same shape.
        protocol: Channel, border and rounding, such as `Protocol.paper(scale=4)`.

    Raises:
        ValueError: If the shapes differ, or less than 11x11 pixels are left inside the border.

    Examples:
        >>> hr = torch.rand(2, 3, 16, 16)
        >>> ssim(hr, hr, Protocol())
        tensor([1., 1.], dtype=torch.float64)
    """
    sr, hr = prepare(sr, hr, protocol)
    if min(sr.shape[-2:]) < WINDOW:
        raise ValueError(f"{sr.shape[-2]}x{sr.shape[-1]} pixels are left inside the border; SSIM needs at least 11x11")
    return similarity(sr, hr, 255.0).mean(dim=(1, 2, 3))
