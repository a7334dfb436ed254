"""srzoo.data.presets: mixtures give each patch what its part alone gives it; presets are what they say."""

import math

import numpy as np
import pytest
import torch

from srzoo.data import Bicubic, Chain, Jpeg, Noise
from srzoo.data.degradations import Degradation
from srzoo.data.presets import PHOTO, PRESETS, UNKNOWN, Mixed, find_preset
from srzoo.data.settings import told


def patches(num: int, side: int = 24) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (num, 3, side, side))
    return torch.from_numpy(levels.astype(np.float32) / 255)


def test_each_patch_is_made_by_the_part_its_seed_chooses() -> None:
    parts: tuple[Degradation, ...] = (Bicubic(), Chain(Bicubic(), Noise(9.0)), Chain(Bicubic(), Jpeg(50)))
    mixed = Mixed((parts[0], 1), (parts[1], 2), (parts[2], 3))
    hr, seeds = patches(12), [7 * i for i in range(12)]
    lr, chosen = mixed(hr, 2, seeds), mixed.choose(seeds)
    assert set(chosen) == {0, 1, 2}
    for i, part in enumerate(chosen):
        assert torch.equal(lr[i : i + 1], parts[part](hr[i : i + 1], 2, seeds[i : i + 1]))
    some = [9, 2, 5]
    assert torch.equal(mixed(hr[some], 2, [seeds[i] for i in some]), lr[some])


def test_shares_are_shares_of_the_patches() -> None:
    counts = np.bincount(Mixed((Bicubic(), 0.1), (PHOTO, 0.9)).choose(range(20_000)))
    assert counts[0] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_the_margin_is_the_widest_and_the_settings_are_told() -> None:
    mixed = Mixed((Bicubic(), 1), (Chain(Bicubic(), Jpeg(50)), 1))
    assert mixed.margin == 18
    assert told(mixed) != told(Mixed((Bicubic(), 2), (Chain(Bicubic(), Jpeg(50)), 1)))
    assert repr(Mixed((Bicubic(), 0.5))) == "Mixed((Bicubic(), 0.5))"


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("shares", "error", "message"),
    [
        ((), ValueError, "Mixed got nothing; give pairs such as"),
        (((Bicubic, 1),), TypeError, "give degradations such as Bicubic() or a Chain"),
        (((Noise(1.0), 1),), TypeError, "give degradations such as Bicubic() or a Chain"),
        (((Bicubic(), 0),), ValueError, "the share of Bicubic() is 0; give a number above 0"),
        (((Bicubic(), math.inf),), ValueError, "give a number above 0"),
        (((Bicubic(), math.nan),), ValueError, "give a number above 0"),
    ],
)
def test_what_is_no_mixture_is_refused(shares, error: type[Exception], message: str) -> None:
    with pytest.raises(error) as caught:
        Mixed(*shares)
    assert message in str(caught.value)


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
