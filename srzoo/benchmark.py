"""Score a model on pairs of LR and HR images, a row an image."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.color import rgb_to_grey
from srzoo.data.pairs import Pair
from srzoo.metrics import Protocol, psnr, ssim


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
        ValueError: If the pair is neither grey nor of that many channels, or grey meets more than three.
    """
    if len(pair.hr) not in (1, channels) or channels > 3:
        raise ValueError(f"{pair.name} has {len(pair.hr)} channels, the model takes {channels}")


@torch.inference_mode()
def evaluate(
    model: Callable[..., Tensor],
    pairs: Iterable[Pair],
    protocol: Callable[[int], Protocol] = Protocol.paper,
    *,
    device: torch.device | str | None = None,
) -> list[Score]:
    """Score of each pair; a network in training mode is scored in eval mode and put back.

    A grey pair goes through an RGB model as three equal channels, and its output is scored as grey.

    Args:
        model: A zoo model, or any callable from LR to SR, RGB in [0, 1], b c h w.
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
    channels = model.channels if isinstance(model, SRModel) else 3
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
            check_channels(channels, pair)
            lr, hr = (image[None].to(device).float() / 255 for image in (pair.lr, pair.hr))
            lr = lr.expand(-1, channels, -1, -1)  # grey as equal channels
            sr = call_model(model, lr, pair.scale).float()
            if len(pair.hr) == 1 and sr.shape[1] == 3:
                sr = rgb_to_grey(sr)
            rule = protocol(pair.scale)
            scores.append(Score(pair.name, psnr(sr, hr, rule).item(), ssim(sr, hr, rule).item()))
    finally:
        for module in training:
            module.training = True
    return scores


def mean_psnr(scores: Sequence[Score]) -> float:
    """Mean over images of the PSNR in dB, as the papers average.

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
            found[name][f"x{scale}"] = {
                "psnr": round(mean_psnr(scores), 4),
                "ssim": round(mean_ssim(scores), 5),
                "images": len(scores),
                "protocol": str(protocol(scale)),
            }
    return found
