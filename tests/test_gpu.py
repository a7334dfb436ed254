"""What only a CUDA device can show: the same results as on the CPU, to the rounding of its convolutions."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import srzoo
from srzoo.data import PatchSource
from srzoo.metrics import Protocol, psnr, ssim
from srzoo.resize import imresize
from srzoo.train import SGD, Adam, OptimizerFactory, TrainConfig, Trainer
from srzoo.train.capture import CapturedBackward
from srzoo.train.checkpoint import find_checkpoints

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
CONFIG = TrainConfig(steps=10, batch_size=4, patch_size=12, lr=1e-3, device="cuda", precision="bf16", ema_decay=0.9)


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


# Training


def small(name: str = "edsr_baseline_x2", seed: int = 0) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model(name, width=8, num_blocks=1)


@pytest.fixture
def source(photo_folder: Path, tmp_path: Path) -> Callable[..., PatchSource]:
    """Patches of six photos."""
    return lambda scales=(2,): PatchSource(photo_folder, scales=scales, cache=tmp_path / "cache")


@contextmanager
def no_waiting() -> Iterator[None]:
    """An operation that makes the host wait for the device is an error in this block."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def distance(one: nn.Module, other: nn.Module) -> float:
    """Root of the mean squared difference of two networks' weights."""
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    apart = torch.cat([(a.detach().cpu() - b.detach().cpu()).flatten() for a, b in pairs])
    return apart.double().square().mean().sqrt().item()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_run_learns_stops_and_goes_on(precision, source, tmp_path: Path) -> None:
    def trainer(minutes: float | None) -> Trainer:
        config = replace(CONFIG, steps=30, precision=precision, minutes=minutes)
        return Trainer(small(), source(), config, folder=tmp_path / "run")

    first = trainer(minutes=0.0)
    batch = first.batch(0)
    before = first.loss(first.model(batch.lr), batch.hr).item()
    first.fit()
    second = trainer(minutes=None)
    assert second.resume()
    assert second.step == first.step >= 1
    second.fit()
    after = second.loss(second.model(batch.lr), batch.hr).item()
    assert after < before


@pytest.mark.parametrize(("name", "scales"), [("edsr_baseline_x2", (2,)), ("mdsr_baseline", (2, 3, 4))])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_step_replayed_as_a_graph_is_the_eager_step(name, scales, precision, source) -> None:
    ends = []
    for capture in ("none", "graph"):
        config = replace(CONFIG, precision=precision, capture=capture, clip_norm=1.0, lr=1e-4)
        trainer = Trainer(small(name), source(scales), config)
        losses = [trainer.train_step(trainer.batch(step)).item() for step in range(10)]
        seen = {trainer.batch(step).scale for step in range(10)}
        assert len(trainer._captured) == (len(seen) if capture == "graph" else 0)
        ends.append((losses, trainer))
    (eager_losses, eager), (losses, graph) = ends
    assert losses == pytest.approx(eager_losses, rel=0.02)
    moved = distance(eager.model, small(name))
    assert moved > 5e-5  # of ten steps of about 1e-4, three or so for each branch of MDSR
    assert distance(graph.model, eager.model) < 0.2 * moved
    assert distance(graph.averaged, eager.averaged) < 0.2 * moved


def test_a_graph_of_one_scale_leaves_the_branches_of_the_others_alone(source) -> None:
    trainer = Trainer(small("mdsr_baseline"), source((2, 3, 4)), CONFIG)
    by_scale = {trainer.batch(step).scale: trainer.batch(step) for step in range(30)}
    for scale in (2, 3, 4, 2, 3, 4):
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        trainer.train_step(by_scale[scale])
        moved = {key for key, value in trainer.model.state_dict().items() if not torch.equal(value, before[key])}
        assert moved == {key for key in before if "branches" not in key or f".x{scale}." in key}


def test_recording_a_graph_puts_running_statistics_and_random_numbers_back() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5), nn.Conv2d(3, 3, 1)).cuda()
    lr, hr = torch.rand(2, 2, 3, 8, 8, device="cuda")
    statistics = [buffer.clone() for buffer in model.buffers()]
    random = torch.cuda.get_rng_state()

    def backward(lr: Tensor, hr: Tensor) -> Tensor:
        loss = (model(lr) - hr).abs().mean()
        loss.backward()
        return loss.detach()

    captured = CapturedBackward(backward, model, lr, hr)
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), statistics, strict=True))
    assert torch.equal(torch.cuda.get_rng_state(), random)
    first, second = captured(lr, hr), captured(lr, hr)
    assert not torch.equal(first, second)  # other random numbers each time
    assert not torch.equal(next(model.buffers()), statistics[0])


class Spoilt:
    """A loss that is NaN while `factor` is; it asks nothing of the host."""

    def __init__(self) -> None:
        self.factor = torch.ones((), device="cuda")

    def __call__(self, sr: Tensor, hr: Tensor) -> Tensor:
        return (sr - hr).abs().mean() * self.factor


@pytest.mark.parametrize("optimizer", [Adam(), SGD()], ids=["Adam", "SGD"])
@pytest.mark.parametrize("capture", ["none", "graph"])
@pytest.mark.parametrize("at", [0, 2])
def test_an_update_that_is_not_finite_is_dropped_without_waiting(
    capture, optimizer: OptimizerFactory, at: int, source
) -> None:
    loss = Spoilt()
    trainer = Trainer(
        small(), source(), replace(CONFIG, capture=capture, clip_norm=1.0), loss=loss, optimizer=optimizer
    )
    plain = Trainer(small(), source(), replace(CONFIG, capture=capture, clip_norm=1.0), optimizer=optimizer)
    batch = trainer.batch(0)
    for step in range(4):
        before = {key: value.clone() for key, value in trainer.model.state_dict().items()}
        if step == at:
            loss.factor.fill_(float("nan"))
        if step > max(at - 1, 0):  # by then the graph is recorded
            with no_waiting():
                trainer.train_step(batch)
        else:
            trainer.train_step(batch)
        loss.factor.fill_(1)
        same = all(torch.equal(value, before[key]) for key, value in trainer.model.state_dict().items())
        assert same == (step == at)
    for _ in range(3):
        plain.train_step(batch)
    assert trainer.watch.take()[1:] == (3, 1)
    assert distance(trainer.model, plain.model) < 0.2 * distance(plain.model, small())  # the same three updates
    for ours, theirs in zip(trainer.optimizer.state.values(), plain.optimizer.state.values(), strict=True):
        assert ours.keys() == theirs.keys()
        assert all(value.isfinite().all() for value in ours.values())
        if "step" in ours:
            assert ours["step"].item() == theirs["step"].item() == 3


def test_a_step_with_everything_on_the_device_never_waits(source) -> None:
    trainer = Trainer(small(), source(), replace(CONFIG, skip_above=2.0, skip_window=2, clip_norm=1.0))
    for step in range(2):
        trainer.train_step(trainer.batches.next(step))
    with no_waiting():
        for step in range(2, 8):
            trainer.train_step(trainer.batches.next(step))
    assert trainer.watch.take()[1] > 0


@pytest.mark.parametrize("scale", [2, 3])
def test_images_on_the_device_give_the_patches_of_the_cpu(scale, source) -> None:
    here, there = source((2, 3)), source((2, 3)).to("cuda")
    assert there.resident
    assert not here.resident
    for step in range(3):
        kwargs = dict(scale=scale, batch_size=5, patch_size=9)
        expected = here.sample(np.random.default_rng(step), **kwargs)
        found = there.sample(np.random.default_rng(step), **kwargs)
        for one, other in zip(found, expected, strict=True):
            assert one.is_cuda
            assert torch.equal(one.cpu(), other)


def test_images_that_do_not_fit_are_read_ahead_and_give_the_same_run(source, monkeypatch) -> None:
    resident = Trainer(small(), source(), CONFIG)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (0, 0))
    mapped = Trainer(small(), source(), CONFIG)
    assert not mapped.data.resident  # pyright: ignore[reportAttributeAccessIssue]
    for step in range(4):
        one, other = resident.batches.next(step), mapped.batches.next(step)
        assert torch.equal(one.lr, other.lr)
        assert torch.equal(one.hr, other.hr)
    mapped.fit()  # a graph is recorded while the next batch is copied
    assert mapped.step == 10


@pytest.mark.parametrize("name", ["edsr_baseline_x2", "mdsr_baseline"])
def test_a_resumed_run_ends_near_the_whole_one(name, source, tmp_path: Path) -> None:
    scales = (2,) if name == "edsr_baseline_x2" else (2, 3, 4)
    config = replace(CONFIG, checkpoint_every=4, lr=1e-4, keep_last=9)
    whole = Trainer(small(name), source(scales), config, folder=tmp_path / "run")
    whole.fit()
    for path in find_checkpoints(tmp_path / "run")[1:]:
        path.unlink()
    resumed = Trainer(small(name, seed=1), source(scales), config, folder=tmp_path / "run")
    assert resumed.resume()
    assert resumed.step == 4
    for moments in resumed.optimizer.state.values():
        assert all(value.is_cuda for value in moments.values())
    resumed.fit()
    moved = distance(whole.model, small(name))
    assert distance(resumed.model, whole.model) < 0.2 * moved
    assert distance(resumed.averaged, whole.averaged) < 0.2 * moved


@pytest.mark.parametrize(("then", "now"), [("cpu", "cuda"), ("cuda", "cpu")])
def test_a_run_goes_on_on_the_other_device_and_says_so(then, now, source, tmp_path: Path, caplog) -> None:
    config = replace(CONFIG, precision="fp32", minutes=0.0)
    first = Trainer(small(), source(), replace(config, device=then), folder=tmp_path / "run")
    first.fit()
    second = Trainer(small(seed=1), source(), replace(config, device=now, minutes=None), folder=tmp_path / "run")
    with caplog.at_level(logging.WARNING):
        assert second.resume()
    assert sum("the run goes on elsewhere (device was" in message for message in caplog.messages) == 1
    assert distance(first.model, second.model) == 0
    second.fit()
    assert second.step == 10
