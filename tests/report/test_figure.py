from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.report.crops import Crop
from srzoo.report.figure import CELL, GAP, LINE, MARKS, MOST_SIDE, Figure, draw_block
from srzoo.report.views import Entry, Views


@pytest.fixture
def views(draw_image: Callable[..., np.ndarray]) -> Callable[..., Views]:
    def make(num: int, crops: list[Crop], *, hr: bool = True, name: str = "img") -> Views:
        images = [torch.from_numpy(draw_image(60, 100, i)).permute(2, 0, 1) for i in range(num + 1)]
        labels = [f"method_{i}" for i in range(num)]
        scores = {label: Entry(20.0 + i, 0.5) for i, label in enumerate(labels)} if hr else {}
        lr = images[0][:, ::2, ::2]
        return Views(
            name, 2, lr, dict(zip(labels, images, strict=False)), images[-1] if hr else None, crops, scores, ()
        )

    return make


def cell(block: Image.Image, crop: Crop, place: int, columns: int, row: int, height: int) -> np.ndarray:
    """Pixels of a cell, one for each square, of squares that are all of one colour."""
    factor = CELL // max(crop.width, crop.height)
    pixels = np.asarray(block)
    left = pixels.shape[1] - (columns - place) * (crop.width * factor + GAP)
    top = GAP + row * height
    part = pixels[top : top + crop.height * factor, left : left + crop.width * factor]
    small = part[::factor, ::factor]
    assert np.array_equal(part, small.repeat(factor, 0).repeat(factor, 1))
    return small


def of(image: torch.Tensor, crop: Crop) -> np.ndarray:
    return crop.of(image).permute(1, 2, 0).numpy()


def test_the_only_crop_of_few_methods_takes_one_row(views):
    crop = Crop(10, 20, 30, 24)
    drawn = views(2, [crop])
    block = draw_block(drawn)
    for place, image in enumerate([drawn.hr, *drawn.images.values()]):
        assert np.array_equal(cell(block, crop, place, 3, 0, 0), of(image, crop))


def test_the_only_crop_of_many_methods_takes_two_rows(views):
    crop = Crop(10, 20, 30, 30)
    drawn = views(4, [crop])
    block = draw_block(drawn)
    height = 300 + GAP // 2 + 2 * LINE + GAP // 2
    for i, image in enumerate([drawn.hr, *drawn.images.values()]):
        assert np.array_equal(cell(block, crop, i % 3, 3, i // 3, height), of(image, crop))


def test_several_crops_take_a_row_each_in_colours(views):
    crops = [Crop(0, 0, 30, 30), Crop(70, 30, 30, 30)]
    drawn = views(2, crops, hr=False)
    block = draw_block(drawn)
    pixels = np.asarray(block)
    for row, crop in enumerate(crops):
        top = GAP + row * (300 + GAP // 2)
        left = block.width - 2 * (300 + GAP)
        mark = [int(MARKS[row][i : i + 2], 16) for i in (1, 3, 5)]
        assert pixels[top, left].tolist() == mark
        inner = pixels[top + 5 : top + 295 : 10, left + 5 : left + 295 : 10]
        assert np.array_equal(inner, of(drawn.images["method_0"], crop)[:29, :29])
        assert (pixels[:, : left - GAP] == mark).all(2).sum() > 100  # its frame on the photo


def test_the_crop_is_marked_where_it_is(views):
    crop = Crop(50, 30, 20, 20)
    block = draw_block(views(2, [crop]))
    red = (np.asarray(block) == [int(MARKS[0][i : i + 2], 16) for i in (1, 3, 5)]).all(2)
    ys, xs = np.nonzero(red)
    photo_height = 300 + 2 * (GAP // 2) + 2 * LINE - GAP - 2 * LINE
    scale = photo_height / 60
    assert abs(xs.min() - (GAP + 50 * scale)) <= 3
    assert abs(xs.max() - (GAP + 70 * scale)) <= 3
    assert abs(ys.min() - (GAP + 30 * scale)) <= 3
    assert abs(ys.max() - (GAP + 50 * scale)) <= 3


def test_scores_are_written_below(views):
    crop = Crop(0, 0, 30, 30)
    with_scores, without = views(2, [crop]), views(2, [crop], hr=False)
    ink = [int((np.asarray(draw_block(drawn))[GAP + 300 + LINE + 8 :] < 200).sum()) for drawn in (with_scores, without)]
    assert ink[0] > 500
    assert ink[1] == 0


def test_long_names_are_cut_to_their_cells(views):
    drawn = views(1, [Crop(0, 0, 30, 30)], hr=False, name="x" * 500)
    image = next(iter(drawn.images.values()))
    long = Views(drawn.name, 2, drawn.lr, {"m" * 300: image, "w" * 300: image}, None, drawn.crops, {}, ())
    pixels = np.asarray(draw_block(long))
    columns = (pixels[GAP + 305 :] < 200).any((0, 2))
    left = pixels.shape[1] - 2 * (300 + GAP)
    assert not columns[left - GAP // 2 - 2 : left - GAP // 2 + 2].any()
    assert columns.any()


def test_blocks_are_stacked_and_written(tmp_path: Path, views):
    figure = Figure()
    figure.add(views(2, [Crop(0, 0, 30, 30)]))
    figure.add(views(1, [Crop(0, 0, 60, 20)]))
    for name in ("a.png", "a.jpg"):
        figure.write(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.size == (max(b.width for b in figure.blocks), sum(b.height for b in figure.blocks))
            assert image.info["dpi"] == pytest.approx((300, 300), abs=0.1)
            if name == "a.png":
                assert np.array_equal(
                    np.asarray(image)[: figure.blocks[0].height, : figure.blocks[0].width], figure.blocks[0]
                )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png"]


def test_a_name_of_several_lines_is_written_in_one(views):
    crop = Crop(0, 0, 30, 30)
    assert np.array_equal(draw_block(views(2, [crop], name="a\n\x1bb")), draw_block(views(2, [crop], name="a  b")))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_the_limits_are_those_of_the_encoders(tmp_path: Path, kind):
    figure = Figure()
    path = tmp_path / f"a.{kind.lower()}"
    figure.blocks = [Image.new("RGB", (1, MOST_SIDE[kind]))]
    figure.check_fits(path)
    figure.write(path)
    figure.blocks.append(Image.new("RGB", (1, 1)))
    figure.check_fits(tmp_path / "a.png")
    figure.check_fits(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"would have 1x{MOST_SIDE[kind] + 1} pixels with 2 images, but {kind} holds"):
        figure.check_fits(path)
    with pytest.raises((OSError, ValueError)):
        figure.write(path)
