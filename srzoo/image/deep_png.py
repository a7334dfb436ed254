"""PNG with 16 bits a channel in colour or with alpha, which Pillow would cut to 8."""

import io
import struct
import zlib
from dataclasses import replace
from typing import BinaryIO

import numpy as np
from PIL import Image

from srzoo.image.metadata import metadata_of
from srzoo.image.picture import Metadata, Mode, Picture
from srzoo.image.pillow_alone import pillow_alone
from srzoo.image.png_chunks import SIGNATURE, chunk, chunks, colour_chunks

_MODES: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_OF_PIXELS = (b"IHDR", b"IDAT", b"PLTE", b"tRNS", b"bKGD", b"hIST", b"sBIT", b"acTL", b"fcTL", b"fdAT", b"IEND")


def is_deep_png(head: bytes) -> bool:
    """Whether a file that starts like this is a PNG with 16 bits a channel and more channels than grey."""
    return head.startswith(SIGNATURE) and head[12:16] == b"IHDR" and head[24:25] == b"\x10" and head[25:26] in b"\2\4\6"


def png_size(head: bytes) -> tuple[int, int]:
    """Width and height as the first 24 bytes say."""
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def read_deep_png(file: BinaryIO) -> tuple[Picture, tuple[str, ...]]:
    """The picture in such a file, one transparent colour as alpha, and what was changed.

    Raises:
        ImportError: If imagecodecs is missing.
        ValueError, imagecodecs.PngError: If the file is damaged.
    """
    try:
        from imagecodecs import png_decode  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError(
            "it has 16 bits a channel in colour or with alpha, which needs imagecodecs: "
            'install it with pip install "srzoo[io]", or convert the file to 8 bits'
        ) from error
    data = file.read()
    width, height = png_size(data)
    pixels = np.asarray(png_decode(data))
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    if pixels.shape[:2] != (height, width) or pixels.dtype != np.uint16:
        raise ValueError(f"its header says {width}x{height} pixels of 16 bits, and its data does not")
    kinds = {kind: body for kind, body in chunks(io.BytesIO(data)) if kind in (b"acTL", b"tRNS")}
    notes = ("one transparent value read as alpha",) if b"tRNS" in kinds and data[25] == 2 else ()
    frames = int.from_bytes(kinds.get(b"acTL", b"")[:4], "big")
    notes += (f"the first of {frames} frames",) if frames > 1 else ()
    return Picture(pixels, _MODES[pixels.shape[2]], _metadata(data)), notes


def _metadata(data: bytes) -> Metadata:
    """All that is no pixel, read by Pillow from a PNG of one pixel that holds the rest of the chunks."""
    rest = b"".join(chunk(kind, body) for kind, body in chunks(io.BytesIO(data)) if kind not in _OF_PIXELS)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    small = SIGNATURE + header + rest + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    with pillow_alone(), Image.open(io.BytesIO(small), formats=("PNG",)) as image:
        image.load()
        return replace(metadata_of(image), png_colour=colour_chunks(io.BytesIO(data)))
