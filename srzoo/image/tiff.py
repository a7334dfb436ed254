"""TIFF files opened: by windows where the format allows it, whole by Pillow where it does not."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from srzoo.image.exif import orientation_of
from srzoo.image.orientation import TRANSPOSED, upright_metadata, upright_picture
from srzoo.image.picture import Header, Picture
from srzoo.image.source import PictureSource, Source
from srzoo.image.tiff_layout import layout_of
from srzoo.image.tiff_metadata import tiff_metadata
from srzoo.image.tiff_source import COMPRESSIONS, TiffSource, quiet_tifffile

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage

STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BY_PILLOW = (2, 3, 4, 6, 7, 50001)
"""Compressions left to Pillow: fax, JPEG, WebP."""


def has_reader() -> bool:
    """Whether tifffile and imagecodecs are there, which the extra `io` installs."""
    try:
        import imagecodecs  # pyright: ignore[reportMissingImports]
        import tifffile
    except ImportError:
        return False
    return bool(imagecodecs and tifffile)


def open_tiff(file: BinaryIO, label: str, max_pixels: int, upright: bool) -> Source | None:
    """The first page of a TIFF file; None if Pillow is to read it.

    Raises:
        ValueError: If the file is damaged or holds what would lose something; tifffile has errors of its own.
    """
    with quiet_tifffile():
        return _open(file, label, max_pixels, upright)


def _open(file: BinaryIO, label: str, max_pixels: int, upright: bool) -> Source | None:
    from tifffile import TiffFile

    tiff = TiffFile(file, name=label)
    page: Any = tiff.pages.first
    check_size(page.imagewidth, page.imagelength, max_pixels)
    if page.subfiletype & 1:
        raise ValueError("its first page is a preview, as in raw photographs; develop it to TIFF first")
    if int(page.compression) in BY_PILLOW:
        return None
    if int(page.compression) not in COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise ValueError(f"its compression {name} is not read; save it without compression, or with LZW or deflate")
    return _source(file, tiff, page, label, upright)


def check_size(width: int, height: int, max_pixels: int) -> None:
    """Raises ValueError if an image has more pixels than are allowed, or none."""
    if width < 1 or height < 1:
        raise ValueError(f"it has no pixels (it says it has {width}x{height})")
    if width * height > max_pixels:
        raise ValueError(
            f"it says it has {width}x{height} pixels, more than the {max_pixels} allowed; "
            "raise the limit (max_pixels, --max-pixels) if that is true"
        )


def _source(file: BinaryIO, tiff: "TiffFile", page: "TiffPage", label: str, upright: bool) -> Source:
    layout = layout_of(page)
    metadata, left_out = tiff_metadata(file)
    orientation = orientation_of(metadata.exif, metadata.xmp) if upright else 1
    stored = Header(page.imagewidth, page.imagelength, layout.mode, layout.dtype, metadata)
    frames = len(tiff.pages)
    notes = layout.notes + left_out + ((f"the first of {frames} pages",) if frames > 1 else ())
    if orientation < TRANSPOSED:
        header = replace(stored, metadata=upright_metadata(metadata, orientation))
        return TiffSource(file, page, layout, header, orientation=orientation, label=label, notes=notes)
    source = TiffSource(file, page, layout, stored, label=label, notes=notes)
    picture = Picture(_whole(source), stored.mode, metadata)
    source.close()
    return PictureSource(upright_picture(picture, orientation), source.notes)


def _whole(source: TiffSource, step: int = 256) -> np.ndarray:
    """All rows, gathered window by window."""
    header = source.header
    pixels = np.empty((header.height, header.width, header.channels), header.dtype)
    for top in range(0, header.height, step):
        pixels[top : top + step] = source.rows(top, min(top + step, header.height))
    return pixels
