"""What each common mistake in scoring costs, as the tables of docs/protocol.md.

python scripts/protocol_mistakes.py --data DIR

DIR holds Set5 and Set14, as `srzoo benchmark` takes it. Each mistake is made alone; all else is the papers' protocol.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_grey
from srzoo.data import Pair
from srzoo.data.benchmarks import find_set
from srzoo.metrics import Protocol, psnr, ssim
from srzoo.resize import imresize

TYPO = (64.738, 129.057, 25.064)  # 65.738 is right; over 256, where MATLAB's weights are over 255


@dataclass(frozen=True)
class Scored:
    """One image to score: SR (unclamped) and HR, 1 c h w in [0, 1]."""

    sr: Tensor
    hr: Tensor
    scale: int


Measure = Callable[[Scored], float]
"""Squared error, or SSIM, of one image by some rule."""


def squared_error(sr: Tensor, hr: Tensor) -> float:
    """Mean squared error of two images in 8-bit levels."""
    return (sr - hr).square().mean().item()


def under(protocol: Callable[[int], Protocol]) -> Measure:
    """Squared error under a protocol."""

    def measure(image: Scored) -> float:
        rule = protocol(image.scale)
        return squared_error(rule.apply(image.sr), rule.apply(image.hr))

    return measure


def with_luma(weights: Sequence[float]) -> Measure:
    """Squared error of another luma: weights for R, G, B in 8-bit levels. Grey stays as it is."""

    def luma(levels: Tensor) -> Tensor:
        factors = torch.tensor(weights, dtype=levels.dtype).view(3, 1, 1)
        return levels if levels.shape[1] == 1 else (levels * factors).sum(1, keepdim=True)

    def measure(image: Scored) -> float:
        rule = Protocol.rgb(image.scale)
        return squared_error(luma(rule.apply(image.sr)), luma(rule.apply(image.hr)))

    return measure


def as_rgb(image: Scored) -> Scored:
    """Grey made RGB before it is scored."""
    sr, hr = (x.expand(-1, 3, -1, -1) for x in (image.sr, image.hr))
    return replace(image, sr=sr, hr=hr)


PSNR_MISTAKES: dict[str, Measure] = {
    "full-range luma, 0.299 R + 0.587 G + 0.114 B": with_luma((0.299, 0.587, 0.114)),
    "64.738 for 65.738 in the luma": with_luma([weight / 256 for weight in TYPO]),
    "RGB instead of luma": under(Protocol.rgb),
    "luma rounded": under(Protocol.y_rounded),
    "SR not rounded": under(lambda scale: Protocol(border=scale, quantize=False)),
    "no border cut": under(lambda scale: Protocol()),
    "6 + scale pixels cut": under(lambda scale: Protocol(border=6 + scale)),
    "grey file made RGB": lambda image: under(Protocol.paper)(as_rgb(image)),
}


def scikit_ssim(**options: Any) -> Measure:
    """SSIM of luma by scikit-image with some options; `full` averages over the borders, too."""

    def measure(image: Scored) -> float:
        rule = Protocol.paper(image.scale)
        a, b = (rule.apply(x)[0, 0].numpy() for x in (image.sr, image.hr))
        right = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
        found: Any = structural_similarity(a, b, **{**right, **options})
        return float(found[1].mean()) if options.get("full") else float(found)

    return measure


def ssim_under(protocol: Callable[[int], Protocol]) -> Measure:
    """SSIM under a protocol."""
    return lambda image: ssim(image.sr, image.hr, protocol(image.scale)).item()


SSIM_MISTAKES: dict[str, Measure] = {
    "uniform window of 7x7, sample covariance": scikit_ssim(gaussian_weights=False, use_sample_covariance=True),
    "sample covariance": scikit_ssim(use_sample_covariance=True),
    "windows over the edge counted": scikit_ssim(full=True),
    "range 1 given for 255": scikit_ssim(data_range=1),
    "RGB instead of luma": ssim_under(Protocol.rgb),
    "SR not rounded": ssim_under(lambda scale: Protocol(border=scale, quantize=False)),
    "no border cut": ssim_under(lambda scale: Protocol()),
    "grey file made RGB": lambda image: ssim_under(Protocol.paper)(as_rgb(image)),
}


def pillow(hr: Tensor, scale: int) -> Tensor:
    """LR by Pillow's bicubic."""
    picture = Image.fromarray(hr.permute(1, 2, 0).squeeze(-1).numpy())
    small = picture.resize((hr.shape[-1] // scale, hr.shape[-2] // scale), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(small)).view(hr.shape[-2] // scale, hr.shape[-1] // scale, -1).permute(2, 0, 1)


def rounded(x: Tensor) -> Tensor:
    """0 to 255 in 8 bits."""
    return x.round().clamp(0, 255).to(torch.uint8)


LR_MISTAKES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "LR by Pillow's bicubic": pillow,
    "LR without antialiasing, a = -0.75 (OpenCV's bicubic)": lambda hr, scale: rounded(
        F.interpolate(hr[None].double(), scale_factor=1 / scale, mode="bicubic")[0]
    ),
    "LR rounded once, not after each pass": lambda hr, scale: rounded(imresize(hr.double(), scale=1 / scale)),
    "LR with edges repeated, not mirrored": lambda hr, scale: imresize(hr, scale=1 / scale, border="replicate"),
}


@torch.inference_mode()
def upscale(model: srzoo.SRModel, lr: Tensor, hr: Tensor, scale: int) -> Scored:
    """A model's result, grey where HR is grey."""
    sr = model(lr.expand(3, -1, -1)[None].float() / 255, scale)
    sr = rgb_to_grey(sr) if len(hr) == 1 else sr
    return Scored(sr, hr[None] / 255, scale)


def decibels(errors: Sequence[float]) -> float:
    """Mean over images of the PSNR."""
    return sum(10 * math.log10(255**2 / error) for error in errors) / len(errors)


def column(model: srzoo.SRModel, pairs: Sequence[Pair], scale: int) -> tuple[dict[str, float], dict[str, float]]:
    """PSNR and SSIM of a set by the protocol (key "") and with each mistake."""
    right = [upscale(model, pair.lr, pair.hr, scale) for pair in pairs]
    values = [psnr(image.sr, image.hr, Protocol.paper(scale)).item() for image in right]
    errors = [under(Protocol.paper)(image) for image in right]
    found = {"": sum(values) / len(values)}
    assert abs(found[""] - decibels(errors)) < 1e-6
    for name, measure in PSNR_MISTAKES.items():
        found[name] = decibels([measure(image) for image in right])
    found["squared error pooled over the images"] = 10 * math.log10(255**2 * len(errors) / sum(errors))
    for name, shrink in LR_MISTAKES.items():
        wrong = [upscale(model, shrink(pair.hr, scale), pair.hr, scale) for pair in pairs]
        found[name] = decibels([under(Protocol.paper)(image) for image in wrong])
    similar = {"": sum(ssim_under(Protocol.paper)(image) for image in right) / len(right)}
    for name, measure in SSIM_MISTAKES.items():
        similar[name] = sum(measure(image) for image in right) / len(right)
    return found, similar


def table(title: str, heads: Sequence[str], columns: Sequence[dict[str, float]], digits: int) -> Iterator[str]:
    """Lines of a Markdown table: the right values, then what each mistake adds."""
    yield f"| {title} | {' | '.join(heads)} |"
    yield f"| --- |{' ---: |' * len(heads)}"
    right = (f"**{column['']:.{digits}f}**" for column in columns)
    yield f"| **by the protocol** | {' | '.join(right)} |"
    for name in list(columns[0])[1:]:
        costs = (f"{column[name] - column['']:+.{digits}f}" for column in columns)
        cells = ("0" if not cost.strip("+-0.") else cost.replace("-", "\N{MINUS SIGN}") for cost in costs)
        yield f"| {name} | {' | '.join(cells)} |"


def paths_tables(data: str, sets: Sequence[str], scales: Sequence[int]) -> Iterator[str]:
    """Lines of two Markdown tables: bicubic's PSNR and SSIM by the two ways to make LR, rounded in 8 bits or once."""
    ways = ("RGB path, SR rounded after each pass", "RGB path, SR rounded once", "luma path")
    means: dict[str, dict[str, list[float]]] = {metric: {way: [] for way in ways} for metric in ("PSNR", "SSIM")}
    for name in sets:
        for scale in scales:
            rule, images = Protocol.paper(scale), {way: list[tuple[Tensor, Tensor]]() for way in ways}
            for pair in find_set(name, data).pairs(scale):
                images[ways[0]].append((imresize(pair.lr, scale=scale), pair.hr))
                images[ways[1]].append((imresize(pair.lr.double() / 255, scale=scale), pair.hr))
            for pair in find_set(name, data, path="luma").pairs(scale):
                images[ways[2]].append((imresize(pair.lr, scale=scale), pair.hr))
            for metric, function in (("PSNR", psnr), ("SSIM", ssim)):
                for way, made in images.items():
                    values = [function(sr[None], hr[None], rule).item() for sr, hr in made]
                    means[metric][way].append(sum(values) / len(values))
    for metric, digits in (("PSNR", 3), ("SSIM", 4)):
        yield f"| bicubic's {metric} | " + " | ".join(f"{name} x{scale}" for name in sets for scale in scales) + " |"
        yield f"| --- |{' ---: |' * len(sets) * len(scales)}"
        for way, values in means[metric].items():
            yield f"| {way} | {' | '.join(f'{value:.{digits}f}' for value in values)} |"
        yield ""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of the benchmark sets")
    parser.add_argument("--sets", default="Set5,Set14")
    parser.add_argument("--models", default="bicubic,edsr_baseline", help="families with a model of each scale")
    parser.add_argument("--scales", default="2,3,4")
    args = parser.parse_args(argv)
    sets, scales = args.sets.split(","), [int(scale) for scale in args.scales.split(",")]
    for line in paths_tables(args.data, sets, scales):
        print(line)
    heads = [f"{name} x{scale}" for name in sets for scale in scales]
    for family in args.models.split(","):
        columns = []
        for name in sets:
            for scale in scales:
                model = srzoo.create_model(f"{family}_x{scale}", pretrained=family != "bicubic")
                columns.append(column(model, list(find_set(name, args.data).pairs(scale)), scale))
                print(f"{family} {name} x{scale}", file=sys.stderr)
        for title, i, digits in ((f"{family}: PSNR in dB", 0, 3), (f"{family}: SSIM", 1, 4)):
            for line in table(title, heads, [pair[i] for pair in columns], digits):
                print(line)
            print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
