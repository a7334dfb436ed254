import builtins
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import srzoo
from srzoo.benchmark import evaluate, mean_psnr
from srzoo.data import Pair
from srzoo.models import aplus
from srzoo.models.aplus import ARCH, APlus, APlusSettings, fit_aplus, nearest
from srzoo.resize import imresize
from srzoo.testing import receptive_field
from srzoo.upscaling.tiling import run_tiled
from tests.conftest import smooth_image

TOY = APlusSettings(num_samples=6_000, num_neighbors=300, num_dictionary=3_000)


def quiet(done: int, total: int, what: str) -> None:
    pass


def strong(scale: int, **arguments: int) -> APlus:
    """A double model that changes the image visibly."""
    model = APlus(scale=scale, **{"num_atoms": 7, "num_components": 5, **arguments}).double().eval()
    model.regressors *= 100
    return model


def reference_aplus(state: dict[str, Tensor], y: np.ndarray, scale: int) -> np.ndarray:
    """Patch by patch, in loops, from the paper's text: `y` is the bicubic luma."""
    projection, anchors, regressors = (state[key].numpy() for key in ("projection", "anchors", "regressors"))
    edge = 3 * scale
    padded = np.pad(y, edge, mode="symmetric")
    before, after = scale // 2, scale - scale // 2
    total, count = np.zeros_like(padded), np.zeros_like(padded)
    at = lambda i, j: padded[i, j]  # noqa: E731
    for top in range(scale, padded.shape[0] - 4 * scale + 1, scale):
        for left in range(scale, padded.shape[1] - 4 * scale + 1, scale):
            z = np.zeros(len(projection))
            for i in range(3 * scale):
                for j in range(3 * scale):
                    r, c = top + i, left + j
                    features = (
                        at(r, c + after) - at(r, c - before),
                        (at(r, c + scale) - 2 * at(r, c) + at(r, c - scale)) / 2,
                        at(r + after, c) - at(r - before, c),
                        (at(r + scale, c) - 2 * at(r, c) + at(r - scale, c)) / 2,
                    )
                    place = (i % scale) * scale + j % scale
                    for which, value in enumerate(features):
                        z += value * projection[:, which * scale**2 + place, i // scale, j // scale]
            atom = int(np.argmax(np.abs(anchors @ z)))
            added = (z @ regressors[atom]).reshape(3, 3, scale, scale).transpose(0, 2, 1, 3)
            total[top : top + 3 * scale, left : left + 3 * scale] += added.reshape(3 * scale, 3 * scale)
            count[top : top + 3 * scale, left : left + 3 * scale] += 1
    inside = slice(edge, -edge)
    assert (count[inside, inside] == 9).all()
    return y + total[inside, inside] / 9


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("size", [(4, 5), (1, 1), (1, 3)])
def test_it_computes_what_the_paper_says_on_luma(scale: int, size: tuple[int, int]) -> None:
    model = strong(scale, channels=1)
    lr = torch.rand(1, 1, *size, dtype=torch.float64)
    bicubic = imresize(lr, scale=scale)
    expected = reference_aplus(model.state_dict(), bicubic[0, 0].numpy(), scale)
    out = model(lr)
    np.testing.assert_allclose(out[0, 0], expected, rtol=0, atol=1e-6)
    assert (out - bicubic).abs().max() > 1e-3 or size == (1, 1)


def test_colour_is_bicubic() -> None:
    model = strong(2)
    lr = torch.rand(1, 3, 5, 6, dtype=torch.float64)
    luma = strong(2, channels=1)
    luma.load_state_dict(model.state_dict())
    change = model(lr) - imresize(lr, scale=2)
    y = srzoo.color.rgb_to_y(lr)
    torch.testing.assert_close(
        change * (219 / 255), (luma(y) - imresize(y, scale=2)).expand(1, 3, -1, -1), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_halo_is_exact_and_tiles_equal_the_whole(scale: int, channels: int) -> None:
    model = strong(scale, channels=channels)
    assert model.halo() == 5 == receptive_field(model, scale)
    lr = torch.rand(1, channels, 13, 17, dtype=torch.float64)
    whole = model(lr)
    torch.testing.assert_close(run_tiled(model, lr, scale=scale, tile=5, halo=5), whole, rtol=0, atol=1e-12)
    assert (run_tiled(model, lr, scale=scale, tile=5, halo=4) - whole).abs().max() > 1e-9


@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_the_nearest_anchor_is_found_a_few_at_a_time(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aplus, "ATOMS_AT_ONCE", at_once)
    z, anchors = torch.randn(50, 6), torch.randn(10, 6)
    assert torch.equal(nearest(z, anchors), (z @ anchors.t()).abs().argmax(1))
    assert torch.equal(nearest(-z, anchors), nearest(z, anchors))
    assert nearest(torch.zeros(2, 6), anchors).tolist() == [0, 0]  # of equals the first


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_atoms_are_chosen_in_float32_whatever_the_precision(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr(
        aplus, "nearest", lambda z, anchors: seen.append((z.dtype, anchors.dtype)) or nearest(z, anchors)
    )
    model = APlus(scale=2, num_atoms=4, num_components=3)
    plain = model(torch.ones(1, 3, 4, 4))
    with torch.autocast("cpu", dtype):
        assert torch.equal(model(torch.ones(1, 3, 4, 4)), plain)
    assert model.to(dtype)(torch.ones(1, 3, 4, 4, dtype=dtype)).dtype == dtype
    assert seen == [(torch.float32, torch.float32)] * 3


def test_the_sizes_are_the_papers_and_nothing_is_trainable() -> None:
    for scale in (2, 3, 4):
        model = srzoo.create_model(f"aplus_x{scale}")
        assert model.state_dict()["regressors"].shape == (1024, 32, 9 * scale**2)
        assert not list(model.parameters())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"scale": 1}, "scale is 1"),
        ({"scale": 2, "num_atoms": 0}, "num_atoms is 0"),
        ({"scale": 2, "num_components": 0}, "num_components 0"),
        ({"scale": 2, "channels": 2}, "channels is 2"),
    ],
)
def test_what_cannot_be_is_refused(arguments: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        APlus(**arguments)


@pytest.mark.parametrize(
    "settings",
    [
        {"num_samples": 0},
        {"num_samples": 9, "num_neighbors": 10},
        {"energy": 1.5},
        {"ridge": 0.0},
        {"weight_power": -1.0},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        APlusSettings(**settings)


def textures(scale: int, seed: int) -> Callable[[int, int], tuple[Tensor, Tensor]]:
    """Draws crops of structured images and their bicubic LR, rounded to 8 bits."""
    rng = np.random.default_rng(seed)

    def draw(num: int, side: int) -> tuple[Tensor, Tensor]:
        hr = torch.stack([hr_texture(side * scale, int(rng.integers(1 << 30))) for _ in range(num)])
        return imresize(hr, scale=1 / scale).float() / 255, hr.float() / 255

    return draw


def hr_texture(side: int, seed: int) -> Tensor:
    return torch.from_numpy(smooth_image(side, side, seed=seed)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def fitted() -> srzoo.architecture.Fitted:
    pytest.importorskip("sklearn", reason="fitting A+ needs scikit-learn: the extra aplus")
    return fit_toy()


def fit_toy() -> srzoo.architecture.Fitted:
    return fit_aplus(srzoo.create_model("aplus_x2", num_atoms=32), textures(2, seed=0), TOY, quiet)


def test_a_fit_is_better_than_bicubic_on_images_it_has_not_seen(fitted) -> None:
    model = srzoo.create_model("aplus_x2", num_atoms=32, **fitted.arguments)
    model.load_state_dict(dict(fitted.tensors))
    pairs = []
    for seed in range(900, 904):
        hr = hr_texture(96, seed)
        pairs.append(Pair(str(seed), imresize(hr, scale=0.5), hr, 2))
    gain = mean_psnr(evaluate(model, pairs)) - mean_psnr(evaluate(srzoo.create_model("bicubic_x2"), pairs))
    assert gain > 1
    torch.testing.assert_close(model.anchors.norm(dim=1), torch.ones(32))
    basis = model.projection.flatten(1)
    used = basis.norm(dim=1) > 0
    assert len(basis) == 32
    assert used[: int(used.sum())].all()  # the rest are zeros
    basis = basis[used]
    torch.testing.assert_close(basis @ basis.t(), torch.eye(len(basis)), atol=1e-5, rtol=0)


def test_the_same_seed_gives_the_same_bits(fitted) -> None:
    again = fit_toy()
    assert again.arguments == fitted.arguments
    assert all(torch.equal(again.tensors[key], tensor) for key, tensor in fitted.tensors.items())


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_a_regressor_is_the_ridge_solution_of_its_neighbours(power: float) -> None:
    z = torch.nn.functional.normalize(torch.randn(400, 4), dim=1)
    residual, length = torch.randn(400, 9).half(), torch.rand(400) + 0.1
    anchors = torch.nn.functional.normalize(torch.randn(3, 4), dim=1)
    settings = APlusSettings(num_samples=400, num_neighbors=50, ridge=0.3, weight_power=power)
    found = list(aplus._regressors(anchors, z, residual, length, settings, quiet))
    for anchor, regressor in zip(anchors, found, strict=True):
        near = np.argsort(-np.abs(z.numpy() @ anchor.numpy()))[:50]
        lo, hi = z.numpy()[near].astype(float), residual.numpy()[near].astype(float)
        weight = length.numpy()[near, None].astype(float) ** power
        weight /= weight.mean()
        expected = np.linalg.inv(lo.T @ (weight * lo) + 0.3 * np.eye(4)) @ lo.T @ (weight * hi)
        np.testing.assert_allclose(regressor, expected, atol=1e-5)


def test_the_largest_are_found_through_the_sieve() -> None:
    for size in (100, 5_000, 100_000):
        score = torch.rand(size)
        expected = set(score.topk(64).indices.tolist())
        assert set(aplus._largest(score, 64).tolist()) == expected


def test_flat_images_and_too_few_samples_are_told() -> None:
    pytest.importorskip("sklearn", reason="fitting A+ needs scikit-learn: the extra aplus")
    model = srzoo.create_model("aplus_x2", num_atoms=32)

    def flat(num: int, side: int) -> tuple[Tensor, Tensor]:
        return torch.full((num, 3, side, side), 0.5), torch.full((num, 3, 2 * side, 2 * side), 0.5)

    with pytest.raises(ValueError, match="only 0 patches with structure"):
        fit_aplus(model, flat, TOY, quiet)
    with pytest.raises(
        ValueError, match="num_samples is 20, num_dictionary 100000, but the model has num_atoms=32; neither"
    ):
        fit_aplus(model, textures(2, 0), APlusSettings(num_samples=20, num_neighbors=10), quiet)


def test_without_scikit_learn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("sklearn"):
            raise ModuleNotFoundError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[aplus\]"'):
        fit_aplus(srzoo.create_model("aplus_x2", num_atoms=4), textures(2, 0), TOY, quiet)


def test_the_record_says_how_it_is_fitted() -> None:
    assert ARCH.fit is not None
    assert ARCH.fit.settings is APlusSettings
    assert math.isclose(APlusSettings().ridge, 0.1)
