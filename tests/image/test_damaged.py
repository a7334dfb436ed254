"""Files that are damaged, cut short or lie: a clear error or an image, never a crash, a hang or much memory."""

import faulthandler
import io
import random
import resource
import struct
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import tifffile
from PIL import Image, features

from srzoo.image import open_source

MAX_PIXELS = 1_000_000
SECONDS = 20
"""No file takes so long, however busy the machine."""
GROWTH = 700 << 20
"""Memory that may come on top in a whole run: decoders of this many pixels take a tenth of it."""


def noise(*shape, dtype="uint8"):
    smooth = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (4, 5, *shape[2:]), dtype=dtype)
    return np.kron(smooth, np.ones((6, 6, *[1] * len(shape[2:])), dtype))[: shape[0], : shape[1]]


def pillow(kind, mode="RGB", **options) -> bytes:
    file = io.BytesIO()
    channels = len(mode) if mode != "L" else 1
    image = Image.frombytes(mode, (30, 24), noise(24, 30, channels).tobytes())
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a maker"
    extra = {"exif": tags, "icc_profile": b"profile" * 30, "xmp": b"<x/>"} if kind in ("JPEG", "PNG", "WEBP") else {}
    image.save(file, kind, **(extra | options))
    return file.getvalue()


def animation(kind) -> bytes:
    file = io.BytesIO()
    frames = [Image.fromarray(np.roll(noise(24, 30, 3), i)) for i in range(3)]
    frames[0].save(file, kind, save_all=True, append_images=frames[1:])
    return file.getvalue()


def tiff(dtype="uint8", channels=3, **options) -> bytes:
    file = io.BytesIO()
    pixels = noise(24, 30, channels, dtype="uint16" if dtype == "float32" else dtype)
    pixels = (pixels / 65535).astype(dtype) if dtype == "float32" else pixels
    tifffile.imwrite(file, pixels, photometric="rgb", metadata=None, **options)
    return file.getvalue()


def deep_png() -> bytes:
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in noise(24, 30, 3, dtype="uint16"))
    header = struct.pack(">IIBBBBB", 30, 24, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


FILES: dict[str, Callable[[], bytes]] = {
    "png": lambda: pillow("PNG"),
    "png palette": lambda: pillow("PNG", "L", bits=4),
    "png 16 bits": deep_png,
    "apng": lambda: animation("PNG"),
    "jpeg": lambda: pillow("JPEG"),
    "jpeg progressive": lambda: pillow("JPEG", progressive=True),
    "jpeg inks": lambda: pillow("JPEG", "CMYK"),
    "webp": lambda: pillow("WEBP"),
    "webp lossless": lambda: pillow("WEBP", "RGBA", lossless=True),
    "webp animated": lambda: animation("WEBP"),
    "gif": lambda: animation("GIF"),
    "bmp": lambda: pillow("BMP"),
    "ppm": lambda: pillow("PPM"),
    "tga": lambda: pillow("TGA", compression="tga_rle"),
    "jpeg 2000": lambda: pillow("JPEG2000"),
    "tiff": lambda: tiff(rowsperstrip=5),
    "tiff float": lambda: tiff("float32"),
    "tiff deflate": lambda: tiff("uint16", compression="zlib", predictor=True, rowsperstrip=5),
    "tiff lzw tiles": lambda: tiff(compression="lzw", tile=(16, 16)),
    "tiff packbits": lambda: tiff(compression="packbits", rowsperstrip=5),
    "tiff planes": lambda: tiff(channels=3, compression="zlib", bigtiff=True, byteorder=">"),
    "tiff lzma": lambda: tiff(compression="lzma"),
    "tiff zstd tiles": lambda: tiff("uint16", compression="zstd", tile=(16, 32)),
    "tiff jpeg": lambda: pillow("TIFF", compression="jpeg"),
    "tiff fax": lambda: fax(),
}
if features.check("avif"):
    FILES["avif"] = lambda: pillow("AVIF")


def fax() -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(24, 30) > 127).save(file, "TIFF", compression="group4")
    return file.getvalue()


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """The file with some of: bits flipped, a header that lies, a piece out, a piece twice, the end missing."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(max(len(data), 1))
        head = rng.randrange(min(len(data), 200) or 1)
        match rng.randrange(7):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[head] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2 if len(data) > 4:
                data[head : head + 4] = rng.choice(
                    (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\xff\xff")
                )
            case 3:
                del data[at:]
            case 4:
                del data[at : at + rng.randrange(1, 40)]
            case 5:
                data[at:at] = data[head : head + rng.randrange(1, 40)]
            case _:
                data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


def try_it(data: bytes, path) -> str:
    """What became of it: "read" or "refused"; anything else fails the test."""
    path.write_bytes(data)
    began = time.monotonic()
    faulthandler.dump_traceback_later(SECONDS * 3, exit=False)
    try:
        with open_source(path, max_pixels=MAX_PIXELS) as source:
            header = source.header
            assert header.width * header.height <= MAX_PIXELS
            for top in range(0, header.height, 100):
                rows = source.rows(top, min(top + 100, header.height))
                assert rows.shape == (min(100, header.height - top), header.width, header.channels)
                assert rows.dtype == header.dtype
            header.metadata.scaled(4, 4)
        return "read"
    except ValueError as error:
        assert str(path) in str(error), error  # noqa: PT017 - whether it fails depends on the damage
        return "refused"
    finally:
        faulthandler.cancel_dump_traceback_later()
        assert time.monotonic() - began < SECONDS, path


def run_cases(name: str, number: int, seed: int, path) -> None:
    path = path.with_suffix(".tga" if name == "tga" else "")
    whole, rng = FILES[name](), random.Random(f"{name}{seed}")
    assert try_it(whole, path) == "read"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = set()
    for i in range(number):
        data = damaged(whole, rng)
        try:
            found.add(try_it(data, path))
        except BaseException as error:
            error.add_note(f"{name}, seed {seed}, case {i}; kept in {path}")
            raise
    assert "refused" in found
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < GROWTH


@pytest.mark.parametrize("name", FILES)
def test_a_few_damaged_files_are_refused_or_read(name, tmp_path):
    run_cases(name, 8, 0, tmp_path / "damaged")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_many_damaged_files_are_refused_or_read(name, tmp_path):
    run_cases(name, 150, 1, tmp_path / "damaged")


@pytest.mark.parametrize("name", FILES)
def test_half_a_file_is_refused(name, tmp_path):
    whole, path = FILES[name](), tmp_path / "half"
    several = name in ("apng", "gif", "webp animated")  # half of which holds the first of three frames
    path.write_bytes(whole[: len(whole) // (6 if several else 2)])
    with (
        pytest.raises(ValueError, match=r"half (is damaged|cannot be read|is not an image)"),
        open_source(path) as source,
    ):
        source.rows(0, source.header.height)
