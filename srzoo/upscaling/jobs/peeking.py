"""Headers of image files, without decoding them: for names, progress and shares, before the work begins."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from PIL import Image

from srzoo.image import open_source
from srzoo.image.tiff import STARTS

ANY_SIZE = 1 << 62


class Peek(NamedTuple):
    """What a header says, as far as planning needs it."""

    width: int
    height: int
    needs_tiff: bool
    """Whether PNG cannot hold the image: CMYK or floating point."""


def peek(source: Path | BinaryIO | BytesIO) -> Peek | None:
    """What the header of an image says; None if it cannot be read, which is told when the image's turn comes.

    Args:
        source: A file, or a stream that can be wound back, as it is then.

    Examples:
        >>> file = BytesIO()
        >>> Image.new("CMYK", (6, 4)).save(file, "JPEG")
        >>> peek(BytesIO(file.getvalue()))
        Peek(width=6, height=4, needs_tiff=True)
    """
    try:
        if not isinstance(source, Path):
            start = source.tell()
            try:
                return _peek(source)
            finally:
                source.seek(start)
        with open(source, "rb") as file:
            return _peek(file)
    except Exception:  # parsers of damaged files raise many kinds
        return None


def _peek(file: BinaryIO | BytesIO) -> Peek:
    start = file.tell()
    is_tiff = file.read(4) in STARTS
    file.seek(start)
    if is_tiff:  # which Pillow does not know in all kinds, and which is opened without decoding
        with open_source(file, ANY_SIZE) as image:
            header = image.header
            return Peek(header.width, header.height, header.mode == "CMYK" or header.dtype == "float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
        with Image.open(file) as image:
            return Peek(image.width, image.height, image.mode in ("CMYK", "F"))
