"""From file to file: every mode, depth, size and format, in strips and in tiles; and files that turn out damaged."""

import faulthandler
import io
import random
import resource
import threading
import time
import warnings
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import srzoo
from srzoo.image import (
    CHANNELS,
    LEVELS,
    Depth,
    Mode,
    Picture,
    WriteOptions,
    check_writable,
    read_picture,
    write_picture,
)
from srzoo.upscaling import Target

MODES: tuple[Mode, ...] = ("L", "LA", "RGB", "RGBA", "CMYK")
DTYPES: tuple[Depth, ...] = ("uint8", "uint16", "float32")
FORMATS = ("png", "tif", "jpg", "webp", "bmp")
SECONDS = 20
"""No damaged file takes so long, however busy the machine."""
GROWTH = 300 << 20
"""Memory that damaged files may add in a whole run."""


@cache
def make_upscaler(model: str, tile: int | None = None, size: Target | None = None) -> srzoo.Upscaler:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if model.startswith("bicubic") else {"width": 4, "num_blocks": 1}
    network = srzoo.create_model(model, **options).eval()
    return srzoo.Upscaler(network, engine="torch", precision="fp32", device="cpu", tile=tile, size=size)


# -- everything goes through ------------------------------------------------------------------------------------------


@st.composite
def pictures(draw: st.DrawFn) -> Picture:
    """Smooth, noisy or with flat and empty areas, of any mode and depth."""
    mode, dtype = draw(st.sampled_from(MODES)), draw(st.sampled_from(DTYPES))
    height, width = draw(st.integers(1, 26)), draw(st.integers(1, 26))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.random((height, width, CHANNELS[mode]))
    if draw(st.booleans()):
        values = np.round(values)
    if mode.endswith("A"):
        values[..., -1] = draw(st.sampled_from([values[..., -1], np.round(values[..., -1]), np.array(1.0)]))
        values[: draw(st.integers(0, height)), : draw(st.integers(0, width)), -1] = 0
    pixels = values.astype(np.float32) if dtype == "float32" else (values * LEVELS[dtype]).round().astype(dtype)
    return Picture(pixels, mode)


TARGETS = st.one_of(
    st.none(),
    st.builds(Target, scale=st.sampled_from([1.5, 2, 2.5, 3.3])),
    st.builds(Target, long_edge=st.integers(26, 64)),
    st.builds(Target, size=st.tuples(st.integers(26, 64), st.integers(26, 64))),
)


def holds(suffix: str, picture: Picture) -> bool:
    """Whether the format holds such a picture."""
    try:
        check_writable(f"result.{suffix}", picture.mode, str(picture.pixels.dtype))
    except ValueError:
        return False
    return True


def seen(picture: Picture) -> np.ndarray:
    """Samples as they show, in levels: colour times alpha, which is all that is known of it, and alpha."""
    values = picture.pixels.astype(np.float64)
    if picture.mode.endswith("A"):
        values[..., :-1] *= values[..., -1:] / LEVELS[picture.header.dtype]
    return values


def check_one(picture: Picture, model: str, tile: int, target: Target | None, suffix: str) -> None:
    sizes = (target or Target(scale=2)).resolve(picture.header.width, picture.header.height, scales=(2,))
    strips, tiles = (make_upscaler(model, side, target) for side in (None, tile))
    results = [upscaler.picture(picture) for upscaler in (strips, tiles)]
    for result in results:
        assert result.mode == picture.mode
        assert result.pixels.dtype == picture.pixels.dtype
        assert result.pixels.shape == (sizes.height, sizes.width, CHANNELS[picture.mode])
        assert np.isfinite(result.pixels).all()
    near = 1e-5 if picture.pixels.dtype == np.float32 else 1.001 if not picture.mode.endswith("A") else 2.001
    assert np.abs(seen(results[0]) - seen(results[1])).max() <= near  # alpha a level off, and the colour with it
    with TemporaryDirectory() as folder:
        source, output = Path(folder, "photo.tif"), Path(folder, f"result.{suffix}")
        write_picture(picture, source)
        if not holds(suffix, picture):
            output.write_bytes(b"old")
            with pytest.raises(ValueError, match=str(output)):
                strips.file(source, output)
            assert output.read_bytes() == b"old"
        else:
            told = strips.file(source, output)
            assert (told.width, told.height) == (sizes.width, sizes.height)
            assert (told.mode, told.dtype) == (picture.mode, picture.pixels.dtype.name)
            found = read_picture(output)
            assert found.pixels.dtype == picture.pixels.dtype
            assert (found.header.width, found.header.height) == (sizes.width, sizes.height)
            mode, expected = picture.mode, results[0].pixels
            if suffix == "webp" and mode in ("L", "LA"):  # it has no grey
                mode, expected = mode.replace("L", "RGB"), expected[..., [0, 0, *range(expected.shape[2])]]
            if suffix == "webp" and mode == "RGBA" and (expected[..., 3] == 255).all():  # and no alpha without use
                mode, expected = "RGB", expected[..., :3]
            assert found.mode == mode
            if suffix != "jpg":  # which is lossy
                np.testing.assert_array_equal(found.pixels, expected)
        assert sorted(path.name for path in Path(folder).iterdir()) == sorted({source.name, output.name})


CASES = dict(
    picture=pictures(),
    model=st.sampled_from(["bicubic_x2", "edsr_baseline_x2"]),
    tile=st.integers(1, 30),
    target=TARGETS,
    suffix=st.sampled_from(FORMATS),
)


@settings(max_examples=40, deadline=None)
@given(**CASES)
def test_any_picture_goes_through_whole(
    picture: Picture, model: str, tile: int, target: Target | None, suffix: str
) -> None:
    check_one(picture, model, tile, target, suffix)


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(**CASES)
def test_many_pictures_go_through_whole(
    picture: Picture, model: str, tile: int, target: Target | None, suffix: str
) -> None:
    check_one(picture, model, tile, target, suffix)


# -- damage -----------------------------------------------------------------------------------------------------------


def noise(mode: Mode = "RGB", dtype: Depth = "uint8", height: int = 64, width: int = 40) -> Picture:
    values = np.random.default_rng(0).random((height, width, CHANNELS[mode]))
    return Picture((values * LEVELS[dtype]).astype(dtype), mode)


def by_tifffile(**options: Any) -> bytes:
    import tifffile

    file = io.BytesIO()
    tifffile.imwrite(file, noise().pixels, photometric="rgb", metadata=None, **options)
    return file.getvalue()


def by_pillow(kind: str, mode: Mode = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.frombytes(mode, (40, 64), noise(mode).pixels.tobytes()).save(file, kind, **options)
    return file.getvalue()


def by_srzoo(suffix: str, mode: Mode, dtype: Depth, options: WriteOptions | None = None) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"photo.{suffix}")
        return write_picture(noise(mode, dtype), path, options or WriteOptions()).read_bytes()


FILES = {
    "png": lambda: by_pillow("PNG"),
    "png alpha": lambda: by_pillow("PNG", "RGBA"),
    "png 16 bits": lambda: by_srzoo("png", "RGB", "uint16"),
    "tiff": lambda: by_tifffile(rowsperstrip=4),
    "tiff deflate": lambda: by_tifffile(rowsperstrip=4, compression="zlib"),
    "tiff lzw tiles": lambda: by_tifffile(tile=(16, 16), compression="lzw"),
    "tiff 16 bits alpha": lambda: by_srzoo("tif", "RGBA", "uint16", WriteOptions(compression="deflate")),
    "jpeg": lambda: by_pillow("JPEG", quality=90),
    "webp": lambda: by_pillow("WEBP", lossless=True),
    "bmp": lambda: by_pillow("BMP"),
}


def try_it(data: bytes, folder: Path, *, as_stream: bool = False, told: list[int] | None = None) -> str | None:
    """What the refusal of the file says, or None; what is left behind, of files and threads, fails the test."""
    target, source = folder / "result.png", folder / "photo"
    target.write_bytes(b"old")
    source.write_bytes(data)
    threads = set(threading.enumerate())
    began = time.monotonic()
    faulthandler.dump_traceback_later(3 * SECONDS)
    refusal = None
    try:
        make_upscaler("bicubic_x2", 8).file(
            io.BytesIO(data) if as_stream else source,
            target,
            max_pixels=100_000,
            progress=lambda done, _: None if told is None else told.append(done),
        )
    except ValueError as error:
        refusal = str(error)
        assert "\n" not in refusal
        assert as_stream or str(source) in refusal or str(target) in refusal, refusal
        assert target.read_bytes() == b"old"
    finally:
        faulthandler.cancel_dump_traceback_later()
    assert time.monotonic() - began < SECONDS
    assert {path.name for path in folder.iterdir()} == {"photo", "result.png"}
    assert not [thread for thread in threading.enumerate() if thread not in threads]
    return refusal


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_cut_short_leaves_all_as_it_was(name: str, as_stream: bool, tmp_path: Path) -> None:
    whole = FILES[name]()
    assert try_it(whole, tmp_path, as_stream=as_stream) is None
    for share in (0.3, 0.9):
        assert try_it(whole[: int(share * len(whole))], tmp_path, as_stream=as_stream), share


@pytest.mark.parametrize("as_stream", [False, True])
@pytest.mark.parametrize("name", ["tiff deflate", "tiff lzw tiles"])
def test_damage_that_is_found_after_rows_were_written_leaves_all_as_it_was(
    name: str, as_stream: bool, tmp_path: Path
) -> None:
    import tifffile

    data = bytearray(FILES[name]())
    with tifffile.TiffFile(io.BytesIO(data)) as tiff:
        page = tiff.pages[0]
        start, length = page.dataoffsets[-1], page.databytecounts[-1]
    data[start : start + length] = b"\xff" * length  # the last strip or tile, in its full length
    done: list[int] = []
    refusal = try_it(bytes(data), tmp_path, as_stream=as_stream, told=done)
    assert refusal is not None
    assert "is damaged" in refusal
    assert done, "some rows were done by then"


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """The file with some of: a bit flipped, a byte of the head changed, the end missing, a piece out, noise."""
    data = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at, head = rng.randrange(max(1, len(data))), rng.randrange(min(len(data), 200) or 1)
        match rng.randrange(5):
            case 0 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 1 if data:
                data[head] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + rng.randrange(1, 40)]
            case _:
                data[at : at + 8] = rng.randbytes(8)
    return bytes(data)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_refused_or_upscaled(name: str, tmp_path: Path) -> None:
    whole, rng = FILES[name](), random.Random(name)
    assert try_it(whole, tmp_path) is None
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about some damage before it gives up
        for i in range(40):
            data = damaged(whole, rng)
            try:
                refused += try_it(data, tmp_path, as_stream=i % 4 == 0) is not None
            except BaseException as error:
                error.add_note(f"{name}, case {i}; kept in {tmp_path / 'photo'}")
                raise
    assert refused > 4
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before < GROWTH
