import warnings
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from stand_in import picture

from srzoo.upscaling.jobs.peeking import peek


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".tif"])
def test_the_size_is_read_without_decoding(tmp_path, monkeypatch, suffix):
    path = picture(tmp_path / f"a{suffix}", 13, 7)

    def no_decoding(self: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", no_decoding)
    assert peek(path) == (13, 7, False)


def test_what_png_cannot_hold_is_seen(tmp_path):
    assert peek(picture(tmp_path / "a.jpg", mode="CMYK")).needs_tiff
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.float32), photometric="rgb")
    assert peek(tmp_path / "a.tif") == (5, 4, True)


def test_a_stream_is_wound_back(tmp_path):
    stream = BytesIO(picture(tmp_path / "a.png").read_bytes())
    assert peek(stream) == (12, 9, False)
    assert stream.tell() == 0


@pytest.mark.parametrize("content", [b"", b"words", b"II*\0", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"GIF89a"])
def test_what_cannot_be_read_is_none(tmp_path, content):
    (tmp_path / "a.png").write_bytes(content)
    assert peek(tmp_path / "a.png") is None
    assert peek(Path(tmp_path / "none.png")) is None


def test_a_huge_header_is_no_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert peek(picture(tmp_path / "a.png")) == (12, 9, False)
