import numpy as np
import pytest
from PIL import Image

from srzoo.image import CHANNELS, Metadata, Picture, from_pil, inks_as_rgb, to_pil
from srzoo.image.pil import picture_of


def noise(*shape, dtype="uint8"):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def palette_image():
    image = Image.new("P", (7, 5))
    image.putdata((noise(35) % 4).tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image


@pytest.mark.parametrize("mode", CHANNELS)
def test_modes_that_pil_has_go_both_ways(mode):
    pixels = noise(5, 7, CHANNELS[mode])
    image = to_pil(Picture(pixels, mode))
    assert image.mode == mode
    np.testing.assert_array_equal(np.asarray(image).reshape(pixels.shape), pixels)
    picture = from_pil(image)
    assert picture.mode == mode
    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.flags.writeable


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L"])
def test_deep_grey_goes_both_ways(mode):
    pixels = noise(5, 7, dtype="uint16")
    data = pixels.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    picture = from_pil(Image.frombytes(mode, (7, 5), data))
    assert (picture.mode, picture.dtype) == ("L", "uint16")
    np.testing.assert_array_equal(picture.pixels[..., 0], pixels)
    np.testing.assert_array_equal(np.asarray(to_pil(picture)), pixels)
    assert to_pil(picture).mode == "I;16"


def test_float_grey_goes_both_ways():
    values = np.random.default_rng(0).random((5, 7), dtype=np.float32)
    picture = from_pil(Image.fromarray(values))
    assert (picture.mode, picture.dtype) == ("L", "float32")
    np.testing.assert_array_equal(picture.pixels[..., 0], values)
    np.testing.assert_array_equal(np.asarray(to_pil(picture)), values)


def test_what_pil_cannot_hold_is_refused():
    for dtype in ("uint16", "float32"):
        with pytest.raises(ValueError, match=f"PIL has no {dtype} images of mode RGB"):
            to_pil(Picture(np.zeros((2, 2, 3), dtype), "RGB"))


def test_bilevel_and_palettes_are_read_as_what_they_show():
    bilevel, palette = Image.fromarray(noise(5, 7) > 127), palette_image()
    for image, mode, note in ((bilevel, "L", "bilevel read as L"), (palette, "RGB", "palette read as RGB")):
        picture, notes = picture_of(image)
        assert (picture.mode, notes) == (mode, (note,))
        np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert(mode)).reshape(picture.pixels.shape))


@pytest.mark.parametrize(("mode", "becomes"), [("RGBa", "RGBA"), ("La", "LA")])
def test_premultiplied_alpha_is_undone(mode, becomes):
    image = Image.fromarray(noise(5, 7, len(mode) if mode == "La" else 4)).convert(mode)
    picture, notes = picture_of(image)
    assert (picture.mode, notes) == (becomes, (f"premultiplied alpha read as {becomes}",))
    np.testing.assert_array_equal(picture.pixels, np.asarray(image.convert(becomes)))


@pytest.mark.parametrize("mode", ["LAB", "HSV", "YCbCr"])
def test_modes_that_would_lose_something_are_refused(mode):
    with pytest.raises(ValueError, match=f"images of mode {mode} are not supported; convert to RGB or grey first"):
        from_pil(Image.new(mode, (3, 3)))


def test_grey_values_beyond_16_bits_are_refused():
    assert from_pil(Image.new("I", (2, 2), 65535)).pixels.max() == 65535
    for value in (65536, -1):
        with pytest.raises(ValueError, match=f"grey values from {value} to {value} do not fit 16 bits"):
            from_pil(Image.new("I", (2, 2), value))


def test_floats_are_kept_within_0_and_1():
    picture, notes = picture_of(Image.fromarray(np.array([[-0.03, 0.5, 1.05]], np.float32)))
    assert picture.pixels.ravel().tolist() == [0, 0.5, 1]
    assert notes == ("values from -0.03 to 1.05 clipped to 0 to 1",)
    for values in ([0, 255], [-1, 0.5]):
        with pytest.raises(ValueError, match="not from 0 to 1"):
            from_pil(Image.fromarray(np.array([values], np.float32)))
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            from_pil(Image.fromarray(np.array([[0.5, value]], np.float32)))


def test_16_bit_grey_with_a_transparent_value_gets_alpha():
    image = Image.fromarray(np.array([[10, 2000, 30000]], np.uint16))
    image.info["transparency"] = 2000
    picture, notes = picture_of(image)
    assert (picture.mode, picture.dtype, notes) == ("LA", "uint16", ("one transparent value read as alpha",))
    assert picture.pixels[0].tolist() == [[10, 65535], [2000, 0], [30000, 65535]]


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="no pixels \\(it is 0x5\\)"):
        from_pil(Image.new("RGB", (0, 5)))


def test_inks_become_rgb_without_their_profile():
    image = Image.frombytes("CMYK", (7, 5), noise(5, 7, 4).tobytes())
    picture = Picture(noise(5, 7, 4), "CMYK", Metadata(icc_profile=b"inks", dpi=(72.0, 72.0)))
    found = inks_as_rgb(picture)
    assert (found.mode, found.metadata) == ("RGB", Metadata(dpi=(72.0, 72.0)))
    np.testing.assert_array_equal(found.pixels, np.asarray(image.convert("RGB")))
    assert inks_as_rgb(found) is found


def test_metadata_go_through_pil_images():
    metadata = Metadata(b"profile", b"MM\0*\0\0\0\x08\0\0\0\0\0\0", b"<x/>", {"Comment": "héllo"}, (300.0, 200.0))
    image = to_pil(Picture(noise(4, 4, 3), "RGB", metadata))
    assert image.info["exif"].startswith(b"Exif\0\0MM")
    assert from_pil(image).metadata == metadata


def test_info_that_makes_no_sense_is_left_out():
    image = Image.new("L", (2, 2))
    for dpi in ((0, 72), (float("nan"), 72), "72", (72,), None, (1e30, 1)):
        image.info = {"dpi": dpi, "icc_profile": None, "exif": b"Exif\0\0nonsense", "xmp": 5, "comment": 7}
        assert from_pil(image).metadata == Metadata()


def test_large_images_are_converted_in_bands(monkeypatch):
    monkeypatch.setattr("srzoo.image.pil.BAND", 20)
    image = palette_image()
    image.info["transparency"] = 2
    np.testing.assert_array_equal(from_pil(image).pixels, np.asarray(image.convert("RGBA")))
