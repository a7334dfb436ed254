"""PNG written by rows, 8 and 16 bits, to anything that can be written to (ISO/IEC 15948).

Blocks of rows are deflated independently of each other, in threads (zlib lets go of the interpreter's lock), and
stand one after the other in one zlib stream: each ends on a byte boundary (`Z_SYNC_FLUSH`), and the checksums are
combined. Every row has the filter Paeth, which is the smallest on upscaled pictures; low levels look for runs only
(`Z_RLE`), which after this filter is faster and smaller than zlib's search for matches (docs/guides/image_files.md has
the figures).
"""

import struct
import zlib

import numpy as np
from jaxtyping import Shaped, UInt8

from srzoo.files import Writable
from srzoo.image.picture import Header, Metadata
from srzoo.image.png_chunks import SIGNATURE, chunk
from srzoo.image.png_filter import filter_paeth
from srzoo.image.row_blocks import RowBlocks, rows_in

COLOUR_TYPES = {"L": 0, "RGB": 2, "LA": 4, "RGBA": 6}
LEVEL = 1
"""Of zlib, unless told otherwise."""
SEARCHED = 6
"""Levels from here on look for matches; those below look for runs only, which is as small below this level."""
BLOCK_BYTES = 1 << 20
ADLER = 65521
METRE = 1 / 0.0254
"""In inches."""
XMP_KEYWORD = "XML:com.adobe.xmp"


class PngStrips:
    """Encoder of one PNG file; nothing in it needs seeking.

    Memory: about 3 MiB for each thread and one more, whatever the height (one row at least is held).

    Args:
        file: Where to write.
        header: Size, mode (L, LA, RGB, RGBA), depth (uint8, uint16) and what to keep besides pixels.
        level: 0 stores, 1 to 5 (all the same) look for runs, 6 to 9 search harder and harder.
        threads: How many deflate at once; None takes as many as there are processors, 4 at most.
    """

    def __init__(self, file: Writable, header: Header, level: int = LEVEL, threads: int | None = None) -> None:
        sample = np.dtype(header.dtype).itemsize
        self._file, self._level = file, level
        self._step = sample * header.channels
        self._adler = 1
        self._rows = RowBlocks(
            header.height, rows_in(BLOCK_BYTES, header.width * self._step), self._pack, self._emit, threads
        )
        size = struct.pack(">IIBBBBB", header.width, header.height, 8 * sample, COLOUR_TYPES[header.mode], 0, 0, 0)
        file.write(SIGNATURE + chunk(b"IHDR", size) + _metadata_chunks(header.metadata))
        file.write(chunk(b"IDAT", b"\x78\x01"))  # zlib: deflate, 32 KiB window

    def write(self, rows: Shaped[np.ndarray, "rows w c"]) -> None:
        """The next rows."""
        self._rows.write(rows)

    def finish(self) -> None:
        """The end of the file, after the last row."""
        self._rows.finish()
        end = b"\x03\x00" + struct.pack(">I", self._adler)  # an empty last block of deflate, then the checksum
        self._file.write(chunk(b"IDAT", end) + chunk(b"IEND", b""))

    def close(self) -> None:
        """Stop the threads."""
        self._rows.close()

    def _pack(self, rows: np.ndarray, above: np.ndarray | None) -> tuple[bytes, int]:
        """A chunk with these rows, and the checksum and length of what was deflated."""
        stored, before = _stored(rows), None if above is None else _stored(above[None])[0]
        filtered = filter_paeth(stored, before, self._step) if self._level else np.pad(stored, ((0, 0), (1, 0)))
        strategy = zlib.Z_FILTERED if self._level >= SEARCHED else zlib.Z_RLE
        deflate = zlib.compressobj(self._level, zlib.DEFLATED, -15, 9, strategy)
        data = deflate.compress(filtered.data) + deflate.flush(zlib.Z_SYNC_FLUSH)
        return chunk(b"IDAT", data), zlib.adler32(filtered.data) | filtered.size << 32

    def _emit(self, packed: bytes, sums: int) -> None:
        self._adler = combine_adler(self._adler, sums & 0xFFFFFFFF, sums >> 32)
        self._file.write(packed)


def combine_adler(first: int, second: int, length: int) -> int:
    """Adler-32 of two pieces of data in a row, from the sum of each and the length of the second.

    Examples:
        >>> combine_adler(zlib.adler32(b"one"), zlib.adler32(b"two"), 3) == zlib.adler32(b"onetwo")
        True
    """
    low, high = first & 0xFFFF, first >> 16
    total = (low + (second & 0xFFFF) - 1) % ADLER
    weighted = (high + (second >> 16) + length * (low - 1)) % ADLER
    return weighted << 16 | total


def _stored(rows: np.ndarray) -> UInt8[np.ndarray, "h n"]:
    """Pixels as the bytes of a file: 16 bits have the high byte first."""
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2")
    return rows.view(np.uint8).reshape(rows.shape[0], -1)


def _metadata_chunks(metadata: Metadata) -> bytes:
    chunks = [chunk(kind.encode(), body) for kind, body in metadata.png_colour.items()]
    if metadata.icc_profile:
        chunks.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc_profile)))
    if metadata.dpi:
        x, y = (round(dpi * METRE) for dpi in metadata.dpi)
        chunks.append(chunk(b"pHYs", struct.pack(">IIB", x, y, 1)))
    if metadata.exif:
        chunks.append(chunk(b"eXIf", metadata.exif))
    if metadata.xmp:
        chunks.append(_international_text(XMP_KEYWORD, metadata.xmp))
    return b"".join(chunks) + b"".join(_text_chunk(keyword, text) for keyword, text in metadata.text.items())


def _text_chunk(keyword: str, text: str) -> bytes:
    try:
        return chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + text.encode("latin-1"))
    except UnicodeEncodeError:
        return _international_text(keyword, text.encode())


def _international_text(keyword: str, text: bytes) -> bytes:
    return chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + text)


def fits_png_text(keyword: str, text: str) -> bool:
    """Whether PNG can hold a text under this keyword: 1 to 79 printable Latin-1 letters, no zeros in the text."""
    known = all(" " <= letter <= "~" or "\xa1" <= letter <= "\xff" for letter in keyword)
    return known and 0 < len(keyword) < 80 and keyword == keyword.strip() and "  " not in keyword and "\0" not in text
