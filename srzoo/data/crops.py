"""Crops in eight orientations, gathered from images that lie end to end in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

CHUNK = 2**26
"""Bytes copied to a device at a time."""
Indices = TypeVar("Indices", np.ndarray, Tensor)


@dataclass(frozen=True)
class Atlas:
    """Images that lie end to end in one or more arrays, row by row.

    Args:
        maps: Pixels, (n, channels), uint8; usually memory-mapped files.
        which: The array each image is in.
        starts: Its first pixel in there.
        heights, widths: Its size in pixels.
    """

    maps: tuple[np.ndarray, ...]
    which: np.ndarray
    starts: np.ndarray
    heights: np.ndarray
    widths: np.ndarray

    def __len__(self) -> int:
        return len(self.starts)

    def image(self, i: int) -> np.ndarray:
        """Image `i` as a view, h w c."""
        height, width, start = int(self.heights[i]), int(self.widths[i]), int(self.starts[i])
        pixels = self.maps[self.which[i]]
        return pixels[start : start + height * width].reshape(height, width, pixels.shape[1])

    def pick(self, order: Sequence[int]) -> "Atlas":
        """Some of the images, in that order."""
        rows = np.asarray(order, np.int64)
        return Atlas(self.maps, self.which[rows], self.starts[rows], self.heights[rows], self.widths[rows])

    @property
    def num_bytes(self) -> int:
        """Memory that all arrays take."""
        return sum(pixels.nbytes for pixels in self.maps)


def join_atlases(parts: Sequence[Atlas]) -> Atlas:
    """The images of several atlases as one, in their order."""
    before = np.cumsum([0, *(len(part.maps) for part in parts)])
    return Atlas(
        tuple(pixels for part in parts for pixels in part.maps),
        np.concatenate([part.which + before[i] for i, part in enumerate(parts)]),
        *(np.concatenate([getattr(part, field) for part in parts]) for field in ("starts", "heights", "widths")),
    )


@dataclass(frozen=True)
class Draw:
    """What was drawn for each patch of a batch.

    Args:
        image: Number of the image.
        y, x: Upper left corner in LR pixels.
        op: Orientation, 0 to 7: bit 0 transposes, after bit 1 has turned rows and bit 2 columns around.
        seeds: What the degradation of each patch is drawn from; None where nothing is degraded.
    """

    image: np.ndarray
    y: np.ndarray
    x: np.ndarray
    op: np.ndarray
    seeds: np.ndarray | None = None

    def part(self, rows: slice) -> "Draw":
        """Some of the patches."""
        seeds = None if self.seeds is None else self.seeds[rows]
        return Draw(self.image[rows], self.y[rows], self.x[rows], self.op[rows], seeds)


@dataclass(frozen=True)
class Chances:
    """How often images are drawn: `ends[i]` is the chance of the first i + 1 of `images` together."""

    images: np.ndarray
    ends: np.ndarray

    @classmethod
    def of(cls, chance: np.ndarray) -> "Chances":
        """From one number of 0 or more an image, not all 0."""
        images = np.flatnonzero(chance)
        ends = np.cumsum(chance[images])
        return cls(images, ends / ends[-1])


def draw_crops(
    rng: np.random.Generator,
    chances: Chances,
    heights: np.ndarray,
    widths: np.ndarray,
    num: int,
    side: int,
    seeds: bool,
) -> Draw:
    """A batch of random crops; the calls on `rng` depend on the arguments alone.

    Args:
        rng: Source of all that is drawn.
        chances: Of the images.
        heights: LR rows of every image.
        widths: LR columns of every image.
        num: Patches.
        side: Of the LR patch.
        seeds: Whether to draw a seed for each patch.
    """
    image = chances.images[np.searchsorted(chances.ends, rng.random(num), side="right")]
    y = rng.integers(heights[image] - side + 1)
    x = rng.integers(widths[image] - side + 1)
    op = rng.integers(8, size=num)
    return Draw(image, y, x, op, rng.integers(2**63 - 1, size=num) if seeds else None)


def crop_strides(atlas: Atlas, draw: Draw, factor: int, side: int) -> np.ndarray:
    """Where each patch starts and how far its next row and next column are, in pixels: (patches, 3), int64.

    An orientation is no more than a corner to start from and the order and signs of the two steps.

    Args:
        atlas: The images, `factor` times as large as the LR ones.
        draw: What was drawn.
        factor: 1 for LR, the scale for HR.
        side: Of the patch, in pixels of the atlas.
    """
    width = atlas.widths[draw.image]
    swap, flip_y, flip_x = ((draw.op >> bit) & 1 for bit in range(3))
    y, x = draw.y * factor + flip_y * (side - 1), draw.x * factor + flip_x * (side - 1)
    row, column = width * (1 - 2 * flip_y), 1 - 2 * flip_x
    steps = np.where(swap, column, row), np.where(swap, row, column)
    return np.stack([atlas.starts[draw.image] + y * width + x, *steps], 1)


def _spread(strides: Indices, along: Indices) -> Indices:
    """Index of every pixel of every patch: (patches, side, side)."""
    return strides[:, 0, None, None] + strides[:, 1, None, None] * along[:, None] + strides[:, 2, None, None] * along


def gather_mapped(atlas: Atlas, draw: Draw, factor: int, side: int) -> UInt8[Tensor, "b c h w"]:
    """The patches from memory, on the CPU, laid out channels last."""
    index = _spread(crop_strides(atlas, draw, factor, side), np.arange(side))
    which = atlas.which[draw.image]
    if len(used := np.unique(which)) == 1:
        patches = np.take(atlas.maps[used[0]], index, axis=0)
    else:
        patches = np.empty((*index.shape, atlas.maps[0].shape[1]), np.uint8)
        for one in used:
            patches[which == one] = np.take(atlas.maps[one], index[which == one], axis=0)
    return torch.from_numpy(patches).permute(0, 3, 1, 2)


def on_device(values: np.ndarray | Tensor, device: torch.device) -> Tensor:
    """The values as a tensor there; the host does not wait for a copy to a GPU."""
    tensor = torch.from_numpy(values) if isinstance(values, np.ndarray) else values
    if device.type == "cuda" and not tensor.is_cuda:
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class ResidentAtlas:
    """The pixels of an atlas on a device, in one tensor.

    Args:
        atlas: What to copy.
        device: Where to.
    """

    def __init__(self, atlas: Atlas, device: torch.device) -> None:
        self.atlas = atlas
        sizes = [len(pixels) for pixels in atlas.maps]
        self._before = np.cumsum([0, *sizes[:-1]])
        self.pixels = torch.empty((sum(sizes), atlas.maps[0].shape[1]), dtype=torch.uint8, device=device)
        rows = max(1, CHUNK // atlas.maps[0].shape[1])
        for before, pixels in zip(self._before, atlas.maps, strict=True):
            for start in range(0, len(pixels), rows):
                chunk = torch.from_numpy(np.array(pixels[start : start + rows]))
                self.pixels[before + start : before + start + len(chunk)].copy_(chunk)

    def gather(self, draw: Draw, factor: int, side: int) -> UInt8[Tensor, "b c h w"]:
        """The patches, on the device, laid out channels last; the host waits for nothing."""
        strides = crop_strides(self.atlas, draw, factor, side)
        strides[:, 0] += self._before[self.atlas.which[draw.image]]
        index = _spread(on_device(strides, self.pixels.device), torch.arange(side, device=self.pixels.device))
        patches = self.pixels.index_select(0, index.view(-1))
        return patches.view(*index.shape, self.pixels.shape[1]).permute(0, 3, 1, 2)
