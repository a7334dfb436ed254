"""Images and models small enough to compare in milliseconds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

import srzoo
from srzoo.blocks import BicubicUpsampler


class Planted(srzoo.SRModel):
    """Bicubic, but for squares of 8 pixels that are made brighter: (left, top, amount) each."""

    def __init__(self, *spots: tuple[int, int, float], scale: int = 2) -> None:
        super().__init__()
        self.scales = (scale,)
        self.spots = spots
        self.upsample = BicubicUpsampler(scale)

    def halo(self, scale: int | None = None) -> int:
        return 1000  # the whole image at once, so that places are its own

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        sr = self.upsample(lr).clamp(0, 1)
        for left, top, amount in self.spots:
            sr[..., top : top + 8, left : left + 8] += amount
        return sr


@pytest.fixture(scope="session")
def planted() -> type[Planted]:
    return Planted


@pytest.fixture(scope="session")
def draw_image() -> Callable[..., np.ndarray]:
    """A function that draws a smooth image with edges in values from 40 to 200, uint8."""

    def draw(height: int, width: int, seed: int = 0, *, grey: bool = False) -> np.ndarray:
        rng = np.random.default_rng(seed)
        y, x = np.mgrid[:height, :width] / 9
        planes = []
        for _ in range(1 if grey else 3):
            a, b, c = rng.uniform(0.5, 1.5, 3)
            planes.append(120 + 40 * np.sin(a * x + c) * np.cos(b * y) + 40 * (np.sin(a * x + b * y) > 0.5))
        image = np.stack(planes, -1).clip(40, 200).round().astype(np.uint8)
        return image[..., 0] if grey else image

    return draw


@pytest.fixture
def hr_folder(tmp_path: Path, draw_image: Callable[..., np.ndarray]) -> Path:
    """Two HR images, 48x40 and 64x64."""
    folder = tmp_path / "hr"
    folder.mkdir()
    Image.fromarray(draw_image(40, 48, 1)).save(folder / "one.png")
    Image.fromarray(draw_image(64, 64, 2)).save(folder / "two.png")
    return folder
