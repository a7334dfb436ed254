import numpy as np
import pytest

from srzoo.image import BITS, CHANNELS, LEVELS, Header, Metadata, Picture, PictureSource


@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("dtype", LEVELS)
def test_the_header_says_what_the_picture_is(mode, dtype):
    picture = Picture(np.zeros((4, 6, CHANNELS[mode]), dtype), mode, Metadata(dpi=(72.0, 72.0)))
    assert picture.header == Header(6, 4, mode, dtype, Metadata(dpi=(72.0, 72.0)))
    assert picture.header.channels == CHANNELS[mode]
    assert BITS[dtype] == 8 * np.dtype(dtype).itemsize


def test_pictures_that_cannot_be_are_refused(as_users_call):
    with pytest.raises(ValueError, match=r"pixels must be uint8, uint16, float32, not float64; convert them first"):
        Picture(np.zeros((4, 6, 3)), "RGB")
    with pytest.raises(ValueError, match=r"mode RGB have the shape \(height, width, 3\), not \(4, 6, 4\)"):
        Picture(np.zeros((4, 6, 4), np.uint8), "RGB")
    with pytest.raises(ValueError, match=r"\(height, width, 1\), not \(4, 6\)"):
        Picture(np.zeros((4, 6), np.uint8), "L")
    with pytest.raises(ValueError, match=r"no pixels \(it is 0x4\)"):
        Picture(np.zeros((4, 0, 1), np.uint8), "L")
    with pytest.raises(ValueError, match=r"no pixels \(it is 5x0\)"):
        Header(5, 0, "L", "uint8")


def test_stripped_metadata_hold_nothing_private():
    everything = Metadata(b"profile", b"II*\0....", b"<x/>", {"Author": "me"}, (300.0, 200.0))
    assert everything.stripped() == Metadata(icc_profile=b"profile", dpi=(300.0, 200.0))


def test_scaled_metadata_print_at_the_same_size():
    assert Metadata(dpi=(300.0, 200.0)).scaled(4, 2.5).dpi == (1200.0, 500.0)
    assert Metadata(b"profile", None, b"<x/>", {"a": "b"}).scaled(2, 2) == Metadata(
        b"profile", None, b"<x/>", {"a": "b"}
    )
    for factor in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="factors must be positive numbers"):
            Metadata().scaled(factor, 2)


def test_a_picture_is_read_by_rows():
    pixels = np.arange(4 * 6 * 2, dtype=np.uint8).reshape(4, 6, 2)
    with PictureSource(Picture(pixels, "LA"), ("a note",)) as source:
        assert source.notes == ("a note",)
        np.testing.assert_array_equal(source.rows(1, 3), pixels[1:3])
        for top, bottom in ((-1, 2), (2, 2), (3, 2), (0, 5)):
            with pytest.raises(ValueError, match=f"no rows {top} to {bottom}: the image has 4"):
                source.rows(top, bottom)
