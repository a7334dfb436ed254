"""Images of datasets on the Hugging Face Hub, as folders of files."""

import hashlib
import io
import json
import logging
import shutil
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from srzoo.data.cache import cache_faults, cache_root, work_alone

LOGGER = logging.getLogger("srzoo")
SUFFIX_OF = {"PNG": ".png", "JPEG": ".jpg", "BMP": ".bmp", "TIFF": ".tif", "WEBP": ".webp"}
"""Formats whose files are kept as they are."""
COMPLETE = ".complete.json"


def hub_folder(source: str, split: str = "train", column: str | None = None, config: str | None = None) -> Path:
    """A folder with the images of a dataset on the Hub, for `PatchSource`; written once, into the user's cache.

    Files are kept byte by byte where `PatchSource` reads their format, others become PNG. They are called 000000.png
    and so on, in the order of the dataset.

    Args:
        source: `owner/name@revision`, or the folder of a dataset. Without a revision, what was current at the first
            call is kept; a folder is read again when its files have changed.
        split: Such as "train", or a part of it: "train[:100]".
        column: The column of images, where there are several.
        config: The configuration, where the dataset has several.

    Raises:
        ImportError: If the package datasets is missing.
        ValueError: If the dataset cannot be loaded or has no such column of images, or no image.
        OSError: If the cache folder is full or cannot be written to.

    Examples:
        ```python
        photos = hub_folder("owner/name@revision", column="image")
        source = PatchSource(photos, scales=(2,))
        ```
    """
    name, revision, files = _locate(source)
    settings = {"source": name, "revision": revision, "files": files}
    settings |= {"split": split, "column": column, "config": config}
    key = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:8]
    target = cache_root() / "datasets" / f"{Path(name).name}-{key}"
    if (target / COMPLETE).exists():
        return target
    with cache_faults(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_alone(target.parent / f".{target.name}.lock") as unfinished:
            if not (target / COMPLETE).exists():
                work = target.parent / f".{target.name}.{unfinished}"
                shutil.rmtree(work, ignore_errors=True)  # of a process that was stopped
                work.mkdir()
                try:
                    _write_images(_load_rows(source, name, revision, split, column, config), work)
                    (work / COMPLETE).write_text(json.dumps(settings), encoding="utf-8")
                    work.rename(target)
                finally:
                    shutil.rmtree(work, ignore_errors=True)
    return target


def _locate(source: str) -> tuple[str, str | None, list[tuple[str, int, int]]]:
    """Name and revision of a dataset; of a folder, its path, no revision, and name, size and date of its files."""
    folder = Path(source)
    if not folder.exists():
        name, _, revision = source.partition("@")
        return name, revision or None, []
    below = [(path.relative_to(folder), path) for path in sorted(folder.rglob("*")) if path.is_file()]
    shown = [(name.as_posix(), path.stat()) for name, path in below if not any(p[0] == "." for p in name.parts)]
    return str(folder.resolve()), None, [(name, status.st_size, status.st_mtime_ns) for name, status in shown]


def _load_rows(source: str, name: str, revision: str | None, split: str, column: str | None, config: str | None) -> Any:
    """The encoded images of a dataset, as rows with one column."""
    try:
        import datasets
    except ImportError as error:
        raise ImportError(
            f'images of the Hub need the package datasets ({error}); pip install "srzoo[hub-datasets]"'
        ) from error
    try:
        rows = datasets.load_dataset(name, config, split=split, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"the dataset {source} cannot be loaded ({str(error).strip()})") from error
    there = [name for name, kind in rows.features.items() if isinstance(kind, datasets.Image)]
    if column is None and len(there) == 1:
        column = there[0]
    if column is None or column not in there:
        asked = "give column=" if column is None else f"column {column!r} is none of them"
        raise ValueError(f"the dataset {source} has {len(there)} columns of images ({', '.join(there)}); {asked}")
    return rows.select_columns([column]).cast_column(column, datasets.Image(decode=False))


def _write_images(rows: Any, folder: Path) -> None:
    """Write each image into the folder."""
    num_written = 0
    for i, row in enumerate(rows):
        [encoded] = row.values()
        if encoded is None:
            LOGGER.warning("row %d of the dataset has no image", i)
            continue
        data = encoded["bytes"] if encoded["bytes"] is not None else Path(encoded["path"]).read_bytes()
        data, suffix = _as_file(data)
        (folder / f"{i:06}{suffix}").write_bytes(data)
        num_written += 1
    if not num_written:
        raise ValueError("the dataset has no image in this split; give another one")


def _as_file(data: bytes) -> tuple[bytes, str]:
    """An encoded image as the content and suffix of a file that can be read."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format in SUFFIX_OF:
                return data, SUFFIX_OF[image.format]
            file = io.BytesIO()
            image.convert(image.mode if image.mode in ("L", "RGB", "RGBA") else "RGB").save(file, "PNG")
            return file.getvalue(), ".png"
    except (UnidentifiedImageError, OSError, Image.DecompressionBombError):
        return data, ".png"  # listed as unreadable when it is to be trained on
