"""Run a model on an image in tiles, with the result of the whole image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

DEFAULT_TILE = 256
"""Side of tiles in LR pixels where nothing else is known."""


@dataclass(frozen=True)
class Tile:
    """One tile: the LR pixels it answers for, and the larger window the model must see for them."""

    top: int
    left: int
    bottom: int
    right: int
    window: tuple[slice, slice]
    """Rows and columns of the LR image: the tile and its halo, cut at the image's edges."""


def plan_tiles(height: int, width: int, tile: int, halo: int) -> Iterator[Tile]:
    """Tiles of about equal size, none larger than `tile`, that cover an image row by row.

    Raises:
        ValueError: If `tile` is below 1 or `halo` negative.

    Examples:
        >>> [(t.top, t.bottom) for t in plan_tiles(10, 4, tile=6, halo=2)]
        [(0, 5), (5, 10)]
    """
    if tile < 1 or halo < 0:
        raise ValueError(f"tile is {tile} and halo {halo}; a tile has at least 1 pixel, a halo 0 or more")
    rows, columns = -(-height // tile), -(-width // tile)
    for i in range(rows):
        top, bottom = height * i // rows, height * (i + 1) // rows
        for j in range(columns):
            left, right = width * j // columns, width * (j + 1) // columns
            window = (
                slice(max(0, top - halo), min(height, bottom + halo)),
                slice(max(0, left - halo), min(width, right + halo)),
            )
            yield Tile(top, left, bottom, right, window)


def run_tiled(
    run: Callable[[Tensor], Tensor],
    lr: Shaped[Tensor, "b c h w"],
    *,
    scale: int,
    tile: int,
    halo: int,
    progress: Callable[[int, int], None] | None = None,
) -> Shaped[Tensor, "b c H W"]:
    """`run(lr)`, computed tile by tile: equal to the whole if `halo` is the model's receptive-field radius.

    Each tile is run with `halo` more pixels on the sides where the image goes on; at the image's own edges the
    model sees the edge it would see in the whole image.

    Args:
        run: LR tile to SR tile, on whatever device it likes.
        lr: The whole image; only tiles are handed out.
        scale: What `run` magnifies by.
        tile: Largest side of a tile in LR pixels, without the halo.
        halo: LR pixels to add on each side.
        progress: Called with (tiles done, tiles in all).
    """
    height, width = lr.shape[-2:]
    tiles = list(plan_tiles(height, width, tile, halo))
    out: Tensor | None = None
    for done, part in enumerate(tiles, start=1):
        sr = run(lr[..., part.window[0], part.window[1]]).to(lr.device)
        if out is None:
            out = torch.empty(*sr.shape[:2], height * scale, width * scale, dtype=sr.dtype, device=lr.device)
        top = (part.top - part.window[0].start) * scale
        left = (part.left - part.window[1].start) * scale
        rows, columns = (part.bottom - part.top) * scale, (part.right - part.left) * scale
        out[..., part.top * scale : part.bottom * scale, part.left * scale : part.right * scale] = sr[
            ..., top : top + rows, left : left + columns
        ]
        if progress:
            progress(done, len(tiles))
    assert out is not None
    return out
