"""TIFF read by windows: only the strips and tiles that a window touches are decoded."""

import logging
import math
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock, get_ident
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from jaxtyping import Shaped

from srzoo.image.orientation import TRANSPOSED, turned
from srzoo.image.picture import Header
from srzoo.image.source import Source, check_rows
from srzoo.image.tiff_layout import TiffLayout

if TYPE_CHECKING:
    from tifffile import TiffPage

COMPRESSIONS = (1, 5, 8, 32946, 32773, 34925, 50000)
"""Compressions read by windows: none, LZW, deflate (two numbers), PackBits, LZMA, Zstandard."""
CACHE_BYTES = 32 << 20
"""Decoded segments kept for the next window, at least one row of them."""
_LARGEST_SEGMENT = 4096 * 4096


@contextmanager
def quiet_tifffile() -> Iterator[None]:
    """Keeps tifffile from telling of damage in a log, in this thread: what matters is raised."""
    thread, logger = get_ident(), logging.getLogger("tifffile")

    def is_told(record: logging.LogRecord) -> bool:
        return record.thread != thread or record.levelno < logging.WARNING

    logger.addFilter(is_told)
    try:
        yield
    finally:
        logger.removeFilter(is_told)


@dataclass(frozen=True)
class _Grid:
    """Segments of a page: `planes` times `down` times `across` of them, each `height` x `width` pixels."""

    planes: int
    down: int
    across: int
    height: int
    width: int


class TiffSource(Source):
    """The first page of a TIFF file, read by rows.

    Args:
        file: The file; closed with the source.
        page: Its page.
        layout: What the samples mean.
        header: Of the image after its orientation, from 1 to 4, is applied.
        orientation: That orientation.
        label: The file's name in messages.
        notes: What is changed on the way in.

    Raises:
        ValueError: If the segments cannot be: too large, too few or beyond the end of the file.
    """

    def __init__(
        self,
        file: BinaryIO,
        page: "TiffPage",
        layout: TiffLayout,
        header: Header,
        *,
        orientation: int = 1,
        label: str = "the image",
        notes: tuple[str, ...] = (),
    ) -> None:
        self.header = header
        self._file, self._page, self._layout = file, page, layout
        self._orientation, self._label, self._notes = orientation, label, notes
        self._grid = _grid(page)
        _check_segments(file, page, self._grid)
        self._start = _start_of_rows(page)
        self._lock = RLock()
        self._bands: OrderedDict[int, np.ndarray] = OrderedDict()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was changed on the way in; rows with values out of range add to it."""
        return self._notes

    def close(self) -> None:
        """Let go of the file and of what is decoded."""
        with self._lock:
            self._bands.clear()
            self._file.close()

    def rows(self, top: int, bottom: int) -> Shaped[np.ndarray, "rows w c"]:
        """Rows `top` to `bottom - 1`, decoded from the segments that hold them.

        Raises:
            ValueError: If there are no such rows, the file is closed or damaged there, or floats are not within [0, 1].
        """
        height = self.header.height
        check_rows(top, bottom, height)
        if self._orientation >= TRANSPOSED:
            raise ValueError(f"orientation {self._orientation} turns rows into columns, which is not read by rows")
        if self._orientation in (3, 4):
            top, bottom = height - bottom, height - top
        with self._lock:
            if self._file.closed:
                raise ValueError(f"{self._label} is closed; read its rows before")
            try:
                with quiet_tifffile():
                    stored = self._contiguous(top, bottom) if self._start is not None else self._segmented(top, bottom)
            except MemoryError:
                raise
            except Exception as error:  # decoders raise many kinds; each means a damaged file
                raise ValueError(f"{self._label} is damaged ({error})") from error
            try:
                pixels, notes = self._layout.pixels(stored)
            except ValueError as error:
                raise ValueError(f"{self._label}: {error}") from error
            self._notes += tuple(note for note in notes if note not in self._notes)
        return turned(pixels, self._orientation)

    def _contiguous(self, top: int, bottom: int) -> np.ndarray:
        """Rows of a file that holds them one after the other as they are."""
        page = self._page
        dtype = np.dtype(f"{page.parent.byteorder}{page.dtype.char}")  # pyright: ignore[reportOptionalMemberAccess]
        samples = np.empty((bottom - top, page.imagewidth, page.samplesperpixel), dtype)
        self._file.seek((self._start or 0) + top * samples[0].nbytes)
        target, done = samples.reshape(-1).view(np.uint8), 0
        while done < samples.nbytes:
            got = self._file.read(min(samples.nbytes - done, 1 << 24))
            if not got:
                raise ValueError("it ends too early")
            target[done : done + len(got)] = np.frombuffer(got, np.uint8)
            done += len(got)
        return samples

    def _segmented(self, top: int, bottom: int) -> np.ndarray:
        """Rows put together from segments."""
        step = self._grid.height
        parts = []
        for band in range(top // step, math.ceil(bottom / step)):
            rows = self._band(band)
            parts.append(rows[max(top - band * step, 0) : bottom - band * step])
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _band(self, band: int) -> np.ndarray:
        """A row of segments, decoded, or as it was decoded before."""
        if band not in self._bands:
            self._bands[band] = self._decode(band)
            while len(self._bands) > 1 and sum(rows.nbytes for rows in self._bands.values()) > CACHE_BYTES:
                self._bands.popitem(last=False)
        self._bands.move_to_end(band)
        return self._bands[band]

    def _decode(self, band: int) -> np.ndarray:
        page, grid = self._page, self._grid
        top = band * grid.height
        height = min(grid.height, page.imagelength - top)
        rows: np.ndarray | None = None
        for plane in range(grid.planes):
            for column in range(grid.across):
                number = (plane * grid.down + band) * grid.across + column
                self._file.seek(page.dataoffsets[number])
                data = self._file.read(page.databytecounts[number])
                decoded = page.decode(data, number)[0]
                if decoded is None or decoded.ndim != 4:
                    raise ValueError(f"segment {number} is missing")
                samples = page.samplesperpixel
                if rows is None:
                    rows = np.empty((height, page.imagewidth, samples), decoded.dtype)
                left = column * grid.width
                width = min(grid.width, page.imagewidth - left)
                channels = slice(plane, plane + 1) if grid.planes > 1 else slice(None)
                rows[:, left : left + width, channels] = decoded[0, :height, :width]
        if rows is None:
            raise ValueError("it has no segments")
        return rows


def _grid(page: "TiffPage") -> _Grid:
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    height = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
    width = page.tilewidth if page.is_tiled else page.imagewidth
    if height < 1 or width < 1:
        raise ValueError(f"its strips or tiles have {width}x{height} pixels")
    if page.is_tiled and (
        page.tiledepth > 1 or height * width > max(_LARGEST_SEGMENT, 4 * page.imagelength * page.imagewidth)
    ):
        raise ValueError(f"its tiles have {width}x{height} pixels, far more than the image")
    return _Grid(planes, math.ceil(page.imagelength / height), math.ceil(page.imagewidth / width), height, width)


def _check_segments(file: BinaryIO, page: "TiffPage", grid: _Grid) -> None:
    """Raises ValueError if segments are missing or go beyond the end of the file."""
    number = grid.planes * grid.down * grid.across
    offsets, sizes = page.dataoffsets[:number], page.databytecounts[:number]
    if len(offsets) < number or len(sizes) < number:
        raise ValueError(f"it has {min(len(offsets), len(sizes))} strips or tiles of {number}")
    if min(offsets) < 1 or min(sizes) < 1:
        raise ValueError("some of its strips or tiles are empty")
    length = file.seek(0, 2)
    if max(offset + size for offset, size in zip(offsets, sizes, strict=True)) > length:
        raise ValueError("it is cut short")


def _start_of_rows(page: "TiffPage") -> int | None:
    """Where rows lie one after the other as they are; None if they do not."""
    plain = page.compression == 1 and page.predictor == 1 and page.fillorder == 1 and not page.is_tiled
    dtype = page.dtype
    if not plain or dtype is None or page.bitspersample != 8 * dtype.itemsize:
        return None
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        return None
    offsets, sizes = page.dataoffsets, page.databytecounts
    follows = all(offsets[i] + sizes[i] == offsets[i + 1] for i in range(len(offsets) - 1))
    whole = sum(sizes) >= page.imagelength * page.imagewidth * page.samplesperpixel * dtype.itemsize
    rows = page.imagewidth * page.samplesperpixel * dtype.itemsize * page.rowsperstrip
    return offsets[0] if follows and whole and all(size == rows for size in sizes[:-1]) else None
