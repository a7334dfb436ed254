"""Losses between SR and HR: small objects that are called as `loss(sr, hr)` and add up to others.

All work in fp32 (float64 if given it) and are means over the images of the batch, so the loss of a batch is the mean of
the losses of its parts, weighted by their images.
"""

import difflib
import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from srzoo.color import rgb_to_y
from srzoo.device import to_channels_last
from srzoo.metrics.ssim import WINDOW, similarity


@runtime_checkable
class Loss(Protocol):
    """What a trainer takes as its loss: an object of this module, a sum of them, or any such function."""

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """A scalar from SR and HR, b c h w in [0, 1] (SR may leave it), a mean over the images of the batch."""
        ...


def _ready(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Both images in fp32, or as they are in float64."""
    if sr.shape != hr.shape:
        raise ValueError(f"sr has shape {tuple(sr.shape)} and hr {tuple(hr.shape)}; a loss takes equal shapes")
    sr, hr = (x if x.dtype == torch.float64 else x.float() for x in (sr, hr))
    return sr, hr


Function = Callable[[Tensor, Tensor], Tensor]
"""A loss as the arithmetic takes it: anything that is called as (sr, hr)."""


class Summable:
    """Base class that gives a loss the arithmetic: `0.8 * a + 0.2 * b` is a `WeightedSum`.

    Examples:
        >>> class Bias(Summable):
        ...     def __call__(self, sr, hr):
        ...         return (sr.mean((1, 2, 3)) - hr.mean((1, 2, 3))).abs().mean()
        ...
        ...     def __repr__(self):
        ...         return "Bias()"
        >>> L1() + 0.1 * Bias()
        1.0 * L1() + 0.1 * Bias()
    """

    def __mul__(self, weight: int | float) -> "WeightedSum":
        """This loss times a number."""
        if not isinstance(weight, (int, float)):
            return NotImplemented
        return WeightedSum(tuple((weight * own, loss) for own, loss in _terms(self)))

    def __add__(self, other: Function) -> "WeightedSum":
        """The sum of this loss and another one, or any function of (sr, hr)."""
        return WeightedSum(_terms(self) + _terms(other)) if callable(other) else NotImplemented

    def __radd__(self, other: Function) -> "WeightedSum":
        """The sum of any function of (sr, hr) and this loss."""
        return WeightedSum(_terms(other) + _terms(self)) if callable(other) else NotImplemented

    __rmul__ = __mul__

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        """The loss itself; a subclass has its own."""
        raise NotImplementedError(f"{type(self).__name__} has no __call__(sr, hr)")


@dataclass(frozen=True, repr=False)
class WeightedSum(Summable):
    """The sum of losses, each times its weight.

    Args:
        terms: Pairs of weight and loss.

    Raises:
        ValueError: If there are no terms, or a weight is not finite.

    Examples:
        >>> 0.5 * (L1() + 0.2 * SSIM())
        0.5 * L1() + 0.1 * SSIM()
        >>> (2 * L1() + MSE())(torch.full((1, 3, 4, 4), 0.5), torch.zeros(1, 3, 4, 4)).item()
        1.25
    """

    terms: tuple[tuple[float | int, Function], ...]

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a WeightedSum has no terms; give at least one pair of weight and loss")
        for weight, loss in self.terms:
            if not math.isfinite(weight):
                raise ValueError(f"the weight of {loss!r} is {weight}; it must be finite")

    def __repr__(self) -> str:
        return " + ".join(f"{float(weight)!r} * {loss!r}" for weight, loss in self.terms)

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """The weighted sum of the losses of all terms."""
        return torch.stack([weight * loss(sr, hr) for weight, loss in self.terms]).sum()


def _terms(loss: Function) -> tuple[tuple[float | int, Function], ...]:
    return loss.terms if isinstance(loss, WeightedSum) else ((1.0, loss),)


@dataclass(frozen=True)
class L1(Summable):
    """Mean absolute difference: what EDSR trains with (section 5.2; better than L2, table 2).

    Examples:
        >>> L1()(torch.ones(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item()
        1.0
    """

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Mean of |sr - hr| over all values."""
        return F.l1_loss(*_ready(sr, hr))


@dataclass(frozen=True)
class MSE(Summable):
    """Mean squared difference, L2: the one that PSNR measures, and what SRCNN trains with.

    Examples:
        >>> MSE()(torch.full((1, 3, 2, 2), 0.5), torch.zeros(1, 3, 2, 2)).item()
        0.25
    """

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Mean of (sr - hr)**2 over all values."""
        return F.mse_loss(*_ready(sr, hr))


@dataclass(frozen=True)
class OnLuma(Summable):
    """Another loss on the luma of the images: for networks that know luma alone, as the older papers train them.

    SRCNN, FSRCNN, ESPCN, VDSR and A+ leave Cb and Cr to the bicubic image, whose errors are noise in any loss on RGB.
    Luma is Y of BT.601, studio range, as `Protocol.paper` scores it, in [16/255, 235/255].

    Args:
        loss: What is made of the two lumas, b 1 h w.

    Examples:
        >>> hr = torch.rand(1, 3, 4, 4)
        >>> hr_of_other_colour = hr + torch.tensor([0.114 / 0.299, 0, -1]).view(3, 1, 1) * 0.1
        >>> abs(round(OnLuma(MSE())(hr_of_other_colour, hr).item(), 4))
        0.0
    """

    loss: Function = L1()

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """The loss of the lumas; images of one channel are luma already.

        Raises:
            ValueError: If the images have neither 1 nor 3 channels.
        """
        sr, hr = _ready(sr, hr)
        if sr.shape[1] not in (1, 3):
            raise ValueError(f"the images have {sr.shape[1]} channels; OnLuma takes 1 (luma) or 3 (RGB)")
        return self.loss(sr, hr) if sr.shape[1] == 1 else self.loss(rgb_to_y(sr), rgb_to_y(hr))


@dataclass(frozen=True)
class Charbonnier(Summable):
    """Mean of sqrt((sr - hr)**2 + eps**2): L1 with a smooth bottom (Lai et al. 2017, LapSRN, section 3.3).

    Args:
        eps: Where it turns from square to linear, in units of the image, which is in [0, 1].

    Raises:
        ValueError: If `eps` is not positive.

    Examples:
        >>> round(Charbonnier()(torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)).item(), 6)
        0.001
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        if not self.eps > 0:
            raise ValueError(f"eps is {self.eps}; it must be positive")

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Mean over all values."""
        sr, hr = _ready(sr, hr)
        return ((sr - hr).square() + self.eps**2).sqrt().mean()


@dataclass(frozen=True)
class SSIM(Summable):
    """1 - SSIM, mean over windows and channels: 0 for equal images (Wang et al. 2004, section III-B).

    The same windows and constants as `srzoo.metrics.ssim`, on all channels, without clamping, rounding or border.

    Examples:
        >>> image = torch.rand(2, 3, 16, 16)
        >>> abs(round(SSIM()(image, image).item(), 5))
        0.0
    """

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """One minus the mean structural similarity.

        Raises:
            ValueError: If the images are smaller than the window of 11x11.
        """
        sr, hr = _ready(sr, hr)
        if min(sr.shape[-2:]) < WINDOW:
            raise ValueError(f"the images are {sr.shape[-2]}x{sr.shape[-1]}; SSIM needs at least {WINDOW}x{WINDOW}")
        with torch.autocast(sr.device.type, enabled=False):
            return 1 - similarity(sr, hr, 1.0).mean()


@dataclass(frozen=True)
class FFTAmplitude(Summable):
    """Mean absolute difference between the amplitudes of the Fourier transforms (orthonormal, over height and width).

    Position and phase do not count: add it to a loss on the pixels.

    Examples:
        >>> image = torch.rand(1, 3, 8, 8)
        >>> FFTAmplitude()(image.roll(2, dims=-1), image).item() < 1e-6
        True
    """

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Mean over the h * (w // 2 + 1) frequencies of `torch.fft.rfft2`."""
        sr, hr = _ready(sr, hr)
        return F.l1_loss(torch.fft.rfft2(sr, norm="ortho").abs(), torch.fft.rfft2(hr, norm="ortho").abs())


class _Features(nn.Module):
    """A frozen timm network from images in [0, 1] to its features."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))
        self.requires_grad_(False).eval()

    def forward(self, image: Tensor) -> list[Tensor]:
        return self.network((image - self.mean) / self.std)  # grey becomes three equal channels here


_NETWORKS: dict[tuple[str, tuple[int, ...], bool, str], _Features] = {}
"""Feature networks already made: no part of any loss's or model's state."""


def _make_network(name: str, layers: tuple[int, ...], pretrained: bool, device: torch.device) -> _Features:
    try:
        timm: Any = importlib.import_module("timm")
    except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision made for another torch
        raise ImportError(f'Perceptual needs timm ({error}); pip install "srzoo[train]"') from error
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.3)
        raise ValueError(f"timm has no model {name!r}; the nearest are {', '.join(near) or 'none'}")
    with torch.random.fork_rng(devices=[]):  # the same weights in every run, and no draw taken from the caller
        torch.manual_seed(0)
        try:
            network = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=layers)
        except (IndexError, AssertionError) as error:
            raise ValueError(f"layers is {layers}; {name} does not have them all") from error
        except OSError as error:
            raise FileNotFoundError(
                f"the weights of {name} are not here and could not be fetched ({error}); connect once, or give "
                "Perceptual another network"
            ) from error
    return to_channels_last(_Features(network, network.pretrained_cfg["mean"], network.pretrained_cfg["std"]), device)


@dataclass(frozen=True)
class Perceptual(Summable):
    """Distance between the features that a network trained on ImageNet finds in SR and in HR (extra `train`: timm).

    The mean absolute difference of each layer's features (SRGAN, Ledig et al. 2017, section 2.2.1, has squares;
    ESRGAN, Wang et al. 2018, section 3.2, the absolute difference), weighted and summed. The network is frozen, is made
    on first use on the device of the images, and is no part of the trained model. Its weights come from the Hugging
    Face Hub under licences of their own; timm's page of each model names it.

    Args:
        network: Name of a timm model.
        layers: Which of the model's feature stages, from 0. Of `vgg19`: 0 to 4 are relu1_2, relu2_2, relu3_4,
            relu4_4 and relu5_4 (SRGAN's VGG54); 5 follows the last pooling.
        weights: Factor of each layer; 1 each if None.
        pretrained: False takes random weights from a fixed seed, for tests.

    Raises:
        ValueError: If `layers` is empty or out of order, or `weights` is not of its length; at the first call, if timm
            does not have the network or the network those layers, or the images have neither 1 nor 3 channels.
        ImportError: At the first call, if timm is not installed.
        FileNotFoundError: At the first call, if the weights cannot be had.

    Examples:
        ```python
        loss = L1() + 0.01 * Perceptual("vgg19", layers=(2, 4), weights=(0.5, 1.0))
        ```
    """

    network: str = "vgg19"
    layers: Sequence[int] = (4,)
    weights: Sequence[int | float] | None = None
    pretrained: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))  # lists have no hash
        if self.weights is not None:
            object.__setattr__(self, "weights", tuple(self.weights))
        if not self.layers or min(self.layers) < 0 or list(self.layers) != sorted(set(self.layers)):
            raise ValueError(f"layers is {self.layers}; give at least one, from 0, in rising order, each once")
        if self.weights is not None and len(self.weights) != len(self.layers):
            raise ValueError(f"{len(self.weights)} weights are given for {len(self.layers)} layers; give one a layer")

    def _network(self, device: torch.device) -> _Features:
        layers = tuple(self.layers)
        key = (self.network, layers, self.pretrained, str(device))
        if key not in _NETWORKS:
            _NETWORKS[key] = _make_network(self.network, layers, self.pretrained, device)
        return _NETWORKS[key]

    def __call__(self, sr: Float[Tensor, "b c h w"], hr: Float[Tensor, "b c h w"]) -> Float[Tensor, ""]:
        """Weighted sum over the layers of the mean absolute difference of their features."""
        sr, hr = _ready(sr, hr)
        if sr.shape[1] not in (1, 3):
            raise ValueError(f"the images have {sr.shape[1]} channels; Perceptual takes 1 (grey) or 3 (RGB)")
        features = self._network(sr.device)
        with torch.autocast(sr.device.type, enabled=False):
            of_sr = features(sr.float())
            with torch.no_grad():
                of_hr = features(hr.float())
        weights = self.weights or (1.0,) * len(self.layers)
        parts = [weight * F.l1_loss(a, b) for weight, a, b in zip(weights, of_sr, of_hr, strict=True)]
        return torch.stack(parts).sum()
