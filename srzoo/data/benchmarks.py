"""Benchmark sets and other folders of images, found by name in the folder that a user has them in."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from srzoo.data.benchmark_records import BENCHMARKS as BENCHMARKS
from srzoo.data.benchmark_records import BenchmarkImage as BenchmarkImage
from srzoo.data.benchmark_records import BenchmarkSet as BenchmarkSet
from srzoo.data.benchmark_records import HubFiles as HubFiles
from srzoo.data.benchmark_records import benchmark_called
from srzoo.data.folders import SUFFIXES, find_images
from srzoo.data.image_sets import ImageSet as ImageSet
from srzoo.data.set_fetching import fetch_set, fetched_folder

TOPS = ("", "benchmark", "benchmarks", "bench")
"""Where below a user's folder the folders of the sets may lie."""


def find_set(
    name: str | Path,
    data: str | Path | None = None,
    *,
    lr: str | Path | None = None,
    path: Literal["rgb", "luma"] = "rgb",
    fetch: bool = False,
) -> ImageSet:
    """A set of images to score on, found but not yet decoded; `ImageSet.check` tells what is wrong with it.

    A benchmark is looked for in `data`, as `Set5/HR`, `Set5`, `benchmark/Set5/HR` or `bench/Set5/HR` (DIV2K also as
    `DIV2K/DIV2K_valid_HR` or `DIV2K/DIV2K_train_HR`, of which 0801 to 0900 are taken), then among those fetched before.
    Its images are known by their names, of which case, `_`, `-` and an ending such as `_SRF_4_HR` do not matter, and
    those that are called something else by their pixels.

    Args:
        name: A name of `BENCHMARKS` or an alias, in any case; or the path of a folder of images (searched with its
            subfolders, or only `HR` in it where there is one), or of one image. A folder that is called as a benchmark
            is taken for it, and so is its `HR`.
        data: The folder that sets are in; None takes the one that `SRZOO_DATA` names.
        lr: A folder of LR images, instead of MATLAB's bicubic of HR: `X2/baby.png`, `LR_bicubic/X2/babyx2.png`,
            `LRbicx2/baby.png`, `LR/baby.png` or `babyx2.png`, in it or in the set's folder in it. HR images are cropped
            to fit.
        path: "rgb" shrinks RGB to 8 bits, as is done since EDSR; "luma" makes pairs of one channel, of which LR is not
            rounded, as was done before (`srzoo.data.pairs.luma_pair`).
        fetch: Fetch the set from the Hugging Face Hub if it is not found.

    Raises:
        FileNotFoundError: If there is no such set or folder, or no such set can be fetched.
        ValueError: If `path` is unknown or does not go with `lr`, a name or folder is empty, or what was fetched is not
            the set.

    Examples:
        ```python
        images = find_set("Set5", "benchmarks")
        images.check(scales=(2, 3, 4))
        for pair in images.pairs(scale=2):
            print(pair.name, tuple(pair.lr.shape))
        ```
    """
    if path not in ("rgb", "luma"):
        raise ValueError(f"path is {path!r}; allowed are 'rgb' and 'luma'")
    if lr is not None and path == "luma":
        raise ValueError("path 'luma' makes LR images of the luma of HR; leave out lr, or take path 'rgb'")
    for what, given in (("the name of the set", name), ("data", data), ("lr", lr)):
        if given is not None and not str(given).strip():
            raise ValueError(f"{what} is empty; was a variable not set?")
    if lr is not None and not Path(lr).is_dir():
        raise FileNotFoundError(f"lr is {lr}, which is not a folder; give a folder of LR images")
    if data is not None and not Path(data).is_dir():
        raise FileNotFoundError(f"data is {data}, which is not a folder; give the folder that the sets are in")
    below = Path(lr) if lr is not None else None
    if data is None:
        data = os.environ.get("SRZOO_DATA") or None
    data = None if data is None else Path(data)

    name, place = str(name), Path(name)
    record = benchmark_called(name)
    if record is None and place.is_dir():
        within = place.resolve()
        record, above = benchmark_called(within.name), benchmark_called(within.parent.name)
        if record is not None:
            data = place
        elif above is not None and within.name in above.folders and (images := _images_of(above, place)):
            return ImageSet(above.name, images, place, record=above, lr=below, path=path)
    if record is not None:
        folder, images = _find_benchmark(record, data, fetch)
        return ImageSet(record.name, images, folder, record=record, lr=below, path=path)
    title, folder, images = _find_folder(name, data)
    return ImageSet(title, images, folder, lr=below, path=path)


def sets_in(data: str | Path) -> list[str]:
    """Names of the benchmark sets of which there are images in a folder."""
    return [record.name for record in BENCHMARKS.values() if _locate(record, Path(data))[0] is not None]


def _find_benchmark(record: BenchmarkSet, data: Path | None, fetch: bool) -> tuple[Path, list[Path]]:
    """Folder and HR images of a benchmark."""
    folder, looked = _locate(record, data) if data is not None else (None, [])
    if folder is None and (fetched := fetched_folder(record)).is_dir():
        folder = fetched
    if folder is None and fetch:
        folder = fetch_set(record)
    if folder is not None:
        return folder, _images_of(record, folder)
    raise FileNotFoundError(_not_found(record, data, looked))


def _not_found(record: BenchmarkSet, data: Path | None, looked: Sequence[Path]) -> str:
    """The sentence that says where a set was looked for and what to do."""
    count = len(record.images)
    where = f"Hub repository {record.hub.repo}" if record.hub else "no place on the Hub is known for it"
    remedy = f"or fetch it ({where}: fetch=True, --fetch)" if record.hub else f"({where})"
    if data is None:
        return (
            f"{record.name} was not found: no folder of benchmark sets is named; put its {count} images into "
            f"DIR/{record.name}/HR and give DIR (data=, --data, SRZOO_DATA), {remedy}"
        )
    if not data.is_dir():
        return f"{record.name} was not found: SRZOO_DATA is {data}, which is not a folder; name the one of the sets"
    there = ", ".join(sets_in(data)) or "none"
    tried = ", ".join(path.relative_to(data).as_posix() for path in looked)
    return (
        f"{record.name} was not found in {data}: looked for images in {tried}; sets that are there: {there}; put its "
        f"{count} images into {data / record.name / 'HR'}, {remedy}"
    )


def _locate(record: BenchmarkSet, data: Path) -> tuple[Path | None, list[Path]]:
    """The folder of a set's HR images below a user's folder, and all places that were looked at."""
    looked = []
    bases = [data] if record.is_called(data.resolve().name) else []
    for top in TOPS:
        below = sorted((data / top).iterdir()) if (data / top).is_dir() else []
        there = [path for path in below if path.is_dir() and record.is_called(path.name)]
        bases += there or [data / top / record.name]
    for base in bases:
        for inside in record.folders:
            looked.append(base / inside)
            if _images_of(record, base / inside):
                return base / inside, looked
    return None, [path for path in looked if path.name in ("HR", "DIV2K_valid_HR", "DIV2K_train_HR", record.name)]


def _images_of(record: BenchmarkSet, folder: Path) -> list[Path]:
    """Images of a folder that belong to a set or claim to."""
    return [path for path in _images_in(folder) if not (record.beside and re.fullmatch(record.beside, path.stem))]


def _images_in(folder: Path) -> list[Path]:
    """Images directly in a folder, in order; none if there is no such folder."""
    below = sorted(folder.iterdir()) if folder.is_dir() else []
    return [path for path in below if path.suffix.lower() in SUFFIXES and path.name[0] != "." and not path.is_dir()]


def _find_folder(name: str, data: Path | None) -> tuple[str, Path, list[Path]]:
    """What a user's own folder or image is called, where its HR images are, and which these are."""
    for place in (Path(name), *([data / name] if data is not None else [])):
        if place.is_file():
            return place.stem, place.parent, [place]
        if place.is_dir():
            folder = place / "HR" if _images_in(place / "HR") else place
            return place.resolve().name, folder, find_images(folder)
    there = f"; in {data} there are {', '.join(sets_in(data)) or 'none of them'}" if data and data.is_dir() else ""
    raise FileNotFoundError(
        f"{name} is neither a benchmark set ({', '.join(BENCHMARKS)}) nor a folder of images{there}; give one of them"
    )
