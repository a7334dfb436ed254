import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms, ImageFile

from srzoo.image import check_writable, from_pil, read_picture, read_pixels, to_pil, write_picture


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def palette_image() -> Image.Image:
    image = Image.fromarray(noise(5, 7) % 4, mode=None).convert("P")
    image.putdata(list(noise(35) % 4))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7])
    return image


@cache
def srgb_profile() -> bytes:
    """Made once: a profile holds the second it was made in."""
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(text: str = "srzoo test") -> bytes:
    tags = Image.Exif()
    tags[0x010E] = text
    return tags.tobytes()


def png(width: int, height: int, depth: int, color: int, data: bytes) -> bytes:
    """A PNG file made by hand, with whatever its header is told to say."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


IMAGES: dict[str, tuple[Callable[[], Image.Image], str]] = {
    "L": (lambda: Image.fromarray(noise(5, 7)), "L"),
    "LA": (lambda: Image.fromarray(noise(5, 7, 2)), "LA"),
    "RGB": (lambda: Image.fromarray(noise(5, 7, 3)), "RGB"),
    "RGBA": (lambda: Image.fromarray(noise(5, 7, 4)), "RGBA"),
    "1": (lambda: Image.fromarray(noise(5, 7) > 127), "L"),
    "I;16": (lambda: Image.fromarray(noise(5, 7, dtype=np.uint16)), "I;16"),
    "P": (palette_image, "RGB"),
}


@pytest.mark.parametrize("mode", IMAGES)
def test_every_sample_survives_pil_and_file(mode: str, tmp_path: Path) -> None:
    make, becomes = IMAGES[mode]
    image = make()
    assert image.mode == mode
    expected = np.asarray(image if mode == becomes else image.convert(becomes))
    picture = from_pil(image)
    assert picture.samples.dtype == (torch.int32 if mode == "I;16" else torch.uint8)
    assert picture.samples.shape == (1, (3 if "RGB" in becomes else 1) + becomes.endswith("A"), 5, 7)
    assert picture.mode == becomes
    back = to_pil(picture)
    assert back.mode == becomes
    np.testing.assert_array_equal(np.asarray(back), expected)
    write_picture(picture, tmp_path / "image.png")
    with Image.open(tmp_path / "image.png") as file:
        np.testing.assert_array_equal(np.asarray(file), expected)
    again = read_picture(tmp_path / "image.png")
    assert torch.equal(again.samples, picture.samples)
    assert again.levels == (65535 if mode == "I;16" else 255)


@pytest.mark.parametrize("transparency", [2, b"\x00\x80\xff\xff"], ids=["one colour", "alpha a colour"])
def test_a_palette_with_transparency_becomes_colour_and_alpha(transparency: int | bytes, tmp_path: Path) -> None:
    image = palette_image()
    image.save(tmp_path / "palette.png", transparency=transparency)
    with Image.open(tmp_path / "palette.png") as file:
        assert file.mode == "P"
    picture = read_picture(tmp_path / "palette.png")
    assert picture.mode == "RGBA"
    index = np.asarray(image)
    alphas = [255, 255, 0, 255] if transparency == 2 else list(transparency)
    found = np.asarray(to_pil(picture))
    np.testing.assert_array_equal(found[..., 3], np.array(alphas, np.uint8)[index])
    np.testing.assert_array_equal(found[..., :3], np.asarray(image.convert("RGB")))


def test_a_transparent_grey_value_becomes_alpha(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[10, 20, 30]], np.uint8))
    image.save(tmp_path / "grey.png", transparency=20)
    found = to_pil(read_picture(tmp_path / "grey.png"))
    assert found.mode == "LA"
    assert np.asarray(found)[0, :, 1].tolist() == [255, 0, 255]


def test_16_bits_with_transparency_are_refused(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[10, 2000, 30000]], np.uint16))
    image.info["transparency"] = 2000
    with pytest.raises(ValueError, match="16-bit grey with a transparent value"):
        from_pil(image)


def test_cmyk_becomes_rgb_without_its_profile(tmp_path: Path) -> None:
    image = Image.fromarray(noise(5, 7, 3)).convert("CMYK")
    image.save(tmp_path / "ink.tif", icc_profile=srgb_profile(), dpi=(300, 300))
    picture = read_picture(tmp_path / "ink.tif")
    np.testing.assert_array_equal(np.asarray(to_pil(picture)), np.asarray(image.convert("RGB")))
    assert "icc_profile" not in picture.info
    assert "dpi" in picture.info


@pytest.mark.parametrize("source", ["photo.jpg", "photo.png", "photo.webp"])
@pytest.mark.parametrize("target", ["out.png", "out.jpg", "out.tif"])
def test_profile_exif_and_resolution_are_kept(source: str, target: str, tmp_path: Path) -> None:
    image = Image.fromarray(noise(8, 8, 3))
    image.save(tmp_path / source, icc_profile=srgb_profile(), exif=exif(), dpi=(300, 300))
    path = write_picture(read_picture(tmp_path / source), tmp_path / target)
    with Image.open(path) as file:
        file.load()
        assert file.info["icc_profile"] == srgb_profile()
        assert file.getexif()[0x010E] == "srzoo test"
        if source != "photo.webp":  # WebP has no resolution
            assert [round(side) for side in file.info["dpi"]] == [300, 300]


def test_info_goes_through_pil_images() -> None:
    image = Image.fromarray(noise(4, 4))
    image.info = {"icc_profile": b"profile", "comment": "not kept"}
    assert to_pil(from_pil(image)).info == {"icc_profile": b"profile"}


@pytest.mark.parametrize("mode", ["F", "LAB", "HSV"])
def test_modes_that_would_lose_something_are_refused(mode: str) -> None:
    with pytest.raises(ValueError, match=f"images of mode {mode} are not supported"):
        from_pil(Image.new(mode, (3, 3)))


def test_grey_values_beyond_16_bits_are_refused() -> None:
    assert from_pil(Image.new("I", (2, 2), 65535)).samples.max() == 65535
    with pytest.raises(ValueError, match="grey values from 65536 to 65536 do not fit 16 bits"):
        from_pil(Image.new("I", (2, 2), 65536))


def test_an_image_without_pixels_is_refused() -> None:
    with pytest.raises(ValueError, match="no pixels \\(it is 0x5\\)"):
        from_pil(Image.new("RGB", (0, 5)))


@pytest.mark.parametrize(("color", "samples"), [(2, 3), (4, 2), (6, 4)])
def test_png_with_16_bit_colour_is_refused(color: int, samples: int, tmp_path: Path) -> None:
    (tmp_path / "deep.png").write_bytes(png(4, 3, 16, color, (b"\0" + bytes(4 * 2 * samples)) * 3))
    with pytest.raises(ValueError, match="16 bits a channel in colour, which would be cut to 8"):
        read_picture(tmp_path / "deep.png")


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_tiff_with_16_bit_colour_is_refused(byteorder: str, tmp_path: Path) -> None:
    deep = noise(4, 3, 3, dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", deep, photometric="rgb", byteorder=byteorder)
    with pytest.raises(ValueError, match="16 bits a channel in colour"):
        read_picture(tmp_path / "deep.tif")
    tifffile.imwrite(tmp_path / "grey.tif", deep[..., 0], byteorder=byteorder)
    np.testing.assert_array_equal(np.asarray(to_pil(read_picture(tmp_path / "grey.tif"))), deep[..., 0])


def test_a_header_that_promises_too_much_is_refused_undecoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(png(60000, 60000, 8, 2, b"\0" * 1000))
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
    before = Image.MAX_IMAGE_PIXELS
    with pytest.raises(ValueError, match="says it has 60000x60000 pixels, more than the 178956970 allowed"):
        read_picture(tmp_path / "bomb.png")
    assert before == Image.MAX_IMAGE_PIXELS


def test_the_limit_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(noise(5, 7)).save(tmp_path / "small.png")
    with pytest.raises(ValueError, match="more than the 34 allowed"):
        read_picture(tmp_path / "small.png", max_pixels=34)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3)  # Pillow's own limit does not get in the way
    assert read_picture(tmp_path / "small.png", max_pixels=35).samples.shape == (1, 1, 5, 7)
    assert Image.MAX_IMAGE_PIXELS == 3


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(noise(6, 6, 3)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
@pytest.mark.filterwarnings("ignore")  # Pillow warns about some damage before it gives up
def test_a_file_cut_short_or_damaged_is_a_value_error_or_read(kind: str, tmp_path: Path) -> None:
    whole, path, rng = encoded(kind), tmp_path / "damaged", random.Random(0)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged"):
        read_picture(path)
    for _ in range(60):
        data = bytearray(whole[: rng.randrange(len(whole) + 1)])
        if data and rng.random() < 0.5:
            data[rng.randrange(min(len(data), 64))] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            read_picture(path, max_pixels=10_000)
        except ValueError as error:
            assert str(path) in str(error)  # noqa: PT017 - whether it fails depends on where it was cut


def test_what_is_no_image_is_told(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "empty.png").touch()
    for name in ("text.png", "empty.png"):
        with pytest.raises(ValueError, match=f"{name} is not an image of a kind that can be read"):
            read_picture(tmp_path / name)
    (tmp_path / "zero.png").write_bytes(png(0, 0, 8, 2, b""))
    with pytest.raises(ValueError, match=r"zero\.png"):
        read_picture(tmp_path / "zero.png")
    with pytest.raises(FileNotFoundError, match=r"absent\.png does not exist"):
        read_picture(tmp_path / "absent.png")
    with pytest.raises(FileNotFoundError, match="is a folder, not an image"):
        read_picture(tmp_path)


def test_a_target_that_cannot_be_written_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("image", "image.txt", "image.psd"):  # Pillow reads .psd but does not write it
        with pytest.raises(ValueError, match="no suffix of an image format"):
            check_writable(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"output folder .*absent does not exist; create it first"):
        check_writable(tmp_path / "absent" / "image.png")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(PermissionError, match="is not writable"):
        check_writable(tmp_path / "image.png")


def test_a_write_that_fails_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = from_pil(Image.fromarray(noise(5, 7)))
    path = write_picture(picture, tmp_path / "image.png")
    before = path.read_bytes()

    def full_disk(image: Image.Image, file: io.BufferedWriter, **options: object) -> None:
        file.write(b"half an image")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="No space left on device"):
        write_picture(picture, path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_a_format_that_cannot_hold_the_picture_is_refused_and_leaves_nothing(mode: str, tmp_path: Path) -> None:
    picture = from_pil(IMAGES[mode][0]())
    with pytest.raises(ValueError, match=rf"cannot hold an image of mode {mode}; use \.png"):
        write_picture(picture, tmp_path / "image.jpg")
    assert list(tmp_path.iterdir()) == []


def test_jpeg_keeps_full_colour_resolution(tmp_path: Path) -> None:
    path = write_picture(from_pil(Image.fromarray(noise(16, 16, 3))), tmp_path / "image.jpg")
    with Image.open(path) as file:
        assert {layer[1:3] for layer in file.layer} == {(1, 1)}


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "image.png"
    path.write_text("old")
    write_picture(from_pil(Image.fromarray(noise(5, 7))), path)
    assert read_picture(path).samples.shape == (1, 1, 5, 7)
    assert list(tmp_path.iterdir()) == [path]


def test_formats_that_would_lose_something_are_not_written(tmp_path: Path) -> None:
    for name in ("image.gif", "image.bmp", "image.ico"):  # palettes; no EXIF, so no orientation
        with pytest.raises(ValueError, match=r"no suffix of an image format that is written; use \.png"):
            check_writable(tmp_path / name)


def test_webp_is_lossless(tmp_path: Path) -> None:
    pixels = noise(9, 8, 3)
    write_picture(from_pil(Image.fromarray(pixels)), tmp_path / "image.webp")
    with Image.open(tmp_path / "image.webp") as file:
        np.testing.assert_array_equal(np.asarray(file), pixels)


def test_a_file_that_may_not_be_read_is_said_to_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image.png").write_bytes(b"x")

    def forbid(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", forbid)
    with pytest.raises(PermissionError, match=r"image\.png cannot be read: permission denied"):
        read_picture(tmp_path / "image.png")


def test_pixels_for_training_are_8_bit_and_nothing_else(tmp_path: Path) -> None:
    pixels = noise(4, 5, 3)
    Image.fromarray(pixels).save(tmp_path / "color.png")
    np.testing.assert_array_equal(read_pixels(tmp_path / "color.png"), pixels)
    assert read_pixels(tmp_path / "color.png", 1).shape == (4, 5, 1)
    assert read_pixels(tmp_path / "color.png", 4)[..., 3].min() == 255
    Image.fromarray(noise(4, 5)).save(tmp_path / "grey.png")
    assert read_pixels(tmp_path / "grey.png").shape == (4, 5, 1)
    Image.fromarray(noise(4, 5, dtype=np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match=r"deep\.png has more than 8 bits a channel"):
        read_pixels(tmp_path / "deep.png")
