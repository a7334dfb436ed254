import builtins
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from srzoo.image import open_source, read_picture, read_pixels

imagecodecs = pytest.importorskip("imagecodecs")
MODES = {2: "LA", 3: "RGB", 4: "RGBA"}


def noise(*shape):
    return np.random.default_rng(0).integers(0, 65535, shape, dtype=np.uint16, endpoint=True)


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(pixels, *extra, rows=None, interlaced=0):
    """A PNG of 16 bits by hand, with more chunks before its pixels."""
    height, width, channels = pixels.shape
    color = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    if rows is None:
        rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    header = struct.pack(">IIBBBBB", width, height, 16, color, 0, 0, interlaced)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("channels", MODES)
def test_16_bits_are_kept(channels, tmp_path):
    pixels = noise(5, 7, channels)
    for data in (png(pixels), imagecodecs.png_encode(pixels)):
        (tmp_path / "a.png").write_bytes(data)
        with open_source(tmp_path / "a.png") as source:
            assert (source.header.mode, source.header.dtype, source.notes) == (MODES[channels], "uint16", ())
            np.testing.assert_array_equal(source.rows(2, 5), pixels[2:])


def test_16_bit_grey_is_kept_with_and_without_a_transparent_value(tmp_path):
    pixels = noise(5, 7, 1)
    pixels[1, 2] = 300
    (tmp_path / "a.png").write_bytes(png(pixels))
    picture = read_picture(tmp_path / "a.png")
    assert (picture.mode, picture.dtype) == ("L", "uint16")
    np.testing.assert_array_equal(picture.pixels, pixels)
    (tmp_path / "b.png").write_bytes(png(pixels, chunk(b"tRNS", struct.pack(">H", 300))))
    picture = read_picture(tmp_path / "b.png")
    assert (picture.mode, picture.dtype) == ("LA", "uint16")
    np.testing.assert_array_equal(picture.pixels, imagecodecs.png_decode((tmp_path / "b.png").read_bytes()))


def test_one_transparent_colour_becomes_alpha(tmp_path):
    pixels = noise(5, 7, 3)
    (tmp_path / "a.png").write_bytes(png(pixels, chunk(b"tRNS", pixels[2, 3].astype(">u2").tobytes())))
    with open_source(tmp_path / "a.png") as source:
        assert source.notes == ("one transparent value read as alpha",)
        found = source.rows(0, 5)
    np.testing.assert_array_equal(found[..., :3], pixels)
    assert np.argwhere(found[..., 3] == 0).tolist() == [[2, 3]]


def test_interlaced_files_are_read(tmp_path):
    """Adam7 of 2x2 pixels: passes 1, 6 and 7."""
    pixels = noise(2, 2, 3)
    a, b, c, d = (pixel.astype(">u2").tobytes() for pixel in pixels.reshape(4, 3))
    (tmp_path / "a.png").write_bytes(png(pixels, rows=b"\0" + a + b"\0" + b + b"\0" + c + d, interlaced=1))
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").pixels, pixels)


def test_metadata_are_kept_and_the_orientation_applied(tmp_path):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a maker"
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a title")
    text.add_itxt("Author", "Zoë")
    text.add_text("Comment", "a long comment" * 9, zip=True)
    text.add_itxt("XML:com.adobe.xmp", "<x/>")
    small = tmp_path / "small.png"
    Image.new("L", (1, 1)).save(small, exif=tags, icc_profile=b"profile", dpi=(300, 200), pnginfo=text)
    data, extra, at = small.read_bytes(), [], 8
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"IHDR", b"IDAT", b"IEND"):
            extra.append(data[at : at + size + 12])
        at += size + 12
    pixels = noise(5, 7, 3)
    (tmp_path / "a.png").write_bytes(png(pixels, *extra))
    picture = read_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(picture.pixels, np.rot90(pixels, -1))
    found = picture.metadata
    assert (found.icc_profile, found.xmp) == (b"profile", b"<x/>")
    assert found.dpi == pytest.approx((200, 300), abs=0.02)
    assert dict(found.text) == {"Title": "a title", "Author": "Zoë", "Comment": "a long comment" * 9}
    again = Image.Exif()
    again.load(found.exif)
    assert (again[0x0112], again[0x010F]) == (1, "a maker")


def test_animated_files_give_their_first_image(tmp_path):
    pixels = noise(5, 7, 3)
    (tmp_path / "a.png").write_bytes(png(pixels, chunk(b"acTL", struct.pack(">II", 3, 0))))
    with open_source(tmp_path / "a.png") as source:
        assert source.notes == ("the first of 3 frames",)


def test_damage_and_lies_are_value_errors(tmp_path):
    pixels, path = noise(5, 7, 3), tmp_path / "a.png"
    data = png(pixels)
    for damaged in (data[:60], data[:-20], data[:45] + b"x" + data[46:], data[:16] + b"\0\0\0\x09" + data[20:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.png is damaged"):
            read_picture(path)
    path.write_bytes(data[:16] + struct.pack(">II", 60000, 60000) + data[24:])
    with pytest.raises(ValueError, match=r"a\.png .*60000x60000 pixels, more than the 178956970 allowed"):
        read_picture(path)
    path.write_bytes(data[:16] + struct.pack(">II", 0, 5) + data[24:])
    with pytest.raises(ValueError, match=r"a\.png .*no pixels"):
        read_picture(path)


@pytest.mark.parametrize("channels", MODES)
def test_without_imagecodecs_they_are_refused_and_the_extra_named(channels, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(png(noise(5, 7, channels)))
    honest = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "imagecodecs":
            raise ImportError(name)
        return honest(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r'a\.png cannot be read: .*16 bits .*pip install "srzoo\[io\]"'):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("channels", MODES)
def test_training_refuses_them(channels, tmp_path):
    (tmp_path / "a.png").write_bytes(png(noise(5, 7, channels)))
    with pytest.raises(ValueError, match=r"a\.png .*more than 8 bits a channel"):
        read_pixels(tmp_path / "a.png")
