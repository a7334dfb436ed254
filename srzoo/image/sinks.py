"""Image files written by rows: whole or not at all."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import Shaped

from srzoo.files import SPOOLED_BYTES, Seekable, Writable, replacing_file
from srzoo.image.formats import (
    DEFAULT_OPTIONS,
    Format,
    WriteOptions,
    check_fits,
    check_writable,
    find_format,
    named_format,
)
from srzoo.image.kept import keep_metadata
from srzoo.image.picture import Header, Picture
from srzoo.image.png_strips import LEVEL, PngStrips
from srzoo.image.tiff_strips import TiffStrips
from srzoo.image.whole import WholeImage


@runtime_checkable
class Encoder(Protocol):
    """Writes one image: all rows, then the end; `close` comes last, also after a fault."""

    def write(self, rows: Shaped[np.ndarray, "rows w c"]) -> None:
        """The next rows."""

    def finish(self) -> None:
        """What comes after the last row."""

    def close(self) -> None:
        """Let go of threads and memory."""


class Sink:
    """An image file that is written by rows; made by `open_sink`, used in a `with` block.

    Leaving the block places the file, if nothing was raised and all rows are there; otherwise the old file stays.

    Memory does not grow with the height for PNG (about 3 MiB for each of up to 4 threads) and TIFF (1 MiB for each);
    other formats are collected whole, 4 bytes a pixel (1 if it is grey).

    Attributes:
        header: Size, mode, depth, and the metadata that the format keeps.
        notes: What of the metadata it does not keep, and why.
    """

    def __init__(
        self,
        kind: Format,
        header: Header,
        options: WriteOptions,
        target: Path | Writable,
        before_place: Callable[[Path], None] | None,
    ) -> None:
        metadata, self.notes = keep_metadata(kind, header.metadata)
        self.header = replace(header, metadata=metadata)
        self._kind, self._options, self._target, self._before_place = kind, options, target, before_place
        self._num_rows = 0
        self._encoder: Encoder | None = None
        self._block: AbstractContextManager[Encoder] | None = None

    def __enter__(self) -> "Sink":
        self._block = self._opened()
        self._encoder = self._block.__enter__()
        return self

    def __exit__(self, *raised: object) -> None:
        block, self._block, self._encoder = self._block, None, None
        if block is not None:
            block.__exit__(*raised)  # pyright: ignore[reportArgumentType]  # as Python gives them

    def write(self, rows: Shaped[np.ndarray, "rows w c"]) -> None:
        """Write the next rows.

        Args:
            rows: Any number of rows, of the header's width, channels and dtype. They are copied.

        Raises:
            ValueError: If they are of another shape or dtype, or more than the header says.
            OSError: If they cannot be written, such as on a full disk.
        """
        if self._encoder is None:
            raise ValueError("an image is written inside the `with` block of its sink")
        header = self.header
        expected = (header.width, header.channels)
        if rows.shape[1:] != expected or rows.dtype != header.dtype:
            raise ValueError(
                f"rows must be {header.dtype} of the shape (rows, {expected[0]}, {expected[1]}), "
                f"not {rows.dtype} of the shape {rows.shape}"
            )
        if self._num_rows + len(rows) > header.height:
            raise ValueError(f"{self._num_rows + len(rows)} rows were written to an image that has {header.height}")
        if len(rows):
            self._encoder.write(rows)
            self._num_rows += len(rows)

    @contextmanager
    def _opened(self) -> Iterator[Encoder]:
        with self._file() as file:
            encoder = self._make_encoder(file)
            try:
                yield encoder
                if self._num_rows < self.header.height:
                    raise ValueError(
                        f"{self._num_rows} of {self.header.height} rows were written; the file was not made"
                    )
                encoder.finish()
            finally:
                encoder.close()

    def _make_encoder(self, file: Writable) -> Encoder:
        options = self._options
        if self._kind.name == "PNG":
            return PngStrips(file, self.header, LEVEL if options.png_level is None else options.png_level)
        if self._kind.name == "TIFF":
            return TiffStrips(cast(Seekable, file), self.header, options.compression or "none")
        return WholeImage(cast(Seekable, file), self.header, self._kind.name, options)

    def _file(self) -> AbstractContextManager[Writable]:
        if isinstance(self._target, Path):
            return replacing_file(self._target, before_place=self._before_place)
        return _straight(self._target) if self._kind.name == "PNG" else _spooled(self._target)


class _Unbuffered:
    """A stream that takes all it is given, over one that may take less, as standard output does under `python -u`."""

    def __init__(self, stream: Writable) -> None:
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Write all of it."""
        left = memoryview(data)
        while left:
            taken = self._stream.write(cast(bytes, left))
            left = left[taken if isinstance(taken, int) else len(left) :]

    def flush(self) -> None:
        """Pass on what was taken."""
        self._stream.flush()


@contextmanager
def _straight(stream: Writable) -> Iterator[Writable]:
    yield _Unbuffered(stream)
    stream.flush()


@contextmanager
def _spooled(stream: Writable) -> Iterator[Writable]:
    """A file that can be sought in and is copied into the stream at the end."""
    with SpooledTemporaryFile(SPOOLED_BYTES) as file:
        yield cast(Seekable, file)
        file.seek(0)
        shutil.copyfileobj(file, _Unbuffered(stream), 1 << 20)
        stream.flush()


def open_sink(
    file: str | Path | Writable,
    header: Header,
    options: WriteOptions = DEFAULT_OPTIONS,
    *,
    format: str | None = None,
    before_place: Callable[[Path], None] | None = None,
) -> Sink:
    """An image file to be written by rows, in a `with` block; nothing is touched before the block.

    A path is written whole or not at all: rows go to a file of another name in the same folder
    (`srzoo.files.replacing_file`), which takes the old one's place at the end of the block. A stream is written to as
    rows come if it is PNG, else at the end of the block; it need not be seekable, and is not closed.

    Args:
        file: A path, whose suffix names the format, or a stream that takes bytes.
        header: Size, mode, depth and metadata of the image.
        options: How to write it.
        format: Name of the format, such as "PNG" or "tif"; needed for a stream only.
        before_place: Called with the path of the finished file before it is renamed; what it raises keeps the old file.

    Raises:
        ValueError: If the format is not known or not written by this build of Pillow, cannot hold the mode, the depth
            or the size, or does not have an option that is given; if a format is given that is not the suffix's, or
            `before_place` with a stream.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If it is not writable.

    Examples:
        >>> import io
        >>> stream = io.BytesIO()
        >>> with open_sink(stream, Header(6, 4, "RGB", "uint16"), format="PNG") as sink:
        ...     for _ in range(2):
        ...         sink.write(np.zeros((2, 6, 3), np.uint16))
        >>> stream.getvalue()[1:4]
        b'PNG'
    """
    size = header.width, header.height
    if isinstance(file, str | Path):
        kind, path = find_format(file), check_writable(file, header.mode, header.dtype, size, options)
        if format is not None and named_format(format) is not kind:
            raise ValueError(f"{file} has the suffix of {kind.name}, but the format given is {format}; leave one out")
        return Sink(kind, header, options, path, before_place)
    if format is None:
        raise ValueError("a stream has no suffix: say which format to write, such as format='PNG'")
    if before_place is not None:
        raise ValueError("before_place is for files: a stream is not placed")
    kind = named_format(format)
    check_fits(kind, "the output", header.mode, header.dtype, size, options)
    return Sink(kind, header, options, file, None)


def write_picture(picture: Picture, path: str | Path, options: WriteOptions = DEFAULT_OPTIONS) -> Path:
    """Write a picture whole or not at all, with the metadata that the format keeps; returns the path.

    Raises:
        ValueError: If the suffix is unknown, or names a format that cannot hold the picture (alpha or 16 bits in JPEG)
            or does not have an option that is given.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If it is not writable.
    """
    with open_sink(path, picture.header, options) as sink:
        sink.write(picture.pixels)
    return Path(path)
