"""srzoo.data.mixtures: a mixture gives each patch what one part alone gives it, and the parts draw on their own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from srzoo.data import Bicubic, Blur, Chain, Downscale, Jpeg, Mixed, Noise, Unknown
from srzoo.data.degradations import Degradation, uniform_draws
from srzoo.data.presets import PHOTO
from srzoo.data.settings import told


def patches(num: int, side: int = 24) -> torch.Tensor:
    levels = np.random.default_rng(0).integers(0, 256, (num, 3, side, side))
    return torch.from_numpy(levels.astype(np.float32) / 255)


def test_each_patch_is_made_by_the_part_its_seed_chooses() -> None:
    parts: tuple[Degradation, ...] = (Bicubic(), Chain(Bicubic(), Noise(9.0)), Chain(Bicubic(), Jpeg(50)))
    mixed = Mixed((parts[0], 1), (parts[1], 2), (parts[2], 3))
    hr, seeds = patches(12), [7 * i for i in range(12)]
    lr, chosen, own = mixed(hr, 2, seeds), mixed.choose(seeds), mixed.own_seeds(seeds)
    assert set(chosen) == {0, 1, 2}
    for i, part in enumerate(chosen):
        assert torch.equal(lr[i : i + 1], parts[part](hr[i : i + 1], 2, own[i : i + 1]))
    some = [9, 2, 5]
    assert torch.equal(mixed(hr[some], 2, [seeds[i] for i in some]), lr[some])


def test_shares_are_shares_of_the_patches() -> None:
    counts = np.bincount(Mixed((Bicubic(), 0.1), (PHOTO, 0.9)).choose(range(20_000)))
    assert counts[0] / 20_000 == pytest.approx(0.1, abs=0.01)


def test_a_mixture_within_a_mixture_draws_all_of_its_parts() -> None:
    inner = Mixed((Bicubic(), 0.5), (Downscale("box"), 0.5))
    hr, seeds = patches(1).expand(400, -1, -1, -1), range(400)
    lr = Mixed((inner, 0.5), (Downscale("lanczos"), 0.5))(hr, 2, seeds)
    shares = [
        sum(torch.equal(one, part(hr[:1], 2, [0])[0]) for one in lr) / 400
        for part in (Bicubic(), Downscale("box"), Downscale("lanczos"))
    ]
    assert shares == pytest.approx([0.25, 0.25, 0.5], abs=0.07)
    assert sum(shares) == 1


@dataclass(frozen=True)
class Drawn:
    """A user's own degradation: all of a patch is the number it draws."""

    margin = 0

    def __call__(self, hr: torch.Tensor, scale: int, seeds: Sequence[int]) -> torch.Tensor:
        [value] = uniform_draws(seeds, (0.0, 1.0))
        lr = torch.from_numpy(value).to(hr.dtype)[:, None, None, None]
        return lr.expand(len(hr), 3, hr.shape[2] // scale, hr.shape[3] // scale)


def test_what_a_part_draws_does_not_depend_on_that_it_was_chosen() -> None:
    mixed = Mixed((Drawn(), 0.25), (Bicubic(), 0.75))
    seeds = range(2000)
    chosen = np.array(mixed.choose(seeds))
    values = mixed(patches(1, 2).expand(2000, -1, -1, -1), 2, seeds)[chosen == 0, 0, 0, 0].numpy()
    assert np.quantile(values, [0.1, 0.5, 0.9]) == pytest.approx([0.1, 0.5, 0.9], abs=0.06)


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


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random values in steps of 1/255."""
    levels = np.random.default_rng(seed).integers(0, 256, shape)
    return torch.from_numpy(levels.astype(np.float32) / 255)


# Chains.


def test_a_chain_does_its_steps_in_the_order_given() -> None:
    hr = pixels(2, 3, 24, 24)
    blurred = Blur(1.2)(hr, [0, 0])
    lr = Downscale("box")(blurred, 2, [0, 0])
    assert torch.equal(Chain(Blur(1.2), Downscale("box"))(hr, 2, [0, 1]), lr)
    assert torch.equal(Chain(Blur(1.2), Downscale("box"), Jpeg(40))(hr, 2, [0, 1]), Jpeg(40)(lr, [0, 0]))
    before, after = Chain(Blur(1.2), Bicubic()), Chain(Bicubic(), Blur(1.2))
    assert not torch.allclose(before(hr, 2, [0, 1]), after(hr, 2, [0, 1]), atol=0.01)


def test_steps_of_a_chain_draw_from_streams_of_their_own() -> None:
    twice = Chain(Downscale("nearest"), Noise(10.0), Noise(10.0))(torch.zeros(1, 3, 200, 200), 2, [4])
    assert twice.mul(255).std().item() == pytest.approx(10 * math.sqrt(2), rel=0.03)  # 20 if both were the same
    strengths = Chain(Noise((0.0, 20.0)), Downscale("nearest"), Noise((0.0, 20.0)))
    hr = torch.zeros(300, 1, 32, 32)
    total = strengths(hr, 2, list(range(300))).mul(255).flatten(1).var(1).sqrt()
    assert ((total > 8) & (total < 20)).float().mean() > 0.56  # 0.66 expected; 0.42 if both were equally strong


@pytest.mark.parametrize(
    ("chain", "margin"),
    [
        (Chain(Bicubic()), 2),
        (Chain(Downscale("box"), Noise()), 0),
        (Chain(Blur(1.0), Bicubic()), 2 + 2),  # 3 HR pixels lie in 2 LR pixels
        (Chain(Bicubic(), Blur(1.0)), 2 + 3),
        (Chain(Blur(1.0), Blur(1.0), Downscale("lanczos")), 3 + 3),
        (Chain(Jpeg(80, "4:4:4"), Blur((0.1, 1.0)), Bicubic()), 5 + 2),
        (Chain(Blur(2.0, across=0.5), Unknown(0), Jpeg(80, "4:4:4"), Jpeg()), 3 + 2 + 7 + 16),
        (Chain(Blur(1.0), Chain(Blur(1.0), Bicubic(), Blur(0.5))), 2 + 2 + 2 + 2),
    ],
    ids=repr,
)
def test_the_margin_of_a_chain_adds_up(chain: Chain, margin: int) -> None:
    assert chain.margin == margin


def test_ones_own_parts_fit_into_a_chain() -> None:
    class Darker:
        reach = 0

        def __call__(self, x: torch.Tensor, seeds: list[int]) -> torch.Tensor:
            return x / 2

    hr = pixels(1, 3, 8, 8)
    assert torch.equal(Chain(Bicubic(), Darker())(hr, 2, [0]), Bicubic()(hr, 2, [0]) / 2)


@pytest.mark.usefixtures("as_users_call")
def test_chains_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="Chain got 0 parts that downscale; give exactly one, such as Bicubic"):
        Chain(Blur(1.0), Noise())
    with pytest.raises(ValueError, match="Chain got 2 parts that downscale"):
        Chain(Bicubic(), Downscale())
    for wrong in (Bicubic, Blur, "blur", None, abs):
        with pytest.raises(TypeError, match=r"Chain got .*; give objects such as Blur\(1\.0\)"):
            Chain(Bicubic(), wrong)  # type: ignore[arg-type]
