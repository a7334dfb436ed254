"""Where a comparison is written: what is refused before any model runs."""

import os
from collections.abc import Sequence
from pathlib import Path

from srzoo.data.folders import SUFFIXES, find_images
from srzoo.image import check_writable

PAGE_SUFFIXES = (".html", ".htm")


def check_page(path: str | Path, inputs: Sequence[str | Path], *, overwrite: bool) -> Path:
    """The path, if a page can be written there.

    Args:
        path: HTML file to write.
        inputs: Images and folders of images that are read.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ValueError: If it does not end in .html or .htm, or is one of the images.
        FileExistsError: If it exists and may not be replaced.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
    """
    path = Path(path)
    if path.suffix.lower() not in PAGE_SUFFIXES:
        raise ValueError(f"{path} is no name of a page; end it in .html (figures go to grid, --grid)")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"output folder {path.parent} does not exist; create it first")
    if not os.access(path.parent, os.W_OK):
        raise PermissionError(f"output folder {path.parent} is not writable")
    return _check_free(path, inputs, overwrite)


def check_figure(path: str | Path, inputs: Sequence[str | Path], *, overwrite: bool) -> Path:
    """The path, if a figure can be written there.

    Args:
        path: Image file to write.
        inputs: Images and folders of images that are read; the figure may not be put among them.
        overwrite: Whether a file that is there may be replaced.

    Raises:
        ValueError: If no such format is written, or the path is one of the images or lies in their folder.
        FileExistsError: If it exists and may not be replaced.
        FileNotFoundError: If the folder does not exist.
        PermissionError: If the folder is not writable.
    """
    return _check_free(check_writable(path, "RGB"), inputs, overwrite)


def _check_free(path: Path, inputs: Sequence[str | Path], overwrite: bool) -> Path:
    """The path, if nothing is lost by writing there, and no later run takes it for an image to compare on."""
    for top in map(Path, filter(str, inputs)):
        if path.exists() and any(file.exists() and path.samefile(file) for file in _files(top)):
            raise ValueError(f"{path} is one of the images that are read; give the output another name")
        is_inside = top.is_dir() and path.parent.resolve().is_relative_to(top.resolve())
        if is_inside and path.suffix.lower() in SUFFIXES:
            raise ValueError(f"{path} lies in {top}, where the next run would take it for an image; write it elsewhere")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the name of a file")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists; --overwrite replaces it (overwrite=True in Python)")
    return path


def _files(top: Path) -> list[Path]:
    return find_images(top) if top.is_dir() else [top]
