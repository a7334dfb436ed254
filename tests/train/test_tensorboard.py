import io
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from srzoo.data.pairs import Pair
from srzoo.resize import imresize
from srzoo.train.config import TrainConfig
from srzoo.train.tensorboard import TensorBoard, centre_crop, tag_of


class Brighter(nn.Module):
    def forward(self, lr: Tensor) -> Tensor:
        assert not self.training
        return imresize(lr, scale=2) * 0 + 1


@dataclass
class FakeRun:
    step: int = 0
    seconds: float = 0.0
    config: TrainConfig = field(default_factory=lambda: TrainConfig(steps=100))
    model: nn.Module = field(default_factory=nn.Identity)
    averaged: nn.Module = field(default_factory=Brighter)
    validation: dict[str, list[Pair]] = field(default_factory=dict)

    def recipe(self) -> dict[str, Any]:
        return {}


def pair_of(height: int, width: int, name: str = "waves", channels: int = 3) -> Pair:
    hr = torch.randint(0, 256, (channels, height, width), dtype=torch.uint8)
    return Pair(name, imresize(hr, scale=0.5), hr, 2)


def events(folder: Path) -> Any:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    return accumulator.EventAccumulator(str(folder), {"scalars": 0, "images": 0}).Reload()


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in events(folder).Scalars(tag)]


def test_without_the_package_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'TensorBoard needs the package tensorboard .*pip install "srzoo\[train\]"'):
        TensorBoard(tmp_path)


def test_a_negative_number_of_samples_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="num_samples is -1"):
        TensorBoard(tmp_path, num_samples=-1)


def test_names_are_grouped_by_set_whatever_it_is_called():
    assert [tag_of(key) for key in ("lr", "steps_per_second", "held out x2 psnr")] == [
        "lr", "steps_per_second", "held out/x2/psnr",
    ]  # fmt: skip


@pytest.mark.parametrize(("height", "width"), [(20, 300), (230, 256), (192, 192), (400, 30)])
def test_the_crop_is_the_middle_of_both_images(height, width):
    pair = pair_of(height, width)
    crop = centre_crop(pair, 96)
    assert crop.lr.shape == (3, min(96, height // 2), min(96, width // 2))
    assert crop.hr.shape == (3, 2 * crop.lr.shape[1], 2 * crop.lr.shape[2])
    top, left = ((side // 2 - cut) // 2 for side, cut in zip((height, width), crop.lr.shape[1:], strict=True))
    assert torch.equal(crop.lr, pair.lr[:, top:, left:][:, : crop.lr.shape[1], : crop.lr.shape[2]])
    assert torch.equal(crop.hr, pair.hr[:, 2 * top :, 2 * left :][:, : crop.hr.shape[1], : crop.hr.shape[2]])


def test_every_number_is_a_scalar(tmp_path):
    pytest.importorskip("tensorboard")
    run = FakeRun()
    board = TensorBoard(tmp_path)
    board.start(run)
    board.log(run, {"step": 10, "seconds": 2.0, "loss": 0.5, "lr": 1e-4, "steps_per_second": 5.0})
    board.log(run, {"step": 20, "seconds": 4.0, "loss": float("inf"), "lr": 1e-4, "steps_per_second": 5.0})
    board.log(run, {"step": 20, "seconds": 4.0, "Set5 x2 psnr": 31.5, "Set5 x2 ssim": 0.9})
    board.close(run)
    found = events(tmp_path)
    tags = {"seconds", "loss", "lr", "steps_per_second", "Set5/x2/psnr", "Set5/x2/ssim"}
    assert set(found.Tags()["scalars"]) == tags
    assert scalars(tmp_path, "Set5/x2/psnr") == [(20, 31.5)]
    assert scalars(tmp_path, "lr") == [(10, 1e-4), (20, 1e-4)]
    (first, last) = found.Scalars("loss")
    assert (first.step, first.value, last.step) == (10, 0.5, 20)
    assert np.isnan(last.value)


def test_samples_come_after_scores_only_lr_sr_and_hr_side_by_side(tmp_path):
    pytest.importorskip("tensorboard")
    wide, grey = pair_of(200, 220, "wide"), pair_of(24, 20, "grey", channels=1)
    model = Brighter().train()
    run = FakeRun(validation={"Set5": [wide, wide, grey, grey]}, averaged=model)
    board = TensorBoard(tmp_path, num_samples=2)
    board.start(run)
    board.log(run, {"step": 10, "loss": 0.5})
    assert not events(tmp_path).Tags()["images"]
    board.log(run, {"step": 20, "Set5 x2 psnr": 31.5})
    found = events(tmp_path)  # before it is closed
    board.close(run)
    assert model.training
    assert sorted(found.Tags()["images"]) == ["samples/Set5/grey x2", "samples/Set5/wide x2"]
    [image] = found.Images("samples/Set5/wide x2")
    pixels = np.asarray(Image.open(io.BytesIO(image.encoded_image_string)))
    assert (image.step, pixels.shape) == (20, (192, 3 * 192, 3))
    crop = centre_crop(wide, 96)
    lr, sr, hr = np.split(pixels, 3, axis=1)
    assert (lr[::2, ::2] == crop.lr.permute(1, 2, 0).numpy()).all()
    assert (lr[1::2, 1::2] == lr[::2, ::2]).all()
    assert (sr == 255).all()
    assert (hr == crop.hr.permute(1, 2, 0).numpy()).all()
    [small] = found.Images("samples/Set5/grey x2")
    assert (small.height, small.width) == (24, 60)


def test_zero_samples_are_none(tmp_path):
    pytest.importorskip("tensorboard")
    run = FakeRun(validation={"Set5": [pair_of(24, 24)]})
    board = TensorBoard(tmp_path, num_samples=0)
    board.start(run)
    board.log(run, {"step": 20, "Set5 x2 psnr": 31.5})
    board.close(run)
    assert not events(tmp_path).Tags()["images"]


@pytest.mark.parametrize("torn", [False, True])
def test_a_killed_and_resumed_run_shows_each_row_once(tmp_path, torn):
    pytest.importorskip("tensorboard")
    run = FakeRun()
    killed = TensorBoard(tmp_path)
    killed.start(run)
    for step in (10, 20, 30, 40):
        killed.log(run, {"step": step, "loss": 1.0})
    killed.saving(run)  # on disk without being closed
    if torn:
        [file] = tmp_path.iterdir()
        file.write_bytes(file.read_bytes()[:-7])
    resumed = TensorBoard(tmp_path)
    resumed.start(FakeRun(step=20))
    for step in (30, 40, 50):
        resumed.log(run, {"step": step, "loss": 2.0})
    resumed.close(run)
    assert scalars(tmp_path, "loss") == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
    killed.close(run)


def test_a_fresh_run_hides_an_older_one(tmp_path):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path)
    for value in (1.0, 2.0):
        board.start(FakeRun())
        for step in (0, 10):
            board.log(FakeRun(), {"step": step, "loss": value})
        board.close(FakeRun())
    assert scalars(tmp_path, "loss") == [(0, 2.0), (10, 2.0)]


def test_close_may_come_without_start_and_twice(tmp_path):
    pytest.importorskip("tensorboard")
    board = TensorBoard(tmp_path / "events")
    board.saving(FakeRun())
    board.close(FakeRun())
    assert not (tmp_path / "events").exists()
    board.start(FakeRun())
    board.close(FakeRun())
    board.close(FakeRun())


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=r"file/events cannot be written"):
        TensorBoard(tmp_path / "file" / "events").start(FakeRun())
