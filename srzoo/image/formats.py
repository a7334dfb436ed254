"""The formats that are written (what each holds, what each keeps besides pixels, and its options), and those read."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from PIL import features

from srzoo.image.picture import BITS, Depth, Mode

Compression = Literal["none", "deflate"]
COMPRESSIONS: tuple[Compression, ...] = ("none", "deflate")
"""Of TIFF."""


@dataclass(frozen=True)
class WriteOptions:
    """How a file is written. What is None is up to the format; what does not apply to it is refused, not ignored.

    Args:
        quality: 1 to 100, of JPEG (95 unless given), AVIF (90) and lossy WebP (90; giving it makes WebP lossy).
        lossless: Of WebP, which is lossless unless told otherwise.
        png_level: How hard to compress a PNG: 0 stores, 1 to 5 are the fast way (1 unless given), 6 to 9 search for
            longer; only 9 makes much smaller files, at a fiftieth of the speed.
        compression: Of TIFF: "none" (unless given) or "deflate".

    Raises:
        ValueError: If a value is out of range, or `lossless` meets a `quality`.

    Examples:
        >>> WriteOptions(quality=90).given
        {'quality': 90}
    """

    quality: int | None = None
    lossless: bool | None = None
    png_level: int | None = None
    compression: Compression | None = None

    def __post_init__(self) -> None:
        if self.quality is not None and not 1 <= self.quality <= 100:
            raise ValueError(f"quality goes from 1 to 100, not {self.quality}")
        if self.png_level is not None and not 0 <= self.png_level <= 9:
            raise ValueError(f"the PNG level goes from 0 (stored) to 9 (smallest), not {self.png_level}")
        if self.compression is not None and self.compression not in COMPRESSIONS:
            raise ValueError(f"the compression of a TIFF is one of {', '.join(COMPRESSIONS)}, not {self.compression!r}")
        if self.lossless and self.quality is not None:
            raise ValueError("a lossless file has no quality; give one of the two")

    @property
    def given(self) -> dict[str, int | bool | str]:
        """Name -> value of the options that are not None."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) is not None}


DEFAULT_OPTIONS = WriteOptions()


@dataclass(frozen=True)
class Format:
    """One file format.

    Args:
        name: What Pillow calls it.
        suffixes: Of its files; the first is the usual one.
        modes: What its channels can mean.
        depths: What its samples can be.
        max_side: Largest width and height.
        max_pixels: Largest width times height.
        keeps: Fields of `Metadata` that it has room for.
        options: Fields of `WriteOptions` that it has.
        by_rows: Whether it is written as rows come, in memory that does not grow with the height.
    """

    name: str
    suffixes: tuple[str, ...]
    modes: tuple[Mode, ...]
    depths: tuple[Depth, ...]
    max_side: int
    keeps: frozenset[str]
    max_pixels: int = 2**62
    options: frozenset[str] = frozenset()
    by_rows: bool = False

    @property
    def is_available(self) -> bool:
        """Whether it can be written here: AVIF and WebP are not in every build of Pillow."""
        return self.name not in ("AVIF", "WEBP") or bool(features.check(self.name.lower()))

    def has_room(self, width: int, height: int) -> bool:
        """Whether it can be so large."""
        return max(width, height) <= self.max_side and width * height <= self.max_pixels


_PROFILE = frozenset({"icc_profile", "exif", "xmp"})
_TABLE = (
    Format(
        "PNG",
        (".png",),
        ("L", "LA", "RGB", "RGBA"),
        ("uint8", "uint16"),
        max_side=2**31 - 1,
        keeps=_PROFILE | {"text", "dpi"},
        options=frozenset({"png_level"}),
        by_rows=True,
    ),
    Format(
        "JPEG",
        (".jpg", ".jpeg"),
        ("L", "RGB", "CMYK"),
        ("uint8",),
        max_side=65500,  # of libjpeg; the format itself says 65535
        keeps=_PROFILE | {"text", "dpi"},
        options=frozenset({"quality"}),
    ),
    Format(
        "WEBP",
        (".webp",),
        ("L", "LA", "RGB", "RGBA"),
        ("uint8",),
        max_side=16383,
        keeps=_PROFILE | {"dpi"},
        options=frozenset({"quality", "lossless"}),
    ),
    Format(
        "TIFF",
        (".tif", ".tiff"),
        ("L", "LA", "RGB", "RGBA", "CMYK"),
        ("uint8", "uint16", "float32"),
        max_side=2**31 - 1,
        keeps=_PROFILE | {"text", "dpi"},
        options=frozenset({"compression"}),
        by_rows=True,
    ),
    Format("BMP", (".bmp",), ("L", "RGB"), ("uint8",), max_side=2**31 - 1, keeps=frozenset({"dpi"}), max_pixels=2**30),
    Format(
        "AVIF",
        (".avif",),
        ("L", "LA", "RGB", "RGBA"),
        ("uint8",),
        max_side=32768,  # larger files are written, but libavif does not read them
        keeps=_PROFILE | {"dpi"},
        max_pixels=2**28,
        options=frozenset({"quality"}),
    ),
)
FORMATS: Mapping[str, str] = MappingProxyType({suffix: kind.name for kind in _TABLE for suffix in kind.suffixes})
"""Suffix -> name of the format that is written."""
FORMAT_OF: Mapping[str, Format] = MappingProxyType({kind.name: kind for kind in _TABLE})
"""Name -> what the format holds."""
_READ = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "DIB": (".dib",),
    "GIF": (".gif",),
    "AVIF": (".avif",),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".j2c", ".jpc", ".jpf"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
    "QOI": (".qoi",),
    "SGI": (".sgi", ".rgb", ".rgba", ".bw"),
    "PCX": (".pcx",),
    "TGA": (".tga",),
}
READ_FORMATS = tuple(_READ)
"""Pillow's names of the formats that are read."""
READ_SUFFIXES: Mapping[str, str] = MappingProxyType({suffix: name for name in _READ for suffix in _READ[name]})
"""Suffix -> name of the format that is read; a file is read by what is in it, except for TGA, which does not show."""


def find_format(path: str | Path) -> Format:
    """Format of a path, by its suffix.

    Raises:
        ValueError: If the suffix names no format that is written.

    Examples:
        >>> find_format("photo.JPG").name
        'JPEG'
    """
    name = FORMATS.get(Path(path).suffix.lower())
    if name is None:
        raise ValueError(f"{path} has no suffix of an image format that is written; use {', '.join(FORMATS)}")
    return FORMAT_OF[name]


def named_format(name: str) -> Format:
    """Format by its name or suffix, in capitals or not: PNG, jpg, .tif.

    Raises:
        ValueError: If there is no such format.

    Examples:
        >>> named_format("tif").name
        'TIFF'
    """
    word = name.lower().removeprefix(".")
    found = FORMATS.get(f".{word}", word.upper())
    if found not in FORMAT_OF:
        raise ValueError(f"{name!r} is no image format that is written; use {', '.join(FORMAT_OF)}")
    return FORMAT_OF[found]


def check_fits(
    kind: Format,
    label: str,
    mode: str | None = None,
    dtype: str | None = None,
    size: tuple[int, int] | None = None,
    options: WriteOptions | None = None,
) -> None:
    """Raises ValueError if a format cannot hold an image; what is None is not known yet.

    Args:
        kind: The format.
        label: What the file is called in the message.
        mode: L, LA, RGB, RGBA or CMYK.
        dtype: uint8, uint16 or float32.
        size: Width and height.
        options: How it is to be written.
    """
    if not kind.is_available:
        raise ValueError(f"{label}: this build of Pillow cannot write {kind.name}; use {_others(kind)}")
    if mode is not None and mode not in kind.modes:
        raise ValueError(f"{label}: {kind.name} cannot hold {mode} images; use {_suffixes(mode=mode, dtype=dtype)}")
    if dtype is not None and dtype not in kind.depths:
        depth = f"{BITS[dtype]} bits{' of floating point' if dtype == 'float32' else ''} a channel"
        raise ValueError(f"{label}: {kind.name} cannot hold {depth}; use {_suffixes(mode=mode, dtype=dtype)}")
    if size is not None and not kind.has_room(*size):
        limit = f"{kind.max_side} pixels a side" if max(size) > kind.max_side else f"{kind.max_pixels} pixels"
        raise ValueError(
            f"{label}: {size[0]}x{size[1]} is too large for {kind.name}, which ends at {limit}; "
            f"use {_suffixes(mode=mode, dtype=dtype, size=size)}"
        )
    for option in options.given if options is not None else ():
        if option not in kind.options:
            having = ", ".join(other.name for other in _TABLE if option in other.options)
            raise ValueError(f"{label}: {kind.name} has no option {option}, which is for {having}; leave it out")


def check_writable(
    path: str | Path,
    mode: str | None = None,
    dtype: str | None = None,
    size: tuple[int, int] | None = None,
    options: WriteOptions | None = None,
) -> Path:
    """The path, if such an image can be written there; to be asked before the work, with what is known by then.

    Args:
        path: File to write.
        mode: L, LA, RGB, RGBA or CMYK.
        dtype: uint8, uint16 or float32.
        size: Width and height.
        options: How it is to be written.

    Raises:
        ValueError: If the suffix names no format that is written, or one that cannot hold the mode, the depth or the
            size, is not in this build of Pillow, or does not have an option that is given.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
    """
    path = Path(path)
    check_fits(find_format(path), str(path), mode, dtype, size, options)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} is not writable")
    return path


def _suffixes(mode: str | None, dtype: str | None, size: tuple[int, int] = (1, 1)) -> str:
    """Suffixes of the formats that hold such an image."""
    fitting = [
        kind.suffixes[0]
        for kind in _TABLE
        if kind.is_available
        and (mode is None or mode in kind.modes)
        and (dtype is None or dtype in kind.depths)
        and kind.has_room(*size)
    ]
    return " or ".join(fitting)


def _others(kind: Format) -> str:
    return " or ".join(other.suffixes[0] for other in _TABLE if other is not kind and other.is_available)
