"""The curves of a run, drawn from its log: loss and validation PSNR over the steps."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from srzoo.files import replacing

SIZE = (1200, 500)
SUPER = 3
"""Pixels drawn for each pixel of the picture, on each side: lines without stairs."""
COLORS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2", "#ca8a04", "#db2777", "#4b5563", "#65a30d")
INK, SOFT, GRID, AXIS = "#111827", "#6b7280", "#e5e7eb", "#9ca3af"
MOST_POINTS = 400
"""Points of a line: more rows are averaged, since there are not more pixels."""


Point = tuple[int | float, int | float]
"""Across and down; or the ends of an axis."""
Box = tuple[int | float, int | float, int | float, int | float]
"""Left, top, right, bottom in pixels of the finished picture."""


@dataclass(frozen=True)
class Series:
    """Values over steps, in the order of the steps."""

    name: str
    steps: np.ndarray
    values: np.ndarray


def read_series(path: str | Path) -> dict[str, Series]:
    """Number of a log -> its series; nulls, and a last line cut in half, are passed over.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line in the midst of the file is no row.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give the log.jsonl of a run")
    found: dict[str, list[tuple[float, float]]] = {}
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            step = float(row.pop("step"))
        except (ValueError, TypeError, KeyError, AttributeError):
            if number < len(lines):
                raise ValueError(f"line {number} of {path} is no row of a log; delete it or draw another log") from None
            continue
        for key, value in row.items():
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(key, []).append((step, value))
    series = {}
    for key, points in found.items():
        points.sort(key=lambda point: point[0])
        series[key] = Series(key, *np.array(points, dtype=np.float64).T)
    return series


def linear_ticks(low: int | float, high: int | float, most: int) -> list[float]:
    """Round numbers (1, 2 or 5 times a power of ten apart) from `low` to `high`, `most` at most.

    Examples:
        >>> linear_ticks(0, 1000, 6)
        [0.0, 200.0, 400.0, 600.0, 800.0, 1000.0]
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    for multiple in (1, 2, 5, 10, 20):
        apart = multiple * power
        first, last = math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9)
        if last - first < most:
            break
    digits = max(0, 1 - math.floor(math.log10(apart)))
    return [round(i * apart, digits) for i in range(first, last + 1)]


def log_ticks(low: int | float, high: int | float, most: int) -> list[float]:
    """Round numbers from `low` to `high` for a logarithmic axis: powers of ten, with 2 and 5, or as on a linear axis.

    Examples:
        >>> log_ticks(0.003, 0.3, 8)
        [0.005, 0.01, 0.02, 0.05, 0.1, 0.2]
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for multiples in ((1, 2, 5), (1, 3), (1,)):
        ticks = [float(f"{multiple}e{power}") for power in powers for multiple in multiples]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) <= most:
            break
    if len(ticks) > most:
        return ticks[:: math.ceil(len(ticks) / most)]
    return ticks if len(ticks) >= 4 else linear_ticks(low, high, most)


def tick_texts(ticks: Sequence[float]) -> list[str]:
    """Ticks as text, with as many digits as each needs; equally many where they are equally far apart.

    Examples:
        >>> tick_texts([0.01, 0.02, 0.05, 0.1]), tick_texts([29.0, 29.5])
        (['0.01', '0.02', '0.05', '0.1'], ['29.0', '29.5'])
    """
    texts = [f"{tick:.6g}" for tick in ticks]
    if len(set(np.diff(ticks).round(9))) == 1 and not any("e" in text for text in texts):
        digits = max(len(text.partition(".")[2]) for text in texts)
        return [f"{tick:.{digits}f}" for tick in ticks]
    return texts


def step_text(step: int | float) -> str:
    """A number of steps, short.

    Examples:
        >>> step_text(500), step_text(20_000), step_text(1_500_000)
        ('500', '20k', '1.5M')
    """
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if step >= size:
            return f"{step / size:g}{letter}"
    return f"{step:g}"


def thinned(series: Series, most: int = MOST_POINTS) -> tuple[Series, Series, Series]:
    """Mean, least and largest of neighbouring values, `most` points at most.

    Examples:
        >>> mean, least, largest = thinned(Series("a", np.arange(4.0), np.array([1.0, 3.0, 5.0, 9.0])), most=2)
        >>> mean.values.tolist(), least.values.tolist(), largest.values.tolist()
        ([2.0, 7.0], [1.0, 5.0], [3.0, 9.0])
    """
    count = min(most, len(series.values))
    starts = np.arange(count) * len(series.values) // count
    sizes = np.diff(starts, append=len(series.values))
    steps = np.add.reduceat(series.steps, starts) / sizes
    values = (np.add.reduceat(series.values, starts) / sizes, *(f.reduceat(series.values, starts) for f in _EXTREMES))
    mean, least, largest = (Series(series.name, steps, found) for found in values)
    return mean, least, largest


_EXTREMES = (np.minimum, np.maximum)


def smoothed(series: Series) -> Series:
    """Geometric mean of each value and its neighbours: a 24th of all to either side, less at the start, which is steep.

    Examples:
        >>> smoothed(Series("a", np.arange(3.0), np.array([4.0, 2.0, 1.0]))).values.round(3).tolist()
        [4.0, 2.0, 1.0]
    """
    count = len(series.values)
    index = np.arange(count)
    reach = np.minimum(count // 24, index // 3)
    first, end = index - reach, np.minimum(index + reach + 1, count)
    total = np.concatenate([[0.0], np.cumsum(np.log(series.values))])
    return replace(series, values=np.exp((total[end] - total[first]) / (end - first)))


class Panel:
    """Axes on a picture: where data lies, and the frame around it; lengths in pixels of the finished picture."""

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        box: Box,
        steps: Point,
        values: Point,
        *,
        log: bool = False,
    ) -> None:
        self.draw = draw
        self.box = box
        self.steps = steps
        self.values = values
        self.log = log

    def at(self, step: int | float, value: int | float) -> Point:
        """Where a point of the data lies on the (larger) picture that is drawn on."""
        left, top, right, bottom = self.box
        scale: Callable[[float], float] = math.log if self.log else float
        low, high = (scale(end) for end in self.values)
        x = left + (right - left) * (step - self.steps[0]) / (self.steps[1] - self.steps[0])
        y = bottom - (bottom - top) * (scale(value) - low) / (high - low)
        return x * SUPER, y * SUPER

    def line(self, points: Sequence[Point], color: str, width: int | float) -> None:
        """A line through points of the larger picture."""
        self.draw.line(points, color, round(width * SUPER), joint="curve")

    def text(
        self, x: int | float, y: int | float, text: str, *, size: int = 13, color: str = SOFT, anchor: str = "lm"
    ) -> None:
        """Text at a place of the finished picture."""
        self.draw.text((x * SUPER, y * SUPER), text, color, ImageFont.load_default(size * SUPER), anchor=anchor)

    def frame(self, title: str, note: str) -> None:
        """Title, grid, ticks and the labels of the axes."""
        left, top, right, bottom = self.box
        self.text(left, top - 34, title, size=19, color=INK)
        self.text(left, top - 13, note)
        ticks = log_ticks(*self.values, 8) if self.log else linear_ticks(*self.values, 7)
        for tick, text in zip(ticks, tick_texts(ticks), strict=True):
            y = self.at(self.steps[0], tick)[1]
            self.line([(left * SUPER, y), (right * SUPER, y)], GRID, 1)
            self.text(left - 8, y / SUPER, text, anchor="rm")
        for tick in linear_ticks(*self.steps, 6):
            x = self.at(tick, self.values[0])[0]
            self.line([(x, top * SUPER), (x, bottom * SUPER)], GRID, 1)
            self.line([(x, bottom * SUPER), (x, (bottom + 5) * SUPER)], AXIS, 1)
            self.text(x / SUPER, bottom + 17, step_text(tick), anchor="mm")
        self.line([(left * SUPER, bottom * SUPER), (right * SUPER, bottom * SUPER)], AXIS, 1.3)
        self.text((left + right) / 2, bottom + 38, "step", anchor="mm")

    def curve(self, series: Series, color: str, width: int | float = 2.2) -> None:
        """The series as a line, with dots where there are few points."""
        points = [self.at(step, value) for step, value in zip(series.steps, series.values, strict=True)]
        if len(points) > 1:
            self.line(points, color, width)
        if len(points) <= 30:
            for point in points:
                self.dot(point, color, 3.2)

    def dot(self, point: Point, color: str, radius: int | float, edge: str | None = None) -> None:
        """A dot on a point of the larger picture."""
        self.draw.circle(point, radius * SUPER, color, edge, round(1.6 * SUPER) if edge else 0)

    def band(self, least: Series, largest: Series, color: str) -> None:
        """The range of the values as an area."""
        upper = [self.at(*point) for point in zip(largest.steps, largest.values, strict=True)]
        lower = [self.at(*point) for point in zip(least.steps, least.values, strict=True)]
        if len(upper) > 1:
            self.draw.polygon([*upper, *reversed(lower)], color)

    def legend(self, entries: Sequence[tuple[str, str]], place: Box) -> None:
        """Colour and name of each series, in a box."""
        self.draw.rounded_rectangle([side * SUPER for side in place], 5 * SUPER, "white", GRID, SUPER)
        rows = math.ceil(len(entries) / _columns(entries))
        width = (place[2] - place[0]) / _columns(entries)
        for i, (name, color) in enumerate(entries):
            x, middle = place[0] + i // rows * width, place[1] + 16 + ROW * (i % rows)
            self.line([((x + 9) * SUPER, middle * SUPER), ((x + 27) * SUPER, middle * SUPER)], color, 3)
            self.text(x + 35, middle, name, color=INK)


ROW = 22
"""Height of a row of a legend."""


def _columns(entries: Sequence[tuple[str, str]]) -> int:
    return 1 if len(entries) <= 4 else 2


def legend_places(entries: Sequence[tuple[str, str]], box: Box) -> list[Box]:
    """Boxes for a legend in the corners of a panel: lower right, upper right, lower left, upper left."""
    font = ImageFont.load_default(13)
    columns = _columns(entries)
    width = columns * (max(font.getlength(name) for name, _ in entries) + 46)
    height = ROW * math.ceil(len(entries) / columns) + 10
    left, top, right, bottom = box
    corners = [(x, y) for x in (right - width - 6, left + 6) for y in (bottom - height - 8, top + 6)]
    return [(x, y, x + width, y + height) for x, y in corners]


def covered(panel: Panel, curves: Sequence[Series], place: Box) -> int:
    """Number of points of the curves, and of the lines between them, that lie in a place (or within 6 pixels of it)."""
    count = 0
    for series in curves:
        steps = np.union1d(np.linspace(series.steps[0], series.steps[-1], 200), series.steps)
        for step, value in zip(steps, np.interp(steps, series.steps, series.values), strict=True):
            x, y = (side / SUPER for side in panel.at(step, value))
            count += bool(place[0] - 6 <= x <= place[2] + 6 and place[1] - 6 <= y <= place[3] + 6)
    return count


def tint(color: str, share: int | float) -> str:
    """The colour mixed with white: `share` of it.

    Examples:
        >>> tint("#2563eb", 0.0)
        '#ffffff'
    """
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(255 + (part - 255) * share):02x}" for part in parts)


def _draw_loss(draw: ImageDraw.ImageDraw, box: Box, last: int | float, loss: Series) -> None:
    """Loss on a logarithmic axis: the rows faint, their smoothed mean on top."""
    mean, least, largest = thinned(loss)
    smooth = smoothed(mean)
    low, high = float(loss.values.min()), float(loss.values.max())
    room = (high / low) ** 0.06 if high > low else 1.5
    panel = Panel(draw, box, (0, last), (low / room, high * room), log=True)
    panel.frame(
        "Training loss", "log scale; faint: as logged, bold: smoothed" if len(mean.values) > 24 else "log scale"
    )
    if len(loss.values) > MOST_POINTS:
        panel.band(least, largest, tint(COLORS[0], 0.25))
    elif len(mean.values) > 24:
        panel.line(
            [panel.at(*point) for point in zip(mean.steps, mean.values, strict=True)], tint(COLORS[0], 0.35), 1.2
        )
    panel.curve(smooth, COLORS[0])
    entries = [(f"loss  {smooth.values[-1]:.3g} at the end", COLORS[0])]
    panel.legend(entries, legend_places(entries, box)[1])


def _gain(series: Series) -> str:
    """` (+1.25)`: how much better than at step 0 the best is; empty where the log does not tell."""
    if series.steps[0] != 0 or len(series.steps) < 2:
        return ""
    return f" ({series.values.max() - series.values[0]:+.2f})"


def _draw_scores(draw: ImageDraw.ImageDraw, box: Box, last: int | float, scores: Sequence[Series]) -> None:
    """PSNR of each set and scale, a ring around the best of each, and a level line at the score before step 1."""
    scores = sorted(scores, key=lambda series: -series.values[-1])
    curves = [thinned(series, 4 * MOST_POINTS)[0] for series in scores]
    entries = [
        (f"{series.name.removesuffix(' psnr')}  best {series.values.max():.2f}{_gain(series)}", COLORS[i % len(COLORS)])
        for i, series in enumerate(scores)
    ]
    low = min(float(series.values.min()) for series in scores)
    high = max(float(series.values.max()) for series in scores)
    room = 0.07 * (high - low) or 0.5
    panel = Panel(draw, box, (0, last), (low - room, high + room))
    places = legend_places(entries, box)
    place = min(places, key=lambda place: covered(panel, curves, place))
    if covered(panel, curves, place):  # no corner is free: make room below
        place = places[0]
        share = (box[3] - place[1]) / (box[3] - box[1])
        panel = Panel(
            draw, box, (0, last), (high + room - (high - low + 2 * room) / (1 - min(share, 0.8)), high + room)
        )
    at_start = "; level lines: before training" if any(map(_gain, scores)) else ""
    panel.frame("Validation PSNR", f"dB; a ring marks the best{at_start}")
    for series, (_, color) in zip(scores, entries, strict=True):
        if _gain(series):
            panel.line([panel.at(step, series.values[0]) for step in (0, last)], tint(color, 0.35), 1.2)
    for series, curve, (_, color) in zip(scores, curves, entries, strict=True):
        panel.curve(curve, color)
        best = int(series.values.argmax())
        panel.dot(panel.at(series.steps[best], series.values[best]), "white", 5, edge=color)
    panel.legend(entries, place)


def draw_curves(log_path: str | Path, png_path: str | Path) -> Path:
    """Draw loss and validation PSNR over the steps of a run as a PNG of 1200x500 pixels; returns its path.

    Where the log has scores of step 0, what the weights were before training, a level line shows the gain over them.

    Args:
        log_path: The `log.jsonl` that `JsonLines` wrote, of any length; rows without a loss or score are passed over.
        png_path: The file to write; its folder must exist.

    Raises:
        FileNotFoundError: If there is no log.
        ValueError: If the log has a broken line, or neither a positive loss nor a PSNR.
        OSError: If the picture cannot be written.
    """
    found = read_series(log_path)
    scores = [series for key, series in sorted(found.items()) if key.endswith("psnr")]
    loss = found.get("loss")
    if loss is not None:
        positive = loss.values > 0
        loss = Series("loss", loss.steps[positive], loss.values[positive]) if positive.any() else None
    drawn = [*scores, *([loss] if loss else [])]
    if not drawn:
        raise ValueError(f"{log_path} has neither a loss nor a PSNR to draw; has the run logged anything yet?")
    last = max(1.0, *(float(series.steps[-1]) for series in drawn))
    picture = Image.new("RGB", (SIZE[0] * SUPER, SIZE[1] * SUPER), "white")
    draw = ImageDraw.Draw(picture)
    top, bottom, middle = 72, SIZE[1] - 60, SIZE[0] / 2
    if loss:
        _draw_loss(draw, (74, top, middle - 26 if scores else SIZE[0] - 30, bottom), last, loss)
    if scores:
        _draw_scores(draw, (middle + 58 if loss else 74, top, SIZE[0] - 30, bottom), last, scores)
    png_path = Path(png_path)
    with replacing(png_path) as work:
        picture.resize(SIZE, Image.Resampling.LANCZOS).save(work, "PNG", optimize=True)
    return png_path
