"""Folders of images, alone or with the LR images that belong to them."""

import logging
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from srzoo.data.licences import Licences

LOGGER = logging.getLogger("srzoo")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def find_images(folder: str | Path) -> list[Path]:
    """Image files below a folder, by suffix, in a fixed order; hidden files and folders are left out.

    Links to folders are followed, and each folder is searched once. A link to a file that is gone is in the list.

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; give a folder of images")
    found = sorted(
        path
        for path in _files_below(folder)
        if path.suffix.lower() in SUFFIXES
        and not path.name.startswith(".")
        and (path.is_file() or (path.is_symlink() and not path.exists()))
    )
    if not found:
        raise FileNotFoundError(f"{folder} has no image ({', '.join(SUFFIXES)})")
    return found


def _files_below(folder: Path) -> Iterator[Path]:
    """What is no folder, below folders that are not hidden: real folders first, then those that links lead to."""
    seen: set[tuple[int, int]] = set()
    tops = [folder]
    for top in tops:
        for at, names, files in os.walk(top, onerror=lambda error: LOGGER.warning("a folder is left out: %s", error)):
            here = Path(at)
            status = here.stat()
            if (status.st_dev, status.st_ino) in seen:
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            names[:] = sorted(name for name in names if not name.startswith("."))
            tops.extend(here / name for name in names if (here / name).is_symlink())
            yield from (here / name for name in files)


@dataclass(frozen=True)
class ImageFolder:
    """Images to train on: HR, with LR images of their own or without, and how often they are drawn.

    Args:
        hr: Folder of HR images, searched with its subfolders.
        lr: Where the LR images are, if they are not to be made: a folder for each scale, or one folder with
            subfolders X2, X3 and X4 (as DIV2K has), or one folder of LR images where there is one scale only.
            The LR image of `a/0001.png` is `a/0001` or `a/0001x2`, with any suffix.
        weight: Share of the patches that comes from this folder, relative to the weights of the other folders;
            None draws by pixels. Several folders all have a weight, or none has.
        scores: File name (relative to `hr`) -> how much more often its pixels are drawn than those of score 1;
            every image must be named.
        licences: What each image is under, such as `read_licences("manifest.csv")`; every image must be named. The
            run's header counts the pictures by it.
        leave_out: Licences whose images are not trained on: "share-alike" for all that ask for works made from them
            to be shared alike, or patterns such as "CC-BY-NC*"; it needs `licences`.

    Raises:
        ValueError: If the weight is not above 0, a score is below 0 or no number, a key of `lr` is no scale, or
            there is `leave_out` without `licences`.

    Examples:
        >>> div2k = ImageFolder("DIV2K_train_HR", lr="DIV2K_train_LR_bicubic", weight=3)
        >>> drawings = ImageFolder("drawings", weight=1)
    """

    hr: str | Path
    lr: Mapping[int, str | Path] | str | Path | None = None
    weight: float | int | None = None
    scores: Mapping[str, float | int] | None = None
    licences: Licences | None = None
    leave_out: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.weight is not None and not 0 < self.weight < math.inf:
            raise ValueError(f"the weight of {self.hr} is {self.weight}; give a number above 0, or no weight")
        for name, score in (self.scores or {}).items():
            if not 0 <= score < math.inf:
                raise ValueError(f"the score of {name} is {score}; scores are numbers of 0 or more")

        if isinstance(self.leave_out, str):
            object.__setattr__(self, "leave_out", (self.leave_out,))
        if self.leave_out and self.licences is None:
            raise ValueError(
                f"{', '.join(self.leave_out)} is to be left out of {self.hr}, and there are no licences; give "
                "licences, such as read_licences('manifest.csv')"
            )
        if isinstance(self.lr, Mapping):
            for scale in self.lr:
                if type(scale) is not int:
                    raise ValueError(f"lr of {self.hr} has the key {scale!r}; the keys are scales such as 2")

    def lr_folder(self, scale: int, scales: Sequence[int]) -> Path | None:
        """The folder of LR images of a scale; None where they are to be made.

        Args:
            scale: One of `scales`.
            scales: All that are trained: a folder without subfolders serves only one.

        Raises:
            FileNotFoundError: If LR images are given, but none for this scale.
        """
        if self.lr is None:
            return None
        if isinstance(self.lr, Mapping):
            if scale not in self.lr:
                raise FileNotFoundError(
                    f"{self.hr} has LR folders for {_scales(self.lr)} but none for x{scale}; add one, or train "
                    "without this scale"
                )
            return Path(self.lr[scale])
        for name in (f"X{scale}", f"x{scale}"):
            if (Path(self.lr) / name).is_dir():
                return Path(self.lr) / name
        there = [path.name for path in _entries(Path(self.lr)) if re.fullmatch(r"[Xx]\d+", path.name) and path.is_dir()]
        if there and len(scales) == 1:
            raise FileNotFoundError(
                f"{self.lr} has no X{scale}, only {', '.join(there)}; add it, or train another scale"
            )
        if len(scales) > 1:
            raise FileNotFoundError(
                f"{self.lr} has no subfolder X{scale}; to train {_scales(scales)}, give one for each scale"
            )
        return Path(self.lr)


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing if there is none, which is said when it is searched."""
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _scales(scales: Mapping[int, object] | Sequence[int]) -> str:
    return ", ".join(f"x{scale}" for scale in scales)


Folders = str | Path | ImageFolder | Sequence[str | Path | ImageFolder]


def as_folders(folders: Folders) -> list[ImageFolder]:
    """What a user gives as training images, as a list of `ImageFolder`.

    Raises:
        ValueError: If there is none, or some have a weight and some have not.
    """
    several = [folders] if isinstance(folders, str | Path | ImageFolder) else list(folders)
    found = [folder if isinstance(folder, ImageFolder) else ImageFolder(folder) for folder in several]
    if not found:
        raise ValueError("no folder of images to train on; give at least one")
    if len({folder.weight is None for folder in found}) > 1:
        bare = ", ".join(str(folder.hr) for folder in found if folder.weight is None)
        raise ValueError(f"some folders have a weight and {bare} has none; give every folder a weight, or none")
    return found


def label_folders(folders: Sequence[ImageFolder]) -> list[str]:
    """What the names of each folder's images start with: nothing for a single one, else its name, made unique.

    Examples:
        >>> label_folders([ImageFolder("a/HR"), ImageFolder("b/HR"), ImageFolder("drawings")])
        ['HR/', 'HR-2/', 'drawings/']
    """
    if len(folders) == 1:
        return [""]
    labels: list[str] = []
    for folder in folders:
        name = Path(folder.hr).resolve().name
        numbered = (f"{name}-{i}/" for i in range(2, len(folders) + 2))
        labels.append(next(label for label in (f"{name}/", *numbered) if label not in labels))
    return labels


def match_lr(hr: Sequence[str], lr: Sequence[str], scale: int) -> dict[str, str]:
    """HR name -> LR name of the pairs there are; each LR image is given to one HR image at most.

    Args:
        hr: Names relative to the HR folder.
        lr: Names relative to the LR folder.
        scale: LR names may end in `x` and this number.

    Examples:
        >>> match_lr(["a.png", "b.png", "c.png"], ["a.jpg", "bx2.png"], 2)
        {'a.png': 'a.jpg', 'b.png': 'bx2.png'}
    """
    free = {_stem(name): name for name in reversed(lr)}
    pairs: dict[str, str] = {}
    for ending in ("", f"x{scale}"):  # all exact names first: "1x2" is the LR of "1x2", not of "1"
        for name in hr:
            if name not in pairs and _stem(name) + ending in free:
                pairs[name] = free.pop(_stem(name) + ending)
    return {name: pairs[name] for name in hr if name in pairs}


def _stem(name: str) -> str:
    """A relative name without its suffix."""
    return name.removesuffix(Path(name).suffix)
