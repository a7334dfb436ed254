import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from srzoo.image import open_source, read_picture, read_pixels
from srzoo.image.exif import orientation_of
from srzoo.image.orientation import turned
from srzoo.image.tiff_tags import read_tags


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8, endpoint=True)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><a tiff:Orientation="%d"/></rdf:RDF></x:xmpmeta>'


@pytest.mark.parametrize("extra", [True, False])
@pytest.mark.parametrize(("tag", "xmp", "applied"), [(None, 6, 6), (None, 3, 3), (8, 6, 8), (1, 6, 1), (None, None, 1)])
def test_an_orientation_in_xmp_alone_is_applied(tag, xmp, applied, extra, tmp_path, monkeypatch):
    """With and without the extra, and by training and `upright=False` not at all."""
    monkeypatch.setattr("srzoo.image.reading.has_reader", lambda: extra)
    pixels, packet = noise(13, 21, 3), XMP % xmp if xmp else None
    tags = [(700, "B", len(packet), packet, True)] if packet else []
    tags += [(274, "H", 1, tag, True)] if tag else []
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, photometric="rgb", metadata=None, extratags=tags, resolution=(300, 200))
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, turned(pixels, applied))
    assert picture.metadata.dpi == ((200, 300) if applied > 4 else (300, 200))
    assert picture.metadata.xmp == (XMP % 1 if xmp and applied > 1 else packet)
    assert orientation_of(picture.metadata.exif, None) == 1
    stored = read_picture(path, upright=False)
    np.testing.assert_array_equal(stored.pixels, pixels)
    assert (stored.metadata.dpi, stored.metadata.xmp) == ((300, 200), packet)
    np.testing.assert_array_equal(read_pixels(path), pixels)


@pytest.mark.parametrize(("byteorder", "bigtiff"), [("<", False), (">", False), ("<", True), (">", True)])
def test_metadata_are_the_same_with_and_without_the_extra(byteorder, bigtiff, tmp_path, monkeypatch):
    tags = [(269, "s", 0, "a title", True), (315, "s", 0, "me", True), (271, "s", 0, "a maker", True),
            (700, "B", 4, b"<x/>", True), (34675, "B", 7, b"profile", True), (33723, "B", 3, b"abc", True)]  # fmt: skip
    options = dict(byteorder=byteorder, bigtiff=bigtiff, resolution=(300, 200), description="words", software="this")
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, noise(8, 9, 3), photometric="rgb", metadata=None, extratags=tags, **options)
    found = []
    for extra in (True, byteorder == ">" and bigtiff):  # which Pillow does not know
        monkeypatch.setattr("srzoo.image.reading.has_reader", lambda extra=extra: extra)
        with open_source(path) as source:
            found.append((source.header.metadata, source.notes))
    assert found[0] == found[1]
    metadata, notes = found[0]
    assert notes == ("IPTC and Photoshop data left out",)
    assert (metadata.icc_profile, metadata.xmp, metadata.dpi) == (b"profile", b"<x/>", (300, 200))
    assert metadata.text == {"Title": "a title", "Author": "me", "Description": "words", "Software": "this"}
    again = Image.Exif()
    again.load(metadata.exif)
    assert (again[271], again[315]) == ("a maker", "me")


BEGINNINGS = [b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", b"MM\0+\0\x08\0\0" + bytes(7) + b"\x10"]


@given(st.binary(max_size=300), st.sampled_from(BEGINNINGS))
def test_any_bytes_are_tags_or_none(data, start):
    tags = read_tags(io.BytesIO(start + data), range(65536))
    assert sum(len(tag.data) for tag in tags.values()) <= len(start + data) * 100


def test_directories_that_hold_each_other_end():
    entries = b"".join(struct.pack("<HHII", 0x8769, 4, 1, place) for place in [8, 8 + 2 + 12 * 60 + 4] * 30)
    block = struct.pack("<H", 60) + entries + bytes(4)

    class Counting(io.BytesIO):
        reads = 0

        def read(self, size=-1):
            self.reads += 1
            return super().read(size)

    file = Counting(b"II*\0" + struct.pack("<I", 8) + block * 2)
    read_tags(file, (0x8769,))
    assert file.reads < 200  # each block once, entry by entry
