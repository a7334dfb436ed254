"""Score a model on pairs of LR and HR images, a row an image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.color import rgb_to_grey
from srzoo.data.pairs import Pair
from srzoo.metrics import Protocol, psnr, ssim

MOST_PSNR = 100.0
"""What `measure` counts an image as, in dB, at most."""


@dataclass(frozen=True)
class Score:
    """PSNR in dB and SSIM of one image under a protocol."""

    name: str
    psnr: float
    ssim: float


def call_model(model: Callable[..., Tensor], lr: Tensor, scale: int) -> Tensor:
    """`model(lr, scale)` for the zoo's models, `model(lr)` for any other network."""
    return model(lr, scale) if isinstance(model, SRModel) else model(lr)


def check_channels(channels: int, pair: Pair) -> None:
    """See that a model of `channels` image channels can be scored on a pair.

    Raises:
        ValueError: If the pair has another number of channels, and is not grey for an RGB model.
    """
    if len(pair.hr) != channels and (len(pair.hr), channels) != (1, 3):
        raise ValueError(f"{pair.name} has {len(pair.hr)} channels, the model takes {channels}")


def model_channels(model: Callable[..., Tensor], pair: Pair) -> int:
    """Number of image channels in which a model takes a pair.

    A zoo model says it. Any other takes the pair's, and grey as three equal channels, unless its first convolution
    takes one.

    Examples:
        >>> grey = Pair("grey", *torch.zeros(2, 1, 8, 8, dtype=torch.uint8), 1)
        >>> [model_channels(nn.Conv2d(channels, channels, 1), grey) for channels in (1, 3)]
        [1, 3]
    """
    if isinstance(model, SRModel):
        return model.channels
    if len(pair.hr) > 1:
        return len(pair.hr)
    layers = model.modules() if isinstance(model, nn.Module) else ()
    first = next((layer.in_channels for layer in layers if isinstance(layer, nn.Conv2d)), 3)
    return 1 if first == 1 else 3


def as_scored(image: Tensor) -> Tensor:
    """The part of an image (... c h w) that is scored and shown: of more than three channels the first three, RGB."""
    return image[..., :3, :, :]


def model_input(pair: Pair, channels: int, device: torch.device | str | None = None) -> tuple[Tensor, Tensor]:
    """LR as a model of `channels` channels takes it, and HR: both 1 c h w, float32 in [0, 1], on the device.

    Raises:
        ValueError: If the pair has other channels, and is not grey for an RGB model.
    """
    check_channels(channels, pair)
    lr, hr = pair.lr_float.float()[None].to(device), pair.hr_float[None].to(device)
    return lr.expand(-1, channels, -1, -1), hr  # grey as equal channels


def comparable(sr: Tensor, hr: Tensor) -> tuple[Tensor, Tensor]:
    """Both images (1 c h w) as they are scored: an RGB output as grey where HR is grey, of RGBA the RGB part.

    Raises:
        ValueError: If they are of different sizes or channels otherwise.
    """
    if hr.shape[1] == 1 and sr.shape[1] == 3:
        sr = rgb_to_grey(sr)
    if sr.shape != hr.shape:
        raise ValueError(
            f"sr has shape {tuple(sr.shape)} and hr {tuple(hr.shape)}; they must be equal "
            "(crop hr to a multiple of the scale first)"
        )
    return as_scored(sr), as_scored(hr)


@torch.inference_mode()
def evaluate(
    model: Callable[..., Tensor],
    pairs: Iterable[Pair],
    protocol: Callable[[int], Protocol] = Protocol.paper,
    *,
    device: torch.device | str | None = None,
) -> list[Score]:
    """Score of each pair; a network in training mode is scored in eval mode and put back.

    A grey pair goes through an RGB model as three equal channels, and its output is scored as grey. Of pairs of
    four channels (RGBA) the RGB part is scored.

    Args:
        model: A zoo model, or any callable from LR to SR in [0, 1], b c h w; `model_channels` says what it is given.
        pairs: What to score on, such as `srzoo.data.pairs_from_hr(folder, scale)`.
        protocol: Scale -> protocol, such as `Protocol.paper` or `Protocol.div2k`.
        device: Where the images go; None takes the device of the model's parameters.

    Raises:
        ValueError: If an output has not the size of its HR image, or the model takes other channels.

    Examples:
        >>> from srzoo.resize import imresize
        >>> hr = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
        >>> pair = Pair("noise", imresize(hr, scale=0.5), hr, 2)
        >>> [score] = evaluate(lambda lr: imresize(lr, scale=2), [pair])
        >>> score.name
        'noise'
    """
    if device is None:
        parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
        device = next((parameter.device for parameter in parameters), torch.device("cpu"))
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    scores = []
    try:
        for pair in pairs:
            lr, hr = model_input(pair, model_channels(model, pair), device)
            sr = call_model(model, lr, pair.scale).float()
            sr, hr = comparable(sr, hr)
            rule = protocol(pair.scale)
            scores.append(Score(pair.name, psnr(sr, hr, rule).item(), ssim(sr, hr, rule).item()))
    finally:
        for module in training:
            module.training = True
    return scores


def mean_psnr(scores: Sequence[Score]) -> float:
    """Mean over images of the PSNR in dB, as the papers average; infinite if one image is equal to its HR image.

    Raises:
        ValueError: If there are no scores.
    """
    _check_some(scores)
    return sum(score.psnr for score in scores) / len(scores)


def mean_ssim(scores: Sequence[Score]) -> float:
    """Mean over images of the SSIM.

    Raises:
        ValueError: If there are no scores.
    """
    _check_some(scores)
    return sum(score.ssim for score in scores) / len(scores)


def _check_some(scores: Sequence[Score]) -> None:
    if not scores:
        raise ValueError("there are no scores to average; was the list of pairs empty?")


def measure(
    model: Callable[..., Tensor],
    sets: Mapping[str, Sequence[Pair]],
    protocol: Callable[[int], Protocol] = Protocol.paper,
) -> dict[str, dict[str, dict[str, float | int | str]]]:
    """Mean scores on sets of images: set -> scale -> psnr, ssim, images, protocol; what weight files record.

    The PSNR of an image counts as 100 dB at most: one flat crop that is restored exactly, at infinite PSNR, would
    decide the mean of the set, and JSON has no infinity.

    Args:
        model: As `evaluate` takes it.
        sets: Name of a set -> its pairs, of one or several scales.
        protocol: Scale -> protocol.

    Raises:
        ValueError: As `evaluate` does.

    Examples:
        >>> import srzoo
        >>> hr = torch.zeros(3, 24, 24, dtype=torch.uint8)
        >>> pair = Pair("black", hr[:, ::2, ::2], hr + 1, 2)
        >>> measure(srzoo.create_model("bicubic_x2"), {"black": [pair]})["black"]["x2"]["images"]
        1
    """
    found: dict[str, dict[str, dict[str, float | int | str]]] = {}
    for name, pairs in sets.items():
        found[name] = {}
        for scale in sorted({pair.scale for pair in pairs}):
            scores = evaluate(model, [pair for pair in pairs if pair.scale == scale], protocol)
            capped = [replace(score, psnr=min(score.psnr, MOST_PSNR)) for score in scores]
            found[name][f"x{scale}"] = {
                "psnr": round(mean_psnr(capped), 4),
                "ssim": round(mean_ssim(scores), 5),
                "images": len(scores),
                "protocol": str(protocol(scale)),
            }
    return found


def flat_scores(scores: Mapping[str, Mapping[str, Mapping[str, float | int | str]]]) -> dict[str, float]:
    """Scores as one row of a log: `Set5 x2 psnr` and so on.

    Examples:
        >>> flat_scores({"Set5": {"x2": {"psnr": 37.4, "ssim": 0.958, "images": 5, "protocol": "Y"}}})
        {'Set5 x2 psnr': 37.4, 'Set5 x2 ssim': 0.958}
    """
    return {
        f"{name} {scale} {key}": float(entry[key])
        for name, scales in scores.items()
        for scale, entry in scales.items()
        for key in ("psnr", "ssim")
    }
