"""PIL images to pictures and back, keeping depth, alpha, inks and metadata."""

from dataclasses import replace
from typing import cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srzoo.image.metadata import info_of, metadata_of
from srzoo.image.picture import CHANNELS, LEVELS, Metadata, Mode, Picture

DEEP_GREY = ("I;16", "I;16B", "I;16L", "I;16N", "I")
KEPT_MODES = ("L", "LA", "RGB", "RGBA", "CMYK")
BAND = 1 << 20
"""Pixels converted at a time."""
SLACK = 1 / 16
"""How far beyond [0, 1] floats may go and are clipped: filters overshoot."""
_READ_AS = {
    "1": ("L", "LA"),
    "P": ("RGB", "RGBA"),
    "PA": ("RGBA", "RGBA"),
    "La": ("LA", "LA"),
    "RGBa": ("RGBA", "RGBA"),
}
"""PIL mode -> what it is read as, without and with a transparent value."""
_KIND = {
    "1": "bilevel",
    "P": "palette",
    "PA": "palette with alpha",
    "La": "premultiplied alpha",
    "RGBa": "premultiplied alpha",
}


def from_pil(image: Image.Image) -> Picture:
    """Picture of a PIL image as it stands: palettes become RGB, bilevel grey, a transparent value alpha.

    Pixels are not turned: an image whose EXIF says that it lies on its side stays so, EXIF and all (files are turned
    upright by `read_picture`).

    Raises:
        ValueError: If the image has no pixels or a mode or values that would lose something.

    Examples:
        >>> from_pil(Image.new("LA", (6, 4))).pixels.shape
        (4, 6, 2)
    """
    return picture_of(image)[0]


def to_pil(picture: Picture) -> Image.Image:
    """PIL image of a picture: L, LA, RGB, RGBA or CMYK, I;16 for 16-bit grey, F for float grey.

    Raises:
        ValueError: If PIL has no such image: 16 bits or float with more than one channel.
    """
    pixels, mode = picture.pixels, picture.mode
    if picture.dtype != "uint8" and mode != "L":
        raise ValueError(f"PIL has no {picture.dtype} images of mode {mode}; use the picture's own pixels")
    flat = np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels)
    height, width = flat.shape[:2]
    raw = {"uint8": mode, "uint16": "I;16", "float32": "F"}[picture.dtype]
    image = Image.frombuffer(
        raw,
        (width, height),
        flat.astype(flat.dtype.newbyteorder("<")).tobytes(),
        "raw",
        raw if raw != "F" else "F;32F",
        0,
        1,
    )
    image.info.update(info_of(picture.metadata))
    return image


def picture_of(image: Image.Image) -> tuple[Picture, tuple[str, ...]]:
    """Picture of a PIL image, and what was changed."""
    if min(image.size) < 1:
        raise ValueError(f"the image has no pixels (it is {image.width}x{image.height})")
    if image.mode in DEEP_GREY:
        return _deep_grey(image)
    metadata = metadata_of(image)
    if image.mode == "F":
        values, notes = unit_floats(np.asarray(image)[..., None])
        return Picture(values, "L", metadata), notes
    return _shallow(image, metadata)


def _deep_grey(image: Image.Image) -> tuple[Picture, tuple[str, ...]]:
    values = np.asarray(image)
    if image.mode == "I" and (values.min() < 0 or values.max() > LEVELS["uint16"]):
        raise ValueError(f"grey values from {values.min()} to {values.max()} do not fit 16 bits; convert it first")
    values = values.astype(np.uint16)[..., None]
    transparent = image.info.get("transparency")
    if not isinstance(transparent, int):
        return Picture(values, "L", metadata_of(image)), ()
    alpha = np.where(values == transparent, 0, 65535).astype(np.uint16)
    picture = Picture(np.concatenate([values, alpha], axis=2), "LA", metadata_of(image))
    return picture, ("one transparent value read as alpha",)


def _shallow(image: Image.Image, metadata: Metadata) -> tuple[Picture, tuple[str, ...]]:
    """Of an image with 8 bits or fewer a channel."""
    mode, notes = image.mode, ()
    keyed = "transparency" in image.info and mode in ("1", "L", "P", "RGB")
    if mode in _READ_AS:
        mode = _READ_AS[mode][keyed]
        notes = (f"{_KIND[image.mode]} read as {mode}",)
    elif mode not in KEPT_MODES:
        raise ValueError(f"images of mode {image.mode} are not supported; convert to RGB or grey first")
    if keyed and mode in ("L", "RGB"):
        mode = mode + "A"
        notes = (*notes, "one transparent value read as alpha")
    mode = cast(Mode, mode)
    return Picture(_pixels(image, mode), mode, metadata), notes


def _pixels(image: Image.Image, mode: Mode) -> UInt8[np.ndarray, "h w c"]:
    """The image's pixels in that mode, taken over in bands: what is converted is never whole in memory twice."""
    pixels = np.empty((image.height, image.width, CHANNELS[mode]), np.uint8)
    step = max(1, BAND // image.width)
    for top in range(0, image.height, step):
        band = image.crop((0, top, image.width, min(top + step, image.height)))
        rows = np.asarray(band if band.mode == mode else band.convert(mode))
        pixels[top : top + step] = rows.reshape(*rows.shape[:2], -1)
    return pixels


def inks_as_rgb(picture: Picture) -> Picture:
    """The picture, RGB in place of CMYK as Pillow converts it, without the profile that describes the inks."""
    if picture.mode != "CMYK":
        return picture
    rgb = _pixels(to_pil(picture), "RGB")
    return Picture(rgb, "RGB", replace(picture.metadata, icc_profile=None))


def unit_floats(values: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Floats as float32 within [0, 1], and whether some were clipped.

    Raises:
        ValueError: If values are not finite or far outside [0, 1].
    """
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):  # a NaN makes both NaN
        raise ValueError("floating point values must be finite, and some are NaN or infinite; replace them first")
    if low < -SLACK or high > 1 + SLACK:
        raise ValueError(
            f"floating point values go from {low:g} to {high:g}, not from 0 to 1; what stands for white is not known, "
            "so scale them to 0 to 1 first"
        )
    values = values.astype(np.float32, copy=False)
    if low < 0 or high > 1:
        return values.clip(0, 1), (f"values from {low:g} to {high:g} clipped to 0 to 1",)
    return values, ()
