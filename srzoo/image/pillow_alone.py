"""Pillow's settings, which it has once for all threads, changed for a moment."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from PIL import Image, PngImagePlugin

MAX_TEXT_BYTES = 1 << 26
"""Largest text or colour profile of a PNG, unpacked; Pillow itself ends at 1 MiB."""
_ALONE = Lock()


@contextmanager
def pillow_alone() -> Iterator[None]:
    """One thread at a time: no limit on pixels (the caller has one of its own), large profiles, no warnings.

    What Pillow warns of is damage to what lies beside the pixels; damage to pixels is raised.
    """
    with _ALONE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept = Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
        Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = None, max(kept[1], MAX_TEXT_BYTES)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = kept
