"""What a model and a weight file are: the records everything else is built on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Origin:
    """The weights a model was given when it was made."""

    name: str
    """`model.tag` of the zoo, `hf-hub:owner/name@commit`, or the path of a file."""
    license: str = ""
    """SPDX identifier of their licence, where it is known."""


class SRModel(nn.Module, ABC):
    """A super-resolution network with its facts as fields: the contract every model in the zoo keeps.

    `forward(lr, scale=None)` takes RGB (or `channels` channels) in [0, 1], shape b c h w with any h, w >= 1,
    and returns b c scale*h scale*w, not clamped, same dtype and device. Subclasses set `scales` and `channels`,
    take keyword-only arguments that are plain JSON values, and implement `forward` and `halo`.
    """

    scales: tuple[int, ...]
    """Upscaling factors the model offers."""
    channels: int = 3
    """Image channels in and out."""
    size_multiple: int = 1
    """Height and width the network works on must divide by this; `forward` itself takes any size."""
    half_modules: tuple[str, ...] = ()
    """Submodules that may compute in bf16 or fp16 where precision is "auto": what is left, such as head, long skip and
    last convolution, stays in float32."""
    name: str = ""
    """Registered name, set by `create_model`; empty for a model built by hand."""
    arguments: Mapping[str, Any]
    """All constructor arguments, set by `create_model`."""
    origin: Origin | None = None
    """The weights it was made with; None for random ones."""
    package: str = ""
    """Package that adds its architecture, with version, set by `create_model`; empty for those of srzoo."""

    def __init__(self) -> None:
        super().__init__()
        self.arguments = {}

    @abstractmethod
    def halo(self, scale: int | None = None) -> int:
        """Exact receptive-field radius in LR pixels: how far an output pixel sees past its own LR pixel."""

    def check_scale(self, scale: int | None) -> int:
        """The scale to run at.

        Raises:
            ValueError: If the model does not offer it, or offers several and none was given.
        """
        if scale is None and len(self.scales) == 1:
            return self.scales[0]
        if scale not in self.scales:
            given = "no scale was given" if scale is None else f"scale {scale} was given"
            allowed = ", ".join(map(str, self.scales))
            raise ValueError(f"{given}; {self.name or type(self).__name__} offers {allowed}")
        return scale

    @abstractmethod
    def forward(self, lr: Float[Tensor, "b c h w"], scale: int | None = None) -> Float[Tensor, "b c H W"]:
        """Upscale `lr` (in [0, 1]); the output is not clamped."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One row of a family's table of weights: a file that can be had, and what is claimed about it."""

    model: str
    """Model name, such as `edsr_baseline_x4`."""
    tag: str
    """What tells weights of one model apart, such as `photos`; `create_model("model.tag")` loads it."""
    file: str = ""
    """File name in `package`; empty for weights that are only on the Hub."""
    sha256: str
    """Hash of the file; checked at every load."""
    license: str
    """SPDX identifier of the weights' licence."""
    source: str
    """Who trained them, on what."""
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Measured Y-PSNR in dB by `Protocol.paper`: set -> scale -> mean, such as `{"Set5": {"x2": 37.63}}`."""
    package: str = "srzoo.pretrained"
    """Package or folder inside one that holds the file, as `importlib.resources.files` takes it."""
    hub: str = ""
    """Repository to fetch it from where the package does not hold it, pinned: `owner/name@` and a 40-digit commit."""


Draw = Callable[[int, int], tuple[Tensor, Tensor]]
"""(num, side) -> that many random LR patches of `side` x `side` pixels and their HR patches, b c h w in [0, 1]."""
Report = Callable[[int, int, str], None]
"""Called with (done, total, what) while something long goes on."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """What the `run` of a `Fit` gives: enough to build the fitted model, and what to put on record."""

    arguments: Mapping[str, Any]
    """Constructor arguments that differ from those of the model that was given; plain JSON values."""
    tensors: Mapping[str, Tensor]
    """State dict of the model with these arguments."""
    told: Mapping[str, Any] = field(default_factory=dict)
    """What was found on the way, as plain JSON values, for the header of the weight file."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """How a family learns that no gradient trains; `srzoo train` runs it in place of the trainer."""

    run: Callable[[SRModel, Draw, Any, Report], Fitted]
    """(model, draw, settings, report) -> `Fitted`: learns from the patches that `draw` gives. The model, with random
    weights, says scale, channels and arguments, and is not changed. The same draws and settings give the same bits."""
    settings: type
    """Frozen dataclass of plain values, all with defaults; refuses what cannot be with a ValueError. `srzoo train`
    fills it in from `--set KEY=VALUE`, and its field `seed`, if it has one, from `--seed`."""
    toy: Mapping[str, Any] = field(default_factory=dict)
    """Settings with which a fit takes a second or so: what `srzoo.testing` checks it with."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The record a model file ends with: a family, its variants, its weights.

    Single-scale families offer each variant at each scale (`edsr_baseline_x4`); with `multi_scale=True` one
    model serves all `scales` and its name carries none (`mdsr`).
    """

    family: str
    """Lower case; the file's name, and how every model name starts."""
    model: type[SRModel]
    """The class; single-scale families take `scale=`, multi-scale ones `scales=`."""
    title: str
    """One line for lists and pages."""
    paper: str
    """Address of the paper."""
    scales: tuple[int, ...]
    variants: Mapping[str, Mapping[str, Any]]
    """Variant -> constructor arguments, smallest first."""
    multi_scale: bool = False
    weights: tuple[Weights, ...] = ()
    fit: Fit | None = None
    """How it learns, where it is not by gradients; None for networks, which the trainer trains."""

    def model_names(self) -> dict[str, dict[str, Any]]:
        """Each model name with the constructor arguments it stands for.

        Examples:
            >>> from srzoo.models.edsr import ARCH
            >>> ARCH.model_names()["edsr_x4"]["scale"]
            4
        """
        if self.multi_scale:
            return {name: {**kwargs, "scales": self.scales} for name, kwargs in self.variants.items()}
        return {
            f"{name}_x{scale}": {**kwargs, "scale": scale}
            for name, kwargs in self.variants.items()
            for scale in self.scales
        }
