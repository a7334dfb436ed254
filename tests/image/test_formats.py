import itertools
from io import BytesIO

import pytest
from PIL import Image

from srzoo.image import FORMATS, WriteOptions, check_writable, formats
from srzoo.image.formats import FORMAT_OF, find_format, named_format

DEPTHS = ("uint8", "uint16", "float32")
MODES = ("L", "LA", "RGB", "RGBA", "CMYK")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(quality=0), "quality goes from 1 to 100, not 0"),
        (dict(quality=101), "quality goes from 1 to 100, not 101"),
        (dict(png_level=10), "the PNG level goes from 0 .* to 9"),
        (dict(png_level=-1), "not -1"),
        (dict(compression="lzw"), "one of none, deflate, not 'lzw'"),
        (dict(lossless=True, quality=90), "give one of the two"),
    ],
)
def test_options_out_of_range_are_refused(as_users_call, options, words):
    with pytest.raises(ValueError, match=words):
        WriteOptions(**options)


@pytest.mark.parametrize("options", [dict(quality=1), dict(quality=100), dict(png_level=0), dict(png_level=9)])
def test_options_at_the_ends_are_taken(options):
    assert WriteOptions(**options).given == options


APPLY = {"quality": {"JPEG", "WEBP", "AVIF"}, "lossless": {"WEBP"}, "png_level": {"PNG"}, "compression": {"TIFF"}}
VALUES = {"quality": 90, "lossless": False, "png_level": 3, "compression": "deflate"}


@pytest.mark.parametrize(("suffix", "option"), list(itertools.product(FORMATS, APPLY)))
def test_an_option_of_another_format_is_refused(tmp_path, suffix, option):
    path, options = tmp_path / f"a{suffix}", WriteOptions(**{option: VALUES[option]})
    if FORMATS[suffix] in APPLY[option]:
        assert check_writable(path, options=options) == path
        return
    with pytest.raises(ValueError, match=f"{FORMATS[suffix]} has no option {option}, which is for"):
        check_writable(path, options=options)


HELD = {  # written down by hand, so that a wrong table shows
    ".png": ({"L", "LA", "RGB", "RGBA"}, {"uint8", "uint16"}),
    ".jpg": ({"L", "RGB", "CMYK"}, {"uint8"}),
    ".webp": ({"L", "LA", "RGB", "RGBA"}, {"uint8"}),
    ".tif": (set(MODES), set(DEPTHS)),
    ".bmp": ({"L", "RGB"}, {"uint8"}),
    ".avif": ({"L", "LA", "RGB", "RGBA"}, {"uint8"}),
}


@pytest.mark.parametrize(("suffix", "mode", "dtype"), list(itertools.product(HELD, MODES, DEPTHS)))
def test_what_a_format_cannot_hold_is_refused_naming_those_that_can(tmp_path, suffix, mode, dtype):
    path = tmp_path / f"a{suffix}"
    modes, depths = HELD[suffix]
    if mode in modes and dtype in depths:
        assert check_writable(path, mode, dtype) == path
        return
    with pytest.raises(ValueError, match="cannot hold") as refusal:
        check_writable(path, mode, dtype)
    named = str(refusal.value).rpartition("use ")[2].split(" or ")
    assert named == [s for s, (m, d) in HELD.items() if mode in m and dtype in d]


@pytest.mark.parametrize(
    ("suffix", "largest"), [(".webp", 16383), (".jpg", 65500), (".avif", 32768), (".png", 2**31 - 1)]
)
def test_a_side_too_long_is_refused_before_the_work(tmp_path, suffix, largest):
    path = tmp_path / f"a{suffix}"
    for size in ((largest, 1), (1, largest)):
        check_writable(path, "RGB", "uint8", size)
    for size in ((largest + 1, 1), (1, largest + 1)):
        with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} is too large for .* {largest} pixels a side; use "):
            check_writable(path, "RGB", "uint8", size)


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".avif"])
def test_the_longest_side_is_really_written_and_read(suffix):
    kind = find_format(f"a{suffix}")
    stream = BytesIO()
    Image.new("RGB", (kind.max_side, 1)).save(stream, kind.name)
    assert Image.open(stream).size == (kind.max_side, 1)


def test_an_area_too_large_is_refused(tmp_path):
    check_writable(tmp_path / "a.avif", "RGB", "uint8", (16384, 16384))
    with pytest.raises(ValueError, match=r"ends at 268435456 pixels; use \.png or \.jpg or \.tif"):
        check_writable(tmp_path / "a.avif", "RGB", "uint8", (32768, 16384))


def test_a_format_that_pillow_was_built_without_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(formats.features, "check", lambda name: name != "avif")
    assert check_writable(tmp_path / "a.webp")
    with pytest.raises(ValueError, match=r"cannot write AVIF; use \.png or \.jpg or \.webp or \.tif or \.bmp"):
        check_writable(tmp_path / "a.avif")


def test_names_of_formats():
    for name in FORMAT_OF:
        assert named_format(name).name == named_format(name.lower()).name == name
    for suffix, name in FORMATS.items():
        assert (
            named_format(suffix).name
            == named_format(suffix[1:].upper()).name
            == find_format(f"a.b{suffix}").name
            == name
        )
    for wrong in ("gif", "", ".", "image/png"):
        with pytest.raises(ValueError, match="is no image format that is written; use PNG, JPEG"):
            named_format(wrong)
    with pytest.raises(ValueError, match=r"a\.gif has no suffix of an image format that is written; use \.png"):
        find_format("a.gif")


def test_folders_are_checked(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="create it first"):
        check_writable(tmp_path / "none" / "a.png")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="not writable"):
        check_writable(tmp_path / "a.png")
