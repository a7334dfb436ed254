"""A picture through a network: rows are read, computed and handed on at the same time, in flat memory."""

import threading
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from srzoo.image import Source
from srzoo.resize import RowResizer
from srzoo.tta.merges import spread_to_image
from srzoo.upscaling.cascade import Cascade
from srzoo.upscaling.executor import Block
from srzoo.upscaling.planes import REACH, Planes, find_constant_alpha, make_planes
from srzoo.upscaling.target import Sizes

Progress = Callable[[int, int], None]
"""Called with (pixels of the result done, pixels in all)."""


@dataclass(frozen=True)
class Rows:
    """The next rows of a result."""

    pixels: np.ndarray
    """h w c, in the picture's mode and dtype."""
    spread: np.ndarray | None = None
    """h w 1, uint8: the map of the spread, where it was asked for."""


def upscale_rows(
    cascade: Cascade,
    source: Source,
    size: tuple[int, int],
    *,
    spread: bool = False,
    notes: list[str] | None = None,
) -> Generator[Rows]:
    """The result of a picture, rows from top to bottom.

    Args:
        cascade: What runs the network, or several.
        source: The picture.
        size: Width and height of the result.
        spread: Whether to draw how far the passes of the ensemble lie apart.
        notes: Takes what the user should know.

    Raises:
        ValueError: If the model cannot take such a picture, or the file turns out to be damaged.
    """
    header, scale = source.header, cascade.scale
    model_channels = cascade.channels
    make_planes(header.mode, header.dtype, model_channels)  # refuses before anything is read
    constant = find_constant_alpha(source)
    planes = make_planes(header.mode, header.dtype, model_channels, constant)
    reading = threading.Lock()

    def rows(top: int, bottom: int) -> np.ndarray:
        with reading:
            return source.rows(top, bottom)

    resize = _Resize(size, (header.width * scale, header.height * scale))
    stream = cascade.stream(
        lambda top, bottom: planes.encode(rows(top, bottom)),
        header.height,
        header.width,
        planes.num,
        spread=spread,
        notes=notes,
    )
    with closing(stream) as blocks:
        for block in blocks:
            _settle(planes, block, rows, header.height)
            sr, drawn = resize(block)
            if sr.shape[-2]:
                yield Rows(planes.decode(sr), drawn)


def _settle(planes: Planes, block: Block, rows: Callable[[int, int], np.ndarray], height: int) -> None:
    """What was fully transparent, or opaque, made so again."""
    if planes.route != "alpha":
        return
    above, below = max(0, block.top - REACH), min(height, block.bottom + REACH)
    window = rows(above, below)
    inner = slice(block.top - above, block.bottom - above), slice(0, window.shape[1])
    planes.settle(block.sr, window, inner)


class _Resize:
    """The last step to a size that is not the model's scale times the picture's."""

    def __init__(self, size: tuple[int, int], made: tuple[int, int]) -> None:
        is_needed = size != made
        self.image = RowResizer(made[::-1], size[::-1]) if is_needed else None
        self.map = RowResizer(made[::-1], size[::-1]) if is_needed else None

    def __call__(self, block: Block) -> tuple[Tensor, np.ndarray | None]:
        sr = block.sr if self.image is None else self.image.push(block.sr)
        if block.spread is None:
            return sr, None
        spread = block.spread if self.map is None else self.map.push(block.spread)
        drawn = spread_to_image(spread.clamp_min(0).amax(0, keepdim=True))
        return sr, drawn[0].permute(1, 2, 0).cpu().numpy()


def collect(blocks: Generator[Block]) -> Tensor:
    """All blocks as one tensor."""
    with closing(blocks):
        return torch.cat([block.sr for block in blocks], -2)


def watched(blocks: Generator[Block], sizes: Sizes, height: int, progress: Progress | None) -> Generator[Block]:
    """The blocks of an image of a height, with progress told in pixels of the result."""
    total = sizes.width * sizes.height
    with closing(blocks):
        for block in blocks:
            yield block
            if progress:
                progress(block.bottom * total // height, total)
