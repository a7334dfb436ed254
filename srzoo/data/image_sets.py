"""Sets of images to score on: checked before anything runs, decoded one at a time."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, overload

import torch

from srzoo.data.benchmark_records import BenchmarkImage, BenchmarkSet, plain
from srzoo.data.cache import Report
from srzoo.data.check import listed
from srzoo.data.folders import find_images, match_lr
from srzoo.data.hold_out import LEAST_INSIDE
from srzoo.data.pairs import Pair, cropped_size, luma_pair, pair_from_hr, read_scored
from srzoo.metrics import Protocol

BORDER = {"paper": lambda scale: Protocol.paper(scale).border, "div2k": lambda scale: Protocol.div2k(scale).border}
LR_FOLDERS = (
    "LR_bicubic/X{}",
    "X{}",
    "x{}",
    "LRbicx{}",
    "LR_x{}",
    "LR/X{}",
    "LR/x{}",
    "DIV2K_valid_LR_bicubic/X{}",
    "DIV2K_train_LR_bicubic/X{}",
    "LR",
    "",
)
"""Where LR images of a scale may lie, in the order in which they are looked for."""
MOST_SCALE = 8


@dataclass(frozen=True)
class Facts:
    """What decoding a file told: size in pixels, mode ("L" or "RGB"), SHA-256 of the pixels; or why it failed."""

    width: int = 0
    height: int = 0
    mode: str = ""
    sha256: str = ""
    grey_sha256: str = ""
    """SHA-256 of one channel, where all three are equal."""
    error: str = ""

    @property
    def size(self) -> str:
        """Width and height, as they are told."""
        return f"{self.width}x{self.height}"


def inspect(path: Path) -> Facts:
    """Facts of a file; a file that cannot be scored has an `error` and nothing else."""
    try:
        pixels = read_scored(path)
    except (ValueError, OSError) as error:
        return Facts(error=str(error))
    channels, height, width = pixels.shape
    digest = hashlib.sha256(pixels.permute(1, 2, 0).contiguous().numpy().data).hexdigest()
    grey = ""
    if channels == 3 and torch.equal(pixels[0], pixels[1]) and torch.equal(pixels[0], pixels[2]):
        grey = hashlib.sha256(pixels[0].contiguous().numpy().data).hexdigest()
    return Facts(width, height, "L" if channels == 1 else "RGB", digest, grey)


class ImageSet:
    """Images to score on, found by `srzoo.data.benchmarks.find_set`.

    Args:
        name: What the set is called in tables.
        paths: Files of the HR images.
        folder: Where they were found; names are relative to it.
        record: What they must be, if they are a benchmark's.
        lr: Folder of LR images; None makes them from HR.
        path: "rgb", or "luma" for pairs of one channel (`srzoo.data.pairs.luma_pair`).

    Examples:
        ```python
        images = find_set("Set5", "benchmarks")
        images.check(scales=(2, 4))
        scores = srzoo.evaluate(model, images.pairs(2))
        ```
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[Path],
        folder: Path,
        *,
        record: BenchmarkSet | None = None,
        lr: Path | None = None,
        path: Literal["rgb", "luma"] = "rgb",
    ) -> None:
        self.name = name
        self.folder = folder
        self.record = record
        self.lr = lr
        self.path = path
        self.protocol: Literal["paper", "div2k"] = record.protocol if record else "paper"
        """How the set is scored unless told otherwise."""
        self.extra: tuple[Path, ...] = ()
        """Images in the folder that are no part of the benchmark."""
        self._facts: dict[Path, Facts] = {}
        self._lr_files: dict[int, dict[str, Path]] = {}
        self.files: Mapping[str, Path] = self._match(record, paths) if record else _named(paths, folder)
        """Name -> file, in the order of the set."""

    def __repr__(self) -> str:
        return f"ImageSet({self.name!r}, {len(self.files)} images in {str(self.folder)!r})"

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the images, in order; relative paths without suffix where the set is a folder of the user's."""
        return tuple(self.files)

    @cached_property
    def fingerprint(self) -> str:
        """A hash over names, pixels and how LR is made: equal fingerprint, equal pairs."""
        self._decode(self.files.values())
        hr = [[name, asdict(self._facts[file])] for name, file in self.files.items()]
        lr = {file for scale in range(1, MOST_SCALE + 1) for file in self._lr_of(scale).values()}
        told = [[str(file.relative_to(self.lr or "")), _file_hash(file)] for file in sorted(lr)]
        return hashlib.sha256(json.dumps([hr, self.path, told]).encode()).hexdigest()[:16]

    def cropped(self, scale: int) -> tuple[str, ...]:
        """Names of the images whose sides are no multiples of the scale: they are cropped at the right and bottom."""
        self._decode(self.files.values())
        facts = {name: self._facts[file] for name, file in self.files.items()}
        return tuple(name for name, one in facts.items() if one.width % scale or one.height % scale)

    def problems(self, scales: Iterable[int], report: Report | None = None) -> list[str]:
        """A sentence for each thing that makes a score of the set wrong or impossible; an empty list if all is well.

        Every file is decoded once, some at a time, and none is kept in memory.

        Args:
            scales: The scales at which it is to be scored.
            report: Called with (done, total, what) for each file.

        Raises:
            ValueError: If a scale is below 1.
        """
        scales = tuple(scales)
        if any(scale < 1 for scale in scales):
            raise ValueError(f"scales are {scales}; they are whole numbers of 1 or more")
        lr = [file for scale in scales for file in self._lr_of(scale).values()]
        self._decode([*self.files.values(), *lr], report)
        found = self._problems_of_record()
        for name, file in self.files.items():
            found += self._problems_of_image(name, self._facts[file], scales)
        for scale in scales if self.lr is not None else ():
            found += self._problems_of_lr(scale)
        return found

    def check(self, scales: Iterable[int], report: Report | None = None) -> None:
        """See that the set can be scored, before anything runs.

        Args:
            scales: As `problems` takes them.
            report: As `problems` takes it.

        Raises:
            ValueError: If there are problems; it lists all of them, a line each.
        """
        if found := self.problems(scales, report):
            count = "a problem" if len(found) == 1 else f"{len(found)} problems"
            raise ValueError("\n- ".join([f"{self.name} in {self.folder} has {count}:", *found]))

    def pairs(self, scale: int) -> "SetPairs":
        """The pairs of a scale, each decoded when it is asked for."""
        return SetPairs(self, scale)

    def pair(self, name: str, scale: int) -> Pair:
        """The pair of one image, decoded now.

        Raises:
            KeyError: If the set has no such image.
            ValueError: If the image cannot be read, is smaller than the scale, or does not fit its LR image.
        """
        hr = read_scored(self.files[name])
        if self.lr is None:
            return (luma_pair if self.path == "luma" else pair_from_hr)(name, hr, scale)
        file = self._lr_of(scale).get(name)
        if file is None:
            raise ValueError(f"{name} has no LR image of x{scale} in {self.lr}")
        lr = read_scored(file)
        channels, height, width = lr.shape
        height, width = height * scale, width * scale
        if not (0 <= hr.shape[1] - height < scale and 0 <= hr.shape[2] - width < scale):
            raise ValueError(_misfit(name, scale, *(f"{image.shape[2]}x{image.shape[1]}" for image in (lr, hr))))
        if channels != len(hr):
            lr = lr[:1] if len(hr) == 1 else lr.expand(3, -1, -1)  # MATLAB's LR image of a grey file is RGB
        return Pair(name, lr.contiguous(), hr[:, :height, :width].contiguous(), scale)

    def _match(self, record: BenchmarkSet, paths: Sequence[Path]) -> dict[str, Path]:
        """Name of an image of the benchmark -> its file: known by its name, else by its pixels."""
        by_name: dict[str, Path] = {}
        rest = []
        wanted = {plain(image.name) for image in record.images}
        for path in paths:
            key = plain(path.stem)
            if key in wanted and key not in by_name:
                by_name[key] = path
            else:
                rest.append(path)
        files = {image.name: by_name[plain(image.name)] for image in record.images if plain(image.name) in by_name}
        missing = {image.sha256: image.name for image in record.images if image.name not in files and image.sha256}
        if missing and rest:
            self._decode(rest)
            for path in rest:
                name = missing.pop(self._facts[path].sha256, None)
                if name is not None:
                    files[name] = path
        used = set(files.values())
        self.extra = tuple(path for path in rest if path not in used)
        return {image.name: files[image.name] for image in record.images if image.name in files}

    def _decode(self, files: Iterable[Path], report: Report | None = None) -> None:
        """Fill in the facts of files that are not known yet."""
        todo = list(dict.fromkeys(file for file in files if file not in self._facts))
        if not todo:
            return
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1, len(todo))) as pool:
            for i, (file, facts) in enumerate(zip(todo, pool.map(inspect, todo), strict=True), 1):
                self._facts[file] = facts
                if report:
                    report(i, len(todo), f"checking {self.name}")

    def _problems_of_record(self) -> list[str]:
        """Images that are missing from the benchmark, and images that do not belong to it."""
        if self.record is None:
            return []
        missing = [image.name for image in self.record.images if image.name not in self.files]
        extra = [str(path.relative_to(self.folder)) for path in self.extra]
        told = (("missing", missing), (f"not part of {self.name}, take it away", extra))
        return [f"{what} ({len(names)}): {listed(names, len(names))}" for what, names in told if names]

    def _problems_of_image(self, name: str, facts: Facts, scales: Sequence[int]) -> list[str]:
        """What is wrong with one HR image."""
        if facts.error:
            return [f"{name}: {facts.error}"]
        image = next((one for one in self.record.images if one.name == name), None) if self.record else None
        if self.record and image and (difference := _difference(image, facts, self.record)):
            return [f"{name}: {difference}"]
        found = []
        for scale in scales:
            height, width = cropped_size(facts.height, facts.width, scale)
            border = BORDER[self.protocol](scale)
            inside = [side - 2 * border for side in (width, height)]
            if not (height and width):
                found.append(f"{name}: {facts.size} pixels, smaller than the scale {scale}")
            elif min(inside) < LEAST_INSIDE:
                found.append(
                    f"{name}: {facts.size} pixels, too small to be scored at x{scale}: SSIM needs "
                    f"{LEAST_INSIDE}x{LEAST_INSIDE} within a border of {border}"
                )
        return found

    def _problems_of_lr(self, scale: int) -> list[str]:
        """What is wrong with the LR images of a scale."""
        files = self._lr_of(scale)
        if not files and self.files:
            return [
                f"no LR image of x{scale} in {self.lr}: it needs a folder such as X{scale} or names such as ax{scale}"
            ]
        missing = [name for name in self.files if name not in files]
        found = [f"without LR image of x{scale} ({len(missing)}): {listed(missing, len(missing))}"] if missing else []
        for name, file in files.items():
            lr, hr = self._facts[file], self._facts[self.files[name]]
            if lr.error:
                found.append(f"{name}, LR of x{scale}: {lr.error}")
            elif hr.error:
                continue
            elif not (0 <= hr.height - scale * lr.height < scale and 0 <= hr.width - scale * lr.width < scale):
                found.append(_misfit(name, scale, lr.size, hr.size))
            elif hr.mode == "L" and lr.mode == "RGB" and not lr.grey_sha256:
                found.append(f"{name}: HR is grey and its LR image of x{scale} ({file}) has colours")
        return found

    def _lr_of(self, scale: int) -> dict[str, Path]:
        """Name -> LR file of a scale, of the images that have one."""
        if self.lr is None:
            return {}
        if scale not in self._lr_files:
            folder = lr_folder(self.lr, self.name, self.record, scale)
            key = plain if self.record else str
            keys = {key(_stem(path, folder)) + ".png": path for path in reversed(_images_below(folder))}
            found: dict[str, Path] = {}
            stems = {name: _stem(file, self.folder) for name, file in self.files.items()}
            for known in ({name: name for name in self.files}, stems):
                wanted = {key(stem) + ".png": name for name, stem in known.items() if name not in found}
                free = [one for one, path in keys.items() if path not in found.values()]
                found |= {wanted[hr]: keys[lr] for hr, lr in match_lr(list(wanted), free, scale).items()}
            self._lr_files[scale] = {name: found[name] for name in self.files if name in found}
        return self._lr_files[scale]


class SetPairs(Sequence[Pair]):
    """The pairs of a set at one scale: a sequence that decodes an image when it is asked for, and keeps none.

    Args:
        images: The set.
        scale: Of all pairs.
        names: Which images, in order; all if None.
    """

    def __init__(self, images: ImageSet, scale: int, names: Sequence[str] | None = None) -> None:
        self.images = images
        self.scale = scale
        self.names = images.names if names is None else tuple(names)
        """Names of the pairs, known without decoding."""

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Pair: ...
    @overload
    def __getitem__(self, index: slice) -> "SetPairs": ...
    def __getitem__(self, index: int | slice) -> "Pair | SetPairs":
        if isinstance(index, slice):
            return SetPairs(self.images, self.scale, self.names[index])
        return self.images.pair(self.names[index], self.scale)


def lr_folder(root: Path, name: str, record: BenchmarkSet | None, scale: int) -> Path:
    """The folder of LR images of a set at a scale, below the one that a user named; that one if none is found."""
    tops = [root, *(root / top for top in ("benchmark", "bench"))]
    children = [child for top in tops if top.is_dir() for child in sorted(top.iterdir()) if child.is_dir()]
    bases = [child for child in children if (record.is_called(child.name) if record else child.name == name)]
    candidates = [base / inside.format(scale) for base in [*bases, root] for inside in LR_FOLDERS]
    return next((folder for folder in candidates if folder.is_dir() and _images_below(folder)), root)


def _difference(image: BenchmarkImage, facts: Facts, record: BenchmarkSet) -> str:
    """How an image differs from the one that is recorded; "" if it does not."""
    name = record.name
    if record.longer_side and max(facts.width, facts.height) != record.longer_side:
        return f"{facts.size} pixels, and the longer side of every image of {name} has {record.longer_side}"
    if image.width and (facts.width, facts.height) != (image.width, image.height):
        return f"{facts.size} pixels, and that of {name} has {image.width}x{image.height}"
    if facts.mode != image.mode and image.mode == "L" and facts.grey_sha256:
        return (
            f"stored as RGB with equal channels, and that of {name} is grey, which is scored as it is and not by its "
            "luma: it would count about 1.3 dB more; save it as grey (Pillow: image.convert('L'))"
        )
    if facts.mode != image.mode:
        kinds = {"L": "grey", "RGB": "RGB"}
        return f"stored as {kinds[facts.mode]}, and that of {name} is {kinds[image.mode]}, which is scored differently"
    if image.sha256 and facts.sha256 != image.sha256:
        return f"its pixels are not those of {name}, so it would score another number; get the file of the set itself"
    return ""


def _misfit(name: str, scale: int, lr: str, hr: str) -> str:
    return f"{name}: LR is {lr} at x{scale} and HR {hr}; HR must be {scale} times LR, or less than {scale} pixels more"


def _named(paths: Sequence[Path], folder: Path) -> dict[str, Path]:
    """Relative name without suffix -> file; with suffix where two files differ in nothing else."""
    stems = [_stem(path, folder) for path in paths]
    twice = {stem for stem in stems if stems.count(stem) > 1}
    return {
        path.relative_to(folder).as_posix() if stem in twice else stem: path
        for stem, path in zip(stems, paths, strict=True)
    }


def _stem(path: Path, folder: Path) -> str:
    """A file's path relative to a folder, without suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _images_below(folder: Path) -> list[Path]:
    """Images of a folder and its subfolders, in order; none if there is no such folder."""
    try:
        return find_images(folder)
    except FileNotFoundError:
        return []


def _file_hash(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return str(error)
