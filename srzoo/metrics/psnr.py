"""Peak signal-to-noise ratio per image."""

import math

import torch
from jaxtyping import Float64, Shaped
from torch import Tensor

from srzoo.metrics.protocol import Protocol
from srzoo.metrics.tiles import MOST_VALUES, check_images, scores, sum_over_tiles


@torch.no_grad()
def psnr(sr: Shaped[Tensor, "b c h w"], hr: Shaped[Tensor, "b c h w"], protocol: Protocol) -> Float64[Tensor, " b"]:
    """PSNR of each image in dB (float64), peak 255; infinite where the images are equal, NaN where SR is not finite.

    Average the result over images, as the papers do: averaging the squared error first gives another number. The
    images are compared in tiles, so memory does not grow with their size. No gradient flows.

    Args:
        sr: Model output, RGB or grey: floating point in [0, 1] (values outside are clamped), or uint8.
        hr: Ground truth of the same shape, floating point in [0, 1], or uint8.
        protocol: Channel, border and rounding, such as `Protocol.paper(scale=4)`.

    Raises:
        ValueError: If the shapes or devices differ, there is no batch axis, the channels are neither 1 nor 3, the
            border leaves no pixels, or HR is not finite or lies far outside [0, 1].
        TypeError: If an image is no tensor, its dtype is neither uint8 nor floating point of 16 bits or more, or
            `protocol` is no `Protocol`.

    Examples:
        >>> hr = torch.zeros(1, 3, 8, 8)
        >>> psnr(hr + 1, hr, Protocol(channel="rgb"))
        tensor([0.], dtype=torch.float64)
    """
    check_images(sr, hr, protocol)
    return scores(sr, hr, protocol, _psnr)


def _psnr(sr: Tensor, hr: Tensor, protocol: Protocol) -> float:
    """PSNR of one pair, c h w."""
    height, width = (side - 2 * protocol.border for side in sr.shape[-2:])
    rows, columns = 2048, 8192
    if sr.device.type == "cpu":
        columns = min(2048, width)
        rows = MOST_VALUES // (len(sr) * columns)
    found = sum_over_tiles(_squared_error, sr, hr, protocol, rows, columns)
    num_scored = 1 if protocol.channel == "y" else len(sr)
    mse = found / (num_scored * height * width)
    return 10 * math.log10(255**2 / mse) if mse > 0 else math.inf


def _squared_error(sr: Tensor, hr: Tensor) -> float:
    return sr.sub_(hr).square_().sum().item()
