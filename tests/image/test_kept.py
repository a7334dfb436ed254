import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin, features

from srzoo.image import Metadata, Picture, open_sink, open_source, read_picture, write_picture

SUFFIXES = [".webp", pytest.param(".avif", marks=pytest.mark.skipif(not features.check("avif"), reason="no AVIF"))]


def picture(dtype="uint8", **metadata):
    return Picture(np.full((4, 4, 3), 99, dtype), "RGB", Metadata(**metadata))


def pillows():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    return exif.tobytes().removeprefix(b"Exif\0\0")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_resolution_is_put_into_exif_and_nothing_else_moves(tmp_path, suffix, order):
    """Also where EXIF gives another one, or none; and where there is no EXIF."""
    mark = b"II*\0" if order == "<" else b"MM\0*"
    one = mark + struct.pack(f"{order}IHHHI", 8, 1, 0x010F, 2, 10) + struct.pack(f"{order}II", 26, 0) + b"the maker\0"
    for exif in (one, pillows(), None):
        path = write_picture(picture(exif=exif, dpi=(299.99, 72.5)), tmp_path / f"a{suffix}")
        found = read_picture(path).metadata
        assert found.dpi == pytest.approx((299.99, 72.5), rel=1e-6)
        if exif:
            with Image.open(path) as image:
                assert image.getexif()[0x010F] in ("maker", "the maker")
            assert found.exif is not None
            assert exif[8:] in found.exif


def test_what_only_repeats_srgb_or_exif_is_not_told(tmp_path):
    tags = Image.Exif()
    tags[315] = "somebody"
    metadata = dict(
        png_colour={"sRGB": b"\0", "gAMA": bytes((0, 0, 0xB1, 0x8F))},
        text={"Author": "somebody"},
        exif=tags.tobytes().removeprefix(b"Exif\0\0"),
    )
    with open_sink(tmp_path / "a.jpg", picture(**metadata).header) as sink:
        sink.write(picture().pixels)
    assert sink.notes == ()


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_png_gives_a_png_what_it_says_of_its_colours(tmp_path, dtype):
    colour = {"cHRM": bytes(range(32)), "gAMA": bytes((0, 1, 134, 160)), "cICP": bytes((9, 16, 0, 1))}
    path = write_picture(picture(dtype, png_colour=colour), tmp_path / "a.png")
    with open_source(path) as source:
        assert source.header.metadata.png_colour == colour
        assert source.header.metadata.scaled(2, 2).stripped().png_colour == colour
        assert source.notes == ("values are encoded by PQ, for high dynamic range, which is kept",)
    assert b"gAMA" in path.read_bytes().split(b"IDAT")[0]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_large_profiles_go_through_a_png(tmp_path, dtype):
    profile = np.random.default_rng(0).bytes(3 << 20)
    path = write_picture(picture(dtype, icc_profile=profile), tmp_path / "a.png")
    assert read_picture(path).metadata.icc_profile == profile
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20  # Pillow's own limit is as it was


def test_the_texts_of_a_tiff_come_back(tmp_path):
    text = {"Description": "ü", "Title": "a title", "Author": "me", "Software": "this", "Copyright": "mine"}
    assert read_picture(write_picture(picture(text=text), tmp_path / "a.tif")).metadata.text == text
