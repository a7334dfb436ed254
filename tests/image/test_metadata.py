import struct

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin, features
from PIL.TiffImagePlugin import IFDRational

from srzoo.image import open_source, read_picture

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8, endpoint=True)


@pytest.mark.parametrize("suffix", ["webp", "png", "jpg", pytest.param("avif", marks=needs_avif)])
@pytest.mark.parametrize(("unit", "expected"), [(2, (300, 200)), (3, (762, 508)), (1, None), (None, None)])
def test_a_resolution_in_exif_alone_is_read(suffix, unit, expected, tmp_path):
    """In JPEG too, to which Pillow gives 72 where EXIF does not say, and one value for both directions."""
    tags = Image.Exif()
    tags[0x010F] = "a maker"
    if unit:
        tags[0x011A], tags[0x011B], tags[0x0128] = IFDRational(300), IFDRational(200), unit
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / f"a.{suffix}", exif=tags)
    assert read_picture(tmp_path / f"a.{suffix}").metadata.dpi == expected


@pytest.mark.parametrize("kind", ["exif", "APP1"])
def test_blocks_in_hexadecimal_digits_are_read(kind, tmp_path):
    """As ImageMagick puts them into a PNG."""
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = 6, "a maker"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    text = PngImagePlugin.PngInfo()
    for name, data in ((kind, tags.tobytes()), ("icc", profile), ("xmp", b"<x/>"), ("iptc", b"words")):
        digits = "\n".join(data.hex()[i : i + 72] for i in range(0, 2 * len(data), 72))
        text.add_text(f"Raw profile type {name}", f"\n{name}\n{len(data):8}\n{digits}\n", zip=name == "icc")
    pixels = noise(5, 7, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png", pnginfo=text)
    with open_source(tmp_path / "a.png") as source:
        found = source.header.metadata
        np.testing.assert_array_equal(source.rows(0, 7), np.rot90(pixels, -1))
        assert source.notes == ("IPTC and Photoshop data left out",)
    assert (found.icc_profile, found.xmp, found.text) == (profile, b"<x/>", {})
    again = Image.Exif()
    again.load(found.exif)
    assert (again[0x0112], again[0x010F]) == (1, "a maker")


def test_captions_of_a_jpeg_are_told_to_be_left_out(tmp_path):
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    body = b"Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x78\0\x03abc"
    block = b"\xff\xed" + struct.pack(">H", len(body) + 2) + body
    (tmp_path / "a.jpg").write_bytes(data[:2] + block + data[2:])
    with open_source(tmp_path / "a.jpg") as source:
        assert source.notes == ("IPTC and Photoshop data left out",)
