"""A network run on a whole image by an engine: in strips, or in tiles; past lack of memory and values that overflow."""

import copy
import gc
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property, partial

import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.tta.merges import Merge, make_merge
from srzoo.upscaling.engines import Engine
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import Layers
from srzoo.upscaling.memory import is_out_of_memory
from srzoo.upscaling.network import Network, check_result, variants
from srzoo.upscaling.passes import do_op, is_finite, undo_op
from srzoo.upscaling.planner import (
    Band,
    StripPlan,
    TilePlan,
)
from srzoo.upscaling.shapes import Settings, Shapes
from srzoo.upscaling.strips import Compiled, Merged, Read, run_strips

LOGGER = logging.getLogger("srzoo")
SMALLEST_TILE = 8
"""Where memory runs out."""
WORDS = {torch.float64: "fp64", torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


@dataclass
class Block:
    """Rows of a result, from top to bottom one block after the other."""

    top: int
    """First LR row that it answers for."""
    bottom: int
    """LR row after the last."""
    sr: Tensor
    """b c rows columns, float, not clamped, on the engine's device."""
    spread: Tensor | None = None
    """b 1 rows columns: how far the passes of an ensemble lie apart, where it was asked for."""


@dataclass(frozen=True)
class _Task:
    """One image, or a batch of images of one size, to be run."""

    read: Read
    height: int
    width: int
    batch: int
    make_merge: Callable[[], Merge]
    notes: list[str]


@dataclass
class Executor:
    """Runs a network on images of any size; one image at a time.

    Args:
        network: The network.
        engine: What runs it; networks that could not be recorded are run by PyTorch on the engine's device.
        settings: How.
    """

    network: Network
    engine: Engine
    settings: Settings
    _compiled: dict[bool, Compiled] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.network.dtype == torch.float64 and self.engine.name != "torch":
            LOGGER.warning("engine %s rounds the model's float64 to float32; torch does not", self.engine.name)

    @cached_property
    def networks(self) -> Sequence[Layers] | None:
        """The network, or one for each operation of the ensemble, to be run on the image as it is.

        None if the network could not be recorded, or images have to be turned, or changed otherwise, instead.
        """
        layers, ops = self.network.layers, self.settings.ops
        return None if layers is None else variants(layers, ops) if ops else [layers]

    @property
    def precision(self) -> str:
        """What is computed in, in words."""
        layers, dtype = self.network.layers, self.network.dtype
        if layers is None or (dtype == torch.float64 and self.engine.name == "torch"):
            return WORDS[dtype]
        if self.engine.precision == "fp32" or not any(layer.half for layer in layers):
            return "fp32"
        is_mixed = any(layer.kind == "conv" and not layer.half for layer in layers)
        exact = f" ({self.engine.mixed})" if is_mixed and self.engine.mixed else ""
        return self.engine.precision + exact

    @cached_property
    def shapes(self) -> Shapes:
        """Plans for images of any size."""
        return Shapes(self.network, self.networks, self.engine, self.settings, self.precision == "fp64")

    def stream(
        self,
        read: Read,
        height: int,
        width: int,
        batch: int = 1,
        *,
        spread: bool = False,
        notes: list[str] | None = None,
        done: Callable[[int], None] | None = None,
    ) -> Generator[Block]:
        """The result of an image, block by block from top to bottom.

        Args:
            read: Gives rows of the image, b c rows columns in [0, 1]; called from a thread of its own, too.
            height: Of the image.
            width: Of the image.
            batch: Images in `read`'s batch.
            spread: Whether to say how far the passes of the ensemble lie apart.
            notes: Takes what the user should know.
            done: Told, as blocks are taken, above which row of the image nothing will be read any more.

        Raises:
            MemoryError: If not even the smallest tile fits.
            ValueError: If results are not finite, in float32 too.
        """
        name, number = self.settings.merge, max(1, len(self.settings.ops))
        merge = partial(make_merge, name, number, spread=spread)
        task = _Task(read, height, width, batch, merge, [] if notes is None else notes)
        start = 0
        plan = self.shapes.strips(width, batch, height)
        if plan is not None:
            try:
                with closing(self._strips(task, plan)) as blocks:
                    for block in blocks:
                        yield self._checked(block, task)
                        start = block.bottom
                        if done is not None:
                            done(start - 2 * self.shapes.halo)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                _note(task.notes, f"memory ran out at row {start}; the rest was done in tiles")
            self._free()  # outside of the handler, since the error holds on to memory
        reach = self.shapes.tiles(width, height, batch).rows + 2 * self.shapes.halo  # the last window is moved up
        with closing(self._tiles(task, start, height)) as blocks:
            for block in blocks:
                yield self._checked(block, task)
                if done is not None:
                    done(block.bottom - reach)

    def limit(self, memory: int, most: int | None) -> None:
        """Get along with other memory from now on, see `Settings`."""
        if (memory, most) != (self.settings.memory, self.settings.most):
            self.settings = replace(self.settings, memory=memory, most=most)
            self.__dict__.pop("shapes", None)

    def compiled(self, precise: bool = False) -> Compiled | None:
        """The network's steps, one list for each of `networks`, or for the network alone; None if they are not known.

        Args:
            precise: In float32, by PyTorch.
        """
        layers = self.network.layers
        if layers is None:
            return None
        if precise not in self._compiled:
            engine = TorchEngine(self.engine.device, "fp32") if precise else self.engine
            self._compiled[precise] = Compiled(engine, self.networks or [layers])
        return self._compiled[precise]

    def _strips(self, task: _Task, plan: StripPlan) -> Generator[Block]:
        """Blocks of whole LR rows from strips, whose rows come as they can."""
        compiled = self.compiled()
        assert compiled is not None
        make_merge = task.make_merge if self.settings.ops else None
        with closing(run_strips(compiled, task.read, task.height, plan, make_merge)) as coming:
            yield from regrouped(coming, self.network.scale)

    def _tiles(self, task: _Task, top: int, bottom: int, precise: bool = False) -> Generator[Block]:
        """Blocks of a row of tiles each; smaller ones from where memory runs out."""
        plan = self.shapes.tiles(task.width, task.height, task.batch)
        for text in self.shapes.warnings(plan, task.width, task.height):
            _note(task.notes, text)
        high = plan.rows
        plan = replace(plan, rows=_even(bottom - top, high))
        while top < bottom:
            try:
                block = self._tile_row(task, (top, min(bottom, top + plan.rows)), plan, precise)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                block = None
            if block is not None:
                yield block
                top = block.bottom
                continue
            if max(plan.columns, high) <= SMALLEST_TILE:
                raise MemoryError("there is not enough memory for even a small tile; free some, or use a smaller model")
            self._free()
            high, columns = (max(SMALLEST_TILE, side // 2) for side in (high, plan.columns))
            strip = plan.strip and max(1, plan.strip // 2)
            plan = replace(plan, rows=_even(bottom - top, high), columns=columns, strip=strip)
            size = f"{columns}" if columns == high else f"{columns}x{high}"
            _note(task.notes, f"memory ran out; tiles are {size} pixels from row {top} on")

    def _tile_row(self, task: _Task, rows: tuple[int, int], plan: TilePlan, precise: bool) -> Block:
        """Tiles of some rows, beside each other.

        All their windows have one size, so that they share a compiled step.
        """
        (top, bottom), scale, halo, width = rows, self.network.scale, self.shapes.halo, task.width
        above, below = _window(top, bottom, task.height, min(task.height, plan.rows + 2 * halo), halo)
        lr = task.read(above, below)
        number = -(-width // plan.columns)
        wide = min(width, _even(width, plan.columns) + 2 * halo)
        parts: list[Merged] = []
        for i in range(number):
            left, right = width * i // number, width * (i + 1) // number
            first, last = _window(left, right, width, wide, halo)
            inner = (
                slice((top - above) * scale, (bottom - above) * scale),
                slice((left - first) * scale, (right - first) * scale),
            )
            merge = task.make_merge()
            for sr in self._passes(lr[..., first:last].to(self.engine.device), precise, plan.strip):
                merge.add(sr[..., inner[0], inner[1]])
            parts.append(Merged.of(merge))
        row = Merged.beside(parts)
        return Block(top, bottom, row.sr, row.spread)

    def _passes(self, lr: Tensor, precise: bool, strip: int | None) -> Iterator[Tensor]:
        """The result of each operation of the ensemble on one window."""
        if self.networks is not None:
            for variant in range(len(self.networks)):
                yield self._run(lr, variant, precise, strip)
            return
        scale = self.network.scale
        for op in self.settings.ops:
            yield undo_op(op, self._run(do_op(op, lr), 0, precise, strip), lr.shape[-1] * scale, lr.shape[-2] * scale)
        if not self.settings.ops:
            yield self._run(lr, 0, precise, strip)

    @torch.inference_mode()
    def _run(self, lr: Tensor, variant: int, precise: bool, strip: int | None = None) -> Tensor:
        """One pass over a window: by the layers where they are known, else by the model's own `forward`."""
        compiled = self.compiled(precise)
        if compiled is not None and strip is not None:
            plan = StripPlan(strip, (Band(0, lr.shape[-1], (0, lr.shape[-1])),), 0)
            one = compiled.alone(variant)
            strips = run_strips(one, lambda top, bottom: lr[:, :, top:bottom], lr.shape[-2], plan)
            return torch.cat([merged.sr for merged in strips], -2)
        if compiled is not None:
            return compiled.step(variant, "whole", (lr.shape[0], lr.shape[2], lr.shape[3]))(lr, ())[0]
        model = self._precise_model if precise else self.network.model
        dtype = torch.promote_types(self.network.dtype, torch.float32) if precise else self.network.dtype
        lr = lr.to(dtype).contiguous(memory_format=torch.channels_last)
        with torch.autocast(lr.device.type, enabled=False):
            sr = check_result(model(lr, self.network.scale), lr, self.network.scale)
        return sr.to(torch.promote_types(dtype, torch.float32))

    @cached_property
    def _precise_model(self) -> SRModel:
        """The model; a copy in float32 if it is in half precision."""
        is_half = self.network.dtype in (torch.float16, torch.bfloat16)
        return copy.deepcopy(self.network.model).float() if is_half else self.network.model

    def _checked(self, block: Block, task: _Task) -> Block:
        """The block, done again in float32 if it is not finite."""
        if is_finite(block.sr):
            return block
        with closing(self._tiles(task, block.top, block.bottom, precise=True)) as tiles:
            again = Merged.stacked([Merged(tile.sr, tile.spread) for tile in tiles])
        if not is_finite(again.sr):
            raise ValueError(
                "the model gives values that are not finite, in float32 too; its weights, or the image, are broken"
            )
        _note(task.notes, f"some values were not finite in {self.precision}; those rows were done again in float32")
        return Block(block.top, block.bottom, again.sr, again.spread)

    def _free(self) -> None:
        """Give back what memory can be given back: compiled steps, and what nothing refers to any more."""
        self._compiled.clear()
        gc.collect()
        if self.engine.device.type == "cuda":
            torch.cuda.empty_cache()


def regrouped(parts: Iterable[Merged], scale: int) -> Generator[Block]:
    """Rows of a result, however they come, as blocks of whole LR rows."""
    held: list[Merged] = []
    top = 0
    for part in parts:
        held.append(part)
        rows = sum(part.sr.shape[-2] for part in held) // scale
        if not rows:
            continue
        block, rest = Merged.stacked(held).split(rows * scale)
        held = [rest] if rest.sr.shape[-2] else []
        yield Block(top, top + rows, block.sr, block.spread)
        top += rows


def _even(size: int, most: int) -> int:
    """The largest part, if a size is cut evenly into as few parts as `most` allows."""
    return -(-size // max(1, -(-size // most)))


def _window(first: int, last: int, size: int, side: int, halo: int) -> tuple[int, int]:
    """A window of a fixed side that reaches `halo` around a tile, where the image does."""
    start = min(max(0, first - halo), max(0, size - side))
    return start, min(size, max(start + side, last + halo))


def _note(notes: list[str], text: str) -> None:
    if text not in notes:
        notes.append(text)
        LOGGER.warning("%s", text)
