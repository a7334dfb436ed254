"""SRResNet: residual blocks with batch norm, one long skip, sub-pixel upsampling; what EDSR was made from.

Paper: Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017,
    https://arxiv.org/abs/1609.04802 (the generator of figure 4, trained for mean squared error)
Reference code: none by the authors.
Differences: none in the layers; x2 and x3 have one stage of the upsampler. Inside, images have EDSR's mean colour
    removed and lie in [-1, 1] at both ends (the paper: [0, 1] in, [-1, 1] out, no mean), so that the zeros
    around an image stand for its mean, not for black. Convolutions before batch norm have no bias, which batch norm
    would take off again. EDSR's tables have such a network as "SRResNet (reproduced)", trained on DIV2K with L2
    and with L1.
"""

import copy
import math
from fractions import Fraction

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.architecture import Architecture, SRModel, Weights
from srzoo.blocks import MeanShift, SubPixelUpsampler

RANGE = 127.5
"""Levels that are 1 inside."""


class _BatchNorm(nn.Module):
    """Batch norm by a moving average; its state holds floating-point numbers alone: no count of batches."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, momentum: float = 0.1, eps: float = 1e-5) -> None:
        super().__init__()
        self.momentum, self.eps = momentum, eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features, each brought to a mean and deviation that are learnt: by the batch's own, or the average's."""
        mean, var = self.running_mean, self.running_var
        return F.batch_norm(x, mean, var, self.weight, self.bias, self.training, self.momentum, self.eps)


class _NormedConv(nn.Module):
    """A convolution 3x3, then batch norm; or the convolution alone, with a bias."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, bias=not batch_norm)
        self.norm = _BatchNorm(width) if batch_norm else None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features of the same shape."""
        x = self.conv(x)
        return x if self.norm is None else self.norm(x)

    def folded(self) -> dict[str, Tensor]:
        """Weight and bias of one convolution that does what this does in eval mode; computed in float64 on the CPU."""
        if self.norm is None:
            return {key: value.detach().cpu().double() for key, value in self.conv.state_dict().items()}
        norm = {key: value.detach().cpu().double() for key, value in self.norm.state_dict().items()}
        gain = norm["weight"] / (norm["running_var"] + self.norm.eps).sqrt()
        weight = self.conv.weight.detach().cpu().double() * gain.view(-1, 1, 1, 1)
        return {"weight": weight, "bias": norm["bias"] - norm["running_mean"] * gain}


class _Block(nn.Module):
    """Convolution, batch norm, PReLU, convolution, batch norm, plus the input (figure 4)."""

    def __init__(self, width: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv1 = _NormedConv(width, batch_norm)
        self.act = nn.PReLU(width)
        self.conv2 = _NormedConv(width, batch_norm)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Features plus their residual."""
        return x + self.conv2(self.act(self.conv1(x)))


class _Upsampler(nn.Sequential):
    """Convolution, pixel shuffle, PReLU for each stage."""

    def __init__(self, scale: int, width: int) -> None:
        stages = SubPixelUpsampler(scale, width)
        super().__init__()
        self.halo = stages.halo
        for layer in stages:
            self.append(layer)
            if isinstance(layer, nn.PixelShuffle):
                self.append(nn.PReLU(width))


class SRResNet(SRModel):
    """Convolution 9x9, residual body with a long skip, upsampler, convolution 9x9 (figure 4).

    Args:
        scale: Upscaling factor, a product of 2s and 3s.
        channels: Image channels: 1, 3 or 4.
        width: Features of each layer.
        num_blocks: Residual blocks.
        batch_norm: Normalise after the convolutions of the body. If False they have biases instead: the network that
            `folded` gives, or one to be trained without batch norm, as EDSR is.
    """

    half_modules = ("body", "upsample")

    def __init__(
        self, *, scale: int, channels: int = 3, width: int = 64, num_blocks: int = 16, batch_norm: bool = True
    ) -> None:
        super().__init__()
        self.scales = (scale,)
        self.channels = channels
        self.width = width
        self.num_blocks = num_blocks
        self.batch_norm = batch_norm
        self.shift = MeanShift(channels)
        self.head = nn.Sequential(nn.Conv2d(channels, width, 9, padding=4), nn.PReLU(width))
        self.body = nn.Sequential(
            *(_Block(width, batch_norm) for _ in range(num_blocks)),
            _NormedConv(width, batch_norm),
        )
        self.upsample = _Upsampler(scale, width)
        self.tail = nn.Conv2d(width, channels, 9, padding=4)

    def halo(self, scale: int | None = None) -> int:
        """Head 4, two a block, body's end 1, upsampler, then the tail's four SR pixels: 40 at x4."""
        scale = self.check_scale(scale)
        return math.ceil(4 + 2 * self.num_blocks + 1 + self.upsample.halo + Fraction(4, scale))

    def folded(self) -> "SRResNet":
        """A model without batch norm that gives what this one gives in eval mode: for inference.

        Batch norm in eval mode is a factor and an offset of each feature, which go into the convolution before it.
        Equal to 1e-12 in float64. The model is a copy, in eval mode; it is saved and loaded as any other, with
        `batch_norm=False` among its arguments.

        Raises:
            ValueError: If it is on the meta device, where there are no numbers.

        Examples:
            >>> model = SRResNet(scale=2, width=8, num_blocks=1).eval()
            >>> lr = torch.rand(1, 3, 5, 7)
            >>> torch.allclose(model.folded()(lr), model(lr), atol=1e-6)
            True
        """
        if self.tail.weight.is_meta:
            raise ValueError(
                f"this {self.name or 'SRResNet'} is on the meta device and has no numbers to fold; load it"
            )
        with torch.device("meta"):  # every tensor is replaced
            plain = SRResNet(
                scale=self.scales[0],
                channels=self.channels,
                width=self.width,
                num_blocks=self.num_blocks,
                batch_norm=False,
            )
        own = self.state_dict()
        tensors = {key: own[key].detach().clone() for key in plain.state_dict() if key in own}
        for name, part in self.named_modules():
            if isinstance(part, _NormedConv):
                tensors |= {f"{name}.conv.{key}": value.to(part.conv.weight) for key, value in part.folded().items()}
        plain.load_state_dict(tensors, assign=True)
        plain.shift = copy.deepcopy(self.shift)
        plain.name, plain.package, plain.origin = self.name, self.package, self.origin
        plain.arguments = {**self.arguments, "batch_norm": False}
        return plain.eval()

    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""
        self.check_scale(scale)
        x = self.head(self.shift(lr) / RANGE)  # b width h w
        x = x + self.body(x)
        return self.shift.restore(self.tail(self.upsample(x)) * RANGE)


ARCH = Architecture(
    family="srresnet",
    model=SRResNet,
    title="SRResNet: residual network with batch norm, one scale a model",
    paper="https://arxiv.org/abs/1609.04802",
    scales=(2, 3, 4),
    variants={"srresnet": {}},
    weights=(
        Weights(
            model="srresnet_x4",
            tag="photos",
            file="srresnet_x4.photos.safetensors",
            sha256="0db2aeb00eaef592383a1c664ee59ef0b44fab9a4f425f2e9377c1589dfe11c6",
            license="CC-BY-SA-4.0",
            source="srzoo, trained on 948 crops of 471 freely licensed photographs",
            metrics={"Set5": {"x4": 31.6394}, "Set14": {"x4": 28.1623}},
        ),
    ),
)
