"""Bicubic upsampling as a network part."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.resize import pad_symmetric, upsample_kernel


class BicubicUpsampler(nn.Module):
    """MATLAB's bicubic by a whole factor, as one convolution and a pixel shuffle: compiles and exports anywhere.

    Equal to `srzoo.resize.imresize(image, scale=scale)` to rounding; no parameters.

    Args:
        scale: Whole factor, at least 1.

    Raises:
        ValueError: If `scale` is below 1.

    Examples:
        >>> BicubicUpsampler(3)(torch.ones(1, 3, 4, 5)).shape
        torch.Size([1, 3, 12, 15])
    """

    kernel: Tensor

    def __init__(self, scale: int) -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f"scale is {scale}; it must be at least 1")
        self.scale = scale
        self.halo = 2
        """Receptive-field radius in pixels of the input grid."""
        phases = upsample_kernel(scale)
        kernel = phases[:, None, :, None] * phases[None, :, None, :]  # row phase, column phase, 5, 5
        kernel = torch.tensor(kernel.reshape(scale**2, 1, 5, 5).tolist(), dtype=torch.float32)  # on the default device
        self.register_buffer("kernel", kernel, persistent=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c H W"]:
        """Image `scale` times as large; may overshoot its range."""
        b, c, h, w = x.shape
        x = pad_symmetric(x, 2).reshape(b * c, 1, h + 4, w + 4)
        x = F.pixel_shuffle(F.conv2d(x, self.kernel), self.scale)
        return x.reshape(b, c, h * self.scale, w * self.scale)
