"""Structural similarity per image (Wang et al., 2004)."""

import math

import torch
from jaxtyping import Float, Float64, Shaped
from torch import Tensor

from srzoo.metrics.protocol import Protocol
from srzoo.metrics.tiles import MOST_VALUES, check_images, scores, sum_over_tiles

WINDOW = 11
SIGMA = 1.5
_BELL = [math.exp(-((i - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for i in range(WINDOW)]
_WEIGHTS = [value / sum(_BELL) for value in _BELL]
C1, C2 = 0.01**2, 0.03**2


def _blur(x: Tensor) -> Tensor:
    """Gaussian mean over each full 11x11 window: ... h w -> ... h-10 w-10.

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
    c1, c2 = C1 * peak**2, C2 * peak**2
    mean_sr, mean_hr, sr_sr, hr_hr, sr_hr = _blur(torch.cat([sr, hr, sr * sr, hr * hr, sr * hr])).chunk(5)
    covariance = sr_hr - mean_sr * mean_hr
    variances = (sr_sr - mean_sr.square()) + (hr_hr - mean_hr.square())
    luminance = (2 * mean_sr * mean_hr + c1) / (mean_sr.square() + mean_hr.square() + c1)
    return luminance * (2 * covariance + c2) / (variances + c2)


@torch.no_grad()
def ssim(sr: Shaped[Tensor, "b c h w"], hr: Shaped[Tensor, "b c h w"], protocol: Protocol) -> Float64[Tensor, " b"]:
    """SSIM of each image (float64), in [-1, 1], averaged over windows and channels; NaN where SR is not finite.

    Gaussian window of 11x11, sigma 1.5, K1 = 0.01, K2 = 0.03, peak 255, population covariance, only windows
    that lie inside the image (Wang et al. 2004, section III-B). The images are compared in tiles, so memory does not
    grow with their size. No gradient flows: `srzoo.train.SSIM` is the loss.

    Args:
        sr: Model output, RGB or grey: floating point in [0, 1] (values outside are clamped), or uint8.
        hr: Ground truth of the same shape, floating point in [0, 1], or uint8.
        protocol: Channel, border and rounding, such as `Protocol.paper(scale=4)`.

    Raises:
        ValueError: As `psnr` does, and if less than 11x11 pixels are left inside the border.
        TypeError: As `psnr` does.

    Examples:
        >>> hr = torch.rand(2, 3, 16, 16)
        >>> ssim(hr, hr, Protocol())
        tensor([1., 1.], dtype=torch.float64)
    """
    check_images(sr, hr, protocol)
    height, width = (side - 2 * protocol.border for side in sr.shape[-2:])
    if min(height, width) < WINDOW:
        raise ValueError(f"{height}x{width} pixels are left inside the border; SSIM needs at least 11x11")
    return scores(sr, hr, protocol, _ssim)


def _ssim(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """SSIM of one pair, c h w."""
    height, width = (side - 2 * protocol.border - WINDOW + 1 for side in sr.shape[-2:])
    rows, columns, overlap = 128, 8192, WINDOW - 1
    if sr.device.type == "cpu":
        columns = min(185, width)
        rows = MOST_VALUES // 4 // (columns + overlap) - overlap  # four planes are blurred at once
    found = sum_over_tiles(_sum_of_similarity, sr, hr, protocol, rows, columns, overlap)
    num_scored = 1 if protocol.channel == "y" else len(sr)
    return found / (num_scored * height * width)


def _sum_of_similarity(sr: Tensor, hr: Tensor) -> float:
    """What `similarity` computes of a tile (k h w, float64, 0 to 255), summed over windows and channels.

    With s = sr + hr and d = sr - hr, four means are enough: of s, d and their squares. SSIM is
    (m - n + 2 c1) (p - q + 2 c2) / ((m + n + 2 c1) (p + q + 2 c2)), where m, n are the squared means of s and d,
    and p, q their variances.
    """
    twice_c1, twice_c2 = 2 * C1 * 255**2, 2 * C2 * 255**2
    found = 0.0
    channels = len(sr) if 4 * sr.numel() <= MOST_VALUES else 1
    for x, y in zip(sr.split(channels), hr.split(channels), strict=True):
        planes = x.new_empty(4, *x.shape)
        torch.add(x, y, out=planes[0])
        torch.sub(x, y, out=planes[1])
        torch.mul(planes[:2], planes[:2], out=planes[2:])
        m, n, p, q = _blur(planes)
        m.square_()
        n.square_()
        p.sub_(m).add_(twice_c2)
        q.sub_(n)
        m.add_(twice_c1)
        above = (m - n).mul_(p - q)
        below = m.add_(n).mul_(p.add_(q))
        found += above.div_(below).sum().item()
    return found
