"""The residual block without batch norm."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class ResBlock(nn.Module):
    """Convolution, ReLU, convolution, times `res_scale`, plus the input: no batch norm (EDSR, figure 2c).

    Args:
        width: Features in and out.
        kernel_size: Odd side of both kernels; MDSR's pre-processing uses 5.
        res_scale: Factor on the residual branch; 0.1 keeps 256-feature models stable (EDSR, section 3.3).

    Raises:
        ValueError: If `kernel_size` is even, which would shift the image.

    Examples:
        >>> import torch
        >>> ResBlock(8)(torch.rand(1, 8, 5, 7)).shape
        torch.Size([1, 8, 5, 7])
    """

    def __init__(self, width: int, kernel_size: int = 3, res_scale: float = 1.0) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size is {kernel_size}; it must be odd to keep pixels in place")
        padding = kernel_size // 2
        self.res_scale = res_scale
        self.halo = 2 * padding
        """Receptive-field radius in pixels of the block's own grid."""
        self.conv1 = nn.Conv2d(width, width, kernel_size, padding=padding)
        self.conv2 = nn.Conv2d(width, width, kernel_size, padding=padding)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features plus their scaled residual."""
        residual = self.conv2(F.relu(self.conv1(x)))
        return x + (residual if self.res_scale == 1 else residual * self.res_scale)
