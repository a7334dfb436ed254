"""srzoo.data.presets: presets are what they say."""

import math

import numpy as np
import pytest
import torch

from srzoo.data.presets import PRESETS, UNKNOWN, find_preset
from srzoo.data.settings import told


def patches(num: int, side: int = 24) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (num, 3, side, side))
    return torch.from_numpy(levels.astype(np.float32) / 255)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_makes_lr_patches_and_tells_its_settings(name: str) -> None:
    degradation = find_preset(name)
    lr = degradation(patches(2), 4, [0, 1])
    assert lr.shape == (2, 3, 6, 6)
    assert lr.isfinite().all()
    assert told(degradation) == told(find_preset(name))
    assert (degradation.margin * 2 + 48) * 4 <= 384  # so that crops of 384 pixels hold a patch of 48 at x4


def test_the_hidden_kernel_is_anisotropic_and_off_the_middle() -> None:
    kernel = UNKNOWN.kernel(4).numpy()
    at = np.arange(20) - 9.5
    down, right = (kernel.sum(1) @ at, kernel.sum(0) @ at)
    assert math.hypot(down, right) / 4 == pytest.approx(0.88, abs=0.13)
    y, x = np.meshgrid(at - down, at - right, indexing="ij")
    spread = np.array(
        [[(kernel * x * x).sum(), (kernel * x * y).sum()], [(kernel * x * y).sum(), (kernel * y * y).sum()]]
    )
    low, high = np.sqrt(np.linalg.eigvalsh(spread)) / 4
    assert 0.2 < low < high < 0.65
    assert high / low > 1.5


def test_an_unknown_name_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="there is no degradation 'film'; there are bicubic, blur"):
        find_preset("film")
