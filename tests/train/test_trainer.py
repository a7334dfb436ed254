import copy
import hashlib
import json
import math
import signal
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import srzoo
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.train import Cosine, Halving, JsonLines, TrainConfig, Trainer, load_checkpoint

CONFIG = TrainConfig(steps=6, batch_size=2, patch_size=6, lr=1e-2, precision="fp32", device="cpu", ema_decay=0.9)


class Waves:
    """Patches of sine waves at random frequencies, made in memory: a source that is no PatchSource."""

    def __init__(self, scales: tuple[int, ...] = (2,), fingerprint: str = "waves") -> None:
        self.scales = scales
        self.fingerprint = fingerprint
        self.drawn: list[str] = []
        """Hash of each batch that was drawn."""

    def check(self, patch_size: int) -> None:
        pass

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int
    ) -> tuple[Tensor, Tensor]:
        y, x = np.mgrid[: patch_size * scale, : patch_size * scale] / scale
        a, b = rng.uniform(0.2, 1, (2, batch_size, 3, 1, 1))
        hr = torch.from_numpy((127.5 + 127.5 * np.sin(a * x + b * y)).round().astype(np.uint8))
        lr = nn.functional.avg_pool2d(hr.float(), scale).round().to(torch.uint8)
        self.drawn.append(hashlib.sha256(hr.numpy().tobytes()).hexdigest())
        return lr, hr


def plain_network(scale: int = 2, seed: int = 0) -> nn.Sequential:
    """A network that knows nothing of the zoo: one convolution and a pixel shuffle."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))


def tiny_edsr(seed: int = 0, **overrides: Any) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model("edsr_baseline_x2", **{"width": 4, "num_blocks": 1, **overrides})


def tiny_mdsr(seed: int = 0) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model("mdsr_baseline", width=4, num_blocks=1)


class Rows:
    """Keeps each row it is told, and counts how often the run ended."""

    def __init__(self, act: Callable[[dict[str, float]], None] = lambda row: None) -> None:
        self.rows: list[dict[str, float]] = []
        self.closed = 0
        self.act = act

    def log(self, row: dict[str, float], steps: int) -> None:
        self.rows.append(row)
        self.act(row)

    def close(self) -> None:
        self.closed += 1


def stop_at(step: int) -> Rows:
    """A callback that interrupts the run after a step."""

    def act(row: dict[str, float]) -> None:
        if row["step"] == step:
            raise KeyboardInterrupt

    return Rows(act)


def changed_keys(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    return {key for key in before if not torch.equal(before[key], after[key])}


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items()}


def assert_same_end(one: Trainer, other: Trainer) -> None:
    """Weights, averages and optimiser state of two runs are equal to the bit."""
    assert one.step == other.step
    a, b = one.state_dict(), other.state_dict()
    assert a["scaler"] == b["scaler"]  # of fp16
    for part in ("model", "ema"):
        assert (a[part] is None) == (b[part] is None)
        if a[part] is not None:
            assert not changed_keys(a[part], b[part])
    moments = [state["optimizer"]["state"] for state in (a, b)]
    assert moments[0].keys() == moments[1].keys()
    assert not any(changed_keys(moments[0][key], moments[1][key]) for key in moments[0])


# Learning


@pytest.mark.parametrize("make", [plain_network, tiny_edsr])
def test_a_plain_network_and_a_zoo_model_learn_from_photos(make, photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    rows = Rows()
    config = replace(CONFIG, steps=40, batch_size=4, patch_size=8, log_every=8)
    trained = Trainer(make(), data, config, callbacks=[rows]).fit()
    losses = [row["loss"] for row in rows.rows]
    assert losses[-1] < 0.5 * losses[0]
    assert not trained.training


def test_a_step_is_adam_on_the_mean_absolute_difference_at_the_scheduled_rate():
    def reference_steps(model: nn.Module, batches: list, rates: list[float]) -> None:
        first, second = ([torch.zeros_like(p) for p in model.parameters()] for _ in range(2))
        for t, (batch, rate) in enumerate(zip(batches, rates, strict=True), 1):
            loss = (model(batch.lr) - batch.hr).abs().mean()
            for p, m, v, g in zip(
                model.parameters(), first, second, torch.autograd.grad(loss, list(model.parameters())), strict=True
            ):
                m.mul_(0.9).add_(0.1 * g)
                v.mul_(0.999).add_(0.001 * g * g)
                with torch.no_grad():
                    p -= rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)).sqrt() + 1e-8)

    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, schedule=Halving(2)))
    reference = plain_network()
    batches = [trainer.batch(step) for step in range(5)]
    reference_steps(reference, batches, [0.01, 0.01, 0.005, 0.005, 0.0025])
    for batch in batches:
        trainer.train_step(batch)
    for found, expected in zip(trainer.model.parameters(), reference.parameters(), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_returned_loss_is_the_chosen_one():
    trainer = Trainer(plain_network(), Waves(), CONFIG, loss=lambda sr, hr: (sr - hr).square().sum())
    batch = trainer.batch(0)
    expected = (plain_network()(batch.lr) - batch.hr).square().sum()
    torch.testing.assert_close(trainer.train_step(batch), expected.detach(), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("schedule", "factors"),
    [
        (Halving(2), [1, 1, 0.5, 0.5, 0.25, 0.25]),
        (Cosine(warmup=2), [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]),
    ],
)
def test_each_step_runs_at_the_rate_of_the_schedule(schedule, factors):
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, schedule=schedule))
    rates = []
    trainer.optimizer.register_step_pre_hook(lambda adam, *_: rates.append(adam.param_groups[0]["lr"]))
    trainer.fit()
    assert rates == pytest.approx([CONFIG.lr * factor for factor in factors])


def gradient_norms(clip_norm: float | None) -> list[float]:
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, clip_norm=clip_norm))
    norms = []

    def measure(adam, *_):
        gradients = [p.grad for p in adam.param_groups[0]["params"]]
        norms.append(math.sqrt(sum(g.square().sum().item() for g in gradients)))

    trainer.optimizer.register_step_pre_hook(measure)
    trainer.fit()
    return norms


def test_clipping_bounds_the_norm_of_the_whole_gradient():
    assert min(gradient_norms(None)) > 0.05
    assert gradient_norms(0.05) == pytest.approx([0.05] * 6, rel=1e-3)


def test_a_gradient_below_the_bound_is_left_alone():
    assert gradient_norms(1e6) == gradient_norms(None)


@pytest.mark.parametrize("decay", [0.15, 0.9])
def test_the_average_follows_its_formula(decay):
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, ema_decay=decay))
    expected = [p.detach().double().clone() for p in trainer.model.parameters()]
    for step in range(5):
        trainer.train_step(trainer.batch(step))
        share = min(decay, (1 + step) / (10 + step))
        for average, p in zip(expected, trainer.model.parameters(), strict=True):
            average.mul_(share).add_((1 - share) * p.detach().double())
    assert trainer.averaged is not trainer.model
    for found, average in zip(trainer.averaged.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), average, rtol=1e-5, atol=1e-6)


def test_the_average_carries_the_buffers_of_batch_norm():
    model = nn.Sequential(nn.BatchNorm2d(3), plain_network())
    trainer = Trainer(model, Waves(), CONFIG)
    trainer.fit()
    assert trainer.averaged[0].num_batches_tracked.item() == 6
    assert torch.equal(trainer.averaged[0].running_mean, model[0].running_mean)
    assert trainer.averaged[0].running_mean.abs().sum() > 0


def test_without_an_average_the_model_itself_is_returned():
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, ema_decay=None))
    assert trainer.fit() is trainer.model


# Precision and memory layout


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_half_precision_convolves_in_it_and_stays_near_fp32(precision, dtype):
    def train(precision: str) -> tuple[float, set[torch.dtype], Trainer]:
        rows, seen = Rows(), set()
        model = tiny_edsr()
        model.head.register_forward_hook(lambda *call: seen.add(call[-1].dtype))
        config = replace(CONFIG, steps=12, precision=precision, log_every=12)
        trainer = Trainer(model, Waves(), config, callbacks=[rows])
        trainer.fit()
        return rows.rows[-1]["loss"], seen, trainer

    full, full_seen, _ = train("fp32")
    half, half_seen, trainer = train(precision)
    assert (full_seen, half_seen) == ({torch.float32}, {dtype})
    assert half == pytest.approx(full, rel=0.1)
    assert {p.dtype for module in (trainer.model, trainer.averaged) for p in module.parameters()} == {torch.float32}


def test_images_weights_and_moments_are_laid_out_channels_last_also_when_resumed(tmp_path):
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    batch = trainer.batch(0)
    trainer.train_step(batch)
    trainer.save()
    resumed = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    resumed.resume()
    tensors = [batch.lr, batch.hr]
    for run in (trainer, resumed):
        tensors += [*run.model.parameters(), *run.averaged.parameters()]
        tensors += [moment for state in run.optimizer.state.values() for moment in state.values()]
    images = [x for x in tensors if x.ndim == 4]
    assert len(images) > 40
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in images)


# Batches


def test_a_batch_is_a_pure_function_of_seed_and_step():
    trainer, other = (Trainer(plain_network(seed=i), Waves(), CONFIG) for i in range(2))
    later = trainer.batch(5)
    trainer.fit()
    again = other.batch(5)
    assert torch.equal(later.lr, again.lr)
    assert torch.equal(later.hr, again.hr)
    reseeded = Trainer(plain_network(), Waves(), replace(CONFIG, seed=1)).batch(5)
    assert not torch.equal(later.hr, reseeded.hr)
    assert not torch.equal(later.hr, other.batch(4).hr)


def test_batches_are_floats_from_0_to_1():
    batch = Trainer(plain_network(), Waves(), CONFIG).batch(0)
    for x in (batch.lr, batch.hr):
        assert x.dtype == torch.float32
        assert 0 <= x.min() < 0.1
        assert 0.9 < x.max() <= 1


def test_each_step_takes_one_scale_and_all_come_up():
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), CONFIG)
    batches = [trainer.batch(step) for step in range(30)]
    assert all(batch.hr.shape[-1] == batch.scale * batch.lr.shape[-1] == batch.scale * 6 for batch in batches)
    scales = [batch.scale for batch in batches]
    assert min(scales.count(scale) for scale in (2, 3, 4)) >= 5


def test_a_step_at_one_scale_leaves_the_branches_of_the_others_alone():
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), CONFIG)
    start = snapshot(trainer.model)
    by_scale = {trainer.batch(step).scale: trainer.batch(step) for step in range(30)}
    for scale in (2, 4):  # so that Adam has momentum for these branches
        trainer.train_step(by_scale[scale])
    before = snapshot(trainer.model)
    trainer.train_step(by_scale[3])
    moved = changed_keys(before, snapshot(trainer.model))
    assert moved == {key for key in before if "branches" not in key or ".x3." in key}
    assert changed_keys(start, snapshot(trainer.model)) == set(before)  # and by now all have learnt


def test_a_multi_scale_run_trains_every_branch():
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), replace(CONFIG, steps=12))
    start = snapshot(trainer.model)
    trainer.fit()
    assert changed_keys(start, trainer.model.state_dict()) == set(start)


def test_too_small_images_are_listed_before_anything_is_trained(photo_folder, tmp_path):
    Image.new("RGB", (64, 30)).save(photo_folder / "low.png")
    Image.new("RGB", (1, 1)).save(photo_folder / "tiny.png")
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    with pytest.raises(ValueError, match=r"2 of 8 images .* low\.png, tiny\.png"):
        Trainer(plain_network(), data, replace(CONFIG, patch_size=24), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_lacks_a_scale_of_the_data_is_refused():
    with pytest.raises(ValueError, match="scale 3 was given; edsr_baseline_x2 offers 2"):
        Trainer(tiny_edsr(), Waves((2, 3)), CONFIG)


# Validation and the log


def reference_y_psnr(sr: np.ndarray, hr: np.ndarray, border: int) -> float:
    """PSNR of the papers on images h w 3 of 0..255, by MATLAB's rgb2ycbcr."""
    weights = np.array([65.481, 128.553, 24.966]) / 255
    cut = slice(border, -border)
    sr_y, hr_y = ((image.astype(np.float64) @ weights + 16)[cut, cut] for image in (sr, hr))
    return 10 * math.log10(255**2 / np.mean((sr_y - hr_y) ** 2))


def test_validation_scores_the_averaged_weights_by_the_papers_protocol(photo_folder):
    pairs = pairs_from_hr(photo_folder, 2)
    rows = Rows()
    config = replace(CONFIG, log_every=100, validate_every=4)
    trainer = Trainer(tiny_edsr(), Waves(), config, validation={"photos": pairs}, callbacks=[rows])
    averaged = trainer.fit()
    expected = []
    for pair in pairs:
        sr = averaged(pair.lr[None].float() / 255)[0].detach()
        sr = (sr.double().clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
        expected.append(reference_y_psnr(sr, pair.hr.permute(1, 2, 0).numpy(), border=2))
    scores = [row for row in rows.rows if "photos x2 psnr" in row]
    assert [row["step"] for row in scores] == [4, 6]
    assert scores[-1]["photos x2 psnr"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert 0 < scores[-1]["photos x2 ssim"] < 1
    assert scores[0]["photos x2 psnr"] != scores[1]["photos x2 psnr"]
    assert trainer.model.training


def test_the_log_is_json_lines_of_losses_and_scores(photo_folder, tmp_path):
    config = replace(CONFIG, log_every=2, validate_every=3)
    log = JsonLines(tmp_path / "run" / "log.jsonl")
    pairs = {"photos": pairs_from_hr(photo_folder, 2)[:1]}
    Trainer(plain_network(), Waves(), config, validation=pairs, callbacks=[log]).fit()
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    losses = [row for row in rows if "loss" in row]
    scores = [row for row in rows if "photos x2 psnr" in row]
    assert len(losses) + len(scores) == len(rows)
    assert [row["step"] for row in losses] == [2, 4, 6]
    assert [row["step"] for row in scores] == [3, 6]
    assert all(set(row) == {"step", "seconds", "loss", "steps_per_second"} for row in losses)
    assert all(set(row) == {"step", "seconds", "photos x2 psnr", "photos x2 ssim"} for row in scores)
    assert all(row["steps_per_second"] > 0 for row in losses)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


def test_a_logged_loss_is_the_mean_since_the_last_row():
    each, every_third = Rows(), Rows()
    for log_every, rows in ((1, each), (3, every_third)):
        Trainer(plain_network(), Waves(), replace(CONFIG, log_every=log_every), callbacks=[rows]).fit()
    losses = [row["loss"] for row in each.rows]
    expected = [sum(losses[:3]) / 3, sum(losses[3:]) / 3]
    assert [row["loss"] for row in every_third.rows] == pytest.approx(expected, rel=1e-6)


def test_callbacks_are_closed_however_the_run_ends():
    def fail(row: dict[str, float]) -> None:
        raise OSError("disk full")

    for rows, error in ((Rows(), None), (stop_at(1), KeyboardInterrupt), (Rows(fail), OSError)):
        trainer = Trainer(plain_network(), Waves(), replace(CONFIG, log_every=1), callbacks=[rows])
        if error is None:
            trainer.fit()
        else:
            with pytest.raises(error):
                trainer.fit()
        assert rows.closed == 1


# Stopping and going on


def interrupted(make: Callable[..., nn.Module], config: TrainConfig, folder: Path, step: int) -> Waves:
    """Run until an interrupt after `step`; returns the data, which knows its batches."""
    data = Waves()
    trainer = Trainer(make(), data, replace(config, log_every=1), folder=folder, callbacks=[stop_at(step)])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert trainer.step == step
    return data


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("ema_decay", [0.9, None])
def test_an_interrupted_run_that_is_resumed_ends_as_if_it_had_not_been(tmp_path, precision, ema_decay):
    config = replace(CONFIG, precision=precision, ema_decay=ema_decay, schedule=Cosine(warmup=2), clip_norm=0.1)
    whole_data = Waves()
    whole = Trainer(tiny_edsr(), whole_data, config)
    whole.fit()
    first_data = interrupted(tiny_edsr, config, tmp_path, step=3)
    second_data = Waves()
    resumed = Trainer(tiny_edsr(seed=9), second_data, config, folder=tmp_path)
    assert resumed.resume()
    assert resumed.step == 3
    resumed.fit()
    assert_same_end(resumed, whole)
    assert first_data.drawn + second_data.drawn == whole_data.drawn
    assert len(set(whole_data.drawn)) == 6


def test_a_run_cut_into_single_steps_by_the_clock_ends_as_if_it_had_not_been(tmp_path):
    whole = Trainer(tiny_edsr(), Waves(), CONFIG)
    whole.fit()
    for step in range(1, 7):
        piece = Trainer(tiny_edsr(seed=step), Waves(), replace(CONFIG, minutes=0.0), folder=tmp_path)
        if step == 1:
            assert not piece.resume()
            piece.model.load_state_dict(tiny_edsr().state_dict())
            piece.averaged.load_state_dict(tiny_edsr().state_dict())
        else:
            assert piece.resume()
        piece.fit()
        assert piece.step == step
        assert load_checkpoint(tmp_path / "checkpoint.safetensors")["step"] == step
    assert_same_end(piece, whole)


def test_the_buffers_of_a_plain_network_are_resumed_too(tmp_path):
    def with_norm(seed: int = 0) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(3), plain_network(seed=seed))

    whole = Trainer(with_norm(), Waves(), CONFIG)
    whole.fit()
    interrupted(with_norm, CONFIG, tmp_path, step=2)
    resumed = Trainer(with_norm(seed=1), Waves(), CONFIG, folder=tmp_path)
    resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)


@pytest.fixture
def _ctrl_c_raises():
    """As at a terminal; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_ctrl_c_raises")
def test_ctrl_c_in_the_middle_of_an_update_waits_for_its_end(tmp_path):
    whole = Trainer(tiny_edsr(), Waves(), CONFIG)
    whole.fit()
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)

    def press_ctrl_c(*_) -> None:  # after Adam, before the average and the step count
        if trainer.step == 2:
            signal.raise_signal(signal.SIGINT)

    trainer.optimizer.register_step_post_hook(press_ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert load_checkpoint(tmp_path / "checkpoint.safetensors")["step"] == 3
    resumed = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)
    trainer.fit()  # and in the same process, as in a notebook
    assert_same_end(trainer, whole)


def test_the_users_own_handler_of_ctrl_c_is_called_and_kept():
    pressed = []

    def handler(*call) -> None:
        pressed.append(call)

    before = signal.signal(signal.SIGINT, handler)
    try:
        trainer = Trainer(plain_network(), Waves(), CONFIG)
        trainer.optimizer.register_step_post_hook(lambda *_: signal.raise_signal(signal.SIGINT))
        trainer.fit()
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(pressed), trainer.step) == (6, 6)


def test_a_run_in_another_thread_works():
    trainer = Trainer(plain_network(), Waves(), CONFIG)
    thread = threading.Thread(target=trainer.fit)
    thread.start()
    thread.join()
    assert trainer.step == 6


def test_gradients_of_a_step_that_failed_do_not_leak_into_the_next():
    whole = Trainer(plain_network(), Waves(), CONFIG)
    whole.fit()
    trainer = Trainer(plain_network(), Waves(), CONFIG)
    faults = [RuntimeError("out of memory")]

    def fail_once(*_) -> None:
        if trainer.step == 2 and faults:
            raise faults.pop()

    trainer.optimizer.register_step_pre_hook(fail_once)
    with pytest.raises(RuntimeError, match="out of memory"):
        trainer.fit()
    trainer.fit()
    assert_same_end(trainer, whole)


def test_checkpoints_are_written_as_often_as_asked_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("srzoo.train.trainer.save_checkpoint", lambda path, state: saved.append((path, state["step"])))
    Trainer(plain_network(), Waves(), replace(CONFIG, steps=5, checkpoint_every=2), folder=tmp_path).fit()
    assert saved == [(tmp_path / "checkpoint.safetensors", step) for step in (2, 4, 5)]


def test_a_finished_run_that_is_resumed_does_nothing_more(tmp_path):
    first = Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path)
    first.fit()
    again = Trainer(plain_network(seed=1), Waves(), CONFIG, folder=tmp_path)
    assert again.resume()
    again.fit()
    assert_same_end(first, again)


def test_there_is_nothing_to_resume_without_a_folder_or_a_checkpoint(tmp_path):
    assert not Trainer(plain_network(), Waves(), CONFIG).resume()
    assert not Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path / "new").resume()


def test_resuming_a_damaged_checkpoint_is_refused(tmp_path):
    (tmp_path / "checkpoint.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match="damaged"):
        Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path).resume()


@pytest.fixture
def started(tmp_path) -> Trainer:
    """A run of a tiny EDSR that stopped after one step."""
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, minutes=0.0), folder=tmp_path)
    trainer.fit()
    return trainer


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(lr=0.5), r"lr was 0\.01, is 0\.5"),
        (dict(seed=3), "seed was 0, is 3"),
        (dict(steps=7, batch_size=3), "steps was 6, is 7; batch_size was 2, is 3"),
        (dict(patch_size=7), "patch_size was 6, is 7"),
        (dict(clip_norm=2.0), r"clip_norm was None, is 2\.0"),
        (dict(ema_decay=None), r"ema_decay was 0\.9, is None"),
        (dict(precision="bf16"), "precision was 'fp32', is 'bf16'"),
        (dict(schedule=Halving(3)), "schedule was .*200000.* is .*'every': 3.*"),
        (dict(schedule=Cosine()), "schedule was .*'Halving'.* is .*'Cosine'.*"),
    ],
)
def test_a_run_with_other_settings_is_refused_with_both_values(started, tmp_path, change, told):
    other = Trainer(tiny_edsr(seed=1), Waves(), replace(CONFIG, **change), folder=tmp_path)
    before = snapshot(other.model)
    with pytest.raises(ValueError, match=rf"^the run to resume had other settings \({told}\); give the same ones"):
        other.resume()
    assert (other.step, changed_keys(before, snapshot(other.model))) == (0, set())


def test_a_run_with_other_images_is_refused(started, tmp_path):
    with pytest.raises(ValueError, match="the run to resume had other training images"):
        Trainer(tiny_edsr(), Waves(fingerprint="others"), CONFIG, folder=tmp_path).resume()


def test_a_run_on_photos_notices_one_changed_pixel(photo_folder, tmp_path):
    def trainer() -> Trainer:
        data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
        return Trainer(plain_network(), data, replace(CONFIG, minutes=0.0), folder=tmp_path / "run")

    trainer().fit()
    assert trainer().resume()
    with Image.open(photo_folder / "photo3.png") as image:
        changed = image.copy()
    changed.putpixel((0, 0), (1, 2, 3))
    changed.save(photo_folder / "photo3.png")
    with pytest.raises(ValueError, match="other training images"):
        trainer().resume()


def test_a_run_at_other_scales_is_refused(tmp_path):
    Trainer(tiny_mdsr(), Waves((2, 3)), replace(CONFIG, minutes=0.0), folder=tmp_path).fit()
    with pytest.raises(ValueError, match=r"scales was \[2, 3\], is \[2, 3, 4\]"):
        Trainer(tiny_mdsr(), Waves((2, 3, 4)), CONFIG, folder=tmp_path).resume()


def test_a_run_of_another_model_is_refused_with_what_does_not_fit(started, tmp_path):
    other = Trainer(tiny_edsr(num_blocks=2), Waves(), CONFIG, folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"had other settings \(arguments was .*'num_blocks': 1.*, is .*'num_blocks': 2"
    ):
        other.resume()
    assert other.step == 0


def test_settings_that_do_not_matter_may_change(started, tmp_path):
    free = dict(log_every=1, validate_every=2, checkpoint_every=3, minutes=None)
    other = Trainer(tiny_edsr(), Waves(), replace(CONFIG, **free), folder=tmp_path)
    assert other.resume()
    assert other.step == 1


def test_the_recipe_is_plain_json_that_names_what_the_weights_come_from(started):
    recipe = json.loads(json.dumps(started.recipe()))
    assert recipe["config"] == started.config.to_json()
    expected = {"steps": 1, "data": "waves", "precision": "fp32", "device": "cpu", "srzoo": srzoo.__version__}
    assert recipe.items() >= expected.items()


def test_the_state_of_a_run_can_be_taken_over_without_a_file():
    one, other = Trainer(tiny_edsr(), Waves(), CONFIG), Trainer(tiny_edsr(seed=1), Waves(), CONFIG)
    one.train_step(one.batch(0))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert_same_end(one, other)


def test_a_model_of_equal_shapes_but_other_arguments_is_refused(started, tmp_path):
    with pytest.raises(ValueError, match=r"other settings \(arguments was"):
        Trainer(tiny_edsr(res_scale=0.5), Waves(), CONFIG, folder=tmp_path).resume()


def test_another_loss_is_refused(started, tmp_path):
    def squared(sr, hr):
        return (sr - hr).square().mean()

    with pytest.raises(ValueError, match=r"other settings \(loss was 'l1_loss', is '.*squared'\)"):
        Trainer(tiny_edsr(), Waves(), CONFIG, loss=squared, folder=tmp_path).resume()


def test_a_run_that_diverges_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    def explodes(sr, hr):
        return (sr - hr).abs().mean() * (float("nan") if trainer.step == 3 else 1)

    config = replace(CONFIG, log_every=1, checkpoint_every=2)
    trainer = Trainer(tiny_edsr(), Waves(), config, loss=explodes, folder=tmp_path)
    with pytest.raises(ValueError, match="no longer finite at step 4; lower lr or set clip_norm"):
        trainer.fit()
    state = load_checkpoint(tmp_path / "checkpoint.safetensors")
    assert state["step"] == 2
    assert all(value.isfinite().all() for value in state["model"].values())


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ValueError, match="bicubic_x2 has no parameters to train"):
        Trainer(srzoo.create_model("bicubic_x2"), Waves(), CONFIG)


def test_validation_that_does_not_fit_the_model_is_refused_before_step_1(photo_folder):
    with pytest.raises(ValueError, match="scale 3 was given; edsr_baseline_x2 offers 2"):
        Trainer(tiny_edsr(), Waves(), CONFIG, validation={"photos": pairs_from_hr(photo_folder, 3)})
    with pytest.raises(ValueError, match="photo0 has 3 channels, the model takes 1"):
        Trainer(tiny_edsr(channels=1), Waves(), CONFIG, validation={"photos": pairs_from_hr(photo_folder, 2)})


def test_validation_and_saving_do_not_count_as_training_time(photo_folder, tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("srzoo.train.trainer.time.monotonic", lambda: clock[0])
    rows = Rows()
    config = replace(CONFIG, steps=6, log_every=4, validate_every=3, checkpoint_every=3)
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, callbacks=[rows], validation={"none": []})
    step, save = trainer.train_step, trainer.save

    def slow_step(batch):
        clock[0] += 1
        return step(batch)

    def slow_save():
        clock[0] += 100
        save()

    monkeypatch.setattr(trainer, "train_step", slow_step)
    monkeypatch.setattr(trainer, "save", slow_save)
    trainer.fit()
    assert [row["steps_per_second"] for row in rows.rows if "loss" in row] == [1.0, 1.0]
    assert trainer.seconds == 6
