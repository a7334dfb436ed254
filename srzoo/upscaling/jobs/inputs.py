"""What a user names, as a list of image files: files, folders, patterns and standard input."""

import glob
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from srzoo.image import READ_SUFFIXES
from srzoo.upscaling.jobs.journal import Journal

LOGGER = logging.getLogger("srzoo")
STREAM = "-"
"""Standard input as an input, standard output as an output."""
IMAGE_SUFFIXES = frozenset(READ_SUFFIXES)


@dataclass(frozen=True)
class Found:
    """One image to upscale.

    Args:
        path: The file; None for standard input.
        folder: The folder the user named that it was found below; None for a file named by itself or by a pattern.
        tree: Where it is below what the user named, kept below an output folder.
        is_named: Whether the user named the file itself.
    """

    path: Path | None
    folder: Path | None = None
    tree: Path = Path()
    is_named: bool = False


def find_inputs(
    names: Sequence[str], *, recursive: bool = True, leave_out: Sequence[Path] = ()
) -> tuple[list[Found], list[Path]]:
    """The images that are meant, in order, each once; and those left out, as results of an earlier run.

    A file that a folder or pattern also covers counts where it comes first. Of folders and patterns only files with
    the suffix of an image are taken, and no hidden ones, pipes or devices. A file is a result of an earlier run if the
    journal beside it says that it was made from another image of this list; one that is named by itself is meant.

    Args:
        names: Files, folders, patterns with `*`, `?`, `[...]` or `**`, or "-" for standard input.
        recursive: Search the folders within folders, too.
        leave_out: Folders the results go to: where one is within a folder that is searched, it is passed over.

    Raises:
        FileNotFoundError: If a name does not exist, a folder has no image, or a pattern matches none.
        ValueError: If there is nothing, a name is empty or that of a pipe, or standard input is not the only one.
    """
    if not names:
        raise ValueError("there is nothing to upscale; name an image, a folder or a pattern")
    if "" in names:
        raise ValueError("an input or the output is empty; was a variable not set?")
    if STREAM in names:
        if len(names) > 1:
            raise ValueError("standard input (-) was given with other inputs; give it alone")
        return [Found(None)], []
    found: dict[str, Found] = {}
    for name in names:
        for one in _find(name, recursive, leave_out):
            key = os.path.abspath(str(one.path))  # noqa: PTH100 - links are files of their own
            found[key] = replace(found.get(key, one), is_named=one.is_named or (key in found and found[key].is_named))
    results = _results_of_each_other(found)
    if len(results) == len(found):
        raise ValueError(f"all {len(found)} images are results made from each other; name one of them")
    return [one for key, one in found.items() if key not in results], [Path(key) for key in found if key in results]


def has_pattern(name: str) -> bool:
    """Whether a name is a pattern and no file of that very name exists.

    Examples:
        >>> has_pattern("photos/*.jpg"), has_pattern("photos/a.jpg")
        (True, False)
    """
    return glob.has_magic(name) and not os.path.lexists(name)


def missing(path: Path) -> FileNotFoundError:
    """The error for a file that is not there: a link is told with what it leads to."""
    if path.is_symlink():
        return FileNotFoundError(f"{path} is a link to {path.readlink()}, which does not exist")
    return FileNotFoundError(f"{path} does not exist")


def _find(name: str, recursive: bool, leave_out: Sequence[Path]) -> Iterator[Found]:
    path = Path(name)
    if path.is_dir():
        yield from _below(path, recursive, leave_out)
    elif has_pattern(name):
        yield from _matching(name)
    elif not path.exists():
        raise missing(path)
    elif not _may_be_read(path):
        raise ValueError(f"{path} is a pipe or device; send it in: srzoo upscale - < {path}")
    else:
        yield Found(path, is_named=True)


def _may_be_read(path: Path) -> bool:
    """Whether it is a file, and no pipe or device, which may hold up the job for ever.

    A link that leads nowhere counts: it is told when its turn comes.
    """
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError:
        return True


def _below(folder: Path, recursive: bool, leave_out: Sequence[Path]) -> list[Found]:
    """The images of a folder, sorted; links to folders are followed, each folder is searched once."""
    away = {path.resolve() for path in leave_out}
    seen: set[tuple[int, int]] = set()
    paths: list[Path] = []
    for at, folders, files in os.walk(folder, followlinks=True, onerror=_warn):
        here = Path(at)
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen or (here != folder and here.resolve() in away):
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        paths += [here / name for name in files if _is_image_name(name) and _may_be_read(here / name)]
    if not paths:
        more = "" if recursive else "; leave out --no-recursive to search the folders within it"
        raise FileNotFoundError(f"{folder} has no image ({', '.join(sorted(IMAGE_SUFFIXES))}){more}")
    return [Found(path, folder, path.relative_to(folder).parent) for path in sorted(paths)]


def _matching(pattern: str) -> list[Found]:
    """The images that match a pattern, sorted."""
    fixed = Path(*_fixed_part(Path(pattern)))
    names = sorted(name for name in glob.iglob(pattern, recursive=True) if _is_image_name(name))  # noqa: PTH207
    paths = [Path(name) for name in names if _may_be_read(Path(name))]
    if not paths:
        raise FileNotFoundError(f"no image matches {pattern}")
    return [Found(path, None, path.relative_to(fixed).parent) for path in paths]


def _fixed_part(pattern: Path) -> Iterator[str]:
    """The folders of a pattern before the first that has a wildcard."""
    for part in pattern.parts[:-1]:
        if glob.has_magic(part):
            return
        yield part


def _is_image_name(name: str) -> bool:
    last = Path(name).name
    return Path(last).suffix.lower() in IMAGE_SUFFIXES and not last.startswith(".")


def _warn(error: OSError) -> None:
    LOGGER.warning("a folder is left out: %s", error)


def _results_of_each_other(found: dict[str, Found]) -> set[str]:
    """Which of the files (by absolute path) were made from others of them, as the journals beside them say."""
    results: set[str] = set()
    for folder in {str(Path(key).parent) for key in found}:
        for name, entries in Journal(Path(folder)).read().items():
            key = str(Path(folder, name))
            made_from = (os.path.normpath(Path(folder, entry.source.path)) for entry in entries)
            if (
                key in found
                and not found[key].is_named
                and any(source in found and source != key for source in made_from)
            ):
                results.add(key)
    return results
