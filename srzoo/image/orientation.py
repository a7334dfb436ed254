"""Turning upright what a camera stored lying on its side, by the eight orientations of EXIF."""

from dataclasses import replace

import numpy as np
from jaxtyping import Shaped

from srzoo.image.exif import upright_exif, upright_xmp
from srzoo.image.picture import Metadata, Picture

TRANSPOSED = 5
"""From this orientation on rows are columns."""
UNDOING = {6: 8, 8: 6}
"""Orientation -> the one that turns back; all others do so themselves."""


def turned(pixels: Shaped[np.ndarray, "h w c"], orientation: int) -> Shaped[np.ndarray, "H W c"]:
    """Pixels as they are to be looked at; a copy unless the orientation is 1."""
    if orientation == 1:
        return pixels
    if orientation >= TRANSPOSED:
        pixels = pixels.transpose(1, 0, 2)
    across = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    down = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    return np.ascontiguousarray(pixels[down, across])


def upright_metadata(metadata: Metadata, orientation: int) -> Metadata:
    """Metadata of an image that has been turned upright from this orientation; 1 changes nothing."""
    if orientation == 1:
        return metadata
    exif = metadata.exif and upright_exif(metadata.exif, orientation)
    xmp = metadata.xmp and upright_xmp(metadata.xmp)
    dpi = metadata.dpi[::-1] if metadata.dpi and orientation >= TRANSPOSED else metadata.dpi
    return replace(metadata, exif=exif, xmp=xmp, dpi=dpi)


def upright_picture(picture: Picture, orientation: int) -> Picture:
    """The picture turned upright from this orientation, its metadata saying so."""
    if orientation == 1:
        return picture
    return Picture(turned(picture.pixels, orientation), picture.mode, upright_metadata(picture.metadata, orientation))
