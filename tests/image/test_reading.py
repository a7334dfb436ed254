import gc
import io
import os
import struct
import threading
import zlib
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import skimage.io
from PIL import Image, ImageCms, ImageFile, ImageOps, PngImagePlugin, features

from srzoo.image import FORMATS, READ_SUFFIXES, open_source, read_picture, read_pixels

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")


def noise(*shape, dtype="uint8", seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


@cache
def srgb_profile():
    """Made once: a profile holds the second it was made in."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def image_of(mode):
    channels = len(mode) if mode != "L" else 1
    return Image.frombytes(mode, (7, 5), noise(5, 7, channels).tobytes())


def png(width, height, depth, color, data):
    """A PNG by hand, with whatever its header is told to say."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


EXACT = {
    "png": ("L", "LA", "RGB", "RGBA"),
    "webp": ("RGB", "RGBA"),
    "tif": ("L", "LA", "RGB", "RGBA", "CMYK"),
    "bmp": ("L", "RGB"),
    "jp2": ("L", "LA", "RGB", "RGBA"),
    "ppm": ("L", "RGB"),
    "tga": ("L", "LA", "RGB", "RGBA"),
    "pcx": ("L", "RGB"),
    "sgi": ("L", "RGB", "RGBA"),
    "qoi": ("RGB", "RGBA"),
}


@pytest.mark.parametrize(("suffix", "mode"), [(suffix, mode) for suffix in EXACT for mode in EXACT[suffix]])
def test_modes_are_kept(suffix, mode, tmp_path):
    image, path = image_of(mode), tmp_path / f"a.{suffix}"
    image.save(path, **({"lossless": True, "exact": True} if suffix == "webp" else {}))
    with open_source(path) as source:
        header = source.header
        assert (header.mode, header.dtype, header.width, header.height) == (mode, "uint8", 7, 5)
        assert source.notes == ()
        rows = source.rows(1, 4)
    np.testing.assert_array_equal(rows, np.asarray(image).reshape(5, 7, -1)[1:4])


@pytest.mark.parametrize("suffix", ["jpg", "avif", "gif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_lossy_files_are_read_as_others_read_them(suffix, mode, tmp_path):
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow reads no AVIF")
    image_of(mode).save(tmp_path / f"a.{suffix}")
    found = read_picture(tmp_path / f"a.{suffix}").pixels
    if suffix == "jpg":
        np.testing.assert_array_equal(found.squeeze(), skimage.io.imread(tmp_path / "a.jpg"))
    with Image.open(tmp_path / f"a.{suffix}") as image:
        np.testing.assert_array_equal(
            found, np.asarray(image.convert("L" if found.shape[2] == 1 else "RGB")).reshape(found.shape)
        )


def test_inks_are_kept_with_their_profile(tmp_path):
    image = Image.frombytes("CMYK", (8, 8), np.full((8, 8, 4), (10, 200, 90, 5), np.uint8).tobytes())
    image.save(tmp_path / "a.jpg", quality=100, icc_profile=srgb_profile())
    image.save(tmp_path / "a.tif", icc_profile=srgb_profile())
    for name in ("a.jpg", "a.tif"):
        picture = read_picture(tmp_path / name)
        assert (picture.mode, picture.metadata.icc_profile) == ("CMYK", srgb_profile())
        assert abs(picture.pixels.astype(int) - np.asarray(image)).max() <= 2  # 0 is no ink in both


def test_inks_without_the_mark_of_adobe_are_as_they_stand(tmp_path):
    """Adobe's files have 255 for no ink, and say that they are Adobe's; Pillow takes all for such."""
    imagecodecs = pytest.importorskip("imagecodecs")
    pixels = np.full((8, 8, 4), (10, 200, 90, 5), np.uint8)
    data = imagecodecs.jpeg8_encode(pixels, colorspace="CMYK", outcolorspace="CMYK", level=100)
    at = data.index(b"\xff\xee")
    assert data[at + 4 : at + 9] == b"Adobe"
    (tmp_path / "a.jpg").write_bytes(data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :])
    (tmp_path / "adobe.jpg").write_bytes(data)
    assert abs(read_picture(tmp_path / "a.jpg").pixels.astype(int) - pixels).max() <= 2
    assert abs(read_picture(tmp_path / "adobe.jpg").pixels.astype(int) - (255 - pixels)).max() <= 2
    assert abs(read_pixels(tmp_path / "a.jpg").astype(int) - (240, 54, 162)).max() <= 4  # (255 - ink) * (255 - 5) / 255


@pytest.mark.parametrize("transparency", [None, 2, b"\x00\x80\xff\xff"], ids=["none", "one colour", "alpha a colour"])
def test_palettes_become_colour(transparency, tmp_path):
    image = Image.new("P", (7, 5))
    index = noise(5, 7) % 4
    image.putdata(index.ravel().tolist())
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    image.save(tmp_path / "a.png", **({} if transparency is None else {"transparency": transparency}))
    with open_source(tmp_path / "a.png") as source:
        mode = "RGB" if transparency is None else "RGBA"
        assert (source.header.mode, source.notes) == (mode, (f"palette read as {mode}",))
        found = source.rows(0, 5)
    np.testing.assert_array_equal(found[..., :3], np.asarray(image.convert("RGB")))
    if transparency is not None:
        alphas = [255, 255, 0, 255] if transparency == 2 else list(transparency)
        np.testing.assert_array_equal(found[..., 3], np.array(alphas, np.uint8)[index])


@pytest.mark.parametrize(("mode", "value"), [("L", 20), ("RGB", (1, 2, 3))])
def test_one_transparent_value_becomes_alpha(mode, value, tmp_path):
    image = Image.new(mode, (3, 1), 9 if mode == "L" else (9, 9, 9))
    image.putpixel((1, 0), value)
    image.save(tmp_path / "a.png", transparency=value)
    with open_source(tmp_path / "a.png") as source:
        assert (source.header.mode, source.notes) == (mode + "A", ("one transparent value read as alpha",))
        assert source.rows(0, 1)[0, :, -1].tolist() == [255, 0, 255]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_a_transparent_value_of_few_bits_becomes_alpha(depth, tmp_path):
    """The key counts in the file's own steps, pixels in 255ths."""
    values = list(range(min(2**depth, 8)))
    packed = int("".join(f"{value:0{depth}b}" for value in values).ljust(8 * depth, "0"), 2).to_bytes(depth, "big")
    data = png(8, 1, depth, 0, b"\0" + packed)
    key = zlib.crc32(b"tRNS\0\1").to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data[:33] + b"\0\0\0\2tRNS\0\1" + key + data[33:])
    with open_source(tmp_path / "a.png") as source:
        assert source.notes == ("bilevel read as LA" if depth == 1 else "one transparent value read as alpha",)
        found = source.rows(0, 1)[0, : len(values)]
    assert found[:, 0].tolist() == [value * 255 // (2**depth - 1) for value in values]
    assert found[:, 1].tolist() == [0 if value == 1 else 255 for value in values]
    assert read_pixels(tmp_path / "a.png", 4)[0, : len(values), 3].tolist() == found[:, 1].tolist()


def test_bilevel_becomes_grey(tmp_path):
    image = Image.fromarray(noise(5, 7) > 127)
    image.save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        assert (source.header.mode, source.notes) == ("L", ("bilevel read as L",))
        np.testing.assert_array_equal(source.rows(0, 5)[..., 0], np.asarray(image) * 255)


def test_16_bit_grey_is_kept(tmp_path):
    pixels = noise(5, 7, dtype="uint16")
    for suffix in ("png", "tif", "jp2", "ppm"):
        Image.fromarray(pixels).save(tmp_path / f"a.{suffix}")
        picture = read_picture(tmp_path / f"a.{suffix}")
        assert (picture.mode, picture.dtype) == ("L", "uint16"), suffix
        np.testing.assert_array_equal(picture.pixels[..., 0], pixels)


@needs_avif
def test_deep_avif_is_refused(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    for bits in (10, 12):
        deep = noise(16, 16, 3, dtype="uint16") >> (16 - bits)
        (tmp_path / "a.avif").write_bytes(imagecodecs.avif_encode(deep, bitspersample=bits))
        with pytest.raises(ValueError, match=rf"a\.avif cannot be read: it has {bits} bits a channel in colour"):
            read_picture(tmp_path / "a.avif")


def test_deep_jpeg2000_and_ppm_are_refused(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs")
    deep = noise(16, 16, 3, dtype="uint16")
    (tmp_path / "a.jp2").write_bytes(imagecodecs.jpeg2k_encode(deep, level=0))
    (tmp_path / "a.ppm").write_bytes(b"P6 16 16 65535 " + deep.astype(">u2").tobytes())
    for name in ("a.jp2", "a.ppm"):
        with pytest.raises(ValueError, match="has 16 bits a channel in colour, which would be cut to 8"):
            read_picture(tmp_path / name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", pytest.param("avif", marks=needs_avif)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(suffix, orientation, tmp_path):
    tags = Image.Exif()
    tags[0x0112], tags[0x010F] = orientation, "a maker"
    blocks = np.kron(noise(2, 3, 3), np.ones((8, 8, 1), np.uint8))
    options = {"quality": 95, "subsampling": 0} if suffix == "jpg" else {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(blocks).save(tmp_path / f"a.{suffix}", exif=tags, **options)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    picture = read_picture(tmp_path / f"a.{suffix}")
    np.testing.assert_array_equal(picture.pixels, expected)
    again = Image.Exif()
    again.load(picture.metadata.exif)
    assert again.get(0x0112, 1) == 1
    assert again[0x010F] == "a maker"
    if suffix not in ("tif", "avif"):  # Pillow itself turns TIFF
        with Image.open(tmp_path / f"a.{suffix}") as image:
            np.testing.assert_array_equal(
                read_picture(tmp_path / f"a.{suffix}", upright=False).pixels, np.asarray(image)
            )


def test_an_orientation_in_xmp_alone_is_applied(tmp_path):
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><a tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    Image.fromarray(noise(8, 16, 3)).save(tmp_path / "a.jpg", xmp=xmp)
    picture = read_picture(tmp_path / "a.jpg")
    assert picture.pixels.shape == (16, 8, 3)
    assert picture.metadata.xmp == xmp.replace(b'"6"', b'"1"')


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", pytest.param("avif", marks=needs_avif)])
def test_metadata_are_kept(suffix, tmp_path):
    tags = Image.Exif()
    tags[0x010F] = "a maker"
    tags.get_ifd(0x8769).update({0x9003: "2020:01:02 03:04:05"})
    tags[0x8769] = tags.get_ifd(0x8769)
    options = {"exif": tags, "icc_profile": srgb_profile(), "dpi": (300, 200), "xmp": b"<x/>"}
    if suffix == "png":
        text = PngImagePlugin.PngInfo()
        text.add_text("Title", "a title")
        text.add_itxt("Author", "Zoë")
        text.add_itxt("XML:com.adobe.xmp", "<x/>")
        text.add(b"tEXt", b"Comment\0late", after_idat=True)
        options |= {"pnginfo": text}
    elif suffix == "jpg":
        options |= {"comment": "a comment"}
    Image.fromarray(noise(8, 8, 3)).save(tmp_path / f"a.{suffix}", **options)
    found = read_picture(tmp_path / f"a.{suffix}").metadata
    assert found.icc_profile == srgb_profile()
    assert found.xmp == (b"<x/>" if suffix != "tif" else found.xmp)
    again = Image.Exif()
    again.load(found.exif)
    assert again[0x010F] == "a maker"
    assert again.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    if suffix not in ("webp", "avif"):  # to which Pillow does not give it
        assert found.dpi == pytest.approx((300, 200), abs=0.02)
    texts = {"png": {"Title": "a title", "Author": "Zoë", "Comment": "late"}, "jpg": {"Comment": "a comment"}}
    assert dict(found.text) == texts.get(suffix, {})


def test_targa_is_told_by_its_suffix_alone(tmp_path):
    """It has no mark: other files that begin like one would be taken for images."""
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "a.tga")
    data = (tmp_path / "a.tga").read_bytes()
    assert read_picture(tmp_path / "a.tga").pixels.shape == (5, 7, 3)
    (tmp_path / "a.png").write_bytes(data)
    for file in (tmp_path / "a.png", io.BytesIO(data)):
        with pytest.raises(ValueError, match="is not an image of a kind that can be read"):
            read_picture(file)


def test_every_suffix_that_is_read_is_one_of_its_format():
    Image.init()
    for suffix, name in READ_SUFFIXES.items():
        assert Image.EXTENSION[suffix] == ("MPO" if suffix == ".mpo" else name)
    assert set(FORMATS) <= set(READ_SUFFIXES)


ANIMATED = ["gif", "png", "webp", "tif", pytest.param("avif", marks=needs_avif)]


@pytest.mark.parametrize("suffix", ANIMATED)
def test_animated_files_give_their_first_frame_and_say_so(suffix, tmp_path):
    frames = [Image.new("RGB", (16, 16), color) for color in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:])
    with open_source(tmp_path / f"a.{suffix}") as source:
        name = "pages" if suffix == "tif" else "frames"
        assert f"the first of 3 {name}" in source.notes
        assert abs(source.rows(8, 9)[0, 8, :3].astype(int) - (255, 0, 0)).max() <= 8


def test_a_photo_with_a_second_picture_says_so(tmp_path):
    image = Image.fromarray(noise(16, 16, 3))
    image.save(tmp_path / "a.mpo", save_all=True, append_images=[image])
    with open_source(tmp_path / "a.mpo") as source:
        assert source.notes == ("the first of 2 pictures",)


class Pipe:
    """A stream that cannot seek and gives a little at a time."""

    def __init__(self, data):
        self.data = io.BytesIO(data)

    def read(self, size=-1):
        return self.data.read(min(size, 100) if size > 0 else 100)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_pipes_are_read(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("srzoo.image.reading.SPOOLED_BYTES", 500)  # so that it goes to a file
    Image.fromarray(noise(20, 20, 3)).save(tmp_path / f"a.{suffix}")
    data = (tmp_path / f"a.{suffix}").read_bytes()
    expected = read_picture(tmp_path / f"a.{suffix}").pixels
    np.testing.assert_array_equal(read_picture(Pipe(data)).pixels, expected)
    reader, writer = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writer, data), os.close(writer)))
    thread.start()
    with os.fdopen(reader, "rb") as stream:
        np.testing.assert_array_equal(read_picture(stream).pixels, expected)
    thread.join()


def test_streams_without_end_and_without_images_are_refused():
    class Endless:
        def read(self, size=-1):
            return bytes(size)

    with pytest.raises(ValueError, match="more bytes than an image of 1000 pixels needs"):
        open_source(Endless(), max_pixels=1000)
    with pytest.raises(ValueError, match="the image in the stream is not an image"):
        open_source(io.BytesIO(b"hello"))


def test_a_header_that_promises_too_much_is_refused_undecoded(tmp_path, monkeypatch):
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 2, b"\0" * 1000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    before = Image.MAX_IMAGE_PIXELS
    for read in (read_picture, open_source, read_pixels):
        with pytest.raises(
            ValueError, match=r"bomb\.png .*says it has 60000x60000 pixels, more than the 178956970 allowed"
        ):
            read(tmp_path / "bomb.png")
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_the_limit_is_the_callers(suffix, tmp_path, monkeypatch):
    Image.fromarray(noise(5, 7)).save(tmp_path / f"a.{suffix}")
    with pytest.raises(ValueError, match="more than the 34 allowed"):
        read_picture(tmp_path / f"a.{suffix}", max_pixels=34)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)  # Pillow's own limit does not get in the way
    assert read_picture(tmp_path / f"a.{suffix}", max_pixels=35).pixels.shape == (5, 7, 1)
    assert Image.MAX_IMAGE_PIXELS == 3


def test_what_is_no_image_is_told(tmp_path):
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # would run Ghostscript
    for name in ("text.png", "empty.png", "page.eps"):
        for read in (read_picture, read_pixels):
            with pytest.raises(ValueError, match=f"{name} is not an image of a kind that can be read"):
                read(tmp_path / name)
    (tmp_path / "zero.png").write_bytes(png(0, 0, 8, 2, b""))
    with pytest.raises(ValueError, match=r"zero\.png"):
        read_picture(tmp_path / "zero.png")
    with pytest.raises(FileNotFoundError, match=r"absent\.png does not exist"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError, match="is a folder, not an image"):
        read_picture(tmp_path)


def test_a_file_that_may_not_be_read_is_said_to_be(tmp_path, monkeypatch):
    (tmp_path / "image.png").write_bytes(b"x")

    def forbid(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", forbid)
    with pytest.raises(PermissionError, match=r"image\.png cannot be read: permission denied"):
        read_picture(tmp_path / "image.png")


def test_files_are_closed_whatever_happens(tmp_path):
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "a.png")
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "a.tif")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
    (tmp_path / "b.tif").write_bytes((tmp_path / "a.tif").read_bytes()[:60])
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    kept = []
    for _ in range(3):
        for name in ("a.png", "a.tif", "b.png", "b.tif"):
            try:
                with open_source(tmp_path / name) as source:
                    kept.append(source)
            except ValueError:
                pass
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_files_are_read_in_many_threads(tmp_path):
    expected = []
    for i in range(8):
        pixels = noise(30, 20, 3, seed=i)
        Image.fromarray(pixels).save(
            tmp_path / f"{i}.{('png', 'tif', 'webp', 'bmp')[i % 4]}", **({"lossless": True} if i % 4 == 2 else {})
        )
        expected.append(pixels)
    paths = sorted(tmp_path.iterdir())
    wrong = []

    def read():
        for _ in range(5):
            wrong.extend(
                path for i, path in enumerate(paths) if not np.array_equal(read_picture(path).pixels, expected[i])
            )

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_pixels_for_training_are_8_bit_and_nothing_else(tmp_path):
    pixels = noise(4, 5, 3)
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "color.png", exif=tags)
    np.testing.assert_array_equal(read_pixels(tmp_path / "color.png"), pixels)  # not turned
    assert read_pixels(tmp_path / "color.png", 1).shape == (4, 5, 1)
    assert read_pixels(tmp_path / "color.png", 4)[..., 3].min() == 255
    Image.fromarray(noise(4, 5)).save(tmp_path / "grey.png")
    assert read_pixels(tmp_path / "grey.png").shape == (4, 5, 1)
    Image.fromarray(noise(4, 5, dtype="uint16")).save(tmp_path / "deep.png")
    (tmp_path / "deeper.png").write_bytes(png(2, 1, 16, 2, bytes(13)))
    for name in ("deep.png", "deeper.png"):
        with pytest.raises(ValueError, match=rf"{name} cannot be read: it has more than 8 bits a channel"):
            read_pixels(tmp_path / name)
