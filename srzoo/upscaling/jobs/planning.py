"""Inputs to jobs: what is read and where each result goes, settled before anything is done."""

import heapq
import os
import sys
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srzoo.image import FORMATS
from srzoo.upscaling.jobs.inputs import STREAM, Found, find_inputs, has_pattern
from srzoo.upscaling.jobs.journal import Journal, relative_path
from srzoo.upscaling.jobs.naming import SUFFIX_OF, Naming
from srzoo.upscaling.jobs.peeking import peek

NEVER_INKS_OR_FLOATS = (".png", ".bmp", ".webp")
LONGEST_NAME = 255
"""Bytes of a file's name that every common file system takes."""


@dataclass(frozen=True)
class Job:
    """One image to upscale.

    Args:
        source: The file; None for standard input.
        target: Where the result goes; None for standard output.
        spread: Where the map of uncertainty goes, if one is wanted.
    """

    source: Path | None
    target: Path | None
    spread: Path | None = None

    @property
    def input(self) -> str:
        """The source as a user writes it."""
        return STREAM if self.source is None else str(self.source)

    @property
    def output(self) -> str:
        """The target as a user writes it."""
        return STREAM if self.target is None else str(self.target)


@dataclass(frozen=True)
class Plan:
    """All jobs of a call, in order.

    Args:
        jobs: What is to be done; no two write to the same file.
        is_batch: Whether the user named a folder, a pattern or several files, not one image.
        left_out: Files that were covered by the inputs but are results of an earlier run.
    """

    jobs: tuple[Job, ...]
    is_batch: bool
    left_out: tuple[Path, ...] = ()


def plan_jobs(
    inputs: Sequence[str],
    output: str | None,
    naming: Naming,
    *,
    recursive: bool = True,
    spread: str | None = None,
) -> Plan:
    """What to read and where to write; nothing is written yet.

    Without `output`, a file's result goes beside it and those of `photos/` to `photos_x4/`. The tree below a folder
    or pattern is kept. Without a format, results are PNG, and TIFF where the image is CMYK or floating point, which
    PNG cannot hold.

    Args:
        inputs: Files, folders, patterns, or "-" for standard input; see `find_inputs`.
        output: File (for one image), existing folder, "-" for standard output, or None.
        naming: How results are called.
        recursive: Search the folders within folders, too.
        spread: File (for one image) or existing folder for maps of uncertainty.

    Raises:
        FileNotFoundError: If an input, or the output folder, does not exist, or an input has no image.
        ValueError: If several images would go to one file, or an image would be replaced by its own result.
    """
    if output == "" or spread == "":
        raise ValueError("an input or the output is empty; was a variable not set?")
    target = Path(output) if output not in (None, STREAM) else None
    is_folder = target is not None and (target.is_dir() or not target.suffix)
    if target is not None and target.exists() and not (target.is_dir() or target.is_file()):
        raise ValueError(f"{target} is a pipe or device; send the image there: -o - > {target}")
    if target is not None and is_folder and not target.is_dir():
        raise FileNotFoundError(f"output folder {target} does not exist; create it first")
    maps = Path(spread) if spread is not None else None
    folders = [path for path in (target, maps) if path is not None and path.is_dir()]
    found, left_out = find_inputs(inputs, recursive=recursive, leave_out=folders)
    several = len(found) > 1 or found[0].folder is not None
    if output == STREAM or (output is None and found[0].path is None):
        if several:
            raise ValueError(f"standard output takes one image, not {_images(found)}; give an existing folder")
        jobs = [Job(found[0].path, None)]
    elif target is not None and not is_folder:
        if several:
            raise ValueError(f"{_images(found)} cannot go to one file, {target}; give an existing folder")
        _check_suffix(target, naming)
        jobs = [Job(found[0].path, target)]
    else:
        jobs = _name_all(found, target, naming)
    is_batch = several or len(inputs) > 1 or has_pattern(inputs[0])
    if maps is not None:
        spreads = [_spread_path(job, maps, one.tree, several) for job, one in zip(jobs, found, strict=True)]
        jobs = [replace(job, spread=path) for job, path in zip(jobs, spreads, strict=True)]
    _check_names(jobs)
    _check_distinct(jobs)
    return Plan(tuple(jobs), is_batch, tuple(left_out))


def _images(found: Sequence[Found]) -> str:
    return f"{len(found)} images" if len(found) != 1 else f"the images of {found[0].folder}"


def _check_suffix(target: Path, naming: Naming) -> None:
    """Raises ValueError if a format was asked for that the file's suffix does not name."""
    kind = FORMATS.get(target.suffix.lower())
    if naming.format is not None and kind != FORMATS[SUFFIX_OF[naming.format]]:
        raise ValueError(f"{target} does not end as {naming.format} files do; leave out --format, or change the suffix")
    if not naming.is_default:
        raise ValueError(f"the result is to be called {target}, so a name template has no use; leave out one of them")


def _name_all(found: Sequence[Found], target: Path | None, naming: Naming) -> list[Job]:
    """The jobs of images that are called by the template."""
    places = [_folder_of(one, target, naming) for one in found]
    twins = Counter((place, one.path.stem) for place, one in zip(places, found, strict=True) if one.path is not None)
    made_of = {place: _made_of(place) for place in set(places)} if naming.is_default else {}
    jobs: list[Job] = []
    for index, (place, one) in enumerate(zip(places, found, strict=True), start=1):
        if one.path is None:
            raise ValueError(f"standard input has no name to be called by in {place}; give -o FILE, or -o -")
        suffix = _suffix_for(one.path, naming)
        twin = naming.is_default and twins[place, one.path.stem] > 1
        name = naming.name_of(one.path, index, suffix, with_source_suffix=twin)
        if made_of.get(place):  # a result keeps the name it got before its image had a twin, or when it had one
            source = relative_path(one.path, place)
            other = naming.name_of(one.path, index, suffix, with_source_suffix=not twin)
            if made_of[place].get(name) != source and made_of[place].get(other) == source:
                name = other
        jobs.append(Job(one.path, place / name))
    return jobs


def _made_of(folder: Path) -> dict[str, str]:
    """Name of each result that a folder has -> the image it was last made of, by the journal."""
    try:
        known = Journal(folder).read()
    except OSError:  # told where it is to be written
        return {}
    return {name: entries[-1].source.path for name, entries in known.items() if (folder / name).exists()}


def _folder_of(one: Found, target: Path | None, naming: Naming) -> Path:
    """The folder a result goes to."""
    if target is not None:
        return target / one.tree
    if one.folder is not None:
        top = one.folder.resolve()
        beside = one.folder.parent if one.folder.name not in ("", "..") else top.parent
        return beside / f"{top.name}_{naming.size}" / one.tree
    return one.path.parent if one.path is not None else Path()


def _suffix_for(source: Path, naming: Naming) -> str:
    """The suffix of a result: as asked for, else the lossless format that holds the image."""
    if naming.suffix is not None:
        return naming.suffix
    if naming.format is not None:
        return SUFFIX_OF[naming.format]
    if source.suffix.lower() in NEVER_INKS_OR_FLOATS:
        return ".png"
    header = peek(source)
    return ".tif" if header is not None and header.needs_tiff else ".png"


def _spread_path(job: Job, spread: Path, tree: Path, several: bool) -> Path:
    """Where the map of uncertainty of a job goes."""
    if spread.is_dir():
        stem = job.target.stem if job.target is not None else "standard_output"
        return spread / tree / f"{stem}_spread.png"
    if several or not spread.suffix:
        raise FileNotFoundError(f"{spread} is no folder for maps of uncertainty; name one that exists, or one image")
    return spread


def _check_names(jobs: Sequence[Job]) -> None:
    """Raises ValueError if a name is longer than file systems take."""
    for path in (path for job in jobs for path in (job.target, job.spread) if path is not None):
        length = len(os.fsencode(path.name))
        if length > LONGEST_NAME:
            raise ValueError(
                f"{path.name} is a name of {length} bytes, of which there can be {LONGEST_NAME}; give -o FILE or a "
                "shorter --name"
            )


def _check_distinct(jobs: Sequence[Job]) -> None:
    """Raises ValueError if two results would go to one file, or a result would take the place of its source."""
    writers: dict[str, Job] = {}
    for job in jobs:
        for path in filter(None, (job.target, job.spread)):
            other = writers.setdefault(_one_file(path), job)
            if other is not job:
                raise ValueError(
                    f"{other.input} and {job.input} have the same name: both would go to {path}; upscale them one at "
                    "a time, or tell them apart by {source_suffix}, {parent} or {index} in --name"
                )
        if job.spread is not None and job.target is not None and _one_file(job.spread) == _one_file(job.target):
            raise ValueError(f"result and map of uncertainty are both {job.target}; give two names")
        if job.source is not None and any(
            os.path.realpath(job.source) == os.path.realpath(path) for path in (job.target, job.spread) if path
        ):
            raise ValueError(f"{job.source} would be replaced by its own result; choose another name or folder")


def _one_file(path: Path) -> str:
    """A key that is the same for paths that name one file."""
    text = os.path.abspath(path)  # noqa: PTH100 - the last link of a path is replaced, not followed
    if sys.platform in ("win32", "darwin"):
        text = unicodedata.normalize("NFC", text).casefold()
    return text


def share_jobs(work: Sequence[int], workers: int) -> list[list[int]]:
    """For each worker, which jobs it does, in order: largest first to whoever has least.

    It depends on nothing but the arguments, so that all workers come to the same by themselves.

    Args:
        work: Work of each job, in any unit.
        workers: Number of workers, at least 1.

    Raises:
        ValueError: If there is no worker.

    Examples:
        >>> share_jobs([1, 1, 4, 2], workers=2)
        [[2], [0, 1, 3]]
    """
    if workers < 1:
        raise ValueError(f"workers is {workers}; there must be at least 1")
    shares: list[list[int]] = [[] for _ in range(workers)]
    loads = [(0, worker) for worker in range(workers)]
    for index in sorted(range(len(work)), key=lambda index: (-work[index], index)):
        load, worker = heapq.heappop(loads)
        shares[worker].append(index)
        heapq.heappush(loads, (load + max(1, work[index]), worker))
    return [sorted(share) for share in shares]
