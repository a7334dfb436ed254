"""TIFF written by rows: 8 and 16 bits and float, uncompressed or deflated (TIFF 6.0 and its supplements; BigTIFF).

Written here and not by tifffile, which needs the metadata before the pixels, decides on BigTIFF by the size before
compression, and is an extra: 16-bit colour would depend on it.
"""

import struct
import zlib

import numpy as np
from jaxtyping import Shaped, UInt8

from srzoo.files import Seekable
from srzoo.image.formats import Compression
from srzoo.image.picture import BITS, Header
from srzoo.image.row_blocks import RowBlocks, rows_in
from srzoo.image.tiff_tags import EXIF_TAGS, TEXT_TAGS, Tag, build_directory, numbers, parse_exif, rational, raw, text

STRIP_BYTES = 1 << 18
CLASSIC_END = 1 << 32
"""A file of this many bytes, or of nearly as many, is a BigTIFF."""
HEADER_BYTES = 16
"""Room for the header of either kind: which it is shows at the end."""
LEVEL = 1
"""Of zlib."""
PHOTOMETRIC = {"L": 1, "LA": 1, "RGB": 2, "RGBA": 2, "CMYK": 5}


class TiffStrips:
    """Encoder of one TIFF file; it is a BigTIFF if it comes to 4 GiB or more.

    Memory: about 1 MiB for each thread and one more, and 16 bytes a strip, whatever the height.

    Args:
        file: Where to write, at its beginning; it can be sought in.
        header: Size, mode (any), depth (any) and what to keep besides pixels.
        compression: "none" or "deflate", in strips of 256 KiB, each row as differences from the pixel before.
        threads: How many deflate at once; None takes as many as there are processors, 4 at most.
    """

    def __init__(
        self, file: Seekable, header: Header, compression: Compression = "none", threads: int | None = None
    ) -> None:
        row = header.width * header.channels * BITS[header.dtype] // 8
        self._file, self._header, self._compression = file, header, compression
        self._strip_rows = min(header.height, rows_in(STRIP_BYTES, row))
        self._counts: list[int] = []
        pack = _plain if compression == "none" else _deflated
        self._rows = RowBlocks(
            header.height, self._strip_rows, pack, self._emit, threads if compression == "deflate" else 0
        )
        file.write(bytes(HEADER_BYTES))

    def write(self, rows: Shaped[np.ndarray, "rows w c"]) -> None:
        """The next rows."""
        self._rows.write(rows)

    def finish(self) -> None:
        """The directory and the header, after the last row."""
        self._rows.finish()
        end = HEADER_BYTES + sum(self._counts)
        end += end % 2
        directory, position = build_directory(self._tags(big=True), end, big=True)
        big = end + len(directory) >= CLASSIC_END
        if not big:
            directory, position = build_directory(self._tags(big=False), end, big=False)
        self._file.seek(end)
        self._file.write(directory)
        self._file.seek(0)
        mark = struct.pack("<HHHQ", 43, 8, 0, position) if big else struct.pack("<HI", 42, position)
        self._file.write(b"II" + mark)
        self._file.seek(0, 2)

    def close(self) -> None:
        """Stop the threads."""
        self._rows.close()

    def _emit(self, strip: bytes, _: int) -> None:
        self._counts.append(len(strip))
        self._file.write(strip)

    def _tags(self, big: bool) -> list[Tag]:
        header = self._header
        starts = (np.cumsum([HEADER_BYTES, *self._counts[:-1]])).tolist()
        tags = [
            numbers(256, 4, header.width),
            numbers(257, 4, header.height),
            numbers(258, 3, *[BITS[header.dtype]] * header.channels),
            numbers(259, 3, 1 if self._compression == "none" else 8),
            numbers(262, 3, PHOTOMETRIC[header.mode]),
            numbers(273, 16 if big else 4, *starts),
            numbers(277, 3, header.channels),
            numbers(278, 4, self._strip_rows),
            numbers(279, 4, *self._counts),
            numbers(284, 3, 1),
            numbers(339, 3, *[3 if header.dtype == "float32" else 1] * header.channels),
        ]
        if self._compression == "deflate":
            tags.append(numbers(317, 3, 3 if header.dtype == "float32" else 2))
        if header.mode in ("LA", "RGBA"):
            tags.append(numbers(338, 3, 2))  # alpha that is not multiplied in
        if header.mode == "CMYK":
            tags.append(numbers(332, 3, 1))
        return [*tags, *_metadata_tags(header)]


def _metadata_tags(header: Header) -> list[Tag]:
    metadata = header.metadata
    tags: dict[int, Tag] = {}
    if metadata.exif:
        tags |= {tag.number: tag for tag in parse_exif(metadata.exif) if tag.number in EXIF_TAGS}
    tags |= {TEXT_TAGS[key]: text(TEXT_TAGS[key], value) for key, value in metadata.text.items() if key in TEXT_TAGS}
    if metadata.dpi:
        x, y = metadata.dpi
        tags |= {282: rational(282, x), 283: rational(283, y), 296: numbers(296, 3, 2)}
    if metadata.xmp:
        tags[700] = raw(700, metadata.xmp, kind=1)
    if metadata.icc_profile:
        tags[34675] = raw(34675, metadata.icc_profile)
    return list(tags.values())


def _plain(rows: np.ndarray, above: np.ndarray | None) -> tuple[bytes, int]:
    return _low_byte_first(rows).tobytes(), 0


def _deflated(rows: np.ndarray, above: np.ndarray | None) -> tuple[bytes, int]:
    is_float = rows.dtype == np.float32
    differences = _float_differences(rows) if is_float else _differences(rows)
    deflate = zlib.compressobj(LEVEL, strategy=zlib.Z_DEFAULT_STRATEGY if is_float else zlib.Z_RLE)
    return deflate.compress(differences.data) + deflate.flush(), 0


def _low_byte_first(rows: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))


def _differences(rows: np.ndarray) -> np.ndarray:
    """Each sample less the one of the pixel before (predictor 2)."""
    out = rows.copy()
    np.subtract(rows[:, 1:], rows[:, :-1], out=out[:, 1:])
    return _low_byte_first(out)


def _float_differences(rows: np.ndarray) -> UInt8[np.ndarray, "h n"]:
    """The high bytes of a row first, then the next, each less the byte a pixel before (predictor 3)."""
    height, width, channels = rows.shape
    as_bytes = rows.astype(">f4").view(np.uint8).reshape(height, width * channels, 4)
    planes = as_bytes.transpose(0, 2, 1).reshape(height, -1)
    out = planes.copy()
    np.subtract(planes[:, channels:], planes[:, :-channels], out=out[:, channels:])
    return out
