"""Peak signal-to-noise ratio per image."""

from jaxtyping import Float
from torch import Tensor

from srzoo.metrics.protocol import Protocol, prepare


def psnr(sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"], protocol: Protocol) -> Float[Tensor, " b"]:
    """PSNR of each image in dB (float64), peak 255; infinite where the images are equal.

    Average the result over images, as the papers do: averaging the squared error first gives another number.

    Args:
        sr: Model output, RGB or grey in [0, 1]; values outside are clamped.
        hr: Ground truth of the same shape.
        protocol: Channel, border and rounding, such as `Protocol.paper(scale=4)`.

    Raises:
        ValueError: If the shapes differ or the border leaves no pixels.

    Examples:
        >>> import torch
        >>> hr = torch.zeros(1, 3, 8, 8)
        >>> psnr(hr + 1, hr, Protocol(channel="rgb"))
        tensor([0.], dtype=torch.float64)
    """
    sr, hr = prepare(sr, hr, protocol)
    mse = (sr - hr).square().mean(dim=(1, 2, 3))
    return 10 * (255**2 / mse).log10()
