"""Image files, PIL images and arrays to tensors and back, keeping depth, alpha and profile."""

import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Integer
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from srzoo.files import replacing

MAX_PIXELS = 178_956_970
"""Largest image read unless told otherwise: a header that promises more is taken for a decompression bomb."""
KEPT = ("icc_profile", "exif", "dpi")
EXIF_START = b"Exif\0\0"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".tiff": "TIFF"}
"""Suffix -> format that is written: those that keep profile and EXIF."""
HELD = {
    "PNG": ("L", "LA", "RGB", "RGBA", "I;16"),
    "TIFF": ("L", "LA", "RGB", "RGBA", "I;16"),
    "WEBP": ("L", "LA", "RGB", "RGBA"),
    "JPEG": ("L", "RGB"),
}
"""Format -> modes it holds without loss of depth or alpha."""
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I")
_OPENING = Lock()


@dataclass(frozen=True)
class Picture:
    """An image as a file stores it, on its way through a model.

    Args:
        samples: 1 c h w, from 0 to `levels`: 1 channel for grey, 3 for RGB, one more for alpha; uint8, or int32
            for 16 bits.
        levels: Largest value of a sample: 255, or 65535 for 16 bits.
        info: What a file keeps besides pixels: `icc_profile`, `exif`, `dpi`.
    """

    samples: Integer[Tensor, "1 c h w"]
    levels: int = 255
    info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def mode(self) -> str:
        """PIL's name for it: L, LA, RGB, RGBA or I;16."""
        return "I;16" if self.levels > 255 else {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[self.samples.shape[1]]


def _to_samples(pixels: np.ndarray) -> Tensor:
    """Integers h w or h w c -> 1 c h w."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    kind = np.uint8 if pixels.dtype == np.uint8 else np.int32
    return torch.from_numpy(pixels.astype(kind)).permute(2, 0, 1)[None].contiguous()


def from_pil(image: Image.Image) -> Picture:
    """Picture of a PIL image: grey stays grey, palettes become RGB, transparency becomes alpha.

    Raises:
        ValueError: If the image has no pixels or a mode that would lose something (such as 32-bit float).
    """
    if min(image.size) < 1:
        raise ValueError(f"the image has no pixels (it is {image.width}x{image.height})")
    info = {key: image.info[key] for key in KEPT if image.info.get(key)}
    if not info.get("exif", EXIF_START).startswith(EXIF_START):
        info["exif"] = EXIF_START + info["exif"]  # WebP leaves it out, JPEG needs it
    if image.mode == "CMYK":
        info.pop("icc_profile", None)  # it describes inks; the picture is RGB from here on
    if image.mode in DEEP_GREY:
        if "transparency" in image.info:
            raise ValueError("16-bit grey with a transparent value is not supported; convert it to RGBA first")
        pixels = np.asarray(image)
        if pixels.min() < 0 or pixels.max() > 65535:
            raise ValueError(f"grey values from {pixels.min()} to {pixels.max()} do not fit 16 bits; convert it first")
        return Picture(_to_samples(pixels), levels=65535, info=info)
    transparent = image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info
    if image.mode in ("F", "LAB", "HSV"):
        raise ValueError(f"images of mode {image.mode} are not supported; convert to RGB or grey first")
    grey = image.mode in ("1", "L", "LA", "La")
    mode = ("L" if grey else "RGB") + ("A" if transparent else "")
    return Picture(_to_samples(np.asarray(image.convert(mode))), info=info)


def to_pil(picture: Picture) -> Image.Image:
    """PIL image of a picture: L, LA, RGB or RGBA, or I;16 for 16-bit grey."""
    pixels = picture.samples[0].cpu().permute(1, 2, 0).numpy()
    pixels = pixels.astype(np.uint8 if picture.levels == 255 else np.uint16, copy=False)
    pixels = np.ascontiguousarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image = Image.fromarray(pixels)
    image.info.update(picture.info)
    return image


def _open(path: Path) -> Image.Image:
    """The file opened, not decoded, whatever its size."""
    with _OPENING:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # the caller has a limit of its own
        try:
            return Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _cuts_depth(image: Image.Image) -> bool:
    """Whether Pillow is about to decode 16-bit samples into an 8-bit mode, as it does for colour."""
    return image.mode not in DEEP_GREY and re.search(r";16[BLN]", str(getattr(image, "tile", ""))) is not None


def _load(path: Path, max_pixels: int) -> Image.Image:
    """The file decoded, once it is known to be an image of a sane size that loses nothing."""
    if not path.is_file():
        kind = "is a folder, not an image" if path.is_dir() else "does not exist or is no file"
        raise FileNotFoundError(f"{path} {kind}")
    try:
        image = _open(path)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image of a kind that can be read") from None
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be read: permission denied") from error
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise ValueError(f"{path} cannot be read as an image ({error})") from error
    try:
        if image.width * image.height > max_pixels:
            raise ValueError(
                f"{path} says it has {image.width}x{image.height} pixels, more than the {max_pixels} allowed; "
                "raise the limit (max_pixels, --max-pixels) if that is true"
            )
        if _cuts_depth(image):
            raise ValueError(f"{path} has 16 bits a channel in colour, which would be cut to 8; convert it first")
        _decode(image, path)
    except BaseException:
        image.close()
        raise
    return image


def _decode(image: Image.Image, path: Path) -> None:
    try:
        image.load()
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds; each means a damaged file
        raise ValueError(f"{path} is damaged ({error})") from error


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Picture in a file.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP and whatever else Pillow reads.
        max_pixels: Refuse larger images before decoding them.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ValueError: If it is no image, is damaged, empty or too large, or holds 16-bit colour, which Pillow
            would cut to 8 bits.
    """
    with _load(Path(path), max_pixels) as image:
        try:
            return from_pil(image)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


def read_pixels(path: str | Path, channels: int | None = None) -> np.ndarray:
    """Pixels of an 8-bit image file as training and scoring take them: h w c, uint8; alpha is dropped.

    Args:
        path: An image file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA), to which the file is converted; None keeps grey files (mode L)
            grey and takes all others as RGB.

    Raises:
        FileNotFoundError, PermissionError: If the file is not there or may not be read.
        ValueError: If it is no image, or holds more than 8 bits a channel.
    """
    with _load(Path(path), MAX_PIXELS) as image:
        if image.mode in (*DEEP_GREY, "F"):
            raise ValueError(f"{path} has more than 8 bits a channel; convert it first")
        modes = {None: "L" if image.mode == "L" else "RGB", 1: "L", 3: "RGB", 4: "RGBA"}
        pixels = np.asarray(image.convert(modes[channels]))
    return pixels.reshape(*pixels.shape[:2], -1)


def check_writable(path: str | Path, mode: str | None = None) -> Path:
    """The path, if an image can be written there.

    Args:
        path: File to write.
        mode: What is to be written, such as "RGBA", if it is known yet.

    Raises:
        ValueError: If the suffix names no format that is written, or one that cannot hold the mode.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ValueError(f"{path} has no suffix of an image format that is written; use {', '.join(FORMATS)}")
    if mode is not None and mode not in HELD[kind]:
        raise ValueError(f"{path} cannot hold an image of mode {mode}; use .png")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} is not writable")
    return path


def write_picture(picture: Picture, path: str | Path) -> Path:
    """Write a picture whole or not at all, with its profile, EXIF and resolution; returns the path.

    JPEG is written at quality 95 without chroma subsampling, WebP lossless.

    Raises:
        ValueError: If the format cannot hold the picture (alpha or 16 bits in JPEG) or the suffix is unknown.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If it is not writable.
    """
    path = check_writable(path, picture.mode)
    kind = FORMATS[path.suffix.lower()]
    options: dict[str, Any] = {key: picture.info[key] for key in KEPT if key in picture.info}
    options |= {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    with replacing(path) as work, open(work, "wb") as file:
        to_pil(picture).save(file, format=kind, **options)
    return path
