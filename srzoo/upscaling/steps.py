"""A network's work on a strip of rows, such that no pixel is computed twice.

An image flows through the network from top to bottom, a strip of full-width rows at a time. Each convolution needs
rows below the ones it can give yet, so it lags behind its input, and keeps the last rows of its input until the next
strip comes. The first strip pads zeros above, the last one zeros below, as the whole image would: the rows that come
out are those of the whole image.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from srzoo.upscaling.layers import Layer, Layers

Phase = Literal["whole", "first", "middle", "last"]
"""whole: an image in one step. first, middle, last: strips of an image, from top to bottom."""


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation of a step; operands are positions of earlier operations."""

    kind: Literal["image", "state", "layer", "stack", "take"]
    """image: the strip. state: rows kept from the strip before. layer: what the layer does. stack: two operands, one
    above the other. take: some rows."""
    operands: tuple[int, ...] = ()
    layer: Layer | None = None
    """Of a "layer": convolutions pad columns by `layer.pad[1]` on both sides and rows by `pad_rows`."""
    pad_rows: tuple[int, int] = (0, 0)
    """Rows of zeros above and below a convolution's input."""
    rows: tuple[int, int | None] = (0, None)
    """Of a "take": the slice of rows, as Python counts (negative from the end); of a "state": what it was taken by."""
    state: int = -1
    """Of a "state": which."""
    half: bool = False
    """Whether the result is in the half precision."""
    channels: int = 0


@dataclass(frozen=True, eq=False)
class Step:
    """A straight-line program: strip and states in, rows of the result and new states out."""

    phase: Phase
    operations: tuple[Operation, ...]
    result: int
    states: tuple[int, ...]
    """Operations whose results are the new states; as many as "state" operations of the next step."""

    def last_uses(self) -> list[tuple[int, ...]]:
        """For each operation, the operands that nothing later needs."""
        kept = {self.result, *self.states}
        seen: set[int] = set()
        uses: list[tuple[int, ...]] = []
        for operation in reversed(self.operations):
            free = tuple(dict.fromkeys(x for x in operation.operands if x not in seen and x not in kept))
            seen.update(free)
            uses.append(free)
        return uses[::-1]


@dataclass(frozen=True)
class Flow:
    """How far each layer is behind the image, and what it keeps."""

    factors: tuple[int, ...]
    """Rows of the layer for one of the image."""
    lags: tuple[int, ...]
    """Rows of its own that it is behind."""
    kept: tuple[int, ...]
    """Rows of its result kept for the next strip."""

    @property
    def min_first(self) -> int:
        """Rows the first strip needs at least, for every layer to have the rows it keeps, and one."""
        numbers = zip(self.factors, self.lags, self.kept, strict=True)
        return max(-(-(lag + max(kept, 1)) // factor) for factor, lag, kept in numbers)


def plan_flow(layers: Layers) -> Flow:
    """Lags and kept rows of a network's layers."""
    factors: list[int] = []
    lags: list[int] = []
    for layer in layers:
        if layer.kind == "image":
            factors.append(1)
            lags.append(0)
            continue
        factor, lag = factors[layer.sources[0]], max(lags[source] for source in layer.sources)
        factors.append(factor * (layer.factor if layer.kind == "shuffle" else 1))
        lags.append((lag + (layer.pad[0] if layer.kind == "conv" else 0)) * layer.factor)
    kept = [0] * len(lags)
    for position, layer in enumerate(layers):
        for source in layer.sources:
            behind = lags[position] // layer.factor - lags[source]
            kept[source] = max(kept[source], behind + (layer.pad[0] if layer.kind == "conv" else 0))
    return Flow(tuple(factors), tuple(lags), tuple(kept))


class _Builder:
    """Puts the operations of a step together."""

    def __init__(self, layers: Layers, flow: Flow, phase: Phase) -> None:
        self.layers, self.flow = layers.layers, flow
        self.phase: Phase = phase
        self.before: dict[int, int] | None = None  # by layer: rows kept from the part before, within the last strip
        self.operations: list[Operation] = []
        self.found: dict[tuple[int, tuple[int, int | None]], int] = {}
        self.merged: list[int] = []  # by layer: operation that holds kept and new rows
        self.new_states: list[int] = []
        self.num_states = 0

    def add(self, operation: Operation) -> int:
        if operation.kind != "state" and operation.operands:
            like = self.operations[operation.operands[0]]
            operation = replace(operation, channels=operation.channels or like.channels, half=operation.half)
        self.operations.append(operation)
        return len(self.operations) - 1

    def take(self, operand: int, rows: tuple[int, int | None]) -> int:
        """Some rows of an operand, taken once."""
        if rows == (0, None):
            return operand
        if (operand, rows) not in self.found:
            half = self.operations[operand].half
            self.found[operand, rows] = self.add(Operation("take", (operand,), rows=rows, half=half))
        return self.found[operand, rows]

    def source_rows(self, position: int, source: int) -> int:
        """Rows of a source that a layer needs in this step."""
        layer, merged = self.layers[position], self.merged[source]
        if self.phase == "whole":
            return merged
        lags = self.flow.lags
        behind = lags[position] // layer.factor - lags[source]
        reach = layer.pad[0] if layer.kind == "conv" else 0
        start = 0 if self.phase == "first" else self.flow.kept[source] - behind - reach
        # a convolution reads all there is; a sum waits for the slower side, except at the end
        spare = behind - reach
        stop = -spare if spare and self.phase != "last" else None
        return self.take(merged, (start, stop))

    def layer(self, position: int) -> int:
        """What a layer does, in this step."""
        layer = self.layers[position]
        if layer.kind == "image":
            return self.add(Operation("image", layer=layer, channels=layer.channels))
        pad = layer.pad[0]
        above = pad if self.phase in ("whole", "first") else 0
        below = pad if self.phase in ("whole", "last") else 0
        return self.add(
            Operation(
                "layer",
                tuple(self.source_rows(position, source) for source in layer.sources),
                layer=layer,
                pad_rows=(above, below),
                half=layer.half,
                channels=layer.channels,
            )
        )

    def keep(self, position: int, new: int) -> int:
        """The kept rows of a layer with the new ones below; notes what is to be kept for the next step."""
        kept = self.flow.kept[position]
        if not kept or self.phase == "whole":
            return new
        half = self.operations[new].half
        merged, rows = new, (-kept, None)
        if self.before is not None and position in self.before:
            merged = self.add(Operation("stack", (self.before[position], new), half=half))
        elif self.phase != "first":
            channels = self.operations[new].channels
            state = self.add(Operation("state", rows=rows, state=self.num_states, half=half, channels=channels))
            self.num_states += 1
            merged = self.add(Operation("stack", (state, new), half=half))
        if self.before is not None:
            self.before[position] = self.take(merged, rows)
        elif self.phase != "last":
            self.new_states.append(self.take(merged, rows))
        return merged

    def build(self, rows: int | None) -> Step:
        phase: Phase = self.phase
        waist = find_waist(self.layers) if phase == "last" and rows else None
        for position in range(len(self.layers) if waist is None else waist + 1):
            self.merged.append(self.keep(position, self.layer(position)))
        if waist is not None and rows is not None:
            self.finish_in_parts(waist, rows)
        return Step(phase, tuple(self.operations), self.merged[-1], tuple(self.new_states))

    def finish_in_parts(self, waist: int, rows: int) -> None:
        """The layers after the waist on the last strip, as if it were several: all but the last part are "middle"."""
        kept, late, whole = self.flow.kept[waist], self.flow.lags[waist], self.merged[waist]
        self.before = {}
        left = [None, *range(late, 0, -rows)]  # rows at the waist that a part and those after it have; of all: unknown
        result = None
        for part, after in zip(left, [*left[1:], None], strict=True):
            self.phase = "last" if after is None else "middle"
            start = 0 if part is None else -(part + kept)
            del self.merged[waist:]
            self.merged.append(self.take(whole, (start, None if after is None else -after)))
            for position in range(waist + 1, len(self.layers)):
                self.merged.append(self.keep(position, self.layer(position)))
            made = self.merged[-1]
            result = made if result is None else self.add(Operation("stack", (result, made)))
        assert result is not None
        self.merged[-1] = result


def find_waist(layers: Sequence[Layer]) -> int | None:
    """The last layer before any shuffle which is all that the layers after it know of those before it, if there is one.

    What follows it is the costly part of a network: its upsampler, and what comes after.
    """
    shuffle = next((position for position, layer in enumerate(layers) if layer.kind == "shuffle"), 0)
    lowest = len(layers)  # of the sources of all layers from here on
    waists: list[int] = []
    for position in range(len(layers) - 1, 0, -1):
        lowest = min(lowest, *layers[position].sources)
        if lowest == position - 1:
            waists.append(position - 1)
    return next((waist for waist in waists if 0 < waist < shuffle and layers[waist + 1].kind == "conv"), None)


def build_step(layers: Layers, phase: Phase, flow: Flow | None = None, rows: int | None = None) -> Step:
    """The step of a phase.

    Args:
        layers: The network.
        phase: Which part of the image the step is for.
        flow: `plan_flow(layers)`, if it is known.
        rows: Of a middle strip. The rows that the layers are behind come all at once with the last strip, and would
            take far more memory than a middle strip; with this given, the upsampler gets them a few at a time.
    """
    return _Builder(layers, flow or plan_flow(layers), phase).build(rows)


def plan_strips(height: int, rows: int, min_first: int) -> Sequence[tuple[Phase, int, int]]:
    """Strips of an image from top to bottom: phase, first row and the row after the last.

    All middle strips have `rows` rows, so that they can share a compiled step; the last has 1 to `rows`. An image that
    is no higher than a strip is done in one step.

    Examples:
        >>> plan_strips(100, 16, 40)
        [('first', 0, 40), ('middle', 40, 56), ('middle', 56, 72), ('middle', 72, 88), ('last', 88, 100)]
        >>> plan_strips(30, 16, 40)
        [('whole', 0, 30)]
    """
    if height <= max(min_first, rows):
        return [("whole", 0, height)]
    last = height - (height - min_first - 1) % rows - 1
    middle: list[tuple[Phase, int, int]] = [("middle", top, top + rows) for top in range(min_first, last, rows)]
    return [("first", 0, min_first), *middle, ("last", last, height)]
