"""The pictures of a page: what is embedded, at which size, in which coding."""

import base64
import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from srzoo.report.crops import Crop
from srzoo.report.methods import HR, LR
from srzoo.report.views import Views, as_picture, draw_errors, error_peak

EMBED_PIXELS = 1_000_000
"""Larger images are embedded reduced to about so many pixels: about 2.3 MB for each method with its error map."""
MOST_SIDE = 8192
"""Longest side of an embedded whole image: some phones decode no more."""
WEBP_SIDE = 16383
"""Longest side that WebP holds."""


def to_data_uri(image: Image.Image) -> str:
    """A picture as a data URI, without loss: WebP, or PNG where it is too long for WebP.

    On super-resolved and real photos WebP takes 1.0 bytes a pixel, where PNG takes 1.5, and less time.
    """
    file = io.BytesIO()
    if max(image.size) <= WEBP_SIDE:
        kind, options = "webp", {"lossless": True, "method": 1, "quality": 50, "exact": True}
    else:
        kind, options = "png", {}
    image.save(file, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def embedded_size(width: int, height: int, most: int) -> tuple[int, int]:
    """Width and height at which an image is embedded: its own, or reduced to `most` pixels and `MOST_SIDE`.

    Examples:
        >>> embedded_size(1000, 500, 1_000_000), embedded_size(2040, 1356, 1_000_000)
        ((1000, 500), (1227, 815))
    """
    factor = min(1.0, math.sqrt(most / (width * height)), MOST_SIDE / max(width, height))
    if factor == 1:
        return width, height
    return max(1, round(width * factor)), max(1, round(height * factor))


def embed(views: Views, most: int) -> dict[str, Any]:
    """What the page's script works on: sizes, crops, and the pictures and error map of each version.

    Where the whole is reduced, each crop comes at full size, too; else the page cuts it out of the whole.

    Args:
        views: All versions of an image.
        most: Pixels that are embedded of a whole image.
    """
    errors = views.errors()
    peak = error_peak(errors)
    is_reduced = embedded_size(views.width, views.height, most) != (views.width, views.height)
    shown = [{"label": LR, "pictures": _lr_bitmaps(views, most, is_reduced)}]
    for label, image in (*views.images.items(), *([(HR, views.hr)] if views.hr is not None else [])):
        shown.append({"label": label, "pictures": _bitmaps(views, partial(_cut, image), most, is_reduced)})
        if label in errors:
            shown[-1]["errors"] = _bitmaps(views, partial(_cut_errors, errors[label]), most, is_reduced, peak)
    right = min(2, len(shown) - 1)
    return {
        "width": views.width,
        "height": views.height,
        "reduced": is_reduced,
        "peak": peak,
        "crops": [_box(crop) for crop in views.crops],
        "left": right - 1,
        "right": right,
        "views": shown,
    }


def _box(crop: Crop) -> list[int]:
    return [crop.left, crop.top, crop.width, crop.height]


def _cut(image: UInt8[Tensor, "c h w"], crop: Crop) -> Image.Image:
    return as_picture(crop.of(image))


def _cut_errors(error: np.ndarray, crop: Crop) -> Image.Image:
    """Errors as they are, in floating point: coloured when they have the size at which they are shown."""
    return Image.fromarray(np.ascontiguousarray(error[crop.top : crop.bottom, crop.left : crop.right]))


def _bitmaps(
    views: Views, draw: Callable[[Crop], Image.Image], most: int, is_reduced: bool, peak: int = 0
) -> dict[str, Any]:
    """The whole of what `draw` gives, and each crop where the whole is reduced; errors with their peak."""
    whole = Crop(0, 0, views.width, views.height)
    return {
        "whole": _bitmap(draw(whole), whole, most, peak),
        "parts": [_bitmap(draw(crop), crop, peak=peak) for crop in views.crops] if is_reduced else [],
    }


def _lr_bitmaps(views: Views, most: int, is_reduced: bool) -> dict[str, Any]:
    """The LR image by its own pixels, which the page enlarges to squares; crops are widened to whole LR pixels."""
    scale = views.scale
    parts = []
    for crop in views.crops if is_reduced else ():
        left, top = crop.left // scale, crop.top // scale
        box = Crop(left, top, -(-crop.right // scale) - left, -(-crop.bottom // scale) - top)
        parts.append(_bitmap(_cut(views.lr, box), Crop(*(side * scale for side in _box(box)))))
    return {"whole": _bitmap(as_picture(views.lr), Crop(0, 0, views.width, views.height), most), "parts": parts}


def _bitmap(image: Image.Image, box: Crop, most: int | None = None, peak: int = 0) -> dict[str, Any]:
    """A picture, the part of the image that it covers, and its width in pixels of its own; reduced to `most` pixels."""
    size = image.size if most is None else embedded_size(*image.size, most)
    image = image if size == image.size else image.resize(size, Image.Resampling.BOX)
    image = draw_errors(np.asarray(image), peak) if peak else image
    return {"src": to_data_uri(image), "box": _box(box), "pixels": size[0]}
