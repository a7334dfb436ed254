"""Structural similarity per image (Wang et al., 2004)."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from srzoo.metrics.protocol import Protocol, prepare

WINDOW = 11
SIGMA = 1.5


def _blur(x: Tensor) -> Tensor:
    """Gaussian mean over each full 11x11 window: b c h w -> b c h-10 w-10."""
    offset = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    kernel = torch.exp(-offset.square() / (2 * SIGMA**2))
    kernel = kernel / kernel.sum()
    b, c, h, w = x.shape
    x = x.reshape(b * c, 1, h, w)
    x = F.conv2d(F.conv2d(x, kernel.view(1, 1, -1, 1)), kernel.view(1, 1, 1, -1))
    return x.view(b, c, *x.shape[-2:])


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
