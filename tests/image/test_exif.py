import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from srzoo.image import Metadata
from srzoo.image.exif import orientation_of, scaled_exif, upright_exif, upright_xmp


def exif(orientation: int = 6, width: int = 400, height: int = 300) -> bytes:
    tags = Image.Exif()
    tags[0x010F] = "a maker"
    tags[0x0112] = orientation
    tags[0x011A], tags[0x011B] = IFDRational(300, 1), IFDRational(200, 1)
    tags.get_ifd(0x8769).update({0xA002: width, 0xA003: height, 0x9286: b"ASCII\0\0\0a comment"})
    tags[0x8769] = tags.get_ifd(0x8769)
    return tags.tobytes().removeprefix(b"Exif\0\0")


def big_endian(orientation: int) -> bytes:
    """EXIF with one tag, in the other byte order."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


def of_32_bits(orientation: int) -> bytes:
    """EXIF whose orientation is a LONG."""
    return b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x0112, 4, 1, orientation, 0)


def read(data: bytes) -> Image.Exif:
    tags = Image.Exif()
    tags.load(data)
    return tags


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_read_and_set_to_upright(orientation):
    for data in (exif(orientation), big_endian(orientation), of_32_bits(orientation)):
        assert orientation_of(data, None) == orientation
        assert orientation_of(upright_exif(data, orientation), None) == 1
        assert read(upright_exif(data, orientation))[0x0112] == 1
    xmp = b'<a tiff:Orientation="%d"/>' % orientation
    assert orientation_of(None, xmp) == orientation
    assert orientation_of(None, upright_xmp(xmp)) == 1
    assert orientation_of(None, b"<tiff:Orientation>%d</tiff:Orientation>" % orientation) == orientation
    assert orientation_of(exif(3), xmp) == 3  # EXIF goes first


def test_what_is_no_orientation_is_upright():
    assert orientation_of(None, None) == 1
    assert orientation_of(big_endian(9), None) == 1
    assert orientation_of(b"nonsense", b"nonsense") == 1


def test_turning_exchanges_width_and_height_and_nothing_else():
    before, after = read(exif(6)), read(upright_exif(exif(6), 6))
    assert (after[0x011A], after[0x011B]) == (200, 300)
    inner = after.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (300, 400)
    assert after[0x010F] == before[0x010F]
    assert inner[0x9286] == before.get_ifd(0x8769)[0x9286]
    assert len(upright_exif(exif(6), 6)) == len(exif(6))
    flipped = read(upright_exif(exif(3), 3))
    assert (flipped[0x011A], flipped.get_ifd(0x8769)[0xA002]) == (300, 400)


def test_the_thumbnail_of_a_turned_image_is_unlinked():
    data = bytearray(big_endian(6))
    struct.pack_into(">I", data, len(data) - 4, 8)  # the next block
    assert upright_exif(bytes(data), 6)[-4:] == bytes(4)
    assert upright_exif(bytes(data), 1)[-4:] != bytes(4)


def test_scaling_changes_sizes_and_resolution():
    after = read(scaled_exif(exif(), 4, 2.5))
    inner = after.get_ifd(0x8769)
    assert (inner[0xA002], inner[0xA003]) == (1600, 750)
    assert (after[0x011A], after[0x011B]) == (1200, 500)
    assert read(scaled_exif(exif(width=40_000), 4, 4)).get_ifd(0x8769)[0xA002] == 160_000  # beyond 16 bits
    assert Metadata(exif=exif()).scaled(4, 2.5).exif == scaled_exif(exif(), 4, 2.5)


def test_a_resolution_of_any_size_fits():
    tags = Image.Exif()
    tags[0x011A], tags[0x011B] = IFDRational(4_294_967_295, 1), IFDRational(1, 4_294_967_295)
    after = read(scaled_exif(tags.tobytes()[6:], 8, 1 / 3))
    assert after[0x011A] == 4_294_967_295
    assert after[0x011B] >= 0


@given(st.data())
def test_damaged_exif_is_no_error(data):
    whole = bytearray(exif())
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert 1 <= orientation_of(cut, cut) <= 8
    assert len(upright_exif(cut, 6)) == len(cut)
    assert len(scaled_exif(cut, 4, 4)) == len(cut)


@pytest.mark.parametrize(("where", "size", "kind"), [(0x0201, 0x0202, 4), (0x0111, 0x0117, 3)])
def test_the_thumbnail_of_a_turned_image_is_erased(where, size, kind):
    """Also one that is stored as strips; and not what the second block says lies in the first."""
    for place in (68, 8):
        first = struct.pack("<HHHIHHI", 1, 0x0112, 3, 1, 6, 0, 26)
        second = b"".join(
            struct.pack("<HHI", tag, code, 1) + struct.pack("<I", value)
            for tag, code, value in ((0x0103, 3, 6), (where, 4, place), (size, kind, 9))
        )
        data = b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<H", 3) + second + bytes(4)
        assert len(data) == 68
        data += b"thumbnail" + b"kept"
        after = upright_exif(data, 6)
        assert after[:22] == data[:18] + b"\1\0\0\0"  # the first block, upright
        assert after[68:] == (bytes(9) if place == 68 else b"thumbnail") + b"kept"
        assert orientation_of(after, None) == 1
