import math
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from fractions import Fraction

import numpy as np
import pytest
import torch
from PIL import Image

from srzoo.data import Bicubic, Blur, Chain, Degradation, Downscale, Jpeg, Noise, Step, Unknown
from srzoo.resize import imresize

Moments = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]

FIXED = [
    Bicubic(),
    Downscale("box"),
    Downscale("bilinear"),
    Downscale("lanczos"),
    Downscale("nearest"),
    Unknown(seed=3),
    Unknown(seed=3, sigma=0.4, shift=(0.5, 1.0)),
    Chain(Blur(0.8), Bicubic()),
]
RANDOM = [
    Chain(Blur((0.3, 1.5)), Downscale("box")),
    Chain(Blur((0.3, 1.5), across=(0.3, 0.8)), Bicubic()),
    Chain(Bicubic(), Noise((1.0, 20.0), photons=(100.0, 1000.0), grey=0.5)),
    Chain(Noise((1.0, 5.0)), Downscale("nearest")),
    Chain(Bicubic(), Jpeg((10, 90))),
    Chain(Jpeg((10, 90), chroma="4:4:4"), Downscale("bilinear")),
    Chain(Blur((0.3, 1.0)), Downscale("lanczos"), Noise((1.0, 9.0)), Jpeg((30, 90), chroma="4:4:4")),
]
EVERY = [*FIXED, *RANDOM]


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random values in steps of 1/255."""
    levels = np.random.default_rng(seed).integers(0, 256, shape)
    return torch.from_numpy(levels.astype(np.float32) / 255)


# What holds for all of them.


@pytest.mark.parametrize("degradation", [Bicubic(), Downscale("lanczos"), Downscale("nearest"), Unknown(81)], ids=repr)
def test_a_first_call_for_inference_leaves_nothing_that_training_cannot_use(degradation: Degradation) -> None:
    hr = pixels(1, 3, 38, 38)  # a size that no other test has, so that nothing is kept from one
    with torch.inference_mode():
        first = degradation(hr, 2, [0])
    hr.requires_grad_()
    lr = degradation(hr, 2, [0])
    lr.sum().backward()
    assert torch.equal(lr, first)
    assert hr.grad is not None
    assert hr.grad.sum().item() == pytest.approx(lr.numel(), rel=1e-4)


@pytest.mark.usefixtures("as_users_call")
def test_an_unknown_kernel_may_be_given_as_read_from_json() -> None:
    hr = pixels(1, 3, 24, 24)
    assert torch.equal(Unknown(3, [0.2, 1.0])(hr, 2, [0]), Unknown(3, (0.2, 1.0))(hr, 2, [0]))  # type: ignore[arg-type]


@pytest.mark.parametrize("degradation", EVERY, ids=repr)
def test_lr_has_the_size_and_type_asked_for_and_the_seeds_decide(degradation: Degradation) -> None:
    hr = pixels(3, 3, 24, 36)
    kept = hr.clone()
    for scale in (2, 3, 4):
        lr = degradation(hr, scale, [1, 2, 3])
        assert lr.shape == (3, 3, 24 // scale, 36 // scale)
        assert lr.dtype == torch.float32
        assert torch.equal(lr, degradation(hr, scale, [1, 2, 3]))
        assert torch.equal(lr, degradation(hr, scale, [4, 5, 6])) == (degradation in FIXED)
    assert torch.equal(hr, kept)


@pytest.mark.parametrize("degradation", EVERY, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_the_rest_of_the_batch_does_not_matter_to_the_bit(degradation: Degradation, channels: int) -> None:
    seeds = [2**63 - 2, 11, 12, 13, 14]
    for scale, height, width in ((2, 34, 14), (3, 51, 99), (4, 20, 28)):
        hr = pixels(5, channels, height, width)
        lr = degradation(hr, scale, seeds)
        for rows in ([0], [3], [4, 1], [3, 2, 1, 0]):
            some = degradation(hr[rows], scale, [seeds[i] for i in rows])
            assert torch.equal(some, lr[rows])
        last = hr[1:3].to(memory_format=torch.channels_last)
        assert torch.equal(degradation(last, scale, seeds[1:3]), lr[1:3])


def changed_outside(hr: torch.Tensor, top: int, left: int, side: int) -> torch.Tensor:
    """Other pixels everywhere but in a square."""
    other = 1 - hr
    other[..., top : top + side, left : left + side] = hr[..., top : top + side, left : left + side]
    return other


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("degradation", EVERY, ids=repr)
def test_what_lies_past_the_margin_does_not_matter(degradation: Degradation, scale: int) -> None:
    margin, side = degradation.margin, 5
    size = side + 2 * margin + 18
    hr = pixels(1, 3, size * scale, size * scale)
    lr = degradation(hr, scale, [5])
    for at in range(0, 18, 2 if "Jpeg" in repr(degradation) else 6):
        other = changed_outside(hr, at * scale, (17 - at) * scale, (side + 2 * margin) * scale)
        rows, columns = (slice(start + margin, start + margin + side) for start in (at, 17 - at))
        found = degradation(other, scale, [5])
        assert torch.equal(found[..., rows, columns], lr[..., rows, columns])
        assert not torch.equal(found, lr)


@pytest.mark.parametrize("degradation", FIXED, ids=repr)
def test_a_patch_cut_with_the_margin_is_degraded_as_the_whole_image(degradation: Degradation) -> None:
    hr, scale, margin = pixels(1, 3, 60, 60), 3, degradation.margin
    whole = degradation(hr, scale, [0])[..., 7:12, 6:11]
    rows, columns = (slice((start - margin) * scale, (start + 5 + margin) * scale) for start in (7, 6))
    part = degradation(hr[..., rows, columns], scale, [0])
    part = part[..., margin : margin + 5, margin : margin + 5]
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("degradation", [Bicubic(), Downscale("bilinear"), Downscale("lanczos"), Unknown(3)], ids=repr)
def test_the_margin_is_not_wider_than_needed(degradation: Degradation) -> None:
    less = degradation.margin - 1
    size = 12 + 2 * less
    hr = pixels(1, 1, size * 2, size * 2)
    inner = slice(5 + less, 7 + less)
    lr, found = (degradation(x, 2, [5])[..., inner, inner] for x in (hr, changed_outside(hr, 10, 10, 4 + 4 * less)))
    assert not torch.equal(lr, found)


@pytest.mark.parametrize("step", [Jpeg(75), Jpeg(75, "4:4:4"), Blur(1.0), Blur(0.3, across=1.0)], ids=repr)
def test_the_reach_of_a_step_is_what_it_takes(step: Step) -> None:
    x, seeds = pixels(8, 3, 48, 48), list(range(8))
    inner, kept = slice(16, 17), 1 + 2 * step.reach  # from the first pixel of a block on
    same = changed_outside(x, 16 - step.reach, 16 - step.reach, kept)
    less = changed_outside(x, 17 - step.reach, 17 - step.reach, kept - 2)
    whole, with_reach, with_less = (step(patches, seeds)[..., inner, inner] for patches in (x, same, less))
    assert torch.equal(with_reach, whole)
    assert not torch.equal(with_less, whole)


@pytest.mark.parametrize("degradation", [*FIXED, RANDOM[0], RANDOM[1], Chain(Bicubic(), Jpeg(75))], ids=repr)
def test_a_flat_grey_patch_stays_what_it_is(degradation: Degradation) -> None:
    for scale in (2, 3, 4):
        lr = degradation(torch.full((1, 3, 24, 24), 0.6), scale, [3])
        torch.testing.assert_close(lr, torch.full_like(lr, 0.6), rtol=0, atol=1e-6)


@pytest.mark.parametrize("degradation", EVERY, ids=repr)
def test_wrong_sizes_scales_and_seeds_are_named(degradation: Degradation) -> None:
    with pytest.raises(ValueError, match="got 1 seeds for 2 patches; give one for each patch"):
        degradation(pixels(2, 3, 8, 8), 2, [1])
    with pytest.raises(ValueError, match="the HR patches are 9x8; both sides must be multiples of the scale 2"):
        degradation(pixels(1, 3, 9, 8), 2, [1])
    with pytest.raises(ValueError, match="scale is 1; degradations shrink by a whole factor of 2 or more"):
        degradation(pixels(1, 3, 8, 8), 1, [1])


@pytest.mark.parametrize("part", [*EVERY, Blur((0.1, 2.0)), Noise(photons=(1.0, 9.0)), Jpeg((5, 90))], ids=repr)
def test_parts_are_values_that_tell_their_settings(part: Degradation | Step) -> None:
    twin = eval(repr(part))
    assert twin == part
    assert hash(twin) == hash(part)
    with pytest.raises(FrozenInstanceError):
        part.seed = 1  # type: ignore[union-attr]


# Downscaling.


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_is_imresize(scale: int) -> None:
    hr = pixels(2, 3, 24, 36)
    assert torch.equal(Bicubic()(hr, scale, [0, 1]), imresize(hr, scale=Fraction(1, scale)))


@pytest.mark.parametrize("scale", [2, 3, 4, 5])
@pytest.mark.parametrize("kernel", ["box", "bilinear", "lanczos", "nearest"])
def test_downscaling_has_pillows_weights_and_mirrored_edges(kernel: str, scale: int) -> None:
    filters = {"box": "BOX", "bilinear": "BILINEAR", "lanczos": "LANCZOS", "nearest": "NEAREST"}
    part = Downscale(kernel)  # type: ignore[arg-type]
    hr = pixels(1, 1, 7 * scale, 9 * scale)
    wide = np.pad(hr[0, 0].numpy(), part.margin * scale, mode="symmetric")
    size = (wide.shape[1] // scale, wide.shape[0] // scale)
    expected = np.asarray(Image.fromarray(wide).resize(size, Image.Resampling[filters[kernel]]))
    inner = slice(part.margin, -part.margin or None)
    np.testing.assert_allclose(part(hr, scale, [0])[0, 0], expected[inner, inner], rtol=0, atol=1e-6)


def test_the_unknown_kernel_is_fixed_by_its_seed() -> None:
    kernels = {(seed, scale): Unknown(seed).kernel(scale) for seed in range(6) for scale in (2, 3, 4)}
    for (seed, scale), kernel in kernels.items():
        assert kernel.shape == (5 * scale, 5 * scale)
        assert kernel.min() >= 0
        assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
        assert torch.equal(kernel, Unknown(seed).kernel(scale))
    at_2 = [kernels[seed, 2] for seed in range(6)]
    assert not any(torch.equal(a, b) for i, a in enumerate(at_2) for b in at_2[:i])


def test_the_unknown_kernel_is_anisotropic_and_centred(moments: Moments) -> None:
    ratios = []
    for seed in range(20):
        centre, covariance = moments(Unknown(seed).kernel(4).numpy())
        assert np.abs(centre).max() < 0.4  # of 4 HR pixels in an LR one
        low, high = np.linalg.eigvalsh(covariance)
        assert 0.1 < low <= high < 17
        ratios.append(math.sqrt(high / low))
    assert max(ratios) > 2


@pytest.mark.parametrize(("seed", "scale"), [(0, 4), (1, 4), (2, 3)])
def test_a_shift_moves_the_unknown_kernel_by_that_many_lr_pixels(seed: int, scale: int, moments: Moments) -> None:
    still, moved = (Unknown(seed, (0.2, 0.5), shift).kernel(scale).numpy() for shift in (0.0, (0.5, 0.8)))
    (before, spread), (after, spread_after) = moments(still), moments(moved)
    distance = np.hypot(*(after - before)) / scale
    assert 0.45 < distance < 0.85
    np.testing.assert_allclose(spread_after, spread, rtol=0.25, atol=0.1)


def test_the_shift_of_a_seed_has_a_direction_of_its_own(moments: Moments) -> None:
    centres = np.array([moments(Unknown(seed, 0.3, 0.8).kernel(4).numpy())[0] for seed in range(8)])
    assert (centres > 0).any(0).all()
    assert (centres < 0).any(0).all()


def test_without_a_shift_the_kernel_of_a_seed_is_what_it_always_was() -> None:
    kernel = Unknown(seed=0).kernel(4)
    assert kernel.flatten()[[0, 105, 210]].tolist() == pytest.approx(
        [8.855197073851558e-16, 2.456281040529479e-05, 0.029396267358648222], rel=1e-9
    )


@pytest.mark.parametrize("scale", [2, 3])
@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_unknown_is_its_kernel_then_subsampling(scale: int, shift: float) -> None:
    part = Unknown(seed=5, shift=shift)
    hr = pixels(1, 2, 8 * scale, 9 * scale)
    kernel = part.kernel(scale).numpy()
    before = 2 * scale  # so that the kernel's 5 * scale pixels lie around those of an LR pixel
    for plane, found in zip(hr[0].double().numpy(), part(hr, scale, [0])[0].numpy(), strict=True):
        wide = np.pad(plane, before, mode="symmetric")
        windows = np.lib.stride_tricks.sliding_window_view(wide, kernel.shape)[::scale, ::scale]
        np.testing.assert_allclose(found, (windows * kernel).sum((2, 3)), rtol=0, atol=1e-6)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blur(-1.0), "sigma is -1.0; give one number or (least, most), from 0 to 50 pixels"),
        (lambda: Blur((2.0, 1.0)), "sigma is (2.0, 1.0); give one number or (least, most), from 0 to 50 pixels"),
        (lambda: Blur((1.0, 2.0, 3.0)), "sigma is (1.0, 2.0, 3.0); give one number or (least, most)"),
        (lambda: Blur(1.0, across=(1.0, 51.0)), "across is (1.0, 51.0); give"),
        (lambda: Blur(1.0, angle=361.0), "angle is 361.0; give one number or (least, most), from -360 to 360 degrees"),
        (lambda: Noise(float("nan")), "sigma is nan; give one number or (least, most), from 0 to 255 levels"),
        (lambda: Noise(photons=0.0), "photons is 0.0; give one number or (least, most), from 1 to 1000000000"),
        (lambda: Noise(grey=1.5), "grey is 1.5; give the share of patches with grey noise, from 0 to 1"),
        (lambda: Jpeg(0), "quality is 0; give one number or (least, most), from 1 to 100"),
        (lambda: Jpeg((50, 101)), "quality is (50, 101); give"),
        (lambda: Jpeg(50.5), "quality is 50.5; give whole numbers from 1 to 100"),  # type: ignore[arg-type]
        (lambda: Jpeg(50, "4:2:2"), "chroma is '4:2:2'; allowed are '4:2:0' and '4:4:4'"),  # type: ignore[arg-type]
        (lambda: Unknown(0, shift=2.5), "shift is 2.5; give one number or (least, most), from 0 to 2 LR pixels"),
        (lambda: Unknown(0, sigma=3.0), "sigma is 3.0; give one number or (least, most), from 0 to 2 LR pixels"),
        (
            lambda: Downscale("bicubic"),  # type: ignore[arg-type]
            "kernel is 'bicubic'; allowed are box, bilinear, lanczos, nearest (Bicubic() is MATLAB's bicubic)",
        ),
    ],
)
def test_wrong_settings_are_named(make, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        make()
    assert str(caught.value).startswith(message)


@pytest.mark.gpu
@pytest.mark.parametrize("degradation", EVERY, ids=repr)
def test_on_a_gpu_the_result_is_the_same_but_for_the_noise(degradation: Degradation) -> None:
    hr, seeds = pixels(3, 3, 36, 48), [1, 2, 3]
    found = degradation(hr.cuda(), 3, seeds)
    assert found.device.type == "cuda"
    assert torch.equal(degradation(hr[1:2].cuda(), 3, seeds[1:2]), found[1:2])
    if "Noise" not in repr(degradation) and "Jpeg" not in repr(degradation):
        torch.testing.assert_close(found.cpu(), degradation(hr, 3, seeds), rtol=0, atol=1e-6)
