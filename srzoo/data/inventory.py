"""All training images of several folders: which there are, which belong together, how often each is drawn."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from srzoo.data.cache import PixelCache, Report
from srzoo.data.check import listed
from srzoo.data.crops import Atlas, join_atlases
from srzoo.data.folders import ImageFolder, label_folders, match_lr
from srzoo.data.licences import count_pictures, left_out_files, pictures_of

LOGGER = logging.getLogger("srzoo")
NOT_STATED = "not stated"
"""What pictures of a folder without licences are counted as, beside those of folders that have some."""


@dataclass(frozen=True)
class Stock:
    """The readable images of one folder, paired where it has LR images of its own.

    Args:
        names: Of the images, as users see them.
        keys: What two images with equal pixels have in common, first of the HR image, then of its LR images.
        hr: Their pixels.
        lr: Scale -> their LR pixels.
        chance: How often each is drawn, relative to the others: its pixels times its score.
        contents: Fingerprints of the caches behind it, HR first.
        unreadable, unpaired, misfit: As in `DataReport`.
        licences: Of each image; "" where the folder has none.
        originals: The picture each image is a crop of.
        left_out: Licence -> images that are under it and are not in here.
    """

    names: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    hr: Atlas
    lr: Mapping[int, Atlas]
    chance: np.ndarray
    contents: tuple[str, ...]
    unreadable: tuple[str, ...]
    unpaired: tuple[str, ...]
    misfit: tuple[str, ...]
    licences: tuple[str, ...]
    originals: tuple[str, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True)
class Inventory:
    """The images of all folders, in one numbering.

    Args:
        names: Of the images; those of several folders start with the folder's name.
        folder: Number of the folder of each.
        shares: Share of the patches from each folder, 1 in all; None to draw by pixels.
        hr: Pixels of all images.
        lr: Scale -> LR pixels of all images; empty where LR patches are made from HR ones.
        chance: How often each is drawn, relative to the others of its folder; 0 for copies and excluded ones.
        contents: Fingerprints of all caches.
        pictures: What two images with equal HR pixels have in common.
        duplicates: Groups of images with equal pixels, of which only the first is drawn.
        excluded: Numbers of the images that are kept from the draw.
        unreadable, unpaired, misfit: As in `DataReport`.
        licences: Of each image; "" where its folder has none.
        originals: The picture each image is a crop of.
        left_out: Licence -> images that are under it and are not in here.
    """

    names: tuple[str, ...]
    folder: np.ndarray
    shares: tuple[float, ...] | None
    hr: Atlas
    lr: Mapping[int, Atlas]
    chance: np.ndarray
    contents: tuple[str, ...]
    pictures: tuple[str, ...]
    duplicates: tuple[tuple[int, ...], ...]
    unreadable: tuple[str, ...]
    unpaired: tuple[str, ...]
    misfit: tuple[str, ...]
    excluded: tuple[int, ...] = ()
    licences: tuple[str, ...] = ()
    originals: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def count_pictures(self) -> dict[str, int]:
        """Licence -> pictures that are drawn, crops of one counted once; empty where no folder has licences."""
        if not any(self.licences):
            return {}
        drawn = np.flatnonzero(self.chance)
        return count_pictures((self.licences[i] or NOT_STATED, f"{self.folder[i]} {self.originals[i]}") for i in drawn)

    def without(self, names: Sequence[str]) -> "Inventory":
        """The same images, of which some are not drawn, and none of their copies.

        Raises:
            ValueError: If a name is unknown, or nothing is left to draw.
        """
        number = {name: i for i, name in enumerate(self.names)}
        unknown = [name for name in names if name not in number]
        if unknown:
            raise ValueError(f"no such image to exclude: {listed(unknown)}; the names are those in PatchSource.names")
        gone = {number[name] for name in names}
        pictures = {self.pictures[i] for i in gone}
        gone = {i for i, picture in enumerate(self.pictures) if picture in pictures} | set(self.excluded)
        chance = self.chance.copy()
        chance[sorted(gone)] = 0
        if not chance.any():
            raise ValueError(f"all {len(self.names)} images are excluded; nothing is left to draw")
        return replace(self, chance=chance, excluded=tuple(sorted(gone)))


def take_inventory(
    folders: Sequence[ImageFolder],
    scales: Sequence[int],
    channels: int,
    *,
    make_lr: bool,
    root: Path | None = None,
    report: Report | None = None,
) -> Inventory:
    """All images of some folders, decoded, with their LR images.

    Args:
        folders: What to take.
        scales: The scales LR images are needed for.
        channels: 1, 3 or 4.
        make_lr: Whether to make LR images where a folder has none.
        root: Where caches are kept; the user's cache if None.
        report: Told of the progress of decoding.

    Raises:
        FileNotFoundError: If a folder does not exist or holds no image.
        ValueError: If none of its images can be read, scores or licences miss one, scores are all 0, or all images
            are left out.
        OSError: If the cache folder is full or cannot be written to.
    """
    stocks = [
        _take_stock(folder, label, scales, channels, make_lr, root, report)
        for folder, label in zip(folders, label_folders(folders), strict=True)
    ]
    left_out: Counter[str] = Counter()
    for stock in stocks:
        left_out.update(stock.left_out)
    names = tuple(name for stock in stocks for name in stock.names)
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, key in enumerate(key for stock in stocks for key in stock.keys):
        groups.setdefault(key, []).append(i)
    chance = np.concatenate([stock.chance for stock in stocks])
    copies = [sorted(group, key=lambda i: (-chance[i], i)) for group in groups.values() if len(group) > 1]
    for group in copies:
        chance[group[1:]] = 0
    weights = [float(folder.weight or 0) for folder in folders]
    found = Inventory(
        names=names,
        folder=np.repeat(np.arange(len(stocks)), [len(stock.names) for stock in stocks]),
        shares=tuple(weight / sum(weights) for weight in weights) if any(weights) else None,
        hr=join_atlases([stock.hr for stock in stocks]),
        lr={scale: join_atlases([stock.lr[scale] for stock in stocks]) for scale in stocks[0].lr},
        chance=chance,
        contents=tuple(content for stock in stocks for content in stock.contents),
        pictures=tuple(key[0] for stock in stocks for key in stock.keys),
        duplicates=tuple(map(tuple, copies)),
        unreadable=tuple(line for stock in stocks for line in stock.unreadable),
        unpaired=tuple(line for stock in stocks for line in stock.unpaired),
        misfit=tuple(line for stock in stocks for line in stock.misfit),
        licences=tuple(licence for stock in stocks for licence in stock.licences),
        originals=tuple(original for stock in stocks for original in stock.originals),
        left_out=dict(sorted(left_out.items())),
    )
    if names and not chance.any():
        raise ValueError("the scores of all images are 0; nothing is left to draw")
    return found


def _take_stock(
    folder: ImageFolder,
    label: str,
    scales: Sequence[int],
    channels: int,
    make_lr: bool,
    root: Path | None,
    report: Report | None,
) -> Stock:
    """The images of one folder."""
    hr = PixelCache.build(folder.hr, channels=channels, root=root, report=report)
    paired: dict[int, tuple[str, PixelCache]] = {}
    for scale in scales:
        where = folder.lr_folder(scale, scales)
        if where is not None:
            cache = PixelCache.build(where, channels=channels, root=root, report=report)
            paired[scale] = f"{label}{where.name}/", cache
        elif make_lr:
            hr.prepare(scale, report)
    pairing, left_out = _without(_pair(hr, paired, label), hr, folder)
    kept = pairing.kept
    names = [hr.entries[i].name for i in kept]
    chance = np.array([hr.entries[i].height * hr.entries[i].width for i in kept], np.float64)
    if folder.scores is not None:
        missing = [name for name in names if name not in folder.scores]
        if missing:
            raise ValueError(f"no score for {listed(missing)}; give every image of {folder.hr} one")
        chance *= [folder.scores[name] for name in names]
    lr_keys = [[cache.entries[i].digest for i in pairing.lr[scale]] for scale, (_, cache) in paired.items()]
    hr_keys = [f"{hr.entries[i].height}x{hr.entries[i].width} {hr.entries[i].digest}" for i in kept]
    lr = {scale: cache.atlas().pick(pairing.lr[scale]) for scale, (_, cache) in paired.items()}
    if not paired and make_lr:
        lr = {scale: hr.atlas(scale).pick(kept) for scale in scales}
    skipped = [(label, hr), *paired.values()]
    return Stock(
        names=tuple(label + name for name in names),
        keys=tuple(zip(hr_keys, *lr_keys, strict=True)),
        hr=hr.atlas().pick(kept),
        lr=lr,
        chance=chance,
        contents=(hr.fingerprint, *(cache.fingerprint for _, cache in paired.values())),
        unreadable=tuple(f"{at}{name}: {why}" for at, cache in skipped for name, why in cache.skipped.items()),
        unpaired=tuple(pairing.unpaired),
        misfit=tuple(pairing.misfit),
        licences=tuple(folder.licences.of(name) if folder.licences else "" for name in names),
        originals=tuple(pictures_of(names, folder.licences) if folder.licences else names),
        left_out=left_out,
    )


@dataclass(frozen=True)
class Pairing:
    """Which HR images have an LR image at every scale: their numbers, and scale -> the numbers of the LR images."""

    kept: list[int]
    lr: dict[int, list[int]]
    unpaired: list[str]
    misfit: list[str]


def _pair(hr: PixelCache, paired: Mapping[int, tuple[str, PixelCache]], label: str) -> Pairing:
    """HR images with the LR images of the same name; those with an unreadable partner are left out."""
    numbers = {entry.name: i for i, entry in enumerate(hr.entries)}
    found = Pairing([], {scale: [] for scale in paired}, [], [])
    partners: dict[int, dict[int, int]] = {}
    for scale, (where, cache) in paired.items():
        lr_numbers = {entry.name: i for i, entry in enumerate(cache.entries)}
        matches = match_lr(sorted([*numbers, *hr.skipped]), sorted([*lr_numbers, *cache.skipped]), scale)
        taken = set(matches.values())
        found.unpaired.extend(f"{label}{name} (no LR for x{scale})" for name in numbers if name not in matches)
        found.unpaired.extend(f"{where}{name} (no HR)" for name in lr_numbers if name not in taken)
        whole = {name: lr for name, lr in matches.items() if name in numbers and lr in lr_numbers}
        partners[scale] = {numbers[name]: lr_numbers[lr] for name, lr in whole.items()}
        for name, lr in whole.items():
            big, small = hr.entries[numbers[name]], cache.entries[lr_numbers[lr]]
            if (small.height, small.width) != (big.height // scale, big.width // scale):
                found.misfit.append(
                    f"{where}{lr} is {small.width}x{small.height}, x{scale} of {label}{name} "
                    f"({big.width}x{big.height}) is {big.width // scale}x{big.height // scale}"
                )
    found.kept.extend(i for i in range(len(hr.entries)) if all(i in some for some in partners.values()))
    for scale, some in partners.items():
        found.lr[scale].extend(some[i] for i in found.kept)
    return found


def _without(pairing: Pairing, hr: PixelCache, folder: ImageFolder) -> tuple[Pairing, dict[str, int]]:
    """The pairs without those whose licence is left out; licence -> images of the latter."""
    if folder.licences is None:
        return pairing, {}
    names = [hr.entries[i].name for i in pairing.kept]
    out = left_out_files(names, folder.licences, folder.leave_out, str(folder.hr))
    rows = [row for row, name in enumerate(names) if name not in out]
    kept = [pairing.kept[row] for row in rows]
    lr = {scale: [some[row] for row in rows] for scale, some in pairing.lr.items()}
    left_out = dict(sorted(Counter(out.values()).items()))
    if folder.leave_out:
        told = ", ".join(f"{number} {licence}" for licence, number in left_out.items()) or "none"
        LOGGER.info("images of %s left out by licence: %s", folder.hr, told)
    return replace(pairing, kept=kept, lr=lr), left_out
