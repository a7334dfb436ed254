"""srzoo.data.steps: blur is scipy's, noise has the deviation asked for, JPEG gives Pillow's pixels."""

import io
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from srzoo.data import Blur, Jpeg, Noise

Moments = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Random values in steps of 1/255."""
    levels = np.random.default_rng(seed).integers(0, 256, shape)
    return torch.from_numpy(levels.astype(np.float32) / 255)


# Blur.


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.4])
def test_isotropic_blur_is_scipys(sigma: float) -> None:
    x = pixels(2, 3, 9, 13)
    blur = Blur(sigma)
    expected = ndimage.gaussian_filter(x.double().numpy(), sigma, axes=(2, 3), radius=blur.reach, mode="reflect")
    np.testing.assert_allclose(blur(x, [0, 1]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("angle", "sigmas"), [(0.0, (0.7, 1.9)), (90.0, (1.9, 0.7)), (-180.0, (0.7, 1.9))])
def test_anisotropic_blur_along_an_axis_is_scipys(angle: float, sigmas: tuple[float, float]) -> None:
    x = pixels(1, 1, 9, 13)
    blur = Blur(1.9, across=0.7, angle=angle)
    expected = ndimage.gaussian_filter(x.double().numpy(), sigmas, axes=(2, 3), radius=blur.reach, mode="reflect")
    np.testing.assert_allclose(blur(x, [0]), expected, rtol=0, atol=1e-6)


def response(blur: Blur, seeds: list[int]) -> np.ndarray:
    """What each patch's kernel makes of one bright pixel."""
    side = 2 * blur.reach + 1
    spot = torch.zeros(len(seeds), 1, side, side)
    spot[..., blur.reach, blur.reach] = 1
    return blur(spot, seeds)[:, 0].double().numpy()


@pytest.mark.parametrize("angle", [30.0, 120.0])
def test_the_angle_turns_counter_clockwise(angle: float, moments: Moments) -> None:
    _, covariance = moments(response(Blur(3.0, across=1.5, angle=angle), [0])[0])
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[cos, -sin], [sin, cos]])
    np.testing.assert_allclose(covariance, turn @ np.diag([9, 2.25]) @ turn.T, rtol=0, atol=0.3)


def test_each_patch_gets_its_own_blur_from_the_whole_range(moments: Moments) -> None:
    variances = [moments(kernel)[1][0, 0] for kernel in response(Blur((1.0, 2.0)), list(range(200)))]
    sigmas = np.sqrt(variances)
    assert 0.98 < sigmas.min() < 1.05
    assert 1.93 < sigmas.max() < 2.0
    assert sigmas.mean() == pytest.approx(1.5, abs=0.06)


@pytest.mark.parametrize("blur", [Blur(0.0), Blur((0.0, 0.0)), Blur(0.0, across=0.0), Blur(0.001)], ids=repr)
def test_no_blur_changes_nothing(blur: Blur) -> None:
    x = pixels(2, 3, 9, 13)
    assert torch.equal(blur(x, [0, 1]), x)


# Noise.


@pytest.mark.parametrize("sigma", [1.0, 25.0])
def test_noise_has_the_deviation_asked_for(sigma: float) -> None:
    x = torch.full((2, 3, 100, 100), 0.5)
    noise = (Noise(sigma)(x, [0, 1]) - x).mul(255)
    for channel in noise.flatten(0, 1):
        assert channel.std().item() == pytest.approx(sigma, rel=0.03)
        assert channel.mean().item() == pytest.approx(0, abs=0.05 * sigma)
    across = np.corrcoef(noise.flatten(0, 1).flatten(1).numpy())
    assert np.abs(across - np.eye(6)).max() < 0.05


def test_each_patch_gets_its_own_noise_from_the_whole_range() -> None:
    noise = Noise((10.0, 30.0))(torch.zeros(200, 1, 32, 32), list(range(200)))
    sigmas = noise.mul(255).flatten(1).std(1)
    assert 9 < sigmas.min() < 11.5
    assert 28.5 < sigmas.max() < 32
    assert sigmas.mean().item() == pytest.approx(20, abs=1.2)


def test_shot_noise_grows_with_the_light() -> None:
    light = torch.tensor([-0.1, 0.0, 0.25, 1.0]).view(1, 1, 4, 1).expand(1, 3, 4, 20_000)
    noise = Noise(sigma=0.0, photons=400.0)(light, [3]) - light
    deviations = noise.std((0, 1, 3))
    torch.testing.assert_close(deviations, torch.tensor([0, 0, 0.025, 0.05]), rtol=0.02, atol=0)
    both = Noise(sigma=10.0, photons=400.0)(light, [3]) - light
    expected = (torch.tensor([0, 0, 0.025, 0.05]) ** 2 + (10 / 255) ** 2).sqrt()
    torch.testing.assert_close(both.std((0, 1, 3)), expected, rtol=0.02, atol=0)


@pytest.mark.parametrize(("grey", "share"), [(0.0, 0.0), (0.3, 0.3), (1.0, 1.0)])
def test_grey_noise_is_equal_in_all_channels(grey: float, share: float) -> None:
    noise = Noise(10.0, grey=grey)(torch.zeros(300, 3, 2, 2), list(range(300)))
    equal = (noise == noise[:, :1]).flatten(1).all(1).float().mean().item()
    assert equal == pytest.approx(share, abs=0.08 if 0 < share < 1 else 0)


def test_no_noise_changes_nothing() -> None:
    x = pixels(2, 3, 5, 5)
    assert torch.equal(Noise(0.0)(x, [0, 1]), x)


# JPEG.


def waves(height: int, width: int, channels: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    planes = [127.5 + 120 * np.sin(x / (3 + k) + y / 7 + k) for k in range(channels)]
    return np.stack(planes, -1).round().astype(np.uint8)


def by_pillow(image: np.ndarray, quality: int, chroma: str) -> np.ndarray:
    """An image h w c after Pillow wrote it as JPEG and read it again."""
    colour = {"subsampling": chroma} if image.shape[2] == 3 else {}
    file = io.BytesIO()
    Image.fromarray(image if image.shape[2] == 3 else image[..., 0]).save(file, "JPEG", quality=quality, **colour)
    return np.asarray(Image.open(file)).reshape(image.shape)


def as_patches(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("chroma", ["4:2:0", "4:4:4"])
@pytest.mark.parametrize("size", [(16, 32), (37, 51), (24, 17), (9, 5), (6, 23)], ids=str)
def test_jpeg_gives_pillows_pixels(size: tuple[int, int], chroma: str) -> None:
    rng = np.random.default_rng(0)
    for channels in (1, 3):
        sharp = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
        images = [sharp, waves(*size, channels), np.where(sharp > 200, 255, 0).astype(np.uint8)]
        for quality in (1, 10, 49, 50, 75, 90, 100):
            found = Jpeg(quality, chroma)(as_patches(images), [0, 1, 2])  # type: ignore[arg-type]
            levels = found.mul(255).permute(0, 2, 3, 1)
            expected = np.stack([by_pillow(image, quality, chroma) for image in images])
            np.testing.assert_allclose(levels, expected, rtol=0, atol=1e-3)


def test_jpeg_of_best_quality_changes_little_and_of_low_quality_much() -> None:
    x = as_patches([waves(32, 32, 3)])
    assert (Jpeg(100, "4:4:4")(x, [0]) - x).abs().max() < 4.5 / 255
    assert (Jpeg(5)(x, [0]) - x).abs().mean() > 4 / 255


def test_jpeg_clamps_and_rounds_what_it_gets() -> None:
    x = as_patches([waves(16, 16, 3)])
    x[..., 0, :] = 1.0
    x[..., 1, :] = 0.0
    off = x + torch.empty_like(x).uniform_(-0.4, 0.4) / 255
    off[..., 0, :] = 1.7
    off[..., 1, :] = -0.3
    assert torch.equal(Jpeg(80)(off, [0]), Jpeg(80)(x, [0]))


def tables_of_pillow(quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization  # type: ignore[attr-defined]
    return np.array([tables[0], tables[1]]).reshape(2, 8, 8)


def test_the_quality_drawn_for_a_seed_is_the_same_everywhere() -> None:
    # The first number of splitmix64 from state 0 is 0xE220A8397B1DCDAF, so the 89th of 100 qualities.
    np.testing.assert_array_equal(Jpeg((1, 100)).tables([0])[0], tables_of_pillow(89))


def test_all_qualities_of_the_range_are_drawn_and_no_other() -> None:
    tables = {tuple(table.flatten().tolist()) for table in Jpeg((48, 51)).tables(list(range(100)))}
    assert tables == {tuple(tables_of_pillow(quality).flatten().tolist()) for quality in range(48, 52)}


@pytest.mark.parametrize("channels", [2, 4])
def test_jpeg_refuses_other_channels(channels: int) -> None:
    with pytest.raises(ValueError, match=f"the patches have {channels} channels; JPEG takes 1 .grey. or 3 .RGB."):
        Jpeg()(pixels(1, channels, 8, 8), [0])


@pytest.mark.gpu
def test_jpeg_on_a_gpu_has_the_same_pixels() -> None:
    x = pixels(2, 3, 37, 51)
    assert torch.equal(Jpeg((20, 90))(x.cuda(), [1, 2]).cpu(), Jpeg((20, 90))(x, [1, 2]))
