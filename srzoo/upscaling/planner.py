"""The shape of strips and tiles: from measured speeds, the cost of the halo and the memory there is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from srzoo.upscaling.layers import Layers
from srzoo.upscaling.steps import Flow, Phase, Step, build_step, plan_flow

STRIP_PIXELS = {"torch": 1 << 12, "openvino": 1 << 14, "onnx": 1 << 14, "cuda": 1 << 19}
"""LR pixels of a middle strip: on CPUs what stays in the caches is fastest, a GPU needs many pixels to be busy.
Measured by benchmarks/upscale.py --shapes."""
TILE_SIDES = {"cpu": 192, "cuda": 768}
"""Side of a tile with its halo at which an engine is as fast as it gets, or nearly."""
MAX_COLUMNS = 4096
"""Columns of a band, where an image is wider: kept rows and strips stay small."""
MIN_ROWS = 4
MIN_TILE = 32
GOOD_OVERHEAD = 1.25
"""Times the work of the whole image up to which a plan is taken without a look at what more memory gives."""
MOST_OVERHEAD = 2.0
"""The same, up to which bands are made, and square tiles."""
OVERHEAD = 1.6
"""Memory an engine takes for its own work, over what the results of operations take."""


@dataclass(frozen=True)
class Band:
    """Columns of an image that flow through a network on their own."""

    left: int
    right: int
    window: tuple[int, int]
    """Columns that are computed: the band and the halo on each side, where the image goes on."""


@dataclass(frozen=True)
class StripPlan:
    """How an image flows through a network."""

    rows: int
    """Rows of a middle strip."""
    bands: tuple[Band, ...]
    bytes: int
    """What it is expected to take."""

    def overhead(self, width: int) -> float:
        """Pixels that are computed for each one of an image."""
        return sum(band.window[1] - band.window[0] for band in self.bands) / width


@dataclass(frozen=True)
class TilePlan:
    """How an image is cut into tiles."""

    rows: int
    """Rows of a tile, without halo."""
    columns: int
    strip: int | None
    """Rows of the strips in which a tile flows through the network; None if it is done at once."""
    bytes: int
    """What it is expected to take."""

    def overhead(self, width: int, height: int, halo: int) -> float:
        """Pixels that are computed for each one of an image."""
        return _overhead(width, self.columns, halo) * _overhead(height, self.rows, halo)


def _overhead(size: int, part: int, halo: int) -> float:
    number = -(-size // part)
    return number * min(size, -(-size // number) + 2 * halo) / size


def plan_bands(width: int, columns: int, halo: int) -> tuple[Band, ...]:
    """Bands of about equal width, none wider than `columns`, all with windows of the same width.

    Examples:
        >>> [band.window for band in plan_bands(100, 60, halo=5)]
        [(0, 60), (40, 100)]
    """
    number = -(-width // columns)
    if number == 1:
        return (Band(0, width, (0, width)),)
    side = min(width, -(-width // number) + 2 * halo)
    bands = []
    for i in range(number):
        left, right = width * i // number, width * (i + 1) // number
        start = min(max(0, left - halo), width - side)
        bands.append(Band(left, right, (start, start + side)))
    return tuple(bands)


def count_bytes(
    step: Step, flow: Flow, layers: Layers, size: tuple[int, int, int], half: int = 2, full: int = 4
) -> int:
    """Bytes of all results alive at once while a step runs on a strip (batch, rows, columns); the largest moment.

    Args:
        step: The step.
        flow: The network's flow.
        layers: The network.
        size: Batch, rows and columns of the strip.
        half: Bytes of a value in half precision.
        full: Bytes of any other value.
    """
    batch, rows, columns = size
    factors = {id(layer): factor for layer, factor in zip(layers, flow.factors, strict=True)}
    kept = [(flow.factors[i], flow.kept[i]) for i in range(len(flow.kept)) if flow.kept[i]]
    shapes: list[tuple[int, int]] = []  # factor of columns, rows
    alive: dict[int, int] = {}
    peak = 0
    for position, (operation, free) in enumerate(zip(step.operations, step.last_uses(), strict=True)):
        shapes_of = [shapes[operand] for operand in operation.operands]
        if operation.kind == "image":
            shape = 1, rows
        elif operation.kind == "state":
            shape = kept[operation.state]
        elif operation.kind == "stack":
            shape = shapes_of[0][0], shapes_of[0][1] + shapes_of[1][1]
        elif operation.kind == "take":
            shape = shapes_of[0][0], len(range(*slice(*operation.rows).indices(shapes_of[0][1])))
        else:
            assert operation.layer is not None
            layer = operation.layer
            height = shapes_of[0][1] + sum(operation.pad_rows) - (2 * layer.pad[0] if layer.kind == "conv" else 0)
            shape = factors[id(layer)], height * (layer.factor if layer.kind == "shuffle" else 1)
        shapes.append(shape)
        value = half if operation.half else full
        alive[position] = batch * operation.channels * max(0, shape[1]) * columns * shape[0] * value
        copies = 0  # of operands, in another precision or with rows of zeros on one side
        for operand, (factor, number) in zip(operation.operands, shapes_of, strict=True):
            like = step.operations[operand]
            if operation.kind == "layer" and (like.half != operation.half or len(set(operation.pad_rows)) > 1):
                copies += batch * like.channels * (number + sum(operation.pad_rows)) * columns * factor * value
        peak = max(peak, sum(alive.values()) + copies)
        for operand in free:
            alive.pop(operand, None)
    return peak


def state_bytes(layers: Layers, flow: Flow, columns: int, batch: int, half: int = 2, full: int = 4) -> int:
    """Bytes of the rows kept between strips."""
    return sum(
        batch * layer.channels * kept * factor * columns * (half if layer.half else full)
        for layer, kept, factor in zip(layers, flow.kept, flow.factors, strict=True)
    )


def plan_strips_for(
    networks: Sequence[Layers],
    *,
    width: int,
    batch: int,
    halo: int,
    memory: int,
    device: str,
    half: int = 2,
    full: int = 4,
    height: int | None = None,
) -> StripPlan | None:
    """Rows and bands for an image; None if strips do not fit in the memory, and tiles have to do.

    Args:
        networks: The network, or its variants for a self-ensemble; all keep rows at the same time.
        width: Of the image.
        batch: Images that flow together.
        halo: The network's.
        memory: Bytes there are.
        device: Name of the engine on a CPU, else the kind of device; what is unknown is taken for a GPU.
        half: Bytes of a value in half precision.
        full: Bytes of any other value.
        height: Of the image; None is one that is higher than a strip.
    """
    layers, flow = networks[0], plan_flow(networks[0])
    whole, first, middle = (build_step(layers, phase, flow) for phase in ("whole", "first", "middle"))
    pixels = STRIP_PIXELS.get(device, STRIP_PIXELS["cuda"]) // batch
    for columns in (MAX_COLUMNS >> halvings for halvings in range(7)):
        if columns < MAX_COLUMNS and columns >= width:
            continue
        if _overhead(width, columns, halo) > MOST_OVERHEAD:
            break
        bands = plan_bands(width, columns, halo)
        side = bands[0].window[1] - bands[0].window[0]
        fixed = (len(networks) * len(bands) + 1) * state_bytes(layers, flow, side, batch, half, full)
        rows = max(MIN_ROWS, pixels // side)
        while True:
            last = build_step(layers, "last", flow, rows)
            taken = max(
                count_bytes(step, flow, layers, (batch, number, side), half, full)
                for step, number in (
                    ((whole, height),)
                    if height is not None and height <= max(flow.min_first, rows)
                    else ((first, flow.min_first), (middle, rows), (last, rows))
                )
            )
            total = int(fixed + OVERHEAD * taken)
            if total <= memory:
                return StripPlan(rows, bands, total)
            if rows == MIN_ROWS:
                break
            rows = max(MIN_ROWS, rows // 2)
    return None


def count_pixel_bytes(layers: Layers, half: int = 2, full: int = 4, side: int = 64) -> int:
    """Bytes that a network takes for each LR pixel of a tile."""
    step = build_step(layers, "whole")
    return math.ceil(OVERHEAD * count_bytes(step, plan_flow(layers), layers, (1, side, side), half, full) / side**2)


def plan_tile_side(*, halo: int, memory: int, bytes_per_pixel: int, device: str) -> int:
    """Side of a tile, without halo, that gives most pixels a second in the memory there is.

    A tile of side t costs (t + 2 halo)^2 pixels, at a speed that falls when its window outgrows the caches (CPU) and
    is low while the window does not fill the device (GPU).

    Examples:
        >>> plan_tile_side(halo=36, memory=10**9, bytes_per_pixel=4000, device="cpu") >= 128
        True
    """
    least = max(MIN_TILE, halo)
    best = TILE_SIDES.get(device, TILE_SIDES["cuda"])
    most = math.isqrt(max(1, memory // bytes_per_pixel))

    def speed(window: int) -> float:
        if device == "cpu":
            return 1 / (1 + 0.15 * max(0.0, math.log2(window / best)))
        return min(1.0, window / best)

    def gain(tile: int) -> float:
        return speed(tile + 2 * halo) * (tile / (tile + 2 * halo)) ** 2

    sides = [side for side in (32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024) if side + 2 * halo <= most]
    return max((side for side in sides if side >= least), key=gain, default=least)


def plan_tiles_for(
    layers: Layers,
    *,
    size: tuple[int, int],
    batch: int,
    halo: int,
    memory: int,
    device: str,
    half: int = 2,
    full: int = 4,
) -> TilePlan:
    """Tiles that flow through the network in strips, one tile after the other; small ones if none fit in the memory.

    Rows are kept for one tile at a time, not for the width of the image, and results of a network take far less than
    what it computes them from: such tiles can be much larger than those done at once, and their halo costs less.

    Args:
        layers: The network.
        size: Height and width of the image.
        batch: Images that are done together.
        halo: The network's.
        memory: Bytes there are.
        device: As for `plan_strips_for`.
        half: Bytes of a value in half precision.
        full: Bytes of any other value.
    """
    (height, width), flow = size, plan_flow(layers)
    pixel = 2 * full * batch * layers.layers[-1].channels * layers.scale**2  # results are held twice
    found: list[TilePlan] = []
    small = max(MIN_TILE, halo)
    sides = sorted({min(width, side) for side in (small, *(MAX_COLUMNS >> halvings for halvings in range(8)))})
    for columns in sides:
        window = min(width, columns + 2 * halo)
        strip = max(MIN_ROWS, STRIP_PIXELS.get(device, STRIP_PIXELS["cuda"]) // batch // window)
        for rows in dict.fromkeys((strip, max(MIN_ROWS, strip // 4), MIN_ROWS)):
            steps: list[tuple[Phase, int]] = [("first", flow.min_first), ("middle", rows), ("last", rows)]
            taken = max(
                count_bytes(build_step(layers, phase, flow, rows), flow, layers, (batch, number, window), half, full)
                for phase, number in steps
            )
            fixed = int(2 * state_bytes(layers, flow, window, batch, half, full) + OVERHEAD * taken)
            # a row of tiles, and the window of one
            most = (memory - fixed - 2 * halo * window * pixel) // ((width + window) * pixel)
            least = max(MIN_TILE, max(flow.min_first, rows) + 1 - 2 * halo)  # lower ones would be done at once
            fits = most >= min(least, height)
            if not fits and (rows > MIN_ROWS or columns < min(width, small)):
                continue
            high = min(height, most if fits else max(least, small))
            found.append(TilePlan(high, columns, rows, fixed + (high * (width + window) + 2 * halo * window) * pixel))
            if fits:
                break
    fitting = [plan for plan in found if plan.bytes <= memory]
    if not fitting:
        return min(found, key=lambda plan: plan.bytes)
    return min(fitting, key=lambda plan: plan.overhead(width, height, halo))
