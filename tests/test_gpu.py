"""What only a CUDA device can show: the same results as on the CPU, to the rounding of its convolutions."""

import gc
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import srzoo
from srzoo.data import PatchSource
from srzoo.image import read_pixels
from srzoo.metrics import Protocol, psnr, ssim
from srzoo.resize import imresize
from srzoo.train import SGD, Adam, OptimizerFactory, TrainConfig, Trainer
from srzoo.train.capture import CapturedBackward
from srzoo.train.checkpoint import find_checkpoints
from srzoo.upscaling import planner
from srzoo.upscaling.engines import torch_engine
from srzoo.upscaling.strips import Compiled, run_strips

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
        assert len(trainer._backward.recorded) == (len(seen) if capture == "graph" else 0)
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


# Upscaling


@pytest.fixture
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32, not TF32."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strips of a few rows and images in several bands, as an image many times larger has them."""
    monkeypatch.setitem(planner.STRIP_PIXELS, "cuda", 256)
    monkeypatch.setattr(planner, "MAX_COLUMNS", 40)


def photo(height: int, width: int, seed: int = 0) -> Tensor:
    """An image c h w in [0, 1]."""
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


def upscaler_of(model: srzoo.SRModel | list[srzoo.SRModel], **options: Any) -> srzoo.Upscaler:
    return srzoo.Upscaler(model, device="cuda", engine="torch", **options)


def stream(upscaler: srzoo.Upscaler, compiled: Compiled, image: Tensor) -> Iterator[Tensor]:
    """Rows of the result, strip by strip."""
    plan = upscaler._executor(2).shapes.strips(image.shape[-1])
    assert plan is not None
    assert len(plan.bands) > 1
    for merged in run_strips(compiled, lambda top, bottom: image[None, :, top:bottom], image.shape[-2], plan):
        yield merged.sr.cpu()


@pytest.mark.usefixtures("exact", "narrow")
def test_strips_in_bands_are_the_whole_image() -> None:
    model = small()
    upscaler = upscaler_of(model, precision="fp32")
    for height, width in ((140, 70), (61, 33)):
        image = photo(height, width)
        with torch.no_grad():
            whole = model(image[None].cuda())[0].clamp(0, 1).cpu()
        for _ in range(2):  # the second time with graphs
            torch.testing.assert_close(upscaler(image), whole, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("exact", "narrow")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_images_and_bands_that_take_turns_on_a_graph_get_what_eager_steps_give(precision, monkeypatch) -> None:
    images = [photo(140, 70, seed) for seed in range(2)]
    ends = []
    for calls in (3, 10**9):
        monkeypatch.setattr(torch_engine, "GRAPH_AFTER", calls)
        upscaler = upscaler_of(small(), precision=precision)
        executor = upscaler._executor(2)
        assert executor.networks is not None
        compiled = Compiled(executor.engine, executor.networks)
        turns = list(zip(*(stream(upscaler, compiled, image) for image in images), strict=True))
        ends.append([torch.cat(parts, 2) for parts in zip(*turns, strict=True)])
        recorded = [step for step in compiled._steps.values() if getattr(step, "graph", None)]
        assert bool(recorded) == (calls == 3)
    for graphed, eager in zip(*ends, strict=True):
        torch.testing.assert_close(graphed, eager, rtol=0, atol=1e-5 if precision == "fp32" else 0.01)
    assert (ends[0][0] - ends[0][1]).abs().max() > 0.1


@pytest.mark.usefixtures("narrow")
def test_a_graph_recorded_for_tensors_serves_files_and_the_other_way_round(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (140, 70, 3), np.uint8)
    source, target = tmp_path / "a.png", tmp_path / "b.png"
    Image.fromarray(pixels).save(source)
    for first in ("tensor", "file"):
        upscaler = upscaler_of(small())
        for kind in (first, "file", "tensor"):
            if kind == "tensor":
                found = upscaler(pixels)
            else:
                upscaler.file(source, target)
                found = np.asarray(Image.open(target))
            expected = srzoo.upscale(pixels, small(), device="cpu", precision="fp32")
            assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2


def test_an_image_that_fits_in_a_strip_becomes_one_graph() -> None:
    upscaler = upscaler_of(small())
    image = photo(64, 48)
    expected = upscaler(image)
    for _ in range(6):
        torch.testing.assert_close(upscaler(image), expected, rtol=0, atol=0.01)
    steps = [step for compiled in upscaler._executor(2)._compiled.values() for step in compiled._steps.values()]
    assert [bool(getattr(step, "graph", None)) for step in steps] == [True]


def test_running_out_of_memory_makes_tiles_smaller_and_the_result_stays(exact) -> None:
    image = photo(500, 400)
    upscaler = upscaler_of(small(), precision="fp32")
    expected = upscaler(image)
    upscaler.close()
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    notes: list[str] = []
    executor = upscaler._executor(2)
    try:  # of the result alone 10 MB; a strip of all rows takes more than 30
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 24 * 2**20) / total)
        blocks = executor.stream(lambda top, bottom: image[None, :, top:bottom], 500, 400, notes=notes)
        found = torch.cat([block.sr.cpu() for block in blocks], 2)[0]
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    assert any("memory ran out" in note for note in notes)
    torch.testing.assert_close(found.clamp(0, 1), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_costs_less_than_a_hundredth_of_a_decibel(precision: str, exact) -> None:
    hr = read_pixels(Path(__file__).parents[1] / "examples" / "images" / "coffee.png", 3)[:256, :256]
    hr = torch.from_numpy(hr.copy()).permute(2, 0, 1)[None]
    lr, scores = imresize(hr, scale=1 / 4), {}
    for name in ("fp32", precision):
        sr = upscaler_of(srzoo.create_model("edsr_baseline_x4.photos"), precision=name)(lr)
        scores[name] = psnr(sr / 255, hr / 255, Protocol.paper(4)).item()
    assert scores["fp32"] > 20
    assert abs(scores[precision] - scores["fp32"]) < 0.01


@pytest.mark.usefixtures("narrow")
def test_threads_share_an_upscaler_and_record_graphs_beside_one_another() -> None:
    images = [photo(60 + 20 * (i % 3), 50 + 10 * (i % 2), seed=i) for i in range(12)]
    upscalers = [upscaler_of(small(seed=seed)) for seed in range(2)]
    expected = [upscaler_of(small(seed=i % 2))(image) for i, image in enumerate(images)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(2):
            found = list(pool.map(lambda i: upscalers[i % 2](images[i]), range(len(images))))
            for one, other in zip(found, expected, strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0.01)


@pytest.mark.usefixtures("exact", "narrow")
def test_a_cascade_is_what_it_is_on_the_cpu_and_its_networks_record_graphs(caplog: pytest.LogCaptureFixture) -> None:
    models = [small(), small(seed=1), small("edsr_baseline_x4")]
    image = photo(70, 50)
    expected = srzoo.Upscaler(models, device="cpu", engine="torch", precision="fp32")(image)
    with caplog.at_level(logging.WARNING, "srzoo"), upscaler_of(models, precision="fp32") as upscaler:
        for _ in range(3):
            torch.testing.assert_close(upscaler(image), expected, rtol=0, atol=1e-5)
        for executor in upscaler._executors.cascade(16).executors:
            steps = [step for compiled in executor._compiled.values() for step in compiled._steps.values()]
            assert any(getattr(step, "graph", None) for step in steps)
    assert not [record for record in caplog.records if "CUDA graph" in record.getMessage()]


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_settings_of_torch_are_left_as_they_are(precision) -> None:
    def settings() -> list[Any]:
        cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
        others = [torch.get_float32_matmul_precision(), torch.is_inference_mode_enabled(), torch.is_grad_enabled()]
        return [cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic, matmul.allow_tf32, *others]

    before = settings()
    for _ in range(6):
        upscaler_of(small(), precision=precision)(photo(40, 40))
    assert settings() == before
