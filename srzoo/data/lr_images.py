"""Folders of LR images made from HR images: pixel for pixel as MATLAB makes them, or degraded."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import torch

from srzoo.data.degradations import Degradation
from srzoo.data.degraded_pairs import degraded_lr
from srzoo.data.folders import find_images
from srzoo.files import replacing
from srzoo.image import BITS, MAX_PIXELS, Picture, inks_as_rgb, read_picture, to_pil
from srzoo.resize import Border, imresize

Layout = Literal["plain", "edsr-pytorch"]
LAYOUTS: dict[str, str] = {"plain": "x{scale}/{name}.png", "edsr-pytorch": "LR_bicubic/X{scale}/{name}x{scale}.png"}
"""Layout -> where below the output folder the LR image of `name` goes."""
MADE_FOLDER = re.compile(r"x\d+|LR_bicubic")
"""Folders of the layouts, right below the output folder: what is in them is no HR image."""
COMPRESSION = 2
"""Of PNG, 0 to 9: photographs are 3 to 4 % larger than at Pillow's default of 6, in a third of its time."""


@dataclass(frozen=True)
class LRImages:
    """The LR images of one HR image: where they go, and in the end, what became of them.

    Args:
        hr: The HR image.
        outputs: Scale -> file; none if another image has the same name but for its suffix.
        width: Of the HR image in pixels; None if it was not read.
        height: Likewise.
        made: Scales whose file was written.
        kept: Scales whose file was there already, which was left as it is.
        cropped: Scales, of those made, that do not divide width and height: HR was cropped to a multiple.
        error: Why some file was not made.
    """

    hr: str
    outputs: dict[int, str]
    width: int | None = None
    height: int | None = None
    made: tuple[int, ...] = ()
    kept: tuple[int, ...] = ()
    cropped: tuple[int, ...] = ()
    error: str | None = None

    @property
    def status(self) -> Literal["to do", "done", "exists", "failed"]:
        """What became of it; "exists" if every file was there."""
        if self.error is not None:
            return "failed"
        return "done" if self.made else "exists" if self.kept else "to do"


Report = Callable[[int, int, LRImages], None]
"""Called with (images done, images in all, the last one)."""


def plan_lr_images(
    inputs: Sequence[str | Path],
    output: str | Path | None = None,
    *,
    scales: Sequence[int] = (2, 3, 4),
    layout: Layout = "plain",
) -> list[LRImages]:
    """What is read and where it goes, before anything is done; subfolders are kept.

    Args:
        inputs: HR images and folders of them, searched with their subfolders.
        output: Folder to write below, made if need be; None writes beside a single folder `HR` to `HR_lr`.
        scales: Whole factors of 2 or more.
        layout: "plain" for `x2/name.png`, "edsr-pytorch" for `LR_bicubic/X2/namex2.png`.

    Returns:
        One record an HR image. Where `photo.jpg` and `photo.png` are in one folder, both have an error: their LR
        images would have one name.

    Raises:
        FileNotFoundError: If an input does not exist or a folder has no image.
        ValueError: If a scale or the layout is not known, there is no output folder to be derived, it is or lies
            below a file, it lies within an input or an input within what it has made, or images of two inputs would
            go to one file.
    """
    _check(scales, layout)
    sources = [Path(name) for name in inputs]
    _must_exist(sources)
    if output is None:
        if len(sources) != 1 or not sources[0].is_dir():
            raise ValueError("no output folder; give one (-o, output) unless the input is a single folder")
        target = sources[0].resolve().with_name(f"{sources[0].resolve().name}_lr")
    else:
        target = Path(output)
    for path in (target, *target.parents):
        if os.path.lexists(path) and not path.is_dir():
            raise ValueError(f"output {target} cannot be made: {path} is no folder; give a folder")
    images: list[tuple[Path, str]] = []  # file, name below the folder of its scale
    for source in sources:
        if not source.is_dir():
            images.append((source, source.stem))
            continue
        if target.resolve().is_relative_to(source.resolve()):
            raise ValueError(f"output {target} lies within the input {source}, where its images would be taken for HR")
        images += [(path, path.relative_to(source).with_suffix("").as_posix()) for path in find_images(source)]
    _must_not_be_made([path for path, _ in images], target)
    goes_to: dict[str, list[Path]] = {}
    for path, name in images:
        goes_to.setdefault(name, []).append(path)
    return [
        _job(path, goes_to[name], {s: str(target / LAYOUTS[layout].format(scale=s, name=name)) for s in scales})
        for path, name in images
    ]


def _job(path: Path, same: Sequence[Path], outputs: dict[int, str]) -> LRImages:
    """One HR image, of those (`same`) that would go to these files."""
    others = [other for other in same if other is not path]
    if not others:
        return LRImages(str(path), outputs)
    if any(other.parent != path.parent or other.name == path.name for other in others):
        raise ValueError(f"{path} and {others[0]} would go to the same files; downscale them to two folders")
    return LRImages(str(path), {}, error=f"{path}: {others[0].name} would go to the same files; rename one of them")


def _must_not_be_made(images: Sequence[Path], target: Path) -> None:
    """LR images of an earlier job, to which a link may have led, are no HR."""
    top = os.path.realpath(target)
    for path in images:
        here = Path(os.path.realpath(path))
        if here.is_relative_to(top) and MADE_FOLDER.fullmatch(here.relative_to(top).parts[0]):
            raise ValueError(f"input {path} lies in the output {target}, where LR images are; give HR images only")


def _check(scales: Sequence[int], layout: str) -> None:
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; allowed are {', '.join(LAYOUTS)}")
    if not scales:
        raise ValueError("no scale is given; give at least one, such as 2")
    for scale in scales:
        if type(scale) is not int or scale < 2:
            raise ValueError(f"scale is {scale!r}; scales are whole numbers of 2 or more")
    if len(set(scales)) < len(scales):
        raise ValueError(f"scales are {', '.join(map(str, scales))}; give each once")


def _must_exist(sources: Sequence[Path]) -> None:
    if not sources:
        raise ValueError("no input; give images or folders of them")
    for source in sources:
        if not source.exists():
            raise FileNotFoundError(f"{source} does not exist")


@dataclass(frozen=True)
class _Way:
    """How the LR images of a job are made, and whether anew."""

    border: Border
    degradation: Degradation | None
    overwrite: bool


def shrink_picture(
    picture: Picture,
    scale: int,
    border: Border = "symmetric",
    *,
    degradation: Degradation | None = None,
    name: str = "",
) -> Picture:
    """The LR image of an HR image, cropped to a multiple of the scale first; pixels only, no profile or EXIF.

    Alpha is shrunk like the colours, and changes nothing about them.

    Args:
        picture: The HR image.
        scale: A whole factor.
        border: See `downscale_images`; for MATLAB's bicubic only.
        degradation: How LR is made; None is MATLAB's bicubic.
        name: Of the image; what a degradation draws is drawn from it.

    Raises:
        ValueError: If it has 16 bits a channel, is smaller than the scale, or has alpha where a degradation is given.
    """
    if picture.dtype != "uint8":
        raise ValueError(f"it has {BITS[picture.dtype]} bits a channel, and LR images have 8; convert it first")
    height, width = picture.pixels.shape[:2]
    if min(height, width) < scale:
        raise ValueError(f"it has {width}x{height} pixels, fewer than scale {scale} needs")
    hr = picture.pixels[: height // scale * scale, : width // scale * scale].transpose(2, 0, 1)
    if degradation is None:
        lr = imresize(torch.from_numpy(hr.copy())[None], scale=Fraction(1, scale), border=border)[0]
    elif len(hr) in (1, 3):
        lr = degraded_lr(torch.from_numpy(hr.copy()), scale, degradation, name)
    else:
        raise ValueError("it has alpha, which has no degradation; put it on a background first")
    return Picture(lr.permute(1, 2, 0).numpy(), picture.mode)


def downscale_images(
    inputs: Sequence[str | Path] | str | Path,
    output: str | Path | None = None,
    *,
    scales: Sequence[int] = (2, 3, 4),
    border: Border = "symmetric",
    degradation: Degradation | None = None,
    layout: Layout = "plain",
    overwrite: bool = False,
    workers: int | None = None,
    max_pixels: int = MAX_PIXELS,
    report: Report | None = None,
) -> list[LRImages]:
    """LR images of every HR image as PNG files, bit-equal to MATLAB's `imresize(HR, 1/scale, 'bicubic')`, or degraded.

    Each HR image is decoded once for all scales, and cropped to a multiple of each of them. Grey files stay grey,
    palettes and inks become RGB, alpha stays. What cannot be done is told in the result, and the job goes on. Files are
    written whole or not at all, and those that exist are kept, so that a job that was killed can be started again.

    Args:
        inputs: See `plan_lr_images`, which says where everything goes.
        output: Likewise.
        scales: Likewise.
        border: "symmetric" (MATLAB since 2007) or "replicate" (before); see `imresize`.
        degradation: How LR images are made instead, such as `srzoo.data.presets.PRESETS["photo"]`. What it draws is
            drawn from the name of the file without its suffix: the same images come out wherever this is done.
        layout: See `plan_lr_images`.
        overwrite: Make LR images anew that exist.
        workers: Images worked on at a time, each of which is in memory; None takes the number of processors.
        max_pixels: Refuse larger HR images before decoding them.
        report: Told of each image that is finished, in the order in which they are.

    Returns:
        One record an HR image, in the order of their names.

    Raises:
        FileNotFoundError, ValueError: See `plan_lr_images`; also if `border`, `workers` or `max_pixels` is not allowed,
            or both a degradation and a border are given.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> hr = Path(tempfile.mkdtemp()) / "HR"
        >>> hr.mkdir()
        >>> Image.new("RGB", (49, 32)).save(hr / "black.png")
        >>> [image] = downscale_images(hr, scales=(2, 4))
        >>> with Image.open(image.outputs[4]) as lr:
        ...     image.made, image.cropped, lr.size
        ((2, 4), (2, 4), (12, 8))
    """
    if border not in ("symmetric", "replicate"):
        raise ValueError(f"border is {border!r}; allowed are 'symmetric' and 'replicate'")
    if degradation is not None and border != "symmetric":
        raise ValueError(f"border {border!r} is of MATLAB's bicubic, and a degradation was given; give one of the two")
    if workers is not None and workers < 1:
        raise ValueError(f"workers is {workers}; give 1 or more")
    if max_pixels < 1:
        raise ValueError(f"max_pixels is {max_pixels}; give 1 or more")
    several = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    jobs = plan_lr_images(several, output, scales=scales, layout=layout)
    way, found = _Way(border, degradation, overwrite), dict[int, LRImages]()
    with _workers(min(workers or _processors(), len(jobs))) as pool:
        waiting = {pool.submit(_do, job, way, max_pixels): i for i, job in enumerate(jobs)}
        for future in as_completed(waiting):
            found[waiting[future]] = future.result()
            if report:
                report(len(found), len(jobs), found[waiting[future]])
    return [found[i] for i in range(len(jobs))]


def _processors() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _workers(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that each compute in one thread; what has not been started is dropped if the block is left early."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(number, "downscale", torch.set_num_threads, (1,))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


def _do(job: LRImages, way: _Way, max_pixels: int) -> LRImages:
    """One HR image; mistakes become its `error`."""
    if job.error is not None:
        return job
    kept = () if way.overwrite else tuple(s for s, file in job.outputs.items() if Path(file).is_file())
    wanted = [scale for scale in job.outputs if scale not in kept]
    if not wanted:
        return replace(job, kept=kept)
    try:
        picture = inks_as_rgb(read_picture(job.hr, max_pixels, upright=False))
    except (ValueError, OSError, MemoryError) as problem:
        return replace(job, kept=kept, error=str(problem) or f"{job.hr}: {type(problem).__name__}")
    except ImportError:  # what it names would read the file, and not make 8 bits of it
        told = f"{job.hr} has more than 8 bits a channel, and LR images have 8; convert it first"
        return replace(job, kept=kept, error=told)
    height, width = picture.pixels.shape[:2]
    problems = {scale: _make(picture, scale, job, way) for scale in wanted}
    made = tuple(scale for scale in wanted if problems[scale] is None)
    cropped = tuple(scale for scale in made if width % scale or height % scale)
    told = list(dict.fromkeys(problem for problem in problems.values() if problem is not None))
    error = f"{job.hr}: {'; '.join(told)}" if told else None
    return LRImages(job.hr, job.outputs, width, height, made, kept, cropped, error)


def _make(picture: Picture, scale: int, job: LRImages, way: _Way) -> str | None:
    """What went wrong with one LR image, if anything did."""
    file = job.outputs[scale]
    try:
        lr = shrink_picture(picture, scale, way.border, degradation=way.degradation, name=Path(job.hr).stem)
        _write_png(lr, Path(file))
    except (ValueError, MemoryError) as problem:
        return str(problem) or type(problem).__name__
    except OSError as problem:
        return f"{file} was not written ({problem.strerror or problem})"
    return None


def _write_png(picture: Picture, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as work, open(work, "wb") as file:
        to_pil(picture).save(file, format="PNG", compress_level=COMPRESSION)
