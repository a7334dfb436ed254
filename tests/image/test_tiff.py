import contextlib
import io
import logging
import struct
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import IFDRational

from srzoo.image import CHANNELS, PictureSource, open_source, read_picture
from srzoo.image.tiff_source import TiffSource

PHOTOMETRIC = {"L": "minisblack", "LA": "minisblack", "RGB": "rgb", "RGBA": "rgb", "CMYK": "separated"}


def noise(shape, dtype="uint8", seed=0):
    rng = np.random.default_rng(seed)
    if dtype == "float32":
        return rng.random(shape, dtype=np.float32)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def write(path, pixels, mode="RGB", *, separate=False, **options):
    """A TIFF of pixels h w c."""
    if mode in ("LA", "RGBA"):
        options.setdefault("extrasamples", ["unassalpha"])
    if pixels.shape[2] > 1:
        options["planarconfig"] = "separate" if separate else "contig"
    stored = pixels[..., 0] if pixels.shape[2] == 1 else pixels.transpose(2, 0, 1) if separate else pixels
    options.setdefault("metadata", None)
    tifffile.imwrite(path, stored, photometric=PHOTOMETRIC[mode], **options)
    return path


def set_tag(path, tag, value):
    """Overwrite the first value of a tag."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages.first.tags[tag].overwrite(value)


LAYOUTS = {
    "rows": dict(rowsperstrip=7),
    "one strip": dict(rowsperstrip=41),
    "planes": dict(rowsperstrip=7, separate=True),
    "lzw": dict(rowsperstrip=7, compression="lzw"),
    "deflate planes": dict(rowsperstrip=7, compression="zlib", separate=True),
    "deflate predicted": dict(rowsperstrip=7, compression="zlib", predictor=True),
    "packbits": dict(rowsperstrip=1, compression="packbits"),
    "zstd": dict(rowsperstrip=10, compression="zstd"),
    "tiles": dict(tile=(16, 32)),
    "lzw tiles": dict(tile=(32, 16), compression="lzw", predictor=True),
    "deflate tiles of planes": dict(tile=(16, 16), compression="zlib", separate=True),
}


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("mode", CHANNELS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_window_equals_the_whole(layout, mode, dtype, tmp_path):
    options = dict(LAYOUTS[layout])
    separate = options.pop("separate", False) and CHANNELS[mode] > 1
    pixels = noise((41, 53, CHANNELS[mode]), dtype)
    byteorder = "<" if sum(map(ord, layout + mode)) % 2 else ">"
    bigtiff = len(layout) % 2 == 0
    path = write(tmp_path / "a.tif", pixels, mode, separate=separate, byteorder=byteorder, bigtiff=bigtiff, **options)
    with open_source(path) as source:
        assert isinstance(source, TiffSource)
        assert source.notes == ()
        header = source.header
        assert (header.width, header.height, header.mode, header.dtype) == (53, 41, mode, dtype)
        for top, bottom in ((0, 10), (7, 20), (16, 17), (0, 41), (30, 41), (2, 9)):
            rows = source.rows(top, bottom)
            assert rows.dtype == np.dtype(dtype)
            np.testing.assert_array_equal(rows, pixels[top:bottom])
        for top, bottom in ((-1, 3), (3, 3), (40, 42)):
            with pytest.raises(ValueError, match="there are no rows"):
                source.rows(top, bottom)
    np.testing.assert_array_equal(
        read_picture(path).pixels,
        tifffile.imread(path).reshape(read_picture(path).pixels.shape) if not separate else pixels,
    )


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(orientation, dtype, tmp_path):
    pixels = noise((13, 21, 1), dtype)
    path = write(
        tmp_path / "a.tif",
        pixels,
        "L",
        rowsperstrip=4,
        compression="lzw",
        resolution=(300, 200),
        extratags=[(274, "H", 1, orientation, True)],
    )
    flat = Image.fromarray(pixels[..., 0])
    flat.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(flat))  # Pillow turns what it has not read from a file
    with open_source(path) as source:
        assert isinstance(source, TiffSource if orientation < 5 else PictureSource)
        height, width = expected.shape
        assert (source.header.width, source.header.height) == (width, height)
        assert source.header.metadata.dpi == ((300, 200) if orientation < 5 else (200, 300))
        for top, bottom in ((0, 3), (2, 11), (height - 1, height)):
            rows = source.rows(top, bottom)
            np.testing.assert_array_equal(rows[..., 0], expected[top:bottom])
            assert rows.flags.c_contiguous
    np.testing.assert_array_equal(read_picture(path, upright=False).pixels, pixels)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_white_may_be_zero_and_bits_few(bits, tmp_path):
    """Read as Pillow reads it."""
    data = noise((9, 16), "uint8")
    packed = 16 * bits // 8
    body = data.reshape(-1)[: 9 * packed].tobytes()
    for photometric in (0, 1):
        path = tmp_path / f"{photometric}.tif"
        path.write_bytes(bare_tiff(16, 9, bits, photometric, body))
        with Image.open(path) as image:
            expected = np.asarray(image.convert("L"))
        picture = read_picture(path)
        assert (picture.mode, picture.dtype) == ("L", "uint8")
        np.testing.assert_array_equal(picture.pixels[..., 0], expected)
        with open_source(path) as source:
            assert source.notes == (("bilevel read as L",) if bits == 1 else ())


def bare_tiff(width, height, bits, photometric, body):
    """A TIFF by hand, uncompressed, one strip."""
    tags = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 200),
            (277, 3, 1), (278, 4, height), (279, 4, len(body))]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + body


def test_a_palette_becomes_rgb(tmp_path):
    image = Image.fromarray(noise((9, 16, 3))).quantize(16)
    image.save(tmp_path / "a.tif")
    with open_source(tmp_path / "a.tif") as source:
        assert source.notes == ("palette read as RGB",)
        np.testing.assert_array_equal(source.rows(2, 9), np.asarray(image.convert("RGB"))[2:])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_premultiplied_alpha_is_undone(dtype, tmp_path):
    top = np.iinfo(dtype).max
    straight = noise((8, 9, 4), dtype)
    straight[..., 3] = np.maximum(straight[..., 3], top // 2)
    straight[0, 0] = (0, 0, 0, 0)
    multiplied = straight.astype(np.float64)
    multiplied[..., :3] *= multiplied[..., 3:] / top
    write(tmp_path / "a.tif", np.rint(multiplied).astype(dtype), "RGBA", extrasamples=["assocalpha"])
    with open_source(tmp_path / "a.tif") as source:
        assert source.header.mode == "RGBA"
        assert source.notes == ("premultiplied alpha read as RGBA",)
        found = source.rows(0, 8).astype(int)
    np.testing.assert_array_equal(found[..., 3], straight[..., 3])
    assert abs(found - straight).max() <= 1
    if dtype == "uint8":
        with Image.open(tmp_path / "a.tif") as image:
            assert abs(np.asarray(image.convert("RGBA")).astype(int) - found).max() <= 1


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_floats_become_float32(dtype, tmp_path):
    pixels = noise((8, 9, 3), "float32").astype(dtype)
    write(tmp_path / "a.tif", pixels, compression="zlib")
    with open_source(tmp_path / "a.tif") as source:
        assert source.notes == (f"{dtype[5:]}-bit floats read as 32",)
        np.testing.assert_array_equal(source.rows(0, 8), pixels.astype(np.float32))


def test_floats_out_of_range_are_clipped_or_refused(tmp_path):
    pixels = noise((8, 9, 3), "float32")
    pixels[3, 3] = (-0.01, 0.5, 1.02)
    with open_source(write(tmp_path / "a.tif", pixels)) as source:
        source.rows(0, 3)
        assert source.notes == ()
        np.testing.assert_array_equal(source.rows(0, 8), pixels.clip(0, 1))
        assert source.notes == ("values from -0.01 to 1.02 clipped to 0 to 1",)
    for value, reason in (
        (200, "go from .* to 200, not from 0 to 1"),
        (np.nan, "NaN or infinite"),
        (-np.inf, "NaN or inf"),
    ):
        pixels[3, 3] = value
        with open_source(write(tmp_path / "a.tif", pixels)) as source:
            source.rows(4, 8)
            with pytest.raises(ValueError, match=rf"a\.tif: floating point values .*{reason}"):
                source.rows(0, 8)


@pytest.mark.parametrize(
    ("pixels", "options", "reason"),
    [
        (np.zeros((8, 9), np.uint32), {}, "samples are 32-bit unsigned integers"),
        (np.zeros((8, 9), np.int16), {}, "samples are 16-bit signed integers"),
        (np.zeros((8, 9), np.complex64), {}, "samples are 64-bit complex numbers"),
        (np.zeros((8, 9, 3), np.uint8), {"photometric": "cielab"}, "it holds CIE Lab"),
        (np.zeros((8, 9, 3), np.uint8), {"photometric": "ycbcr"}, "it holds YCbCr"),
        (np.zeros((8, 9, 6), np.uint8), {"photometric": "rgb", "planarconfig": "contig"}, "6 channels, more"),
        (np.zeros((8, 9, 4), np.uint8), {"photometric": "rgb", "extrasamples": [0]}, "not say whether it is"),
        (np.zeros((8, 9, 5), np.uint8), {"photometric": "separated", "extrasamples": [2]}, "5 channels, more than"),
        (np.zeros((4, 16, 16), np.uint8), {"volumetric": True, "tile": (16, 16, 16)}, "it is a volume"),
        (np.zeros((16, 16), np.uint8), {"compression": "png"}, "its compression PNG is not read"),
        (np.zeros((8, 9), np.uint8), {"subfiletype": 1}, "its first page is a preview"),
    ],
)  # fmt: skip
def test_what_would_lose_something_is_refused_with_the_reason(pixels, options, reason, tmp_path):
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata=None, **options)
    with pytest.raises(ValueError, match=rf"a\.tif cannot be read: .*{reason}"):
        open_source(tmp_path / "a.tif")


def test_jpeg_in_tiff_is_left_to_pillow(tmp_path):
    image = Image.fromarray(np.kron(noise((4, 4, 3)), np.ones((8, 8, 1), np.uint8)))
    image.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    with Image.open(tmp_path / "a.tif") as again:
        expected = np.asarray(again)
    with open_source(tmp_path / "a.tif") as source:
        assert isinstance(source, PictureSource)
        np.testing.assert_array_equal(source.rows(0, 32), expected)


def test_fax_in_tiff_is_left_to_pillow(tmp_path):
    image = Image.fromarray(noise((32, 32)) > 127)
    image.save(tmp_path / "a.tif", compression="group4")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.tif").pixels[..., 0], np.asarray(image.convert("L")))


def test_the_first_page_is_read_and_the_others_told(tmp_path):
    pages = [noise((8, 9, 3), seed=seed) for seed in range(3)]
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in pages:
            file.write(page, photometric="rgb", contiguous=False)
    with open_source(tmp_path / "a.tif") as source:
        assert source.notes == ("the first of 3 pages",)
        np.testing.assert_array_equal(source.rows(0, 8), pages[0])


def test_metadata_are_kept(tmp_path):
    tags = Image.Exif()
    tags[0x010F], tags[0x8298] = "a maker", "somebody"
    tags.get_ifd(0x8769).update({0x829A: IFDRational(1, 60), 0x9003: "2020:01:02 03:04:05"})
    tags[0x8769] = tags.get_ifd(0x8769)
    image = Image.fromarray(noise((8, 9, 3)))
    image.save(tmp_path / "a.tif", exif=tags, icc_profile=b"profile", dpi=(300, 200), description="a picture")
    found = read_picture(tmp_path / "a.tif").metadata
    assert (found.icc_profile, found.dpi) == (b"profile", (300, 200))
    assert found.text == {"Description": "a picture", "Copyright": "somebody"}
    again = Image.Exif()
    again.load(found.exif)
    assert (again[0x010F], again[0x8298]) == ("a maker", "somebody")
    assert again.get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"
    assert 0x0111 not in again  # where the strips were is nobody's business
    write(
        tmp_path / "b.tif",
        noise((8, 9, 1)),
        "L",
        resolution=(100, 50),
        resolutionunit="CENTIMETER",
        bigtiff=True,
        software=False,
        extratags=[(700, "B", 4, b"<x/>", True)],
    )
    found = read_picture(tmp_path / "b.tif").metadata
    assert found.dpi == pytest.approx((254, 127))
    assert (found.xmp, found.exif) == (b"<x/>", None)


def test_descriptions_that_only_tell_the_old_shape_are_left_out(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", noise((8, 9)), metadata={}, software=False)
    assert read_picture(tmp_path / "a.tif").metadata.text == {}


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (64, 64), "compression": "lzw"}], ids=str)
def test_memory_follows_the_window_and_not_the_image(options, tmp_path, monkeypatch):
    monkeypatch.setattr("srzoo.image.tiff_source.CACHE_BYTES", 1 << 18)
    options = {"rowsperstrip": 16} | options if "tile" not in options else options
    pixels = np.broadcast_to(noise((1, 1000, 3)), (2000, 1000, 3))  # 6 MB
    path = write(tmp_path / "a.tif", pixels, **options)
    with open_source(path) as source:
        source.rows(0, 1)  # what is loaded once is loaded now
        tracemalloc.start()
        for top in range(0, 2000, 40):
            np.testing.assert_array_equal(source.rows(top, top + 40), pixels[top : top + 40])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 2_000_000  # a window of 120 kB, a row of tiles of 192 kB, and what is compared


def test_a_window_decodes_only_what_it_touches(tmp_path):
    path = write(tmp_path / "a.tif", noise((64, 40, 3)), rowsperstrip=8, compression="zlib")
    with open_source(path) as source:
        assert isinstance(source, TiffSource)
        decoded = []
        honest = source._decode
        source._decode = lambda band: decoded.append(band) or honest(band)
        source.rows(20, 30)
        source.rows(26, 40)
        assert decoded == [2, 3, 4]


def test_several_threads_read_one_file(tmp_path):
    pixels = noise((64, 40, 3))
    path = write(tmp_path / "a.tif", pixels, rowsperstrip=8, compression="zlib")
    wrong = []
    with open_source(path) as source:

        def read(start):
            for i in range(30):
                top = (start * 7 + i * 11) % 60
                if not np.array_equal(source.rows(top, top + 4), pixels[top : top + 4]):
                    wrong.append(top)

        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_a_closed_source_says_so(tmp_path):
    path = write(tmp_path / "a.tif", noise((8, 9, 3)))
    with open_source(path) as source:
        pass
    with pytest.raises(ValueError, match="is closed"):
        source.rows(0, 1)


@pytest.mark.parametrize("tag", [273, 279])
def test_segments_beyond_the_end_are_damage(tag, tmp_path):
    path = write(tmp_path / "a.tif", noise((8, 9, 3)), rowsperstrip=8)
    set_tag(path, tag, 1 << 30)
    with pytest.raises(ValueError, match=r"a\.tif cannot be read: it is cut short"):
        open_source(path)


def test_tiles_far_larger_than_the_image_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", noise((16, 16, 3)), tile=(16, 16), compression="zlib")
    set_tag(path, 322, 65520)
    set_tag(path, 323, 65520)
    with pytest.raises(ValueError, match="its tiles have 65520x65520 pixels"):
        open_source(path)


def test_strips_that_unpack_to_far_too_much_stay_small(tmp_path):
    path = write(tmp_path / "a.tif", np.zeros((4000, 4000, 1), np.uint8), "L", rowsperstrip=4000, compression="zlib")
    for tag, value in ((256, 10), (257, 10), (278, 10)):
        set_tag(path, tag, value)
    tracemalloc.start()
    with open_source(path) as source:
        try:
            assert source.rows(0, 10).max() == 0
        except ValueError as error:
            assert "damaged" in str(error)  # noqa: PT017 - decoders may refuse it or cut it
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_without_the_extra_8_bits_are_read_and_16_refused(dtype, tmp_path, monkeypatch):
    monkeypatch.setattr("srzoo.image.reading.has_reader", lambda: False)
    pixels = noise((8, 9, 3), dtype)
    path = write(tmp_path / "a.tif", pixels, compression="zlib", description="a picture", resolution=(300, 200))
    if dtype == "uint16":
        with pytest.raises(ImportError, match=r'a\.tif cannot be read: .*pip install "srzoo\[io\]"'):
            open_source(path)
        return
    with open_source(path) as source:
        assert isinstance(source, PictureSource)
        np.testing.assert_array_equal(source.rows(0, 8), pixels)
        assert source.header.metadata.dpi == (300, 200)
        assert source.header.metadata.text == {"Description": "a picture", "Software": "tifffile.py"}
    grey = write(tmp_path / "grey.tif", noise((8, 9, 1), "uint16"), "L")
    np.testing.assert_array_equal(read_picture(grey).pixels, noise((8, 9, 1), "uint16"))
    floats = write(tmp_path / "float.tif", noise((8, 9, 3), "float32"))
    with pytest.raises(ImportError, match="Pillow knows no TIFF of this kind"):
        open_source(floats)


def test_a_stream_is_read_by_windows_too(tmp_path):
    pixels = noise((8, 9, 3), "uint16")
    path = write(tmp_path / "a.tif", pixels)
    with open_source(io.BytesIO(path.read_bytes())) as source:
        assert isinstance(source, TiffSource)
        np.testing.assert_array_equal(source.rows(3, 7), pixels[3:7])


def test_warnings_and_logs_of_other_libraries_do_not_come_through(tmp_path, caplog):
    """And what others do with tifffile is logged as it was."""
    image = Image.fromarray(noise((32, 32)) > 127)
    image.save(tmp_path / "a.tif", compression="group4")
    whole = (tmp_path / "a.tif").read_bytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for end in range(8, len(whole)):  # Pillow warns of some
            (tmp_path / "b.tif").write_bytes(whole[:end])
            with contextlib.suppress(ValueError):
                read_picture(tmp_path / "b.tif")
    assert (caught, caplog.records) == ([], [])
    assert logging.getLogger("tifffile").filters == []
