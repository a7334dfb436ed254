"""Each broken model breaks one promise, and the contract says which."""

import random
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from srzoo.architecture import Architecture, Draw, Fit, Fitted, Report, SRModel, Weights
from srzoo.testing import ContractError, check_architecture, check_fit

__doc__ += "\nPaper: none, a test."


class Sound(SRModel):
    """A small model that keeps the contract: convolution, ReLU, convolution, pixel shuffle."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 8) -> None:
        super().__init__()
        self.scales, self.channels = (scale,), channels
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        self.check_scale(scale)
        return 2

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        scale = self.check_scale(scale)
        return F.pixel_shuffle(self.tail(F.relu(self.head(lr))), scale)


class WrongSize(Sound):
    """One pixel short."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr, scale)[..., :-1]


class AnyScale(Sound):
    """Takes scales it does not offer."""

    def check_scale(self, scale: int | None) -> int:
        return self.scales[0]


class IgnoresScale(Sound):
    """Runs at any scale, always giving its own."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr, self.scales[0])


class EvenOnly(Sound):
    """Needs even sizes."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(F.pixel_shuffle(F.pixel_unshuffle(lr, 2), 2), scale)


class InPlace(Sound):
    """Writes to its input."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr.mul_(0.5), scale)


class InPlaceInTraining(Sound):
    """Writes to its input while training."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr.mul_(0.5) if self.training else lr, scale)


class Noisy(Sound):
    """Random in eval mode."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        sr = super().forward(lr, scale)
        return sr + 0.1 * torch.rand_like(sr)


class BatchMixing(Sound):
    """Normalises over the batch."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr - lr.mean(), scale)


class DeadLayer(Sound):
    """Has a layer that nothing flows through."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 8) -> None:
        super().__init__(scale=scale, channels=channels, width=width)
        self.unused = nn.Conv2d(width, width, 1)


class Unsaved(Sound):
    """Keeps a number that matters outside the state dict."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 8) -> None:
        super().__init__(scale=scale, channels=channels, width=width)
        self.register_buffer("gain", torch.tensor(random.random()), persistent=False)

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr, scale) * self.gain


class HaloTooSmall(Sound):
    """Claims less than it sees."""

    def halo(self, scale: int | None = None) -> int:
        return super().halo(scale) - 1


class HaloTooLarge(Sound):
    """Claims more than it sees."""

    def halo(self, scale: int | None = None) -> int:
        return super().halo(scale) + 1


class SeesAll(Sound):
    """Looks at the mean of each whole image."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr - lr.mean((1, 2, 3), keepdim=True), scale)


class NotANumber(Sound):
    """Divides nothing by nothing on a single row."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr, scale) / (0 if lr.shape[-2] == 1 else 1)


class Overflows(Sound):
    """Passes through numbers that fp16 does not have."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr * 1e6, scale) / 1e6


class AlwaysFloat(Sound):
    """Returns float32 whatever it is given."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return super().forward(lr, scale).float()


class BranchesOnValues(Sound):
    """Decides by pixel values, which no graph can hold."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        sr = super().forward(lr, scale)
        return sr if lr.sum().item() >= 0 else -sr


class FixedSize(Sound):
    """Fixes the size of the first image it is traced with."""

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        sr = super().forward(lr, scale)
        return sr + torch.zeros(int(sr.shape[-2]), int(sr.shape[-1])) if int(lr.shape[-1]) == 10 else sr


class AnyArguments(Sound):
    """Swallows misspelt arguments."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 8, **kwargs: Any) -> None:
        super().__init__(scale=scale, channels=channels, width=width)


def record(model: type[SRModel], **changes: Any) -> Architecture:
    values: dict[str, Any] = dict(
        family="sound",
        model=model,
        title="A test",
        paper="https://example.org",
        scales=(2,),
        variants={"sound": {}},
    )
    return Architecture(**{**values, **changes})


def test_a_sound_model_passes() -> None:
    check_architecture(record(Sound, scales=(2, 3)))


@pytest.mark.parametrize(
    ("model", "check"),
    [
        (WrongSize, "check_scales"),
        (AnyScale, "check_scales"),
        (IgnoresScale, "check_scales"),
        (EvenOnly, "check_scales"),
        (InPlace, "check_input_untouched"),
        (InPlaceInTraining, "check_input_untouched"),
        (Noisy, "check_deterministic"),
        (BatchMixing, "check_batch_independent"),
        (DeadLayer, "check_gradients"),
        (Unsaved, "check_deterministic|check_reload"),
        (HaloTooSmall, "check_halo"),
        (HaloTooLarge, "check_halo"),
        (SeesAll, "check_halo"),
        (NotANumber, "check_odd_sizes"),
        (Overflows, "check_half_precision"),
        (AlwaysFloat, "check_half_precision|check_batch_independent|check_tiles"),
        (BranchesOnValues, "check_scales|check_export|check_compile"),
        (FixedSize, "check_export"),
        (AnyArguments, "record"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_model_is_caught(model: type[SRModel], check: str) -> None:
    with pytest.raises(ContractError, match=rf"^sound\w*: ({check}): "):
        check_architecture(record(model))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (dict(paper=""), "paper is ''"),
        (dict(title=""), "title, variants or scales are empty"),
        (dict(variants={"other": {}}), "does not start with the family"),
        (
            dict(weights=(Weights(model="sound_x9", tag="t", file="f", sha256="0" * 64, license="MIT", source="s"),)),
            "no model",
        ),
        (
            dict(weights=(Weights(model="sound_x2", tag="t", file="f", sha256="0" * 63, license="MIT", source="s"),)),
            "lack sha256",
        ),
        (
            dict(weights=(Weights(model="sound_x2", tag="t", file="f", sha256="0" * 64, license="MIT", source="s"),)),
            "no measured",
        ),
    ],
    ids=["paper", "title", "name", "weights of no model", "hash", "metrics"],
)
def test_an_incomplete_record_is_caught(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ContractError, match=told):
        check_architecture(record(Sound, **changes))


def test_a_model_without_its_paper_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setattr(sys.modules[__name__], "__doc__", "Nothing said.")
    with pytest.raises(ContractError, match="names the paper"):
        check_architecture(record(Sound))


class Normalized(Sound):
    """Sound, with batch norm and a learned gain: parameters that are no convolution."""

    def __init__(self, *, scale: int, channels: int = 3, width: int = 8) -> None:
        super().__init__(scale=scale, channels=channels, width=width)
        self.norm = nn.BatchNorm2d(width)
        self.gain = nn.Parameter(torch.tensor(0.5))

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        scale = self.check_scale(scale)
        return F.pixel_shuffle(self.tail(F.relu(self.norm(self.head(lr)))) * self.gain, scale)


def test_batch_norm_and_scalar_parameters_keep_the_contract() -> None:
    check_architecture(record(Normalized))


def test_trouble_inside_a_model_is_told_with_its_name() -> None:
    class Raises(Sound):
        """Raises."""

        def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
            raise KeyError("lost")

    with pytest.raises(ContractError, match="sound_x2: check_scales: KeyError: 'lost'"):
        check_architecture(record(Raises))


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of the fits below."""

    rounds: int = 10**9


def fit_head(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    """Twice as wide as the model that was given; its biases are means of what was drawn."""
    assert settings.rounds == 2
    width = 2 * model.head.weight.shape[0]
    wide = Sound(scale=model.scales[0], width=width)
    means = torch.stack([draw(4, 6)[1].mean() for _ in range(settings.rounds)])
    tensors = {key: value.zero_() + means.mean() for key, value in wide.state_dict().items()}
    return Fitted(arguments={"width": width}, tensors=tensors, told={"means": means.tolist()})


def fit_other_tensors(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    fitted = fit_head(model, draw, settings, report)
    return Fitted(arguments={}, tensors=fitted.tensors)


def fit_in_place(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    model.state_dict()["head.bias"].add_(1)
    return fit_head(model, draw, settings, report)


def fit_by_chance(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    fitted = fit_head(model, draw, settings, report)
    return Fitted(arguments=fitted.arguments, tensors={k: v + torch.rand(()) for k, v in fitted.tensors.items()})


def fit_tells_tensors(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    fitted = fit_head(model, draw, settings, report)
    return Fitted(arguments=fitted.arguments, tensors=fitted.tensors, told={"means": torch.zeros(2)})


def fit_to_nothing(model: SRModel, draw: Draw, settings: FitSettings, report: Report) -> Fitted:
    fitted = fit_head(model, draw, settings, report)
    return Fitted(arguments=fitted.arguments, tensors={key: value / 0 for key, value in fitted.tensors.items()})


def test_a_sound_fit_passes() -> None:
    fit = Fit(run=fit_head, settings=FitSettings, toy={"rounds": 2})
    check_fit(record(Sound, scales=(2, 3), fit=fit), "sound_x3")
    check_architecture(record(Sound, fit=fit))


@pytest.mark.parametrize(
    ("run", "told"),
    [
        (fit_other_tensors, "sound_x2: check_fit: ValueError: what the fit gives does not fit Sound"),
        (fit_in_place, "the fit changes the model"),
        (fit_by_chance, "two fits with the same draws and settings differ"),
        (fit_tells_tensors, "told of what the fit gives are no plain JSON values"),
        (fit_to_nothing, "not finite"),
    ],
)
def test_a_broken_fit_is_caught(run, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srzoo.testing.MODEL_CHECKS", (check_fit,))
    with pytest.raises(ContractError, match=told):
        check_architecture(record(Sound, fit=Fit(run=run, settings=FitSettings, toy={"rounds": 2})))
