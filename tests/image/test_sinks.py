import errno
import io
import os
import sys
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from srzoo.image import (
    FORMATS,
    Header,
    Metadata,
    Picture,
    WriteOptions,
    open_sink,
    read_picture,
    sinks,
    write_picture,
)
from srzoo.image.formats import FORMAT_OF
from srzoo.image.picture import CHANNELS

SUFFIXES = (".png", ".tif", ".jpg", ".webp", ".bmp", ".avif")
LOSSLESS = (".png", ".tif", ".webp", ".bmp")


def ramp(height: int, width: int, mode: str = "RGB", dtype: str = "uint8") -> np.ndarray:
    """Smooth, so that lossy formats come close; every channel another."""
    y, x = np.mgrid[:height, :width]
    planes = [(y * (c + 1) + x * 2) / (height * (c + 1) + width * 2) for c in range(CHANNELS[mode])]
    pixels = np.stack(planes, -1)
    return pixels.astype(dtype) if dtype == "float32" else (pixels * np.iinfo(dtype).max).astype(dtype)


def picture(height: int, width: int, mode: str = "RGB", dtype: str = "uint8", **metadata) -> Picture:
    return Picture(ramp(height, width, mode, dtype), mode, Metadata(**metadata))


def exif_data() -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    return exif.tobytes().removeprefix(b"Exif\0\0")


KINDS = [(s, m, d) for s in SUFFIXES for m in FORMAT_OF[FORMATS[s]].modes for d in FORMAT_OF[FORMATS[s]].depths]


@pytest.mark.parametrize(("suffix", "mode", "dtype"), KINDS)
def test_what_is_written_is_read_back(tmp_path, suffix, mode, dtype):
    """By our own reader: mode, depth and pixels; WebP and AVIF have no grey, theirs comes back as colour."""
    given = picture(21, 13, mode, dtype)
    path = write_picture(given, tmp_path / f"a{suffix}")
    found = read_picture(path)
    if suffix in (".webp", ".avif") and mode in ("L", "LA"):
        kept = [0, 0, 0, 1] if mode == "LA" else [0, 0, 0]
        given = Picture(np.ascontiguousarray(given.pixels[..., kept]), "RGBA" if mode == "LA" else "RGB")
    assert (found.mode, found.dtype) == (given.mode, given.dtype)
    if suffix in LOSSLESS:
        assert np.array_equal(found.pixels, given.pixels)
    else:
        assert np.abs(found.pixels.astype(int) - given.pixels).max() <= 6
    assert list(tmp_path.iterdir()) == [path]


KEPT = {
    "PNG": {"icc_profile", "exif", "xmp", "dpi", "text"},
    "TIFF": {"icc_profile", "exif", "xmp", "dpi", "text"},
    "JPEG": {"icc_profile", "exif", "xmp", "dpi", "text"},
    "WEBP": {"icc_profile", "exif", "xmp", "dpi"},
    "AVIF": {"icc_profile", "exif", "xmp", "dpi"},
    "BMP": {"dpi"},
}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_metadata_are_kept_or_told(tmp_path, suffix):
    keyword = {".jpg": "Comment"}.get(suffix, "Description")
    given = dict(icc_profile=b"p" * 200, exif=exif_data(), xmp=b"<x>1</x>", text={keyword: "words"}, dpi=(300.0, 300.0))
    path = tmp_path / f"a{suffix}"
    with open_sink(path, picture(8, 8, **given).header) as sink:
        sink.write(ramp(8, 8))
    kept = {name for name in given if getattr(sink.header.metadata, name)}
    assert kept == KEPT[FORMATS[suffix]]
    assert len(sink.notes) == len(given) - len(kept)
    with Image.open(path) as image:
        if "icc_profile" in kept:
            assert image.info["icc_profile"] == given["icc_profile"]
        if "exif" in kept:
            assert image.getexif()[0x010F] == "maker"
            assert image.getexif().get_ifd(0x8769)[0x9003] == "2020:01:01 00:00:00"
        if "xmp" in kept:
            assert image.info["xmp"] == given["xmp"]
        if suffix in (".webp", ".avif"):
            tags = image.getexif()
            assert (tags[282], tags[283], tags[296]) == (300, 300, 2)
        elif "dpi" in kept:
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.02)
        if suffix == ".jpg":
            assert image.info["comment"] == b"words"
    found = read_picture(path).metadata
    assert {name for name in given if getattr(found, name)} == kept


@pytest.mark.parametrize(
    ("suffix", "metadata", "words"),
    [
        (".jpg", dict(exif=b"II*\0\x08\0\0\0" + bytes(66000)), "the EXIF data were left out: JPEG has room for 65527"),
        (".jpg", dict(xmp=bytes(66000)), "the XMP packet was left out: JPEG has room for 65504"),
        (".jpg", dict(text={"Author": "me"}), "for which JPEG has no room: 'Author'"),
        (".tif", dict(exif=b"II*\0\xff\0\0\0"), "the EXIF data were left out: EXIF data end before they should"),
        (".tif", dict(text={"Mood": "good"}), "for which TIFF has no room: 'Mood'"),
        (".png", dict(text={"日本": "x"}), "for which PNG has no room: '日本'"),
        (".bmp", dict(icc_profile=b"p"), "the colour profile was left out: BMP has no room for it"),
        (".webp", dict(exif=b"II*\0\xff\0\0\0", dpi=(300.0, 300.0)), "the resolution was left out: the EXIF data"),
        (".png", dict(icc_profile=bytes(1 << 20) + b"p"), "more than 1048576 bytes, which some readers refuse"),
        (".jpg", dict(png_colour={"cICP": bytes((9, 16, 0, 1))}), "says of its colours (cICP) was left out: JPEG has"),
        (".jpg", dict(png_colour={"gAMA": bytes((0, 1, 134, 160))}), "says of its colours (gAMA) was left out"),
    ],
)
def test_what_does_not_fit_is_left_out_and_told(tmp_path, suffix, metadata, words):
    with open_sink(tmp_path / f"a{suffix}", picture(4, 4, **metadata).header) as sink:
        sink.write(ramp(4, 4))
    assert len(sink.notes) == 1
    assert words in sink.notes[0]
    assert np.abs(read_picture(tmp_path / f"a{suffix}").pixels.astype(int) - ramp(4, 4)).max() < 30


def test_exif_just_as_large_as_jpeg_holds(tmp_path):
    path = write_picture(
        picture(4, 4, exif=b"II*\0\x08\0\0\0" + bytes(65527 - 8), xmp=bytes(65504)), tmp_path / "a.jpg"
    )
    with Image.open(path) as image:
        assert len(image.info["exif"]) == 65533


def test_quality_and_lossless_are_passed_on(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    given = Picture(noise, "RGB")

    def size(suffix: str, **options) -> int:
        return write_picture(given, tmp_path / f"a{suffix}", WriteOptions(**options)).stat().st_size

    for suffix in (".jpg", ".webp", ".avif"):
        assert size(suffix, quality=20) < size(suffix, quality=80) < size(suffix, quality=100)
    assert size(".jpg") == size(".jpg", quality=95)
    assert size(".webp") == size(".webp", lossless=True) > size(".webp", lossless=False) == size(".webp", quality=90)
    given = Picture(np.tile(noise[:8, :8], (8, 8, 1)), "RGB")
    assert size(".png", png_level=9) < size(".png") == size(".png", png_level=1) < size(".png", png_level=0)
    assert size(".tif") == size(".tif", compression="none") > 64 * 64 * 3
    given = Picture(ramp(64, 64), "RGB")
    assert size(".tif", compression="deflate") < 6000 < size(".tif")


def test_jpeg_keeps_full_colour_resolution(tmp_path):
    path = write_picture(picture(16, 16), tmp_path / "a.jpg")
    with Image.open(path) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3


def test_webp_keeps_colours_under_no_alpha(tmp_path):
    pixels = ramp(8, 8, "RGBA")
    pixels[..., 3] = 0
    path = write_picture(Picture(pixels, "RGBA"), tmp_path / "a.webp")
    assert np.array_equal(read_picture(path).pixels, pixels)


class Pipe(io.RawIOBase):
    """What standard output is at the other end of a pipe: no seeking, and at most 1000 bytes at a time."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data, /) -> int:
        taken = bytes(data)[:1000]
        self.data += taken
        return len(taken)

    def seek(self, *args):
        raise io.UnsupportedOperation("a pipe")

    tell = seek


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_pipe_gets_the_bytes_of_the_file(tmp_path, suffix):
    given = picture(40, 30, dpi=(72.0, 72.0))
    path, pipe = write_picture(given, tmp_path / f"a{suffix}"), Pipe()
    with open_sink(pipe, given.header, format=suffix) as sink:
        sink.write(given.pixels)
    assert bytes(pipe.data) == path.read_bytes()
    assert not pipe.closed


def test_png_goes_into_a_pipe_as_rows_come():
    pipe = Pipe()
    with open_sink(pipe, Header(4000, 3000, "L", "uint8"), WriteOptions(png_level=0), format="png") as sink:
        sink.write(np.zeros((2999, 4000, 1), np.uint8))
        assert len(pipe.data) > 4_000_000
        sink.write(np.zeros((1, 4000, 1), np.uint8))


def test_a_pipe_that_breaks_is_told():
    class Broken(Pipe):
        def write(self, data, /) -> int:
            raise BrokenPipeError(errno.EPIPE, "gone")

    for name in ("PNG", "TIFF", "JPEG"):
        with pytest.raises(BrokenPipeError), open_sink(Broken(), picture(8, 8).header, format=name) as sink:
            sink.write(ramp(8, 8))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_a_real_pipe_without_a_buffer(suffix):
    """What standard output is under `python -u`, read at the same time."""
    given, parts = picture(300, 300), []
    reading, writing = os.pipe()

    def read() -> None:
        with open(reading, "rb") as file:
            parts.append(file.read())

    reader = threading.Thread(target=read)
    reader.start()
    with open(writing, "wb", buffering=0) as stream, open_sink(stream, given.header, format=suffix) as sink:
        sink.write(given.pixels)
    reader.join()
    with Image.open(io.BytesIO(parts[0])) as image:
        assert np.array_equal(np.asarray(image), given.pixels)


def test_what_open_sink_refuses(tmp_path):
    header = picture(4, 4).header
    with pytest.raises(ValueError, match="a stream has no suffix: say which format"):
        open_sink(io.BytesIO(), header)
    with pytest.raises(ValueError, match="before_place is for files"):
        open_sink(io.BytesIO(), header, format="PNG", before_place=lambda path: None)
    with pytest.raises(ValueError, match="has the suffix of PNG, but the format given is tif"):
        open_sink(tmp_path / "a.png", header, format="tif")
    with pytest.raises(ValueError, match="the output: JPEG cannot hold RGBA images; use"):
        open_sink(io.BytesIO(), picture(4, 4, "RGBA").header, format="JPEG")
    with pytest.raises(ValueError, match="16383 pixels a side"):
        open_sink(tmp_path / "a.webp", Header(16384, 1, "RGB", "uint8"))
    with pytest.raises(ValueError, match="no option quality"):
        open_sink(tmp_path / "a.png", header, WriteOptions(quality=3))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_rows_that_do_not_fit_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")
    header = Header(6, 4, "RGB", "uint8")
    wrong = [
        (
            np.zeros((4, 5, 3), np.uint8),
            r"must be uint8 of the shape \(rows, 6, 3\), not uint8 of the shape \(4, 5",
        ),
        (np.zeros((4, 6, 4), np.uint8), "not uint8 of the shape"),
        (np.zeros((4, 6, 3), np.uint16), "not uint16 of the shape"),
        (np.zeros((5, 6, 3), np.uint8), "5 rows were written to an image that has 4"),
    ]
    for rows, words in wrong:
        with pytest.raises(ValueError, match=words), open_sink(path, header) as sink:
            sink.write(rows)
    words = "3 of 4 rows were written; the file was not made"
    with pytest.raises(ValueError, match=words), open_sink(path, header) as sink:
        sink.write(np.zeros((3, 6, 3), np.uint8))
    with pytest.raises(ValueError, match="inside the `with` block"):
        open_sink(path, header).write(np.zeros((4, 6, 3), np.uint8))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("fault", [RuntimeError("stop"), KeyboardInterrupt()])
def test_a_fault_half_way_leaves_the_old_file_alone(tmp_path, suffix, fault):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(b"old")

    def write_half() -> None:
        with open_sink(path, Header(600, 1000, "RGB", "uint8")) as sink:
            sink.write(np.zeros((999, 600, 3), np.uint8))
            raise fault

    with pytest.raises(type(fault)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("srzoo-write")]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_alone(tmp_path, monkeypatch, suffix):
    """The new file is /dev/full, to which nothing can be written: no space left."""
    path, real = tmp_path / f"a{suffix}", os.open
    path.write_bytes(b"old")

    def full(name, flags, *rest, **more):
        if not Path(name).name.startswith(".srzoo-"):
            return real(name, flags, *rest, **more)
        os.close(real(name, flags, *rest, **more))
        return real("/dev/full", os.O_RDWR)

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(OSError, match="No space left") as fault:
        write_picture(Picture(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8), "RGB"), path)
    assert fault.value.errno == errno.ENOSPC
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_fault_while_packing_is_raised_where_rows_are_written(tmp_path, monkeypatch):
    def damaged(*args):
        raise RuntimeError("packing")

    monkeypatch.setattr(sinks.PngStrips, "_pack", damaged)
    with pytest.raises(RuntimeError, match="packing"):
        write_picture(picture(2000, 500), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_before_place_sees_the_whole_file_and_can_refuse_it(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    seen = []

    def look(work: Path) -> None:
        assert path.read_bytes() == b"old"
        seen.append(read_picture(work).pixels)

    with open_sink(path, Header(6, 4, "RGB", "uint8"), before_place=look) as sink:
        sink.write(ramp(4, 6))
    assert np.array_equal(seen[0], ramp(4, 6))

    def refuse(work: Path) -> None:
        raise RuntimeError("not this one")

    before = path.read_bytes()
    with pytest.raises(RuntimeError), open_sink(path, Header(6, 4, "L", "uint8"), before_place=refuse) as sink:
        sink.write(ramp(4, 6, "L"))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([kind for kind in KINDS if kind[0] in (".png", ".tif", ".webp", ".bmp")]),
    st.integers(1, 24),
    st.integers(1, 24),
    st.lists(st.integers(0, 24), max_size=4),
)
def test_pixels_survive_any_size_and_cut(tmp_path_factory, kind, height, width, cuts):
    suffix, mode, dtype = kind
    given = picture(height, width, mode, dtype)
    path = tmp_path_factory.mktemp("sink") / f"a{suffix}"
    with open_sink(path, given.header) as sink:
        for rows in np.split(given.pixels, sorted(min(cut, height) for cut in cuts)):
            sink.write(rows)
    found = read_picture(path).pixels
    if found.shape != given.pixels.shape:  # WebP has no grey
        found = found[..., [0, 3]] if mode == "LA" else found[..., :1]
    assert np.array_equal(found, given.pixels)


def test_rows_may_be_overwritten_once_they_are_written(tmp_path):
    """The caller's buffer is used again: what the threads pack is a copy."""
    given = picture(3000, 300)
    buffer = np.empty((100, 300, 3), np.uint8)
    with open_sink(tmp_path / "a.png", given.header) as sink:
        for top in range(0, 3000, 100):
            buffer[:] = given.pixels[top : top + 100]
            sink.write(buffer)
            buffer[:] = 0
    assert np.array_equal(read_picture(tmp_path / "a.png").pixels, given.pixels)


def peak_of(path: Path, height: int, options: WriteOptions, dtype: str) -> int:
    """Largest number of bytes held while so many rows are written."""
    rows = np.random.default_rng(0).random((50, 1000, 3))
    rows = (rows * np.iinfo(dtype).max).astype(dtype)
    tracemalloc.start()
    try:
        with open_sink(path, Header(1000, height, "RGB", dtype), options) as sink:
            for _ in range(height // 50):
                sink.write(rows)
                sink.write(rows[:0])
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("suffix", "options", "dtype"),
    [
        (".png", WriteOptions(), "uint8"),
        (".png", WriteOptions(png_level=0), "uint16"),
        (".tif", WriteOptions(), "uint8"),
        (".tif", WriteOptions(compression="deflate"), "uint16"),
    ],
)
def test_memory_does_not_grow_with_the_height(tmp_path, suffix, options, dtype):
    path = tmp_path / f"a{suffix}"
    peak_of(path, 500, options, dtype)
    low, high = peak_of(path, 2500, options, dtype), peak_of(path, 6000, options, dtype)
    assert high < low + (5 << 20)  # the image is 10 MB larger, or 21; a block or two more may wait for a thread
    assert high < 24 << 20
