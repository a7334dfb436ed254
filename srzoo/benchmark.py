"""Score a model on pairs of LR and HR images, a row an image."""

from collections.abc import Callable, Iterable, Sequence
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


@torch.inference_mode()
def evaluate(
    model: Callable[..., Tensor],
    pairs: Iterable[Pair],
    protocol: Callable[[int], Protocol] = Protocol.paper,
    *,
    device: torch.device | str = "cpu",
) -> list[Score]:
    """Score of each pair; a network in training mode is scored in eval mode and put back.

    A grey pair goes through an RGB model as three equal channels, and its output is scored as grey.

    Args:
        model: A zoo model, or any callable from LR to SR, RGB in [0, 1], b c h w.
        pairs: What to score on, such as `srzoo.data.pairs_from_hr(folder, scale)`.
        protocol: Scale -> protocol, such as `Protocol.paper` or `Protocol.div2k`.
        device: Where the model runs.

    Raises:
        ValueError: If an output has not the size of its HR image.

    Examples:
        >>> from srzoo.resize import imresize
        >>> hr = torch.randint(0, 256, (3, 24, 24), dtype=torch.uint8)
        >>> pair = Pair("noise", imresize(hr, scale=0.5), hr, 2)
        >>> [score] = evaluate(lambda lr: imresize(lr, scale=2), [pair])
        >>> score.name
        'noise'
    """
    channels = model.channels if isinstance(model, SRModel) else 3
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    scores = []
    try:
        for pair in pairs:
            lr, hr = (image[None].to(device).float() / 255 for image in (pair.lr, pair.hr))
            if len(pair.hr) == 1 and channels != 1:
                lr = lr.expand(-1, channels, -1, -1)
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
