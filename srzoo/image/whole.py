"""Images that Pillow encodes: the rows are collected first."""

from typing import Any, BinaryIO, cast

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from srzoo.files import Seekable
from srzoo.image.formats import WriteOptions
from srzoo.image.metadata import EXIF_START
from srzoo.image.picture import Header

JPEG_QUALITY = 95
LOSSY_QUALITY = 90
WEBP_EFFORT = {"method": 1, "quality": 20}
"""Of lossless WebP: six times as fast as what Pillow takes, for files 2 to 9 % larger."""
AVIF_SPEED = 8


class WholeImage:
    """Encoder of one image by Pillow.

    Memory: the whole image, 4 bytes a pixel (1 if it is grey, 2 with alpha), and what Pillow's encoder takes.

    Args:
        file: Where to write; it can be sought in.
        header: Size, mode, depth (uint8) and what to keep besides pixels.
        name: Pillow's name of the format.
        options: Of the format.
    """

    def __init__(self, file: Seekable, header: Header, name: str, options: WriteOptions) -> None:
        self._file, self._name = file, name
        self._save = {**_metadata(header, name), **_options(name, options)}
        self._image = Image.new(header.mode, (header.width, header.height))
        self._row = 0

    def write(self, rows: UInt8[np.ndarray, "rows w c"]) -> None:
        """The next rows."""
        pixels = np.ascontiguousarray(rows[..., 0] if rows.shape[2] == 1 else rows)
        self._image.paste(Image.frombuffer(self._image.mode, pixels.shape[1::-1], pixels), (0, self._row))
        self._row += len(rows)

    def finish(self) -> None:
        """Encode, after the last row."""
        self._image.save(cast(BinaryIO, self._file), self._name, **self._save)

    def close(self) -> None:
        """Let go of the pixels."""
        self._image.close()


def _options(name: str, options: WriteOptions) -> dict[str, Any]:
    quality = options.quality
    if name == "JPEG":
        return {"quality": quality or JPEG_QUALITY, "subsampling": 0}
    if name == "AVIF":
        return {"quality": quality or LOSSY_QUALITY, "subsampling": "4:4:4", "speed": AVIF_SPEED}
    if name != "WEBP":
        return {}
    if quality is not None or options.lossless is False:
        return {"quality": quality or LOSSY_QUALITY}
    return {"lossless": True, "exact": True, **WEBP_EFFORT}


def _metadata(header: Header, name: str) -> dict[str, Any]:
    """What Pillow's `save` is told besides pixels; what the format has no room for is not in the header any more."""
    metadata = header.metadata
    given: dict[str, Any] = {"icc_profile": metadata.icc_profile, "xmp": metadata.xmp, "dpi": metadata.dpi}
    if metadata.exif:
        given["exif"] = (EXIF_START if name == "JPEG" else b"") + metadata.exif
    if name == "JPEG" and "Comment" in metadata.text:
        given["comment"] = metadata.text["Comment"].encode()
    return {key: value for key, value in given.items() if value}
