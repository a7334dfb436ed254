"""Folders of images."""

from pathlib import Path

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def find_images(folder: str | Path) -> list[Path]:
    """Image files below a folder, by suffix, in a fixed order; hidden files and folders are left out.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give a folder of images")
    found = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )
    if not found:
        raise FileNotFoundError(f"{folder} has no image ({', '.join(SUFFIXES)})")
    return found
