"""What a file keeps besides pixels, gathered from where Pillow puts it."""

import math
import re
from io import BytesIO
from typing import Any

from PIL import Image

from srzoo.image.picture import Metadata
from srzoo.image.tiff_tags import DENSITY, dots_of, read_tags

EXIF_START = b"Exif\0\0"
XMP_START = b"http://ns.adobe.com/xap/1.0/\0"
_RAW = "Raw profile type "
_NO_TEXT = ("XML:com.adobe.xmp", *(_RAW + name for name in ("exif", "APP1", "icc", "icm", "xmp", "iptc", "8bim")))
"""PNG keywords under which other blocks hide: ImageMagick writes them in hexadecimal digits."""


def metadata_of(image: Image.Image) -> Metadata:
    """Metadata of a PIL image; whatever is not what it should be is left out."""
    info = image.info
    app1 = _raw_profile(info, "APP1") or b""
    exif = bare_exif(_bytes(info.get("exif")) or _raw_profile(info, "exif") or app1)
    is_jpeg = image.format in ("JPEG", "MPO")  # to those Pillow gives 72 dots per inch if EXIF does not say
    dpi = None if is_jpeg and info.get("jfif_unit") not in (1, 2) else info.get("dpi")
    return Metadata(
        icc_profile=_bytes(info.get("icc_profile")) or _raw_profile(info, "icc") or _raw_profile(info, "icm"),
        exif=exif,
        xmp=_xmp(info) or _raw_profile(info, "xmp") or (app1.startswith(XMP_START) and app1[len(XMP_START) :]) or None,
        text=_text(image),
        dpi=dots_per_inch(dpi) or (exif and dots_per_inch(dots_of(read_tags(BytesIO(exif), DENSITY)))) or None,
    )


def has_captions(image: Image.Image) -> bool:
    """Whether a PIL image's file has IPTC or Photoshop data, which are not kept."""
    return any(name in image.info for name in ("photoshop", _RAW + "iptc", _RAW + "8bim"))


def _raw_profile(info: dict[Any, Any], name: str) -> bytes | None:
    """A block that a PNG keeps as text: a line with its name, one with its length, and hexadecimal digits."""
    words = str(info.get(_RAW + name, "")).split()
    try:
        return bytes.fromhex("".join(words[2:]))[: int(words[1])] or None
    except (ValueError, IndexError):
        return None


def bare_exif(exif: bytes) -> bytes | None:
    """EXIF data from `II` or `MM` on; None if it does not start so."""
    exif = exif.removeprefix(EXIF_START)
    return exif if exif[:4] in (b"II*\0", b"MM\0*") else None


def info_of(metadata: Metadata) -> dict[Any, Any]:
    """Metadata as Pillow keeps it in `Image.info`."""
    info: dict[Any, Any] = dict(metadata.text)
    if "Comment" in info:
        info["comment"] = info.pop("Comment").encode()
    if metadata.exif:
        info["exif"] = EXIF_START + metadata.exif
    given = {"icc_profile": metadata.icc_profile, "xmp": metadata.xmp, "dpi": metadata.dpi}
    return info | {key: value for key, value in given.items() if value}


def _bytes(value: object) -> bytes | None:
    return value if isinstance(value, bytes) and value else None


def _xmp(info: dict[Any, Any]) -> bytes | None:
    value = info.get("xmp") or info.get("XML:com.adobe.xmp")
    return value.encode() if isinstance(value, str) else _bytes(value)


def _text(image: Image.Image) -> dict[str, str]:
    """Text chunks of a PNG, a comment, and whatever `to_pil` put among the rest."""
    text = dict(getattr(image, "text", None) or {}) if image.format == "PNG" else {}
    found = {str(key): str(value) for key, value in text.items() if key not in _NO_TEXT}
    comment = image.info.get("comment")
    if isinstance(comment, bytes) and comment:
        found["Comment"] = re.sub("\0.*", "", comment.decode("utf-8", "replace"), flags=re.DOTALL)
    return found


def dots_per_inch(value: object) -> tuple[float, float] | None:
    """Pixels per inch, if they are two positive numbers."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        return None
    try:
        x, y = (float(side) for side in value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return None
    return (x, y) if all(math.isfinite(side) and 0 < side < 1e7 for side in (x, y)) else None
