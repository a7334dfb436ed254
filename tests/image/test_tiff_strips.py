import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srzoo.image import tiff_strips
from srzoo.image.picture import CHANNELS, Header, Metadata
from srzoo.image.tiff_strips import TiffStrips
from srzoo.image.tiff_tags import parse_exif

tifffile = pytest.importorskip("tifffile")
MODES = tuple(CHANNELS)
DEPTHS = ("uint8", "uint16", "float32")


def noise(height: int, width: int, mode: str, dtype: str, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    pixels = generator.random((height, width, CHANNELS[mode]))
    pixels[: height // 2] = np.linspace(0, 1, width)[:, None]
    return pixels.astype(dtype) if dtype == "float32" else (pixels * np.iinfo(dtype).max).astype(dtype)


def encode(pixels: np.ndarray, mode: str, metadata: Metadata | None = None, cuts=(), **options) -> bytes:
    stream = BytesIO()
    header = Header(pixels.shape[1], pixels.shape[0], mode, pixels.dtype.name, metadata or Metadata())
    encoder = TiffStrips(stream, header, **options)
    for rows in np.split(pixels, sorted(cuts)):
        encoder.write(rows)
    encoder.finish()
    encoder.close()
    return stream.getvalue()


def read(data: bytes, shape: tuple[int, ...]) -> np.ndarray:
    return tifffile.imread(BytesIO(data)).reshape(shape)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DEPTHS)
@pytest.mark.parametrize("big", [False, True])
def test_tifffile_reads_every_mode_and_depth(monkeypatch, mode, dtype, big):
    if big:
        monkeypatch.setattr(tiff_strips, "CLASSIC_END", 0)
    monkeypatch.setattr(tiff_strips, "STRIP_BYTES", 200)
    pixels = noise(21, 13, mode, dtype)
    data = encode(pixels, mode)
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0]
        assert file.is_bigtiff is big
        assert page.photometric.name == {"L": "MINISBLACK", "LA": "MINISBLACK", "CMYK": "SEPARATED"}.get(mode, "RGB")
        assert [int(kind) for kind in page.extrasamples] == ([2] if mode in ("LA", "RGBA") else [])
        assert len(page.dataoffsets) > 1
        found = page.asarray()
    assert found.dtype == pixels.dtype
    assert np.array_equal(found.reshape(pixels.shape), pixels)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", DEPTHS)
def test_deflated_pixels_come_back(monkeypatch, mode, dtype):
    """With both predictors, by a decoder that is not ours."""
    pytest.importorskip("imagecodecs")
    monkeypatch.setattr(tiff_strips, "STRIP_BYTES", 400)
    pixels = noise(21, 13, mode, dtype)
    assert np.array_equal(read(encode(pixels, mode, compression="deflate"), pixels.shape), pixels)


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [(mode, "uint8") for mode in MODES] + [("L", "uint16"), ("L", "float32"), ("CMYK", "uint16"), ("RGB", "uint16")],
)
@pytest.mark.parametrize("compression", ["none", "deflate"])
@pytest.mark.parametrize("big", [False, True])
def test_pillow_reads_what_it_can(monkeypatch, mode, dtype, compression, big):
    """Libtiff, that is, when it is deflated; Pillow cuts 16-bit colour to its high byte."""
    if big:
        monkeypatch.setattr(tiff_strips, "CLASSIC_END", 0)
    monkeypatch.setattr(tiff_strips, "STRIP_BYTES", 400)
    pixels = noise(21, 13, mode, dtype)
    with Image.open(BytesIO(encode(pixels, mode, compression=compression))) as image:
        assert image.mode == {"uint16": "I;16", "float32": "F"}.get(dtype, mode) or mode in ("RGB", "CMYK")
        found = np.asarray(image)
    expected = pixels >> 8 if dtype == "uint16" and mode != "L" else pixels
    assert np.array_equal(found.reshape(pixels.shape), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 16),
    st.sampled_from(MODES),
    st.sampled_from(["uint8", "uint16"]),
    st.sampled_from(["none", "deflate"]),
    st.sampled_from([1, 60, 300]),
    st.integers(0, 3),
    st.data(),
)
def test_any_size_and_cut_gives_the_same_pixels_and_the_same_file(
    height, width, mode, dtype, compression, strip, threads, data
):
    pixels = noise(height, width, mode, dtype, seed=height)
    cuts = data.draw(st.lists(st.integers(0, height), max_size=5))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiff_strips, "STRIP_BYTES", strip)
        found = encode(pixels, mode, compression=compression, cuts=cuts, threads=threads)
        assert found == encode(pixels, mode, compression=compression, threads=0)
    assert np.array_equal(read(found, pixels.shape), pixels)


def test_it_is_a_bigtiff_from_4_gib_on(monkeypatch):
    """The end of classic files, moved down to the size of this one."""
    pixels = noise(80, 80, "RGB", "uint8")
    size = len(encode(pixels, "RGB"))
    for end, big in ((size + 500, False), (size, True)):
        monkeypatch.setattr(tiff_strips, "CLASSIC_END", end)
        data = encode(pixels, "RGB")
        assert struct.unpack_from("<H", data, 2)[0] == (43 if big else 42)
        assert np.array_equal(read(data, pixels.shape), pixels)
    assert size == tiff_strips.CLASSIC_END
    monkeypatch.undo()
    assert tiff_strips.CLASSIC_END == 4 * 1024**3


class Hollow(BytesIO):
    """A file that keeps its last megabytes only and knows where they are."""

    def __init__(self) -> None:
        super().__init__()
        self.at, self.head, self.tail, self.tail_at = 0, b"", b"", 0

    def write(self, data, /) -> int:
        if self.at == 0 and len(data) <= 16:
            self.head = bytes(data)
        elif len(data) < 1 << 20:
            self.tail, self.tail_at = bytes(data), self.at
        self.at += len(data)
        return len(data)

    def seek(self, offset, whence=0, /) -> int:
        self.at = offset
        return offset


def test_positions_past_4_gib_are_whole():
    """A grey image of 4.5 GiB whose pixels are thrown away: what is left is its header and directory."""
    file = Hollow()
    encoder, row = TiffStrips(file, Header(1 << 20, 4608, "L", "uint8")), bytes(1 << 20)
    for _ in range(4608):
        encoder._emit(row, 0)  # past the buffers, which would copy 4.5 GiB
    encoder.finish()
    mark, version, word, zero, position = struct.unpack("<2sHHHQ", file.head)
    assert (mark, version, word, zero) == (b"II", 43, 8, 0)
    assert position == file.tail_at == 16 + (1 << 20) * 4608
    num = struct.unpack_from("<Q", file.tail)[0]
    entries = [struct.unpack_from("<HHQQ", file.tail, 8 + 20 * i) for i in range(num)]
    kind, count, place = next(entry[1:] for entry in entries if entry[0] == 273)
    assert (kind, count) == (16, 4608)
    starts = np.frombuffer(file.tail, "<u8", count, place - file.tail_at)
    assert np.array_equal(starts, 16 + np.arange(4608, dtype=np.uint64) * (1 << 20))


def test_metadata_come_back():
    exif = Image.Exif()
    exif[0x010F], exif[0x0132] = "maker", "2020:02:02 10:00:00"
    exif[0x0100] = 99999  # a width that is not this file's
    exif.get_ifd(0x8769)[0x829A], exif.get_ifd(0x8769)[0x829D] = 0.5, 2.8
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    exif.get_ifd(0x8825)[1] = "N"
    metadata = Metadata(
        icc_profile=b"profile" * 9,
        exif=exif.tobytes().removeprefix(b"Exif\0\0"),
        xmp="<x>ü</x>".encode(),
        text={"Description": "what it is, ü", "Author": "somebody"},
        dpi=(300.0, 72.5),
    )
    data = encode(noise(4, 6, "RGB", "uint8"), "RGB", metadata)
    with Image.open(BytesIO(data)) as image:
        assert image.size == (6, 4)
        assert image.info["icc_profile"] == metadata.icc_profile
        assert image.info["dpi"] == (300.0, 72.5)
        assert image.info["xmp"] == metadata.xmp
        found = image.getexif()
        assert (found[0x010F], found[0x0132], found[315]) == ("maker", "2020:02:02 10:00:00", "somebody")
        assert found.get_ifd(0x8769) == {0x829A: 0.5, 0x829D: 2.8, 0x9003: "2020:01:01 00:00:00"}
        assert found.get_ifd(0x8825) == {1: "N"}
    with tifffile.TiffFile(BytesIO(data)) as file:
        tags = file.pages[0].tags
        assert tags[270].value == "what it is, ü"
        assert tags[34665].value["FNumber"] == 2.8


@pytest.mark.parametrize("big", [False, True])
def test_exif_of_either_byte_order_says_the_same(monkeypatch, big):
    """Type by type, in a directory within."""
    if big:
        monkeypatch.setattr(tiff_strips, "CLASSIC_END", 0)
    values = {0x9000: (7, 4, b"0232"), 0xA002: (4, 1, (5000,)), 0x8827: (3, 2, (100, 200)), 0x829D: (5, 1, (28, 10))}
    found = []
    for order in "<>":
        data, place = b"", 26 + 2 + 12 * len(values) + 4
        inner = struct.pack(f"{order}H", len(values))
        for number, (kind, count, value) in sorted(values.items()):
            body = value if kind == 7 else struct.pack(f"{order}{len(value)}{'H' if kind == 3 else 'I'}", *value)
            if len(body) > 4:
                data, body = data + body, struct.pack(f"{order}I", place + len(data))
            inner += struct.pack(f"{order}HHI", number, kind, count) + body.ljust(4, b"\0")
        mark = b"II*\0" if order == "<" else b"MM\0*"
        outer = struct.pack(f"{order}IHHHIII", 8, 1, 0x8769, 4, 1, 26, 0)
        exif = mark + outer + inner + bytes(4) + data
        found.append(encode(noise(2, 2, "L", "uint8"), "L", Metadata(exif=exif)))
    assert found[0] == found[1]
    with Image.open(BytesIO(found[0])) as image:
        inside = image.getexif().get_ifd(0x8769)
    assert inside == {0x9000: b"0232", 0xA002: 5000, 0x8827: (100, 200), 0x829D: 2.8}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"]))
def test_any_bytes_for_exif_are_tags_or_a_valueerror(data, start):
    try:
        tags = parse_exif(start + data)
    except ValueError:
        return
    assert sum(len(tag.data) for tag in tags) <= len(start + data)


def test_a_directory_that_holds_itself_ends():
    exif = b"II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 0)
    assert parse_exif(exif) == ()


@pytest.mark.parametrize("dpi", [1e-6, 0.3, 72.0, 299.9994, 1e6, 9.9e6])
def test_every_resolution_is_a_fraction(dpi):
    data = encode(noise(2, 2, "L", "uint8"), "L", Metadata(dpi=(dpi, dpi)))
    with tifffile.TiffFile(BytesIO(data)) as file:
        above, below = file.pages[0].tags[282].value
    assert below
    assert above / below == pytest.approx(dpi, rel=1e-4, abs=1e-4)
