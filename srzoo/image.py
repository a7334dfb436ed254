"""Image files, PIL images and arrays to tensors and back, keeping depth, alpha and profile."""

import os
import re
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 178_956_970
"""Largest image read unless told otherwise: a header that promises more is taken for a decompression bomb."""
KEPT = ("icc_profile", "exif", "dpi")
EXIF_START = b"Exif\0\0"
DEEP_GREY = ("I;16", "I;16B", "I;16L", "I")
_OPENING = Lock()


@dataclass(frozen=True)
class Picture:
    """An image on its way through a model.

    Args:
        color: 1 c h w in [0, 1]; one channel for grey, three for RGB.
        alpha: 1 1 h w in [0, 1], or None.
        levels: Largest value of a stored sample: 255, or 65535 for 16 bits.
        info: What a file keeps besides pixels: `icc_profile`, `exif`, `dpi`.
    """

    color: Float[Tensor, "1 c h w"]
    alpha: Float[Tensor, "1 1 h w"] | None = None
    levels: int = 255
    info: Mapping[str, Any] = field(default_factory=dict)


def _to_tensor(pixels: np.ndarray, levels: int) -> Tensor:
    """Integers h w or h w c -> 1 c h w in [0, 1]."""
    pixels = pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].contiguous() / levels


def _to_array(image: Tensor, levels: int) -> np.ndarray:
    """1 c h w in [0, 1] -> h w (c) of rounded integers."""
    dtype = np.uint8 if levels == 255 else np.uint16
    pixels = (image[0].detach().cpu().double().clamp(0, 1) * levels).round().permute(1, 2, 0).numpy().astype(dtype)
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels


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
        return Picture(_to_tensor(pixels, 65535), levels=65535, info=info)
    transparent = image.mode in ("LA", "RGBA", "PA", "La", "RGBa") or "transparency" in image.info
    if image.mode in ("F", "LAB", "HSV"):
        raise ValueError(f"images of mode {image.mode} are not supported; convert to RGB or grey first")
    grey = image.mode in ("1", "L", "LA", "La")
    if transparent:
        pixels = np.asarray(image.convert("LA" if grey else "RGBA"))
        return Picture(_to_tensor(pixels[..., :-1], 255), _to_tensor(pixels[..., -1:], 255), info=info)
    return Picture(_to_tensor(np.asarray(image.convert("L" if grey else "RGB")), 255), info=info)


def to_pil(picture: Picture) -> Image.Image:
    """PIL image of a picture: L, LA, RGB or RGBA, or I;16 for 16-bit grey."""
    pixels = _to_array(picture.color, picture.levels)
    if picture.alpha is not None:
        alpha = _to_array(picture.alpha, picture.levels)
        pixels = np.dstack([pixels, alpha])
    image = Image.fromarray(np.ascontiguousarray(pixels))
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


def read_picture(path: str | Path, max_pixels: int = MAX_PIXELS) -> Picture:
    """Picture in a file.

    Args:
        path: PNG, JPEG, WebP, TIFF, BMP and whatever else Pillow reads.
        max_pixels: Refuse larger images before decoding them.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no image, is damaged, empty or too large, or holds 16-bit colour, which Pillow
            would cut to 8 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is a folder, not an image" if path.is_dir() else f"{path} does not exist")
    try:
        with _open(path) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(
                    f"{path} says it has {image.width}x{image.height} pixels, more than the {max_pixels} allowed; "
                    "raise the limit (max_pixels, --max-pixels) if that is true"
                )
            if _cuts_depth(image):
                raise ValueError(f"{path} has 16 bits a channel in colour, which would be cut to 8; convert it first")
            try:
                image.load()
            except Exception as error:  # decoders raise many kinds; each means a damaged file
                raise ValueError(f"{path} is damaged ({error})") from error
            return from_pil(image)
    except UnidentifiedImageError:
        raise ValueError(f"{path} is not an image of a kind that can be read") from None
    except (OSError, SyntaxError, struct.error) as error:
        if isinstance(error, PermissionError):
            raise
        raise ValueError(f"{path} cannot be read as an image ({error})") from error


def check_writable(path: str | Path) -> Path:
    """The path, if an image can be written there.

    Raises:
        ValueError: If the suffix names no image format that can be written.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
    """
    path = Path(path)
    if Image.registered_extensions().get(path.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"{path} has no suffix of an image format; use .png, .jpg, .webp or .tif")
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
    path = check_writable(path)
    image = to_pil(picture)
    kind = Image.registered_extensions()[path.suffix.lower()]
    options: dict[str, Any] = {key: picture.info[key] for key in KEPT if key in picture.info}
    if kind == "JPEG":
        options |= {"quality": 95, "subsampling": 0}
    if kind == "WEBP":
        options["lossless"] = True
    handle, work = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    try:
        with os.fdopen(handle, "wb") as file:
            image.save(file, format=kind, **options)
        os.chmod(work, 0o644)
        os.replace(work, path)
    except (OSError, ValueError, KeyError) as error:
        if getattr(error, "errno", None):
            raise  # the disk, not the format
        raise ValueError(f"{path} cannot hold an image of mode {image.mode} ({error}); use .png") from error
    finally:
        Path(work).unlink(missing_ok=True)
    return path
