"""The images of a comparison: LR alone, LR with HR, or HR alone."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.data.folders import find_images, match_lr
from srzoo.image import read_pixels
from srzoo.resize import imresize


@dataclass(frozen=True)
class Source:
    """One image to compare on: which files it is made of."""

    name: str
    lr: Path | None
    """None where LR is made from HR."""
    hr: Path | None
    error: str | None = None
    """What is known to be wrong before anything is read."""


@dataclass(frozen=True)
class Loaded:
    """The pixels of a source, uint8, c h w."""

    lr: UInt8[Tensor, "c h w"]
    hr: UInt8[Tensor, "c H W"] | None
    notes: tuple[str, ...] = ()
    """What was done to them that a reader should know."""


def find_sources(
    images: str | Path | None, hr: str | Path | None, scale: int, *, from_hr: bool = False
) -> list[Source]:
    """What to compare on, in order of the files' names.

    Args:
        images: LR image, or folder of them; HR images with `from_hr`; None where only `hr` is given.
        hr: HR image or folder. The HR image of `a/0001.png`, or `a/0001x4.png`, is `a/0001` with any suffix.
        scale: Scale of the comparison.
        from_hr: `images` are HR images; LR is made from them.

    Raises:
        FileNotFoundError: If an input does not exist, or a folder has no image.
        ValueError: If no images, or both HR images and `from_hr`, are given, or one HR file for a folder of LR images.
    """
    if images is None and hr is None:
        raise ValueError("there are no images to compare on; give LR images, HR images (--hr), or both")
    if "" in (str(images), str(hr)):
        raise ValueError("an input is empty; was a variable not set?")
    if from_hr and images is not None and hr is not None:
        raise ValueError(f"from_hr means that {images} holds HR images, but hr is {hr}, too; give one of them")
    return _distinct(_find(images, hr, scale, from_hr))


def _find(images: str | Path | None, hr: str | Path | None, scale: int, from_hr: bool) -> list[Source]:
    if images is None or from_hr:  # HR alone
        top = Path(images if images is not None else str(hr))
        return [Source(_name(path, top), None, path) for path in _files(top)]
    top = Path(images)
    lr_files = _files(top)
    if hr is None:
        return [Source(_name(path, top), path, None) for path in lr_files]
    if Path(hr).is_file():
        if top.is_dir():
            raise ValueError(f"{hr} is one image, {top} a folder; give the folder of its HR images")
        return [Source(_name(top, top), top, Path(hr))]
    return _pair(lr_files, top, _files(Path(hr)), Path(hr), scale)


def _distinct(sources: Sequence[Source]) -> list[Source]:
    """The sources; photo.jpg and photo.png of one folder keep their suffixes in their names."""
    counts = Counter(source.name for source in sources)
    return [
        replace(source, name=source.name + (source.lr or source.hr or Path()).suffix)
        if counts[source.name] > 1
        else source
        for source in sources
    ]


def _pair(lr_files: Sequence[Path], top: Path, hr_files: Sequence[Path], hr_top: Path, scale: int) -> list[Source]:
    """Each LR image with the HR image of its name."""
    root = top if top.is_dir() else top.parent
    by_name = {path.relative_to(hr_top).as_posix(): path for path in hr_files}
    lr_names = [path.relative_to(root).as_posix() for path in lr_files]
    partner = {lr: by_name[hr] for hr, lr in match_lr(list(by_name), lr_names, scale).items()}
    sources = []
    for path, lr_name in zip(lr_files, lr_names, strict=True):
        found = partner.get(lr_name)
        error = None if found else f"{path} has no HR image of its name in {hr_top}"
        sources.append(Source(_name(found, hr_top) if found else _name(path, top), path, found, error))
    return sources


def _files(source: Path) -> list[Path]:
    if source.is_dir():
        return find_images(source)
    if not source.exists():
        raise FileNotFoundError(f"{source} does not exist")
    return [source]


def _name(path: Path, top: Path) -> str:
    """Name of an image on pages: relative to its folder, without suffix."""
    return path.stem if path == top else path.relative_to(top).with_suffix("").as_posix()


def load(source: Source, scale: int) -> Loaded:
    """The pixels of a source: grey as one channel, where the HR file is grey (mode L), else RGB; no alpha.

    HR is cropped to a multiple of the scale, and to the size of LR where that was given.

    Raises:
        FileNotFoundError, PermissionError: If a file is gone or may not be read.
        ValueError: If a file is no 8-bit image, or the sizes do not belong together.
    """
    if source.error is not None:
        raise ValueError(source.error)
    if source.hr is None:
        assert source.lr is not None
        return Loaded(_read(source.lr), None)
    hr = _read(source.hr)
    if source.lr is None:
        height, width = (side // scale * scale for side in hr.shape[1:])
        if not (height and width):
            raise ValueError(f"{source.hr} is smaller than {scale} pixels")
        notes = () if (height, width) == hr.shape[1:] else (_cropped(hr, width, height),)
        hr = hr[:, :height, :width].contiguous()
        return Loaded(imresize(hr, scale=1 / scale), hr, ("LR was made from HR by bicubic", *notes))
    lr = _read(source.lr, channels=len(hr))
    height, width = (side * scale for side in lr.shape[1:])
    spare = (hr.shape[1] - height, hr.shape[2] - width)
    if not all(0 <= rest < scale for rest in spare):
        raise ValueError(
            f"{source.lr} has {lr.shape[2]}x{lr.shape[1]} pixels and {source.hr} {hr.shape[2]}x{hr.shape[1]}; "
            f"at x{scale} the HR image must have {width}x{height}, or less than {scale} more on a side"
        )
    notes = () if spare == (0, 0) else (_cropped(hr, width, height),)
    return Loaded(lr, hr[:, :height, :width].contiguous(), notes)


def _cropped(hr: Tensor, width: int, height: int) -> str:
    return f"HR was cropped from {hr.shape[2]}×{hr.shape[1]} to {width}×{height} pixels"  # noqa: RUF001


def _read(path: Path, channels: int | None = None) -> Tensor:
    return torch.from_numpy(read_pixels(path, channels).copy()).permute(2, 0, 1).contiguous()
