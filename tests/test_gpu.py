"""What only a CUDA device can show: the same results as on the CPU, to the rounding of its convolutions."""

from pathlib import Path

import numpy as np
import pytest
import torch

import srzoo
from srzoo.data import PatchSource
from srzoo.metrics import Protocol, psnr, ssim
from srzoo.resize import imresize
from srzoo.train import TrainConfig, Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("scale", [0.25, 1 / 3, 2])
def test_imresize_gives_the_same_pixels(scale: float) -> None:
    image = torch.randint(0, 256, (2, 3, 60, 48), dtype=torch.uint8)
    assert torch.equal(imresize(image.cuda(), scale=scale).cpu(), imresize(image, scale=scale))


def test_metrics_are_equal() -> None:
    sr, hr = torch.rand(2, 3, 40, 40), torch.rand(2, 3, 40, 40)
    for metric in (psnr, ssim):
        there, here = metric(sr.cuda(), hr.cuda(), Protocol.paper(2)), metric(sr, hr, Protocol.paper(2))
        torch.testing.assert_close(there.cpu(), here, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("tta", ["none", "x8"])
def test_upscaled_bytes_are_within_one_level(tta) -> None:
    image = np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8)
    there = srzoo.upscale(image, "edsr_baseline_x2", device="cuda", tta=tta, tile=32)
    here = srzoo.upscale(image, "edsr_baseline_x2", device="cpu", tta=tta)
    assert np.abs(there.astype(int) - here.astype(int)).max() <= 1


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_learns_stops_and_goes_on(precision, photo_folder: Path, tmp_path: Path) -> None:
    def trainer(minutes: float | None) -> Trainer:
        torch.manual_seed(0)
        model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1)
        data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
        config = TrainConfig(
            steps=30, batch_size=4, patch_size=12, lr=1e-3, precision=precision, device="cuda", minutes=minutes
        )
        return Trainer(model, data, config, folder=tmp_path / "run")

    first = trainer(minutes=0)
    before = first.loss(first.model(first.batch(0).lr), first.batch(0).hr).item()
    first.fit()
    second = trainer(minutes=None)
    assert second.resume()
    assert second.step == first.step >= 1
    second.fit()
    after = second.loss(second.model(second.batch(0).lr), second.batch(0).hr).item()
    assert after < before
