"""Image files opened: what they hold is kept, or refused with the reason."""

import re
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, BinaryIO, Protocol, cast, runtime_checkable

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from srzoo.files import SPOOLED_BYTES
from srzoo.image.deep_png import is_deep_png, png_size, read_deep_png
from srzoo.image.exif import ORIENTATION, orientation_of
from srzoo.image.formats import READ_FORMATS, READ_SUFFIXES
from srzoo.image.metadata import has_captions
from srzoo.image.orientation import UNDOING, turned, upright_picture
from srzoo.image.picture import Picture
from srzoo.image.pil import DEEP_GREY, picture_of
from srzoo.image.pillow_alone import pillow_alone
from srzoo.image.png_chunks import colour_chunks, light_curve
from srzoo.image.source import PictureSource, Source
from srzoo.image.tiff import STARTS, check_size, has_reader, open_tiff
from srzoo.image.tiff_metadata import LEFT_OUT, tiff_metadata

MAX_PIXELS = 178_956_970
"""Largest image read unless told otherwise: a header that promises more is taken for a decompression bomb."""
_EXTRA = 'needs tifffile and imagecodecs: install them with pip install "srzoo[io]", or convert it to 8 bits'


@runtime_checkable
class Readable(Protocol):
    """A binary stream: an open file, a pipe, `sys.stdin.buffer`."""

    def read(self, size: int = -1, /) -> bytes:
        """So many bytes at most, or all that are left; none at the end."""
        ...


def open_source(file: str | Path | Readable, max_pixels: int = MAX_PIXELS, *, upright: bool = True) -> Source:
    """The image in a file, to be read by rows: TIFF by windows, other formats decoded whole.

    Args:
        file: A file's path, or an open binary file, such as a pipe, which is read to its end and left open.
        max_pixels: Refuse larger images before decoding them.
        upright: Whether to turn the image as its EXIF orientation says.

    Raises:
        FileNotFoundError: If there is no such file.
        PermissionError: If it may not be read.
        ImportError: If it needs the extra `io`, which is not installed.
        ValueError: If it is no image, is damaged, empty or too large, or would lose something; it says what and why.

    Examples:
        >>> from io import BytesIO
        >>> file = BytesIO()
        >>> Image.new("LA", (6, 4)).save(file, "PNG")
        >>> file = BytesIO(file.getvalue())
        >>> with open_source(file) as source:
        ...     source.header.mode, source.rows(1, 3).shape
        ('LA', (2, 6, 2))
    """
    stream, label = _stream(file, max_pixels)
    try:
        with _told(label):
            source = _source(stream, label, max_pixels, upright)
    except BaseException:
        stream.close()
        raise
    if isinstance(source, PictureSource):
        stream.close()
    return source


def read_picture(file: str | Path | Readable, max_pixels: int = MAX_PIXELS, *, upright: bool = True) -> Picture:
    """The image in a file, whole; arguments and errors are those of `open_source`."""
    with open_source(file, max_pixels, upright=upright) as source:
        if isinstance(source, PictureSource):
            return source.picture
        return Picture(source.rows(0, source.header.height), source.header.mode, source.header.metadata)


def read_pixels(path: str | Path, channels: int | None = None) -> UInt8[np.ndarray, "h w c"]:
    """Pixels of an 8-bit image file as training and scoring take them: as stored, not turned; alpha is dropped.

    Args:
        path: An image file.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA), to which the file is converted; None keeps grey files (mode L)
            grey and takes all others as RGB.

    Raises:
        FileNotFoundError, PermissionError: If the file is not there or may not be read.
        ValueError: If it is no image, or holds more than 8 bits a channel.
    """
    stream, label = _stream(path, MAX_PIXELS)
    with stream, _told(label), _opened(stream, MAX_PIXELS, label) as image:
        if image.mode in (*DEEP_GREY, "F") or _stored_bits(image, stream) > 8:
            raise ValueError("it has more than 8 bits a channel; convert it to 8 first")
        turned_by = _decode(image)
        modes = {None: "L" if image.mode == "L" else "RGB", 1: "L", 3: "RGB", 4: "RGBA"}
        pixels = np.asarray(image.convert(modes[channels]))
    return turned(pixels.reshape(*pixels.shape[:2], -1), turned_by)


class _DamagedError(ValueError):
    """What a decoder said."""


@contextmanager
def _told(label: str) -> Iterator[None]:
    """Errors of all kinds as one sentence that names the file."""
    try:
        yield
    except _DamagedError as error:
        raise ValueError(f"{label} is damaged ({error})") from error
    except ImportError as error:
        raise ImportError(f"{label} cannot be read: {error}") from error
    except UnidentifiedImageError:
        raise ValueError(f"{label} is not an image of a kind that can be read") from None
    except ValueError as error:
        raise ValueError(f"{label} cannot be read: {error}") from error
    except (MemoryError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:  # parsers raise many kinds; each means a damaged file
        raise ValueError(f"{label} is damaged ({error or type(error).__name__})") from error


def _stream(file: str | Path | Readable, max_pixels: int) -> tuple[BinaryIO, str]:
    """A seekable file of our own, and its name in messages."""
    if not isinstance(file, str | Path):
        return _spooled(file, max_pixels), "the image in the stream"
    path = Path(file)
    if not path.is_file():
        kind = "is a folder, not an image" if path.is_dir() else "does not exist or is no file"
        raise FileNotFoundError(f"{path} {kind}")
    try:
        return path.open("rb"), str(path)
    except PermissionError as error:
        raise PermissionError(f"{path} cannot be read: permission denied") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error})") from error


def _spooled(file: Readable, max_pixels: int) -> BinaryIO:
    """All that is left of the stream, in memory or in a temporary file."""
    most, size = 16 * max_pixels + (64 << 20), 0  # four channels of floats, and room for metadata
    spool: IO[bytes] = tempfile.SpooledTemporaryFile(SPOOLED_BYTES)  # noqa: SIM115 - its reader closes it
    try:
        while block := file.read(1 << 20):
            size += len(block)
            if size > most:
                raise ValueError(
                    f"the stream has more bytes than an image of {max_pixels} pixels needs; end it, or raise the limit"
                )
            spool.write(block)
        spool.seek(0)
    except BaseException:
        spool.close()
        raise
    return cast(BinaryIO, spool)


def _source(stream: BinaryIO, label: str, max_pixels: int, upright: bool) -> Source:
    head = stream.read(32)
    stream.seek(0)
    if head[:4] in STARTS and has_reader():
        source = open_tiff(stream, label, max_pixels, upright)
        if source is not None:
            return source
        stream.seek(0)
    if is_deep_png(head):
        check_size(*png_size(head), max_pixels)
        picture, notes = _deep(stream)
    else:
        picture, notes = _by_pillow(stream, max_pixels, label)
    if curve := light_curve(picture.metadata.png_colour):
        notes = (*notes, f"values are encoded by {curve}, for high dynamic range, which is kept")
    turn = orientation_of(picture.metadata.exif, picture.metadata.xmp) if upright else 1
    return PictureSource(upright_picture(picture, turn), notes)


def _deep(stream: BinaryIO) -> tuple[Picture, tuple[str, ...]]:
    try:
        return read_deep_png(stream)
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        raise _DamagedError(str(error)) from error


def _by_pillow(stream: BinaryIO, max_pixels: int, label: str) -> tuple[Picture, tuple[str, ...]]:
    with _opened(stream, max_pixels, label) as image:
        _check_depth(image, stream)
        frames = _frames(image)
        turned_by = _decode(image)
        picture, notes = picture_of(image)
        notes += (LEFT_OUT,) if has_captions(image) else ()
    pixels, metadata = turned(picture.pixels, turned_by), picture.metadata
    if image.format == "TIFF":
        metadata, left_out = tiff_metadata(stream)
        notes += left_out
    elif image.format == "PNG":
        metadata = replace(metadata, png_colour=colour_chunks(stream))
    return Picture(pixels, picture.mode, metadata), notes + frames


@contextmanager
def _opened(stream: BinaryIO, max_pixels: int, label: str) -> Iterator[Image.Image]:
    """The file opened, not decoded, once it is known to have a sane size and to lose nothing."""
    suffix = Path(label).suffix.lower()
    formats = [name for name in READ_FORMATS if name != "TGA" or READ_SUFFIXES.get(suffix) == "TGA"]
    try:
        with pillow_alone():
            image = Image.open(stream, formats=formats)
    except UnidentifiedImageError:
        if _start(stream, 4) in STARTS and not has_reader():
            raise ImportError(f"Pillow knows no TIFF of this kind, which {_EXTRA}") from None
        raise
    except (OSError, SyntaxError, ValueError, struct.error) as error:
        raise _DamagedError(str(error)) from error
    with image:
        check_size(image.width, image.height, max_pixels)
        _correct(image, stream)
        yield image


def _correct(image: Image.Image, stream: BinaryIO) -> None:
    """What Pillow takes wrongly from a header, set right before it decodes."""
    if image.format in ("JPEG", "MPO") and image.mode == "CMYK" and "adobe" not in image.info:
        tiles: list[Any] = getattr(image, "tile", [])
        tiles[:] = [tile._replace(args=("CMYK", "")) for tile in tiles]  # 0 is no ink: only Adobe has it reversed
    transparent = image.info.get("transparency")
    if image.format == "PNG" and image.mode == "L" and isinstance(transparent, int):
        bits = _start(stream, 25)[24]
        image.info["transparency"] = transparent * (255 // (2 ** min(bits, 8) - 1))


def _start(stream: BinaryIO, size: int) -> bytes:
    at = stream.tell()
    stream.seek(0)
    head = stream.read(size)
    stream.seek(at)
    return head


def _check_depth(image: Image.Image, stream: BinaryIO) -> None:
    """Raises if Pillow is about to cut samples to 8 bits, as it does for colour."""
    if image.mode in (*DEEP_GREY, "F"):
        return
    bits = _stored_bits(image, stream)
    if bits <= 8:
        return
    if image.format == "TIFF" and not has_reader():
        raise ImportError(f"{bits} bits a channel in colour {_EXTRA}")
    raise ValueError(
        f"it has {bits} bits a channel in colour, which would be cut to 8; convert it to a PNG or TIFF of 16 bits first"
    )


def _stored_bits(image: Image.Image, stream: BinaryIO) -> int:
    """Bits a channel as the file has them, as far as they show."""
    tile: list[Any] = getattr(image, "tile", [])
    if re.search(r";16[BLN]", str(tile)):
        return 16
    if image.format == "PPM" and tile and isinstance(tile[0][3], tuple):
        most = tile[0][3][-1]
        return most.bit_length() if isinstance(most, int) else 8
    if image.format == "AVIF":
        return _avif_bits(_start(stream, 1 << 16))
    if image.format == "JPEG2000":
        return _jpeg2000_bits(_start(stream, 1 << 16))
    return 8


def _avif_bits(head: bytes) -> int:
    """Of the AV1 configuration record: its third byte has the bits `high_bitdepth` and `twelve_bit`."""
    at = head.find(b"av1C")
    if at < 0 or at + 6 >= len(head):
        return 8
    deep, twelve = head[at + 6] & 0x40, head[at + 6] & 0x20
    return (12 if twelve else 10) if deep else 8


def _jpeg2000_bits(head: bytes) -> int:
    """Of the marker SIZ, which gives a byte for the depth of each component."""
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 43 > len(head):
        return 8
    components = int.from_bytes(head[at + 40 : at + 42], "big")
    depths = head[at + 42 : at + 42 + 3 * components : 3]
    return max(((depth & 0x7F) + 1 for depth in depths), default=8)


def _frames(image: Image.Image) -> tuple[str, ...]:
    """What is to be said of a file with more than one image."""
    name = "pages" if image.format == "TIFF" else "frames" if image.format != "MPO" else "pictures"
    with _damage(image):
        number = getattr(image, "n_frames", 1)
        image.seek(0)
    return (f"the first of {number} {name}",) if number > 1 else ()


def _decode(image: Image.Image) -> int:
    """Decodes; returns the orientation that turns back what Pillow has turned, which it does to TIFF alone."""
    with _damage(image):
        orientation = image.getexif().get(ORIENTATION, 1) if image.format == "TIFF" else 1
        image.load()
    return UNDOING.get(orientation, orientation) if orientation in range(1, 9) else 1


@contextmanager
def _damage(image: Image.Image) -> Iterator[None]:
    """All that a decoder raises as damage; of TIFF, Pillow warns while it decodes."""
    try:
        with pillow_alone() if image.format == "TIFF" else nullcontext():
            yield
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds; each means a damaged file
        raise _DamagedError(str(error)) from error
