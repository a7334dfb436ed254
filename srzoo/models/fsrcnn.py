"""FSRCNN: an hourglass of convolutions on LR luma, then one transposed convolution to SR.

Paper: Dong et al., "Accelerating the Super-Resolution Convolutional Neural Network", ECCV 2016,
    https://arxiv.org/abs/1608.00367
Reference code: the authors' Caffe and MATLAB code, http://mmlab.ie.cuhk.edu.hk/projects/FSRCNN.html (behaviour,
    not copied).
Differences: none in the layers. Each channel has its own PReLU slope, as the paper's equation has it; the authors'
    files share one a layer. Zeros are padded, as the authors train; their test code repeats the edge. They crop what
    the transposed convolution gives to scale*(h-1)+1; here all scale*h pixels are kept, on the grid of MATLAB's
    bicubic.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel, Weights
from srzoo.blocks import LumaUpsampler


class _Deconvolution(nn.Module):
    """Transposed convolution 9x9 to one channel of exactly scale*h x scale*w, computed as a convolution and a shuffle.

    Equal to `F.conv_transpose2d` with its weights, a padding of (10 - scale) // 2 and what output padding is left. The
    kernel's middle then lies where MATLAB's bicubic puts the LR pixel: on SR pixel 3*i + 1 at x3; an even scale has no
    SR pixel there, and the nearest one is taken (half a pixel before it at x2, 0.5 before at x4).
    """

    def __init__(self, scale: int, width: int) -> None:
        super().__init__()
        if not 1 <= scale <= 9:
            raise ValueError(f"scale is {scale}; a 9x9 transposed convolution covers the SR image at 1 to 9")
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(width, 1, 9, 9))
        self.bias = nn.Parameter(torch.zeros(1))
        nn.init.normal_(self.weight, std=0.001)  # section 4.1, as in SRCNN
        self._cut = (10 - scale) // 2
        self.halo = max((8 - self._cut) // scale, (scale - 1 + self._cut) // scale)
        """Receptive-field radius in LR pixels."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 H W"]:
        """Luma on a grid `scale` times finer."""
        scale, reach = self.scale, self.halo
        side = 2 * reach + 1
        before = scale * reach - self._cut
        margin = (before, scale * side - 9 - before)
        taps = F.pad(self.weight, margin * 2).reshape(-1, side, scale, side, scale).flip(1, 3)
        phases = taps.permute(2, 4, 0, 1, 3).reshape(scale**2, -1, side, side)
        return F.pixel_shuffle(F.conv2d(x, phases, self.bias.expand(scale**2), padding=reach), scale)


def _layer(channels: int, width: int, kernel: int) -> nn.Sequential:
    """Convolution that keeps the size, and PReLU: Conv(width, channels, kernel) in the paper's words (section 3.2)."""
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2)
    assert convolution.bias is not None
    nn.init.kaiming_normal_(convolution.weight, a=0.25, nonlinearity="leaky_relu")  # He et al. for PReLU, section 4.1
    nn.init.zeros_(convolution.bias)
    return nn.Sequential(convolution, nn.PReLU(width, init=0.25))


class FSRCNN(SRModel):
    """Feature extraction 5x5, shrinking, mapping 3x3, expanding and a transposed convolution 9x9 (figure 2, right).

    Args:
        scale: Upscaling factor, 1 to 9.
        channels: Image channels: 3 (RGB; Cb and Cr are bicubic) or 1 (luma).
        width: Features of the LR image (d in the paper).
        shrink_width: Features of the mapping (s in the paper).
        num_blocks: Layers of the mapping (m in the paper).
    """

    def __init__(
        self, *, scale: int, channels: int = 3, width: int = 56, shrink_width: int = 12, num_blocks: int = 4
    ) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.upsample = LumaUpsampler(scale, channels, pre_upscale=False)
        self.extract = _layer(1, width, 5)
        self.shrink = _layer(width, shrink_width, 1)
        self.map = nn.Sequential(*(_layer(shrink_width, shrink_width, 3) for _ in range(num_blocks)))
        self.expand = _layer(shrink_width, width, 1)
        self.deconv = _Deconvolution(scale, width)

    def halo(self, scale: int | None = None) -> int:
        """The 5x5 layer's 2, one a mapping layer, and the transposed convolution's 2 at x2, 1 at x3 and x4."""
        self.check_scale(scale)
        return self.upsample.halo(reach=2 + len(self.map) + self.deconv.halo)

    def network(self, y: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1 H W"]:
        """SR luma from LR luma: the network itself."""
        x = self.shrink(self.extract(y))
        return self.deconv(self.expand(self.map(x)))

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        return self.upsample(lr, self.network)


ARCH = Architecture(
    family="fsrcnn",
    model=FSRCNN,
    title="FSRCNN: an hourglass on LR luma and a transposed convolution, one scale a model",
    paper="https://arxiv.org/abs/1608.00367",
    scales=(2, 3, 4),
    variants={"fsrcnn_small": dict(width=32, shrink_width=5, num_blocks=1), "fsrcnn": {}},
    weights=(
        Weights(
            model="fsrcnn_x3",
            tag="photos",
            file="fsrcnn_x3.photos.safetensors",
            sha256="dc87650045f34b2ba2978b5551e33687177251e722932dae8c83188731494bfb",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x3": 32.7163}, "Set14": {"x3": 29.2125}},
        ),
        Weights(
            model="fsrcnn_x4",
            tag="photos",
            file="fsrcnn_x4.photos.safetensors",
            sha256="e9e9598f120ea747b81065b5ec17397b82cfec1c31a63656a770811b287b47a4",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x4": 30.4918}, "Set14": {"x4": 27.4302}},
        ),
        Weights(
            model="fsrcnn_small_x3",
            tag="photos",
            file="fsrcnn_small_x3.photos.safetensors",
            sha256="c760e6b690a061ec00e9916e2a84cdf5d1cf7d98cf23fc190144b6a84a9bc5ce",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x3": 32.3032}, "Set14": {"x3": 28.9506}},
        ),
        Weights(
            model="fsrcnn_small_x2",
            tag="photos",
            file="fsrcnn_small_x2.photos.safetensors",
            sha256="4b7e19b3f68bd9916433569dfdadee40ad178ed062b3ede94b028d2fc634bfff",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x2": 36.3084}, "Set14": {"x2": 32.1647}},
        ),
        Weights(
            model="fsrcnn_x2",
            tag="photos",
            file="fsrcnn_x2.photos.safetensors",
            sha256="15d6bfd23d4b3b92a8cb33eb3a82b46b1f5bff892f9a6d10c3e2a288205ae64b",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x2": 36.7431}, "Set14": {"x2": 32.4252}},
        ),
    ),
)
