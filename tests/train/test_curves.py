import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.train.curves import (
    COLORS,
    SIZE,
    Series,
    draw_curves,
    legend_places,
    linear_ticks,
    log_ticks,
    read_series,
    smoothed,
    step_text,
    thinned,
    tick_texts,
    tint,
)

LOSS, SECOND = ([int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS[:2])
LEFT, RIGHT = (slice(76, 572), slice(660, 1168))  # what lies inside the axes of the two panels


def write_log(folder: Path, *rows: dict[str, float | None]) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def drawn(log: Path) -> np.ndarray:
    picture = Image.open(draw_curves(log, log.with_suffix(".png")))
    assert (picture.size, picture.mode) == (SIZE, "RGB")
    return np.asarray(picture).astype(int)


def height_of(pixels: np.ndarray, color: list[int], columns: slice) -> dict[int, float]:
    """Column -> mean row of the pixels of a colour below the legend's corner."""
    rows, found = np.nonzero((np.abs(pixels[120:438, columns] - color) < 40).all(-1))
    return {column: float(rows[found == column].mean()) for column in np.unique(found)}


def falling(steps: range) -> list[dict[str, float | None]]:
    return [{"step": step, "loss": 0.2 * math.exp(-step / 500)} for step in steps]


def test_a_falling_loss_goes_down_and_straight_on_the_log_axis(tmp_path):
    pixels = drawn(write_log(tmp_path, *falling(range(10, 2001, 10))))
    heights = height_of(pixels, LOSS, slice(76, 1168))
    columns = sorted(heights)
    assert columns[-1] - columns[0] > 900
    assert (np.diff([heights[column] for column in columns]) > -1.5).all()
    middle = (heights[columns[0]] + heights[columns[-1]]) / 2
    assert heights[columns[len(columns) // 2]] == pytest.approx(middle, abs=4)  # exponential decay is a line there


def test_a_rising_psnr_goes_up_in_a_panel_of_its_own(tmp_path):
    scores: list[dict[str, float | None]] = [{"step": s, "Set5 x2 psnr": 30 + s / 1000} for s in range(0, 2001, 50)]
    pixels = drawn(write_log(tmp_path, *falling(range(10, 2001, 10)), *scores))
    heights = height_of(pixels, LOSS, RIGHT)
    columns = sorted(heights)[:240]  # before the legend
    assert (np.diff([heights[column] for column in columns]) < 1.5).all()
    assert heights[columns[-1]] < heights[columns[0]] - 100
    down = height_of(pixels, LOSS, LEFT)
    assert down[max(down)] > down[min(down)] + 100


def test_the_gain_over_step_0_is_shown_by_a_level_line(tmp_path):
    start: dict[str, float | None] = {"step": 0, "Set5 x2 psnr": 30.0}
    later: list[dict[str, float | None]] = [{"step": step, "Set5 x2 psnr": 31 + step / 1000} for step in (500, 1000)]
    faint = [int(tint(COLORS[0], 0.35)[i : i + 2], 16) for i in (1, 3, 5)]

    def level(pixels: np.ndarray) -> int:
        return int((np.abs(pixels[72:438, 76:1168] - faint) < 30).all(-1).sum(1).max())

    pixels = drawn(write_log(tmp_path, *later))
    assert level(pixels) < 100
    with_start = drawn(write_log(tmp_path, start, *later))
    assert level(with_start) > 700
    dot = (np.abs(with_start[380:438, 70:80] - LOSS) < 40).all(-1)  # on the axis, at the bottom
    assert dot.sum() > 10
    assert level(drawn(write_log(tmp_path, start))) < 100  # there is no gain yet


def test_a_score_that_only_fell_has_its_ring_at_the_start(tmp_path):
    rows: list[dict[str, float | None]] = [{"step": step, "Set5 x2 psnr": 30 - step / 1000} for step in (0, 500, 1000)]
    pixels = drawn(write_log(tmp_path, *rows))
    middle = np.abs(pixels[60:130, 66:83] - LOSS) < 40
    columns = np.nonzero(middle.all(-1))[1]
    assert columns.max() - columns.min() >= 8


def test_each_series_has_its_colour_the_best_set_the_first(tmp_path):
    rows: list[dict[str, float | None]] = [
        {"step": step, "low x2 psnr": 30.0, "high x2 psnr": 35.0} for step in range(0, 1001, 25)
    ]
    pixels = drawn(write_log(tmp_path, *rows))
    line = pixels[60:440, 300]
    first, second = (np.nonzero((np.abs(line - color) < 40).all(-1))[0] for color in (LOSS, SECOND))
    assert len(first)
    assert len(second)
    assert first.max() < second.min()


def test_nothing_but_white_lies_around_the_frame(tmp_path):
    pixels = drawn(write_log(tmp_path, *falling(range(10, 200, 10)), {"step": 190, "Set5 x4 psnr": 31.0}))
    edges = (pixels[:20], pixels[-6:], pixels[:, :10], pixels[:, -8:])
    assert all((edge == 255).all() for edge in edges)


@pytest.mark.parametrize(
    "rows",
    [
        [{"step": 100, "loss": 0.03}],
        [{"step": 100, "Set5 x2 psnr": 31.0}],
        [{"step": 0, "Set5 x2 psnr": 31.0, "loss": 0.1}],
        [{"step": 10, "loss": 0.03}, {"step": 20, "loss": 0.03}],
        [{"step": 10, "loss": 1e-12}, {"step": 20, "loss": 1e9}],
        [{"step": 10, "loss": None}, {"step": 20, "loss": 0.5}, {"step": 30, "loss": 0.0}],
        [{"step": 10, f"{'a long name of a set ' * 3}x2 psnr": 30.0}],
    ],
)
def test_few_or_odd_values_are_drawn(tmp_path, rows):
    pixels = drawn(write_log(tmp_path, *rows))
    assert ((np.abs(pixels[80:438] - LOSS) < 40).all(-1)).sum() > 20


def test_a_null_loss_is_passed_over(tmp_path):
    rows = falling(range(10, 2001, 10))
    whole = drawn(write_log(tmp_path, *rows))
    holes = drawn(write_log(tmp_path, *rows, *({"step": step, "loss": None} for step in range(5, 2000, 10))))
    assert (whole == holes).all()


def test_a_hundred_thousand_rows_are_drawn_in_time_and_keep_their_extremes(tmp_path):
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=100_000) * 0.1)
    values[50_000] = 100.0
    pixels = drawn(write_log(tmp_path, *({"step": i + 1, "loss": float(v)} for i, v in enumerate(values))))
    spike = (pixels[100:300, 618:626, 0] < 225).any(1)  # the band reaches up to the one large value
    assert spike.mean() > 0.9
    faint = [int(tint(COLORS[0], 0.25)[i : i + 2], 16) for i in (1, 3, 5)]
    inked = (np.abs(pixels[72:438, 80:1164] - faint) < 8).all(-1).sum(0)
    assert np.median(inked) > 25
    assert inked.min() > 0.4 * np.median(inked)  # filled from the least to the largest everywhere


def test_the_legend_hides_no_curve_with_six_flat_series(tmp_path):
    keys = [f"Set{i} x{scale} psnr" for i in (5, 14) for scale in (2, 3, 4)]
    rows: list[dict[str, float | None]] = [
        {"step": step, **{key: 28.0 + 2 * i for i, key in enumerate(keys)}} for step in range(0, 2001, 50)
    ]
    pixels = drawn(write_log(tmp_path, *rows))
    for color in COLORS[:6]:
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        found = (np.abs(pixels[72:440, 76:1160] - rgb) < 40).all(-1)
        assert found.any(0).mean() > 0.97


def test_a_torn_last_line_is_passed_over_and_a_broken_one_is_an_error(tmp_path):
    log = write_log(tmp_path, {"step": 1, "loss": 0.5})
    log.write_text(log.read_text() + '{"step": 2, "lo')
    assert read_series(log)["loss"].steps.tolist() == [1]
    log.write_text(log.read_text() + '\n{"step": 3, "loss": 0.4}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*log\.jsonl is no row"):
        read_series(log)


def test_what_cannot_be_drawn_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"log\.jsonl of a run"):
        draw_curves(tmp_path / "none.jsonl", tmp_path / "a.png")
    for rows in ([], [{"step": 1, "lr": 0.1}], [{"step": 1, "loss": 0.0}]):
        with pytest.raises(ValueError, match="neither a loss nor a PSNR"):
            draw_curves(write_log(tmp_path, *rows), tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


def test_rows_out_of_order_are_sorted(tmp_path):
    log = write_log(tmp_path, {"step": 20, "loss": 0.1}, {"step": 10, "loss": 0.2})
    assert read_series(log)["loss"].values.tolist() == [0.2, 0.1]


@pytest.mark.parametrize("low", [0.0, -3.0, 26.13, 1e6])
@pytest.mark.parametrize("length", [1e-6, 0.013, 1.0, 7.7, 123_456.0])
def test_linear_ticks_are_even_inside_and_neither_few_nor_many(low, length):
    length = max(length, low * 1e-8)  # finer is more than the digits of a float tell
    ticks = linear_ticks(low, low + length, 6)
    assert 2 <= len(ticks) <= 6
    assert ticks[0] >= low - 1e-9 * length
    assert ticks[-1] <= low + length * (1 + 1e-9)
    assert np.diff(ticks) == pytest.approx(np.diff(ticks)[0], rel=1e-6)


@pytest.mark.parametrize("low", [1e-9, 0.0213, 0.5, 30.0])
@pytest.mark.parametrize("ratio", [1.01, 1.5, 3.0, 20.0, 1e4, 1e12])
def test_log_ticks_lie_inside_and_are_neither_few_nor_many(low, ratio):
    ticks = log_ticks(low, low * ratio, 8)
    assert 2 <= len(ticks) <= 8
    assert all(low * 0.999 <= tick <= low * ratio * 1.001 for tick in ticks)
    assert ticks == sorted(set(ticks))
    assert len(set(tick_texts(ticks))) == len(ticks)


def test_steps_are_told_short():
    assert [step_text(step) for step in (0, 950, 1000, 2500, 300_000, 2_000_000)] == [
        "0", "950", "1k", "2.5k", "300k", "2M",
    ]  # fmt: skip


def test_thinning_keeps_mean_least_and_largest():
    rng = np.random.default_rng(1)
    series = Series("a", np.arange(1003.0), rng.normal(size=1003))
    mean, least, largest = thinned(series, 100)
    assert len(mean.values) == 100
    assert least.values.min() == series.values.min()
    assert largest.values.max() == series.values.max()
    assert (least.values <= mean.values).all()
    assert (mean.values <= largest.values).all()
    assert (np.diff(mean.steps) > 0).all()
    short, *_ = thinned(series, 5000)
    assert (short.values == series.values).all()


def test_smoothing_keeps_a_constant_and_takes_most_of_the_noise():
    steps = np.arange(400.0)
    assert smoothed(Series("a", steps, np.full(400, 0.3))).values == pytest.approx(0.3)
    noise = np.exp(np.random.default_rng(2).normal(size=400))
    spread = np.log(smoothed(Series("a", steps, noise)).values[60:]).std()
    assert spread < 0.3


def test_legend_places_lie_inside_the_panel():
    box = (74.0, 72.0, 574.0, 440.0)
    for count in (1, 4, 5, 12):
        for place in legend_places([(f"Set{i} x2  best 30.00", COLORS[0]) for i in range(count)], box):
            assert box[0] <= place[0] < place[2] <= box[2]
            assert box[1] <= place[1] < place[3] <= box[3]
