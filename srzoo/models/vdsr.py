"""VDSR: twenty convolutions that predict what the luma of the bicubic image lacks; one model for all scales.

Paper: Kim et al., "Accurate Image Super-Resolution Using Very Deep Convolutional Networks", CVPR 2016,
    https://arxiv.org/abs/1511.04587
Reference code: the authors' MatConvNet code, https://cv.snu.ac.kr/research/VDSR/ (behaviour, not copied).
Differences: none in the network. He's initialisation (section 4.2 names it) is drawn from a normal distribution with
    the fan-in of each layer, for the last layer as well.
"""

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel, Weights
from srzoo.blocks import LumaUpsampler, ScaleHeads


class VDSR(SRModel):
    """Convolutions 3x3 with ReLU, zero padding, and the bicubic luma added to the last one's output (figure 1).

    The weights know nothing of the scale: a model made for some scales takes another one's weights as they are.

    Args:
        scales: Upscaling factors, whole numbers.
        channels: Image channels: 3 (RGB; Cb and Cr are bicubic) or 1 (luma).
        width: Features of each layer.
        num_blocks: Layers between the first and the last one: the paper's depth of 20 is 18 and those two.
    """

    def __init__(
        self, *, scales: Sequence[int] = (2, 3, 4), channels: int = 3, width: int = 64, num_blocks: int = 18
    ) -> None:
        super().__init__()
        self.scales = tuple(scales)
        self.channels = channels
        self.num_blocks = num_blocks
        self.upsample = ScaleHeads(self.scales, lambda scale: LumaUpsampler(scale, channels))
        self.head = nn.Conv2d(1, width, 3, padding=1)
        self.body = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(num_blocks))
        self.tail = nn.Conv2d(width, 1, 3, padding=1)
        for layer in (self.head, *self.body, self.tail):  # section 4.2
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)

    def _upsampler(self, scale: int) -> LumaUpsampler:
        return cast(LumaUpsampler, self.upsample.branch(scale))

    def halo(self, scale: int | None = None) -> int:
        """One SR pixel a layer and the bicubic kernel: 12 at x2, 8 at x3, 7 at x4 with 20 layers."""
        return self._upsampler(self.check_scale(scale)).halo(reach=self.num_blocks + 2)

    def refine(self, y: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 h w"]:
        """Luma made better: the network itself and its skip (section 3.1)."""
        x = F.relu(self.head(y))
        for layer in self.body:
            x = F.relu(layer(x))
        return y + self.tail(x)

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]) by one of `scales`; the output is not clamped."""
        scale = self.check_scale(scale)
        return self._upsampler(scale)(lr, self.refine)


ARCH = Architecture(
    family="vdsr",
    model=VDSR,
    title="VDSR: twenty convolutions on bicubic luma, one model for x2, x3 and x4",
    paper="https://arxiv.org/abs/1511.04587",
    scales=(2, 3, 4),
    multi_scale=True,
    variants={"vdsr": {}},
    weights=(
        Weights(
            model="vdsr",
            tag="photos",
            file="vdsr.photos.safetensors",
            sha256="d43d2620c68c48d528e3f4fee60ee4fdc0079907a6c3683126489eb9515a1683",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={
                "Set5": {"x2": 37.2419, "x3": 33.3838, "x4": 31.0898},
                "Set14": {"x2": 32.7918, "x3": 29.6389, "x4": 27.8332},
            },
        ),
    ),
)
