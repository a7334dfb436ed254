"""srzoo.data.jpeg: tables of a quality are Pillow's, and the quality is found from the tables."""

import io

import numpy as np
import pytest
from PIL import Image

from srzoo.data.jpeg import estimate_quality, scaled_tables


def tables_of(quality: int) -> dict[int, list[int]]:
    """As Pillow reads them from a file that it wrote."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(io.BytesIO(file.getvalue())) as image:
        return {key: list(table) for key, table in image.quantization.items()}  # type: ignore[attr-defined]


@pytest.mark.parametrize("quality", [1, 10, 49, 50, 60, 72, 95, 100])
def test_tables_are_those_of_the_files_and_tell_the_quality(quality: int) -> None:
    found = tables_of(quality)
    for table, expected in zip(scaled_tables(np.array([quality]))[0], (found[0], found[1]), strict=True):
        assert sorted(table.flatten().tolist()) == sorted(expected)
    assert estimate_quality(found[0]) == quality


def test_every_quality_of_libjpeg_is_told_from_its_neighbours() -> None:
    tables = scaled_tables(np.arange(1, 101))[:, 0].reshape(100, 64)
    told = [estimate_quality(table.tolist()) for table in tables]
    assert all(quality == found or np.array_equal(tables[quality - 1], tables[found - 1])
               for quality, found in zip(range(1, 101), told, strict=True))  # fmt: skip


def test_tables_of_a_camera_are_near_some_quality() -> None:
    assert estimate_quality([1] * 64) == 100
    table = scaled_tables(np.array([80]))[0, 0].flatten()
    table[:3] += 1
    assert abs(estimate_quality(table.tolist()) - 80) <= 1


def test_a_table_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="the table has 3 entries; JPEG's have 64"):
        estimate_quality([1, 2, 3])
