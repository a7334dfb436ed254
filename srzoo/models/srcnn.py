"""SRCNN: three convolutions on the luma of the bicubic image; the first network of the field.

Paper: Dong et al., "Image Super-Resolution Using Deep Convolutional Networks", TPAMI 2016,
    https://arxiv.org/abs/1501.00092
Reference code: the authors' MATLAB code, http://mmlab.ie.cuhk.edu.hk/projects/SRCNN.html (behaviour, not copied).
Differences: none in the network (9-5-5, the paper's best). Edges are replicated, as the authors' test code does it;
    they trained without padding. Pixels between the passes are not rounded.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel
from srzoo.blocks import LumaUpsampler


def _pad(x: Float[Tensor, "b c h w"], amount: int) -> Float[Tensor, "b c H W"]:
    """`x` with its edge repeated `amount` times; unlike torch's own, inductor compiles it after a pixel shuffle."""
    for dim in (-2, -1):
        sizes = list(x.shape)
        sizes[dim] = amount
        first, last = x.narrow(dim, 0, 1), x.narrow(dim, x.shape[dim] - 1, 1)
        x = torch.cat([first.expand(sizes), x, last.expand(sizes)], dim)
    return x


class SRCNN(SRModel):
    """Patch extraction 9x9, non-linear mapping 5x5, reconstruction 5x5, on bicubic luma (figure 2).

    Args:
        scale: Upscaling factor, a whole number.
        channels: Image channels: 3 (RGB; Cb and Cr are bicubic) or 1 (luma).
        width: Features of the first layer (n1 in the paper).
        mapping_width: Features of the second layer (n2 in the paper).
    """

    def __init__(self, *, scale: int, channels: int = 3, width: int = 64, mapping_width: int = 32) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.upsample = LumaUpsampler(scale, channels)
        self.extract = nn.Conv2d(1, width, 9)
        self.map = nn.Conv2d(width, mapping_width, 5)
        self.reconstruct = nn.Conv2d(mapping_width, 1, 5)
        for layer in (self.extract, self.map, self.reconstruct):  # section 3.3
            nn.init.normal_(layer.weight, std=0.001)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def halo(self, scale: int | None = None) -> int:
        """The layers' 4 + 2 + 2 SR pixels and the bicubic kernel: 6 at x2, 4 at x3 and x4."""
        self.check_scale(scale)
        return self.upsample.halo(reach=8)

    def refine(self, y: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Luma made better: the network itself, equations 1 to 3."""
        x = F.relu(self.extract(_pad(y, 4)))
        x = F.relu(self.map(_pad(x, 2)))
        return self.reconstruct(_pad(x, 2))

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        return self.upsample(lr, self.refine)


ARCH = Architecture(
    family="srcnn",
    model=SRCNN,
    title="SRCNN 9-5-5: three convolutions on bicubic luma, one scale a model",
    paper="https://arxiv.org/abs/1501.00092",
    scales=(2, 3, 4),
    variants={"srcnn": {}},
)
