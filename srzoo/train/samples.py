"""What networks make of validation images, as pictures for people."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn

from srzoo.benchmark.scoring import as_scored, call_model, check_channels, model_channels
from srzoo.color import rgb_to_grey
from srzoo.data.pairs import Pair
from srzoo.files import replacing
from srzoo.metrics import Protocol, psnr
from srzoo.resize import imresize

CROP = 96
"""Side of the part that is shown, in HR pixels."""
COLUMN = 3 * CROP
"""Least width of a column in pixels of the picture: smaller crops are enlarged more."""
GAP = 8
TITLE = 28
NOT_IN_NAMES = r"[^\w. -]"
T = TypeVar("T")


@contextmanager
def evaluating(model: Callable[..., Tensor]) -> Iterator[None]:
    """The network in eval mode and without gradients; each of its modules is put back afterwards."""
    modules = model.modules() if isinstance(model, nn.Module) else ()
    training = [module for module in modules if module.training]
    for module in training:
        module.training = False
    try:
        with torch.inference_mode():
            yield
    finally:
        for module in training:
            module.training = True


def super_resolve(model: Callable[..., Tensor], pair: Pair) -> UInt8[Tensor, "c H W"]:
    """SR of a pair's LR image, rounded to 8 bits, on the CPU, grey where the pair is.

    Args:
        model: A zoo model, or any callable from LR to SR in [0, 1], b c h w; it is run where its parameters are.
        pair: Grey goes through an RGB model as three equal channels, as in `srzoo.evaluate`.

    Raises:
        ValueError: If the model takes other channels.
    """
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    device = next((parameter.device for parameter in parameters), torch.device("cpu"))
    channels = model_channels(model, pair)
    check_channels(channels, pair)
    with evaluating(model):
        lr = (pair.lr[None].to(device).float() / 255).expand(-1, channels, -1, -1)
        sr = call_model(model, lr, pair.scale).float()
        if len(pair.hr) == 1 and sr.shape[1] == 3:
            sr = rgb_to_grey(sr)
        return (sr[0].clamp(0, 1) * 255).round().byte().cpu()


def most_changed(one: UInt8[Tensor, "c h w"], other: UInt8[Tensor, "c h w"], size: int) -> tuple[int, int]:
    """Top and left of the square of `size` pixels where two images differ most, by the sum of absolute differences.

    Examples:
        >>> black = torch.zeros(3, 40, 60, dtype=torch.uint8)
        >>> spot = black.clone()
        >>> spot[:, 30, 50] = 255
        >>> top, left = most_changed(black, spot, 8)
        >>> 30 - 8 < top <= 30 and 50 - 8 < left <= 50
        True
    """
    difference = (one.double() - other.double()).abs().sum(0)
    total = torch.nn.functional.pad(difference, (1, 0, 1, 0)).cumsum(0).cumsum(1)
    sums = total[size:, size:] - total[:-size, size:] - total[size:, :-size] + total[:-size, :-size]
    top, left = divmod(int(sums.argmax()), sums.shape[1])
    return top, left


def _to_pil(image: UInt8[Tensor, "c h w"], factor: int) -> Image.Image:
    """RGB picture of a crop, each pixel a square of `factor` pixels."""
    pixels = np.ascontiguousarray(as_scored(image).expand(3, -1, -1).permute(1, 2, 0).numpy())
    return Image.fromarray(pixels).resize((image.shape[2] * factor, image.shape[1] * factor), Image.Resampling.NEAREST)


def _strip(columns: Sequence[tuple[str, UInt8[Tensor, "c h w"]]], caption: str, factor: int) -> Image.Image:
    """Crops side by side, a title above each, the caption below."""
    height, width = (side * factor for side in columns[0][1].shape[1:])
    size = (GAP + len(columns) * (width + GAP), height + 2 * TITLE)
    strip = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(strip)
    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    for i, (title, crop) in enumerate(columns):
        left = GAP + i * (width + GAP)
        draw.text((left + width / 2, TITLE / 2), title, "#1f2937", font, anchor="mm")
        strip.paste(_to_pil(crop, factor), (left, TITLE))
    draw.text((GAP, size[1] - TITLE / 2), caption, "#6b7280", small, anchor="lm")
    return strip


def spread(items: Sequence[T], most: int) -> list[T]:
    """Up to `most` of the items, evenly spread over them.

    Examples:
        >>> spread("abcdef", 3)
        ['a', 'c', 'e']
    """
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def draw_samples(
    pairs: Sequence[Pair],
    before: Callable[..., Tensor] | None,
    after: Callable[..., Tensor],
    folder: str | Path,
    *,
    num_samples: int = 6,
) -> list[Path]:
    """A PNG for each of up to `num_samples` pairs: bicubic, before, after and HR of one crop side by side; their paths.

    The crop is the 96x96 HR pixels (or what the image has) where before and after, or bicubic and after, differ most.
    The PSNR in the titles is the whole image's, by the papers' protocol.

    Args:
        pairs: Validation pairs, of one or several scales; those drawn are spread over them.
        before: Network before training, as `srzoo.evaluate` takes it; None leaves its column out.
        after: Network after training.
        folder: Where the files `1_NAME_xSCALE.png` and so on go; made if need be.
        num_samples: Most pairs to draw.

    Raises:
        ValueError: If `num_samples` is less than 1, or an output has not the size of its HR image.
        OSError: If the folder cannot be written to.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is {num_samples}; it must be at least 1")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, pair in enumerate(spread(pairs, num_samples), 1):
        images = {"bicubic": imresize(pair.lr, scale=pair.scale)}
        if before is not None:
            images["before"] = super_resolve(before, pair)
        images["after"] = super_resolve(after, pair)
        path = folder / f"{number}_{re.sub(NOT_IN_NAMES, '_', pair.name)}_x{pair.scale}.png"
        with replacing(path) as work:
            _draw_pair(pair, images).save(work, "PNG")
        written.append(path)
    return written


def _draw_pair(pair: Pair, images: dict[str, Tensor]) -> Image.Image:
    """The strip of a pair: the crop where the last two images differ most."""
    for name, image in images.items():
        if image.shape != pair.hr.shape:
            sizes = f"{tuple(image.shape)}, the HR image {tuple(pair.hr.shape)}"
            raise ValueError(f"the output {name!r} of {pair.name} x{pair.scale} has shape {sizes}; they must agree")
    side = min(CROP, *pair.hr.shape[1:])
    earlier, after = list(images.values())[-2:]
    top, left = most_changed(earlier, after, side)
    columns = [
        (title, image[:, top : top + side, left : left + side])
        for title, image in [*((_title(name, image, pair), image) for name, image in images.items()), ("HR", pair.hr)]
    ]
    caption = f"{pair.name}, x{pair.scale}: {side}x{side} pixels from ({left}, {top})"
    return _strip(columns, caption, max(1, COLUMN // side))


def _title(name: str, image: UInt8[Tensor, "c H W"], pair: Pair) -> str:
    """`after  31.20 dB`; the name alone where the border leaves nothing to score."""
    rule = Protocol.paper(pair.scale)
    if min(pair.hr.shape[1:]) <= 2 * rule.border:
        return name
    sr, hr = (as_scored(x)[None].float() / 255 for x in (image, pair.hr))
    value = psnr(sr, hr, rule).item()
    return f"{name}  {value:.2f} dB"
