"""Random aligned LR and HR crops in eight orientations, from images in memory."""

import copy
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.data.cache import Report
from srzoo.data.check import DataReport, printable
from srzoo.data.crops import Chances, Draw, ResidentAtlas, draw_crops, gather_mapped
from srzoo.data.degradations import Degradation
from srzoo.data.folders import Folders, as_folders, label_folders
from srzoo.data.hold_out import choose_groups, count_to_hold_out, group_crops, hash_of, is_scorable
from srzoo.data.inventory import Inventory, take_inventory
from srzoo.data.settings import told

LOGGER = logging.getLogger("srzoo")
DRAWING = 1
"""Part of every fingerprint: raised when equal images and an equal generator give other batches."""


class PatchSource:
    """Training pairs from folders of images: random crops, made in memory.

    The LR images are MATLAB's bicubic of the HR images, made once; or those of a paired folder; or each LR patch is
    made by a degradation when it is drawn. Images are decoded once, into a cache of uint8 pixels that is
    memory-mapped, or put on the device where they fit.

    Images are drawn in proportion to their pixels, unless `ImageFolder` says otherwise. Unreadable files, all but one
    of images with equal pixels, and images that are too small for the patch are left out, which the log says;
    `inspect` lists them.

    Args:
        folders: A folder of HR images, an `ImageFolder`, or several of them.
        scales: The scales LR images are needed for.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        degradation: How LR patches are made from HR ones; None for MATLAB's bicubic or the paired LR images.
        exclude: Images not to draw, nor their copies, such as those that are validated on: names as in `names`.
        cache: Where decoded images are kept; the user's cache if None.
        report: Called with (done, total, "decode" or "LR x2") after each image that is decoded or made smaller; not
            called for what an earlier call has left in the cache.

    Raises:
        FileNotFoundError: If a folder does not exist or holds no image.
        ValueError: If no image can be read or drawn, `exclude` names one that is not there, only some folders have a
            weight, scores or licences miss an image, or there are both LR images and a degradation.
        TypeError: If the settings of the degradation cannot be told.
        OSError: If the cache folder is full or cannot be written to.

    Examples:
        ```python
        source = PatchSource([ImageFolder("photos", weight=3), ImageFolder("drawings", weight=1)], scales=(2,))
        print(source.inspect(patch_size=48).lines())
        lr, hr = source.sample(np.random.default_rng(0), scale=2, batch_size=16, patch_size=48)
        ```
    """

    def __init__(
        self,
        folders: Folders,
        *,
        scales: Sequence[int],
        channels: int = 3,
        degradation: Degradation | None = None,
        exclude: Sequence[str] = (),
        cache: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.folders = as_folders(folders)
        self.scales = tuple(scales)
        self.channels = channels
        self.degradation = degradation
        self.device = torch.device("cpu")
        self._resident: dict[int, ResidentAtlas] = {}
        paired = [str(folder.hr) for folder in self.folders if folder.lr is not None]
        if degradation is not None and paired:
            raise ValueError(
                f"{', '.join(paired)} has LR images of its own, so a degradation has nothing to make; give one or the "
                "other"
            )
        self._settings = "None" if degradation is None else told(degradation)
        stock = take_inventory(
            self.folders, self.scales, channels, make_lr=degradation is None, root=cache, report=report
        )
        self._take(stock.without(exclude) if exclude else stock)
        self._told: set[str] = set()
        self._tell(self._report(1, {}).warnings())

    def _take(self, inventory: Inventory) -> None:
        """Draw from these images from now on."""
        self._inventory = inventory
        self._chances: dict[tuple[int, int], Chances] = {}
        settings = [DRAWING, inventory.contents, inventory.shares, self._settings, inventory.chance.tolist()]
        self.fingerprint = hashlib.sha256(json.dumps(settings).encode()).hexdigest()
        """Equal images, shares, exclusions, LR images and degradation: equal fingerprint, and equal batches."""

    @property
    def names(self) -> tuple[str, ...]:
        """Images that are drawn where they hold a patch; those of several folders start with the folder's name."""
        return tuple(self._inventory.names[i] for i in np.flatnonzero(self._inventory.chance))

    @property
    def resident(self) -> bool:
        """Whether the images live on the device."""
        return bool(self._resident)

    def without(self, names: Sequence[str]) -> "PatchSource":
        """The same source, which does not draw some images, nor their copies; it shares the images in memory.

        Raises:
            ValueError: If a name is unknown, or nothing is left to draw.
        """
        other = copy.copy(self)
        other._take(self._inventory.without(names))
        return other

    def hold_out(self, fraction: float = 0.1, most: int = 20) -> list[str]:
        """Names of images to validate on, for `held_out_pairs` and `without`; empty, with a warning, if none is fit.

        The choice is by a hash of the pixels: it does not depend on the names of files and folders, nor on their order,
        and a new image takes the place of one at most. Only images are chosen whose middle is large enough to be scored
        and is not flat. Crops of one picture (`0001_s001.png`, `0001_s002.png`) are held out together.

        Args:
            fraction: Share to hold out; at least 1 image of 2 or more, 2 of 8 or more, and never all images, nor all
                of a folder that has a weight.
            most: No more images than this, unless each picture has more crops.

        Raises:
            ValueError: If `fraction` is not between 0 and 1, or `most` is below 1.
        """
        stock = self._inventory
        drawn = np.flatnonzero(stock.chance)
        count = count_to_hold_out(len(drawn), fraction, most)
        groups: dict[str, list[int]] = {}
        for i, picture in zip(drawn.tolist(), group_crops(self.names), strict=True):
            groups.setdefault(picture, []).append(i)
        rank = {i: (hash_of(f"0 {stock.pictures[i]}"), i) for i in drawn.tolist()}
        ranked = sorted(groups.values(), key=lambda group: min(rank[i] for i in group))

        def may_go(held: list[int]) -> bool:
            pictures = {stock.pictures[i] for i in held}
            left = [i for i in drawn if stock.pictures[i] not in pictures]
            emptied = stock.shares is not None and len({*stock.folder[left]}) < len({*stock.folder[drawn]})
            return bool(left) and not emptied

        held = choose_groups(ranked, count, may_go, lambda i: is_scorable(stock.hr.image(i), self.scales))
        if not held:
            self._tell([f"none of the {len(drawn)} images can be held out to validate on; give a folder of others"])
        return [stock.names[i] for i in sorted(held)]

    def copies_of(self, other: "PatchSource") -> list[str]:
        """Those of `names` that have the same pixels as an image of another source.

        Raises:
            ValueError: If the other source has another number of channels.
        """
        if self.channels != other.channels:
            raise ValueError(f"sources of {self.channels} and {other.channels} channels have no pixels to compare")
        there = set(other._inventory.pictures)
        stock = self._inventory
        return [stock.names[i] for i in np.flatnonzero(stock.chance) if stock.pictures[i] in there]

    def describe(self) -> dict[str, Any]:
        """What is drawn from, as plain JSON values, for the record: folders, numbers of images, degradation.

        `folders` has a name, weight, number of readable images and whether there are LR images for each folder; `drawn`
        is a number of images; `excluded` has a number and a hash of the names. Where folders have licences, `pictures`
        counts the pictures that are drawn by licence, crops of one once, and `left_out` the images that are not.
        """
        stock = self._inventory
        excluded = sorted(stock.names[i] for i in stock.excluded)
        labels = label_folders(self.folders)
        rows = [
            {
                "name": printable(label.removesuffix("/") or Path(folder.hr).resolve().name),
                "weight": folder.weight,
                "images": int((stock.folder == i).sum()),
                "lr": folder.lr is not None,
            }
            for i, (folder, label) in enumerate(zip(self.folders, labels, strict=True))
        ]
        pictures = stock.count_pictures()
        licences = {"pictures": pictures, "left_out": dict(stock.left_out)} if pictures else {}
        text = "\n".join(excluded).encode("utf-8", "surrogateescape")
        return {
            "folders": rows,
            "drawn": len(self.names),
            "excluded": {"images": len(excluded), "sha256": hashlib.sha256(text).hexdigest() if excluded else None},
            "degradation": None if self.degradation is None else repr(self.degradation),
            **licences,
        }

    def to(self, device: str | torch.device) -> "PatchSource":
        """This source, giving patches for that device.

        On a GPU the images go there if they fit in half of its free memory; `sample` then gives tensors that live
        there. If they do not, it gives tensors in pinned memory. Degraded patches are made on the device either way.
        """
        self.device, self._resident = torch.device(device), {}
        atlases = {1: self._inventory.hr, **self._inventory.lr}
        if self.device.type == "cuda":
            need = sum(atlas.num_bytes for atlas in atlases.values())
            if need <= torch.cuda.mem_get_info(self.device)[0] // 2:
                self._resident = {scale: ResidentAtlas(atlas, self.device) for scale, atlas in atlases.items()}
            else:
                LOGGER.info("the images (%d MiB) stay in the memory map: half of the GPU's is less", need >> 20)
        return self

    def images(self, name: str, scale: int) -> tuple[np.ndarray, np.ndarray | None]:
        """HR and LR pixels of one image, h w c, uint8, read-only; LR is None where a degradation makes it.

        Args:
            name: As in `names`, or one that is excluded.
            scale: One of `scales`.

        Raises:
            ValueError: If the name or the scale is unknown, or HR and LR images do not fit together.
        """
        self._check_scale(scale)
        if name not in self._inventory.names:
            raise ValueError(f"no image is called {name!r}; the names are those in PatchSource.names")
        i = self._inventory.names.index(name)
        lr = self._inventory.lr[scale].image(i) if self.degradation is None else None
        return self._inventory.hr.image(i), lr

    def inspect(self, patch_size: int) -> DataReport:
        """What there is to train on with LR patches of that size, and what is wrong with the rest."""
        names = self._inventory.names
        drawn = self._inventory.chance > 0
        small = {scale: drawn & ~self._fits(scale, patch_size) for scale in self.scales}
        return self._report(patch_size, {s: tuple(names[i] for i in np.flatnonzero(some)) for s, some in small.items()})

    def check(self, patch_size: int) -> DataReport:
        """`inspect`, with a warning in the log for each kind of image that is left out.

        Raises:
            ValueError: If pairs do not fit together (all are named), or at one of the scales no image holds a patch, or
                none of a folder that has a weight.
        """
        found = self.inspect(patch_size)
        self._check_pairs()
        self._tell(found.warnings())
        for scale in self.scales:
            self._chances_at(scale, patch_size)
        return found

    def sample(
        self,
        rng: np.random.Generator,
        *,
        scale: int,
        batch_size: int,
        patch_size: int,
        part: slice = slice(None),
    ) -> tuple[UInt8[Tensor, "b c h w"], UInt8[Tensor, "b c H W"]]:
        """A batch of LR and HR patches, channels last, a pure function of the state of `rng`.

        Args:
            rng: Source of all that is drawn.
            scale: One of `scales`.
            batch_size: Patches.
            patch_size: Side of the LR patch; the HR one is `scale` times as large.
            part: The patches of the batch to make; all parts together are the whole batch.

        Raises:
            ValueError: If the scale is not one of `scales`, or no image holds a patch.
        """
        side = patch_size + 2 * self._margin
        heights, widths = self._lr_sizes(scale)
        chances = self._chances_at(scale, patch_size)
        draw = draw_crops(rng, chances, heights, widths, batch_size, side, seeds=self.degradation is not None)
        draw = draw.part(part)
        hr = self._cut(1, draw, scale, side * scale)
        if self.degradation is None:
            return self._cut(scale, draw, 1, side), hr
        return degrade(self.degradation, hr.to(self.device, non_blocking=True), scale, draw.seeds)

    def _check_pairs(self) -> None:
        """See that HR and LR images fit together, before any is used."""
        if faults := self._report(1, {}).faults():
            raise ValueError(f"the HR and LR images do not fit together; {'; '.join(faults)}")

    def _check_scale(self, scale: int) -> None:
        """See that there are LR images of a scale."""
        if scale not in self.scales:
            there = ", ".join(f"x{scale}" for scale in self.scales)
            raise ValueError(f"this source has no x{scale}; it has {there}")
        self._check_pairs()

    @property
    def _margin(self) -> int:
        return 0 if self.degradation is None else self.degradation.margin

    def _cut(self, atlas: int, draw: Draw, factor: int, side: int) -> Tensor:
        """Patches of the HR images (`atlas` 1) or of the LR images of a scale."""
        if self._resident:
            return self._resident[atlas].gather(draw, factor, side)
        images = self._inventory.hr if atlas == 1 else self._inventory.lr[atlas]
        patches = gather_mapped(images, draw, factor, side)
        return patches.pin_memory() if self.device.type == "cuda" else patches

    def _lr_sizes(self, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Heights and widths of all LR images of a scale."""
        return self._inventory.hr.heights // scale, self._inventory.hr.widths // scale

    def _fits(self, scale: int, patch_size: int) -> np.ndarray:
        """Which images hold a patch."""
        heights, widths = self._lr_sizes(scale)
        return np.minimum(heights, widths) >= patch_size + 2 * self._margin

    def _chances_at(self, scale: int, patch_size: int) -> Chances:
        """How often each image is drawn at a scale."""
        if (scale, patch_size) not in self._chances:
            self._check_scale(scale)
            stock = self._inventory
            chance = stock.chance * self._fits(scale, patch_size)
            if not chance.any():
                need = (patch_size + 2 * self._margin) * scale
                raise ValueError(
                    f"none of the {len(self.names)} images has the {need}x{need} pixels that a patch of {patch_size} "
                    f"needs at x{scale}; take a smaller patch size or larger images"
                )
            if stock.shares is not None:
                totals = np.bincount(stock.folder, chance, len(stock.shares))
                for folder, total in zip(self.folders, totals, strict=True):
                    if not total:
                        raise ValueError(
                            f"{folder.hr} has the weight {folder.weight}, but no image of it can be drawn at x{scale} "
                            f"in patches of {patch_size}: all are copies of others, excluded, of score 0 or too small; "
                            "leave the folder out, or take a smaller patch size"
                        )
                chance = chance * (np.array(stock.shares) / totals)[stock.folder]
            self._chances[scale, patch_size] = Chances.of(chance)
        return self._chances[scale, patch_size]

    def _report(self, patch_size: int, too_small: dict[int, tuple[str, ...]]) -> DataReport:
        """The report on all images, with those that are too small at each scale."""
        stock = self._inventory
        drawn = stock.chance > 0
        if too_small:
            drawn &= np.any([self._fits(scale, patch_size) for scale in self.scales], axis=0)
        pixels = int((stock.hr.heights * stock.hr.widths)[drawn].sum())
        return DataReport(
            patch_size=patch_size,
            images=int(drawn.sum()),
            megapixels=pixels / 1e6,
            excluded=len(stock.excluded),
            unreadable=stock.unreadable,
            too_small={scale: names for scale, names in too_small.items() if names},
            duplicates=tuple(tuple(stock.names[i] for i in group) for group in stock.duplicates),
            unpaired=stock.unpaired,
            misfit=stock.misfit,
            left_out=stock.left_out,
        )

    def _tell(self, lines: Sequence[str]) -> None:
        """Log each line once in the life of this source and what was made `without` some of its images."""
        for line in lines:
            if line not in self._told:
                self._told.add(line)
                LOGGER.warning("%s", line)


def degrade(
    degradation: Degradation, hr: UInt8[Tensor, "b c H W"], scale: int, seeds: np.ndarray | Sequence[int] | None
) -> tuple[UInt8[Tensor, "b c h w"], UInt8[Tensor, "b c H2 W2"]]:
    """LR and HR patches, rounded half up, of HR patches that are larger by the degradation's margin on each side.

    Raises:
        ValueError: If the degradation gives LR patches of another size than HR / scale.
    """
    seeds = [int(seed) for seed in (seeds if seeds is not None else [])]
    with torch.no_grad():
        lr = degradation(hr.float().div(255), scale, seeds)
    margin = degradation.margin
    expected = (*hr.shape[:2], hr.shape[2] // scale, hr.shape[3] // scale)
    if lr.shape != expected:
        raise ValueError(f"{degradation} made LR patches of shape {tuple(lr.shape)}; at x{scale} it must be {expected}")
    lr = lr.mul(255).add(0.5).floor().clamp(0, 255).to(torch.uint8)
    lr, hr = (
        x[..., cut : x.shape[-2] - cut, cut : x.shape[-1] - cut].contiguous(memory_format=torch.channels_last)
        for x, cut in ((lr, margin), (hr, margin * scale))
    )
    return lr, hr
