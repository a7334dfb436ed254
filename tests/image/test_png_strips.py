import struct
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srzoo.image import png_filter, png_strips
from srzoo.image.picture import CHANNELS, Header, Metadata
from srzoo.image.png_filter import filter_paeth
from srzoo.image.png_strips import PngStrips, combine_adler, fits_png_text

MODES = ("L", "LA", "RGB", "RGBA")


def noise(height: int, width: int, mode: str, dtype: str, seed: int = 0) -> np.ndarray:
    """Half smooth, half random, with runs."""
    generator = np.random.default_rng(seed)
    top = np.iinfo(dtype).max
    pixels = generator.integers(0, top, (height, width, CHANNELS[mode]), dtype, endpoint=True)
    pixels[: height // 2] = np.linspace(0, top, width)[:, None]
    pixels[:, width // 2 : width // 2 + 3] = top
    return pixels


def encode(pixels: np.ndarray, mode: str, metadata: Metadata | None = None, cuts=(), **options) -> bytes:
    stream = BytesIO()
    header = Header(pixels.shape[1], pixels.shape[0], mode, pixels.dtype.name, metadata or Metadata())
    encoder = PngStrips(stream, header, **options)
    for rows in np.split(pixels, sorted(cuts)):
        encoder.write(rows)
    encoder.finish()
    encoder.close()
    return stream.getvalue()


def chunks(data: bytes) -> list[tuple[str, bytes]]:
    """Chunks of a PNG, checksums checked."""
    found, at = [], 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length)[0] == zlib.crc32(kind + body)
        found.append((kind.decode(), body))
        at += 12 + length
    return found


def plain_paeth(a: int, b: int, c: int) -> int:
    """The standard's pseudo code."""
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    if pa <= pb and pa <= pc:
        return a
    return b if pb <= pc else c


def test_the_filter_is_the_standards():
    """Rows whose second byte has every combination of neighbours on a grid that includes ties and both ends."""
    levels = np.array([0, 1, 2, 63, 126, 127, 128, 129, 200, 254, 255], np.uint8)
    a, b, c = (grid.ravel() for grid in np.meshgrid(levels, levels, levels))
    above = np.stack([c, b], 1).reshape(1, -1)
    rows = np.stack([a, np.full_like(a, 77)], 1).reshape(1, -1)
    found = filter_paeth(np.concatenate([above, rows]), None, 1)[1, 2::2]
    expected = [(77 - plain_paeth(*(int(v) for v in abc))) % 256 for abc in zip(a, b, c, strict=True)]
    assert found.tolist() == expected


@pytest.mark.parametrize("step", [1, 2, 3, 4, 6, 8])
def test_the_filter_does_not_depend_on_its_pieces(monkeypatch, step):
    rows = noise(13, 8 * step, "L", "uint8")[..., 0]
    whole = filter_paeth(rows, None, step)
    monkeypatch.setattr(png_filter, "PIECE", 3 * rows.shape[1])
    assert np.array_equal(filter_paeth(rows, None, step), whole)
    assert np.array_equal(filter_paeth(rows[5:], rows[4], step), whole[5:])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", [0, 1, 2, 6, 9])
def test_pillow_reads_8_bits(mode, level):
    pixels = noise(23, 17, mode, "uint8")
    image = Image.open(BytesIO(encode(pixels, mode, level=level)))
    assert (image.format, image.mode) == ("PNG", mode)
    assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_imagecodecs_reads_both_depths(mode, dtype):
    codecs = pytest.importorskip("imagecodecs")
    pixels = noise(23, 17, mode, dtype)
    found = codecs.png_decode(encode(pixels, mode))
    assert found.dtype == pixels.dtype
    assert np.array_equal(found.reshape(pixels.shape), pixels)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 20),
    st.sampled_from(MODES),
    st.sampled_from([1, 40, 200, 1 << 20]),
    st.integers(0, 3),
    st.data(),
)
def test_any_size_and_cut_gives_the_same_pixels_and_the_same_file(height, width, mode, block, threads, data):
    """Blocks, cuts and threads change no pixel; cuts and threads no byte."""
    pixels = noise(height, width, mode, "uint8", seed=height)
    cuts = data.draw(st.lists(st.integers(0, height), max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png_strips, "BLOCK_BYTES", block)
        found = encode(pixels, mode, cuts=cuts, threads=threads)
        assert found == encode(pixels, mode, threads=0)
    image = Image.open(BytesIO(found))
    assert np.array_equal(np.asarray(image).reshape(pixels.shape), pixels)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_checksums_are_combined(first, second):
    assert combine_adler(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_checksums_of_long_data_are_combined():
    first, second = b"\xff" * 1_000_003, b"\xff" * 3_000_017
    assert combine_adler(zlib.adler32(first), zlib.adler32(second), len(second)) == zlib.adler32(first + second)


def test_the_zlib_stream_is_whole(monkeypatch):
    """Its header, its end and its checksum, which some readers do not look at."""
    monkeypatch.setattr(png_strips, "BLOCK_BYTES", 100)
    found = chunks(encode(noise(30, 10, "RGB", "uint8"), "RGB"))
    stream = zlib.decompressobj()
    assert len(stream.decompress(b"".join(body for kind, body in found if kind == "IDAT"))) == 30 * 31
    assert stream.eof
    assert not stream.unused_data
    assert [found[0][0], found[-1]] == ["IHDR", ("IEND", b"")]
    assert sum(kind == "IDAT" for kind, _ in found) == 10 + 2


def test_metadata_stand_before_the_pixels_in_chunks_of_their_own():
    exif = Image.Exif()
    exif[0x010F] = "maker"
    metadata = Metadata(
        icc_profile=b"profile" * 9,
        exif=exif.tobytes().removeprefix(b"Exif\0\0"),
        xmp="<x>ü</x>".encode(),
        text={"Author": "Zoë", "Title": "日本", "Comment": ""},
        dpi=(300.0, 72.5),
    )
    data = encode(noise(4, 4, "RGB", "uint8"), "RGB", metadata)
    names = [kind for kind, _ in chunks(data)]
    assert names[:8] == ["IHDR", "iCCP", "pHYs", "eXIf", "iTXt", "tEXt", "iTXt", "tEXt"]
    image = Image.open(BytesIO(data))
    assert image.info["icc_profile"] == metadata.icc_profile
    assert image.getexif()[0x010F] == "maker"
    assert image.info["xmp"] == metadata.xmp
    assert image.info["dpi"] == pytest.approx(metadata.dpi, abs=0.02)
    assert {key: image.text[key] for key in metadata.text} == dict(metadata.text)


@pytest.mark.parametrize(
    ("keyword", "text", "fits"),
    [
        ("Author", "anyone", True),
        ("Größe", "日本", True),
        ("k" * 79, "", True),
        ("k" * 80, "", False),
        ("", "empty", False),
        (" led", "", False),
        ("two  blanks", "", False),
        ("日本", "", False),
        ("a\0b", "", False),
        ("Comment", "a\0b", False),
    ],
)
def test_which_texts_fit(keyword, text, fits):
    assert fits_png_text(keyword, text) is fits
    if fits:
        image = Image.open(BytesIO(encode(noise(2, 2, "L", "uint8"), "L", Metadata(text={keyword: text}))))
        assert image.text == {keyword: text}


def test_the_default_is_as_small_as_pillows_on_a_photograph(data_dir):
    """A photograph upscaled x4 by bicubic: at most 3 % larger than what Pillow's default (zlib level 6) makes."""
    with Image.open(data_dir / "bench" / "Set14" / "HR" / "comic.png") as image:
        large = image.convert("RGB").resize((4 * image.width // 2, 4 * image.height // 2), Image.Resampling.BICUBIC)
    stream = BytesIO()
    large.save(stream, "PNG")
    assert len(encode(np.asarray(large), "RGB")) < 1.03 * len(stream.getvalue())
