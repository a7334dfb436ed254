"""What both metrics share: bad input is refused in one sentence, tiles change nothing, memory stays flat."""

import importlib
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor

from srzoo.metrics import PSNR, SSIM, Protocol, psnr, ssim
from srzoo.metrics.ssim import similarity
from srzoo.metrics.tiles import MOST_VALUES, tile_slices

Metric = Callable[[Tensor, Tensor, Protocol], Tensor]
BOTH = pytest.mark.parametrize("metric", [psnr, ssim])
ROOT = Path(__file__).parents[2]


def noisy_pair(*shape: int) -> tuple[Tensor, Tensor]:
    hr = (0.5 + 0.3 * torch.sin(torch.arange(shape[-1]) / 5) + 0.1 * torch.rand(shape)).clamp(0, 1)
    return hr + 0.1 * torch.randn(shape), hr


def as_saved(image: Tensor) -> np.ndarray:
    return (image[0].double().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()


def reference_ssim(a: np.ndarray, b: np.ndarray) -> float:
    return structural_similarity(
        a.astype(np.float64), b.astype(np.float64),
        gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, channel_axis=-1,
    )  # fmt: skip


# Golden values at every kind of tile edge

SIZES = [(11, 11), (11, 196), (42, 195), (43, 196), (85, 53), (16, 2049), (44, 2060), (139, 12), (300, 397)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_scores_are_scikit_images_at_odd_sizes_and_tile_edges(size: tuple[int, int], channels: int) -> None:
    sr, hr = noisy_pair(1, channels, *size)
    a, b = as_saved(sr), as_saved(hr)
    y = [rgb2ycbcr(image)[..., :1] if channels == 3 else image for image in (a, b)]
    for protocol, (first, second) in ((Protocol(channel="rgb"), (a, b)), (Protocol(), y)):
        expected = peak_signal_noise_ratio(second.astype(float), first.astype(float), data_range=255)
        assert psnr(sr, hr, protocol).item() == pytest.approx(expected, abs=1e-6)
        assert ssim(sr, hr, protocol).item() == pytest.approx(reference_ssim(first, second), abs=1e-6)


@pytest.mark.parametrize("level", [0, 3, 128, 250])
def test_ssim_of_flat_images_of_any_brightness_is_scikit_images(level: int) -> None:
    """Variances are differences of large numbers here: single precision loses them."""
    hr = torch.full((1, 1, 50, 60), level, dtype=torch.uint8)
    sr = hr + torch.randint(0, 3, hr.shape, dtype=torch.uint8)
    found = ssim(sr, hr, Protocol()).item()
    assert found == pytest.approx(reference_ssim(as_saved(sr / 255), as_saved(hr / 255)), abs=1e-9)
    assert ssim(hr + 1, hr, Protocol()).item() == pytest.approx(
        (2 * level * (level + 1) + 2.55**2) / (level**2 + (level + 1) ** 2 + 2.55**2), abs=1e-9
    )


def test_ssim_is_the_mean_of_the_losses_similarity() -> None:
    sr, hr = noisy_pair(2, 3, 45, 50)
    protocol = Protocol(channel="rgb", border=1)
    expected = similarity(protocol.apply(sr), protocol.apply(hr), 255.0).mean((1, 2, 3))
    torch.testing.assert_close(ssim(sr, hr, protocol), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("overlap", [0, 3])
def test_tiles_cover_what_lies_inside_the_border_once(overlap: int) -> None:
    image = torch.arange(15 * 17).view(15, 17)
    seen = []
    for box in tile_slices(15, 17, 2, 4, 5, overlap):
        tile = image[box]
        rows, columns = (side - overlap for side in tile.shape)
        assert (0 < rows <= 4, 0 < columns <= 5) == (True, True)
        seen += tile[:rows, :columns].flatten().tolist()
    assert sorted(seen) == image[2 : 13 - overlap, 2 : 15 - overlap].flatten().tolist()


INNER: dict[Metric, str] = {psnr: "_squared_error", ssim: "_sum_of_similarity"}


@pytest.mark.parametrize(
    ("metric", "size", "channels", "most"),
    [
        (psnr, (48, 48), 3, 1),
        (psnr, (100, 100), 3, 1),
        (psnr, (512, 512), 3, 25),
        (psnr, (10_000, 12), 3, 12),  # tall and narrow
        (psnr, (12, 10_000), 3, 15),  # flat and wide: at most 2048 columns at 5 rows
        (psnr, (12, 10_000), 1, 5),
        (ssim, (48, 48), 3, 1),
        (ssim, (90, 90), 3, 1),
        (ssim, (3_000, 12), 3, 5),
        (ssim, (12, 3_000), 3, 17),
    ],
)
def test_tiles_fill_the_cache_however_narrow_the_image(
    metric: Metric, size: tuple[int, int], channels: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each tile costs some 40 operations of torch: small images in many tiles took 3 to 7 times as long."""
    module = importlib.import_module(metric.__module__)
    inner, tiles = getattr(module, INNER[metric]), []

    def count(a: Tensor, b: Tensor) -> float:
        tiles.append(a.numel())
        return inner(a, b)

    monkeypatch.setattr(module, INNER[metric], count)
    sr, hr = noisy_pair(1, channels, *size)
    assert metric(sr, hr, Protocol(channel="rgb")).isfinite()
    assert len(tiles) <= most
    assert channels * size[0] * size[1] <= sum(tiles)
    assert max(tiles) <= MOST_VALUES < 32_768  # torch's threads begin there


def test_ssim_blurs_all_channels_of_a_small_image_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("srzoo.metrics.ssim")
    blur, shapes = module._blur, []
    monkeypatch.setattr(module, "_blur", lambda planes: shapes.append(tuple(planes.shape)) or blur(planes))
    for size in (48, 60):
        sr, hr = noisy_pair(1, 3, size, size)
        ssim(sr, hr, Protocol(channel="rgb"))
    assert shapes == [(4, 3, 48, 48), *[(4, 1, 60, 60)] * 3]


@BOTH
def test_the_number_of_threads_changes_no_bit(metric: Metric) -> None:
    threads = torch.get_num_threads()
    for size in ((400, 700), (104, 104), (52, 52), (3_000, 12)):
        sr, hr = noisy_pair(1, 3, *size)
        for channel in ("y", "rgb"):
            found = set()
            try:
                for count in (1, 2, 5):
                    torch.set_num_threads(count)
                    found.add(metric(sr, hr, Protocol(channel=channel)).item())
            finally:
                torch.set_num_threads(threads)
            assert len(found) == 1, (size, channel)


# What is taken


@BOTH
def test_bytes_and_floats_may_be_mixed(metric: Metric) -> None:
    sr, hr = noisy_pair(2, 3, 20, 24)
    in_bytes = [(image.clamp(0, 1) * 255).round().to(torch.uint8) for image in (sr, hr)]
    expected = metric(sr, hr, Protocol())
    assert torch.equal(metric(*in_bytes, Protocol()), expected)
    assert torch.equal(metric(sr, in_bytes[1], Protocol()), expected)


@BOTH
def test_inputs_are_left_as_they_are_and_no_gradient_flows(metric: Metric) -> None:
    sr, hr = (image.double() for image in noisy_pair(1, 3, 300, 400))
    sr.requires_grad_()
    before = sr.detach().clone(), hr.clone()
    for protocol in (Protocol(), Protocol(channel="rgb", quantize=False)):
        assert not metric(sr, hr, protocol).requires_grad
    assert torch.equal(sr, before[0])
    assert torch.equal(hr, before[1])


@BOTH
def test_autocast_and_inference_mode_change_nothing(metric: Metric) -> None:
    sr, hr = noisy_pair(1, 3, 300, 400)
    expected = metric(sr, hr, Protocol())
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert torch.equal(metric(sr, hr, Protocol()), expected)


@BOTH
def test_an_image_scores_the_same_in_any_batch_and_memory_layout(metric: Metric) -> None:
    sr, hr = noisy_pair(3, 3, 20, 24)
    alone = torch.cat([metric(sr[i : i + 1], hr[i : i + 1], Protocol()) for i in range(3)])
    assert torch.equal(metric(sr, hr, Protocol()), alone)
    layout = sr.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(metric(layout, hr, Protocol()), alone, rtol=0, atol=1e-12)
    assert metric(sr[:0], hr[:0], Protocol()).shape == (0,)


# Bad input


@BOTH
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("at", [(10, 10), (0, 0)])  # inside and in the border
def test_a_prediction_that_is_not_finite_scores_nan(metric: Metric, value: float, at: tuple[int, int]) -> None:
    sr, hr = noisy_pair(3, 3, 20, 24)
    good = metric(sr, hr, Protocol(border=2))
    sr[1, 2, *at] = value
    found = metric(sr, hr, Protocol(border=2))
    assert found.isnan().tolist() == [False, True, False]
    assert torch.equal(found[::2], good[::2])


@BOTH
@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("sr", "hr", "error", "told"),
    [
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 21, 20), ValueError, r"\(1, 3, 20, 20\) and hr \(1, 3, 21, 20\)"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 1, 20, 20), ValueError, "they must be equal"),
        (torch.rand(2, 3, 20, 20), torch.rand(1, 3, 20, 20), ValueError, "they must be equal"),
        (torch.rand(3, 20, 20), torch.rand(3, 20, 20), ValueError, r"as b c h w; add the batch axis: sr\[None\]"),
        (torch.rand(20, 20), torch.rand(20, 20), ValueError, "are scored as b c h w$"),
        (torch.rand(1, 4, 20, 20), torch.rand(1, 4, 20, 20), ValueError, "sr has 4 channels"),
        (torch.rand(1, 2, 20, 20), torch.rand(1, 2, 20, 20), ValueError, "sr has 2 channels"),
        (torch.rand(1, 3, 20, 4), torch.rand(1, 3, 20, 4), ValueError, "a border of 2 leaves nothing of .* 20x4"),
        (torch.rand(1, 3, 1, 1), torch.rand(1, 3, 1, 1), ValueError, "a border of 2 leaves nothing of .* 1x1"),
        (torch.rand(1, 3, 20, 0), torch.rand(1, 3, 20, 0), ValueError, "leaves nothing"),
        (torch.ones(1, 3, 20, 20).long(), torch.rand(1, 3, 20, 20), TypeError, "sr has dtype torch.int64"),
        (torch.rand(1, 3, 20, 20), torch.ones(1, 3, 20, 20).bool(), TypeError, "hr has dtype torch.bool"),
        (
            torch.rand(1, 3, 20, 20).to(torch.float8_e4m3fn),
            torch.rand(1, 3, 20, 20),
            TypeError,
            "sr has .*float8_e4m3fn",
        ),
        (np.ones((1, 3, 20, 20)), torch.rand(1, 3, 20, 20), TypeError, "sr is of type ndarray; give a torch.Tensor"),
        (torch.rand(1, 3, 20, 20), [[0.5]], TypeError, "hr is of type list; give a torch.Tensor"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20) * 255, ValueError, "hr goes from .*divide by 255"),
        (torch.rand(1, 3, 20, 20), torch.linspace(-1, 1, 1200).view(1, 3, 20, 20), ValueError, "hr goes from -1 to 1"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20).log() * math.inf, ValueError, "hr has values that are not"),
        (torch.rand(1, 3, 20, 20), torch.full((1, 3, 20, 20), math.nan), ValueError, "a ground truth must be an image"),
        (torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20, device="meta"), ValueError, "bring both to one device"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(
    metric: Metric, sr: Tensor, hr: Tensor, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told) as raised:
        metric(sr, hr, Protocol(border=2))
    assert "\n" not in str(raised.value)


@BOTH
@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(("protocol", "kind"), [(Protocol.paper, "method"), ("paper", "str"), (None, "NoneType")])
def test_what_is_no_protocol_is_refused(metric: Metric, protocol: Protocol, kind: str) -> None:
    told = rf"protocol is of type {kind}; give a Protocol, as Protocol.paper\(scale\) makes"
    with pytest.raises(TypeError, match=told):
        metric(*noisy_pair(1, 3, 20, 20), protocol)
    with pytest.raises(TypeError, match=told):
        (PSNR if metric is psnr else SSIM)(protocol)


def test_values_a_little_outside_are_clamped() -> None:
    hr = torch.tensor([-0.2, 0.0, 1.0, 1.3]).view(1, 1, 2, 2)
    assert psnr(hr.clamp(0, 1), hr, Protocol(quantize=False)).item() == math.inf


def test_one_pixel_has_a_psnr_and_no_ssim() -> None:
    pixel = torch.zeros(1, 3, 1, 1)
    assert psnr(pixel + 1, pixel, Protocol(channel="rgb")).item() == 0
    with pytest.raises(ValueError, match="1x1 pixels are left inside the border; SSIM needs at least 11x11"):
        ssim(pixel, pixel, Protocol())


# Memory

MEASURE = """
import re, sys, torch
from pathlib import Path
from srzoo.metrics import Protocol, psnr, ssim

def kib(key):
    return int(re.search(rf"{key}:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])

torch.set_num_threads(1)
for metric in (psnr, ssim):  # once, for what is loaded and cached
    metric(torch.zeros(1, 3, 64, 2100), torch.zeros(1, 3, 64, 2100), Protocol())
for height in (100, 1600):
    sr = torch.full((1, 3, height, 2100), 0.5)
    hr = sr + 0.1
    for metric in (psnr, ssim):
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak back
        before = kib("VmRSS")
        metric(sr, hr, Protocol())
        print((kib("VmHWM") - before) / 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is read from Linux's /proc")
def test_memory_does_not_grow_with_the_image() -> None:
    told = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, cwd=ROOT, check=True)
    grown = [float(line) for line in told.stdout.split()]
    plane = 1600 * 2100 * 8 / 2**20  # one of float64, of the larger image: 26 MiB; whole images took twenty
    assert max(grown) < plane, grown
