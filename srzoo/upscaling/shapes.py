"""The shapes a network's work is cut into, for an engine and what the user asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

from srzoo.tta import Op
from srzoo.tta.merges import MergeName
from srzoo.upscaling.engines import Engine
from srzoo.upscaling.layers import Layers
from srzoo.upscaling.network import Network
from srzoo.upscaling.planner import (
    GOOD_OVERHEAD,
    MIN_TILE,
    MOST_OVERHEAD,
    StripPlan,
    TilePlan,
    count_pixel_bytes,
    plan_strips_for,
    plan_tile_side,
    plan_tiles_for,
)
from srzoo.upscaling.steps import plan_flow

COSTLY = 4.0
"""Times the work of the whole image from which the user is told."""


@dataclass(frozen=True)
class Settings:
    """How a network is run.

    Args:
        ops: Operations of a self-ensemble; empty for a single pass.
        merge: What is made of their results.
        tile: Side of tiles in LR pixels, without halo; None lets the planner choose, strips if it can.
        halo: Halo of tiles, if it is to be smaller than the network's.
        memory: Bytes to get along with.
        most: Bytes to take at most, where the work cannot be done well with `memory`; None for no more.
    """

    ops: Sequence[Op] = ()
    merge: MergeName = "mean"
    tile: int | None = None
    halo: int | None = None
    memory: int = 500 * 10**6
    most: int | None = None


@dataclass(frozen=True)
class Shapes:
    """Plans for images of any size.

    Args:
        network: The network.
        networks: What flows in strips: the network, or its variants for an ensemble; None if neither can.
        engine: What runs it.
        settings: How.
        is_double: Whether it computes in float64.
    """

    network: Network
    networks: Sequence[Layers] | None
    engine: Engine
    settings: Settings
    is_double: bool

    @property
    def halo(self) -> int:
        """Halo of tiles."""
        return self.network.halo if self.settings.halo is None else self.settings.halo

    def strips(self, width: int, batch: int = 1, height: int | None = None) -> StripPlan | None:
        """How an image flows in strips; None if it is done in tiles. Without a height it is one of many rows."""
        if self.settings.tile is not None or self.settings.halo is not None or self.networks is None:
            return None
        half, full = self._value_bytes
        plans: list[StripPlan] = []
        for memory in self._budgets:
            plan = plan_strips_for(
                self.networks,
                width=width,
                batch=batch,
                halo=self.network.halo,
                memory=memory,
                device=self._speed_name,
                half=half,
                full=full,
                height=height,
            )
            if plan is not None:
                plans.append(plan)
            if plan is not None and plan.overhead(width) <= GOOD_OVERHEAD:
                break
        return min(plans, key=lambda plan: plan.overhead(width), default=None)

    @property
    def _budgets(self) -> Sequence[int]:
        """Bytes to plan with, and those to plan with where these are too few."""
        memory = self.settings.memory
        return tuple(dict.fromkeys((memory, max(memory, self.settings.most or 0))))

    @property
    def _speed_name(self) -> str:
        """What the planner knows the engine's speed by."""
        return self.engine.name if self.engine.device.type == "cpu" else self.engine.device.type

    @property
    def _value_bytes(self) -> tuple[int, int]:
        """Bytes of a value where half precision may be used, and elsewhere."""
        return (8, 8) if self.is_double else (self.engine.half_bytes, 4)

    def tiles(self, width: int, height: int, batch: int = 1) -> TilePlan:
        """How an image is cut into tiles; they may take more than the memory there is, if none fit."""
        plans = [self._tiles(width, height, batch, memory) for memory in self._budgets]
        good = (plan for plan in plans if plan.overhead(width, height, self.halo) <= GOOD_OVERHEAD)
        return next(good, plans[-1])

    def _tiles(self, width: int, height: int, batch: int, memory: int) -> TilePlan:
        layers, halo, side = self.network.layers, self.halo, self.settings.tile
        pixel = self.network.guess_pixel_bytes() if layers is None else count_pixel_bytes(layers, *self._value_bytes)
        if side is None:
            kind = self.engine.device.type
            side = plan_tile_side(halo=halo, memory=memory, bytes_per_pixel=batch * pixel, device=kind)
        column, row = batch * pixel * min(width, side + 2 * halo), self._row_bytes(width, batch)
        rows = side
        if self.settings.tile is None:  # as many as the results of a row of tiles leave room for
            rows = min(side, max(MIN_TILE, halo, (memory - 2 * halo * column) // (column + row)))
        taken = column * min(height, rows + 2 * halo) + row * min(height, rows)
        plain = TilePlan(rows, side, None, taken)
        is_good = taken <= memory and plain.overhead(width, height, halo) <= MOST_OVERHEAD
        if layers is None or self.settings.tile is not None or is_good:
            return plain
        half, full = self._value_bytes
        return plan_tiles_for(
            layers,
            size=(height, width),
            batch=batch,
            halo=halo,
            memory=memory,
            device=self._speed_name,
            half=half,
            full=full,
        )

    def _row_bytes(self, width: int, batch: int) -> int:
        """Bytes of the results of a row of an image, which are held twice: in parts, and beside each other."""
        return 2 * batch * self._value_bytes[1] * self.network.channels * self.network.scale**2 * width

    def plan(self, height: int, width: int, batch: int = 1) -> StripPlan | TilePlan:
        """How an image is done."""
        return self.strips(width, batch, height) or self.tiles(width, height, batch)

    def rows_at_once(self, plan: StripPlan | TilePlan, height: int) -> int:
        """Rows of an image whose results come at once."""
        if isinstance(plan, TilePlan):
            return min(height, plan.rows)
        assert self.networks is not None
        return min(height, max(plan.rows, plan_flow(self.networks[0]).min_first))

    def rows_held(self, plan: StripPlan | TilePlan, height: int) -> int:
        """Rows of an image that are held at most: that may be read again, that are at work, and two lots ahead."""
        rows = self.rows_at_once(plan, height)
        return min(height, 3 * rows + 4 * self.halo if isinstance(plan, TilePlan) else 4 * rows + 3 * self.halo)

    def feed_bytes(self, plan: StripPlan | TilePlan, size: tuple[int, int], batch: int, block: int) -> int:
        """Bytes of the rows that are held of an image (height, width) that comes in blocks of so many rows."""
        height, width = size
        copied = min(height, self.rows_at_once(plan, height) + 2 * self.halo)  # those of several blocks, joined
        rows = self.rows_held(plan, height) + copied + 2 * block
        return batch * self._value_bytes[1] * self.network.channels * width * rows

    def warnings(self, plan: TilePlan, width: int, height: int) -> list[str]:
        """What tiles cost, if it is much; who chose their side or halo knows."""
        if self.settings.tile is not None or self.settings.halo is not None:
            return []
        told = []
        most = self._budgets[-1]
        if plan.bytes > most:
            text = f"{most / 1e6:.0f} MB of memory are too little for this model: its smallest good tiles"
            told.append(f"{text} are expected to take {plan.bytes / 1e6:.0f} MB")
        overhead = plan.overhead(width, height, self.halo)
        if overhead > COSTLY:
            text = f"tiles of {plan.columns}x{plan.rows} pixels with a halo of {self.halo} take {overhead:.1f} times"
            told.append(f"{text} the work of the whole image; more memory makes it less")
        return told
