import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from train_stand_ins import CONFIG, Rows, Waves, changed_keys, plain_network, snapshot, tiny_edsr, tiny_mdsr

import srzoo
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.train import SGD, AdamW, Halving, TrainConfig, Trainer

# Learning


@pytest.mark.parametrize("make", [plain_network, tiny_edsr])
def test_a_plain_network_and_a_zoo_model_learn_from_photos(make, photo_folder, tmp_path):
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    rows = Rows()
    config = replace(CONFIG, steps=40, batch_size=4, patch_size=8, log_every=8)
    trained = Trainer(make(), data, config, callbacks=[rows]).fit()
    losses = [row["loss"] for row in rows.rows]
    assert losses[-1] < 0.7 * losses[0]
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


def gradients(model: nn.Module) -> list[Tensor]:
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize(("batch_size", "accumulate"), [(4, 2), (5, 2), (7, 3), (3, 3)])
def test_an_update_in_micro_batches_has_the_gradient_and_loss_of_the_whole_batch(batch_size, accumulate):
    def update(accumulate: int) -> tuple[Tensor, list[Tensor]]:
        sizes.clear()
        config = replace(CONFIG, batch_size=batch_size, accumulate=accumulate)
        trainer = Trainer(tiny_edsr(), Waves(), config)
        trainer.model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))
        return trainer.train_step(trainer.batch(0)), gradients(trainer.model)

    sizes: list[int] = []
    loss, whole = update(1)
    assert sizes == [batch_size]
    summed, parts = update(accumulate)
    assert len(sizes) == accumulate
    assert sum(sizes) == batch_size
    torch.testing.assert_close(summed, loss, rtol=1e-6, atol=0)
    for found, expected in zip(parts, whole, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-7)


def gradient_norms(clip_norm: float | None, accumulate: int = 1) -> list[float]:
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, clip_norm=clip_norm, accumulate=accumulate))
    norms = []

    def measure(adam, *_):
        gradients = [p.grad for p in adam.param_groups[0]["params"]]
        norms.append(math.sqrt(sum(g.square().sum().item() for g in gradients)))

    trainer.optimizer.register_step_pre_hook(measure)
    trainer.fit()
    return norms


@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_bounds_the_norm_of_the_whole_gradient(accumulate):
    assert min(gradient_norms(None, accumulate)) > 0.05
    assert gradient_norms(0.05, accumulate) == pytest.approx([0.05] * 6, rel=1e-3)


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
    assert trainer.averaged[0].running_mean.abs().sum() > 0


def test_without_an_average_the_model_itself_is_returned():
    trainer = Trainer(plain_network(), Waves(), replace(CONFIG, ema_decay=None))
    assert trainer.fit() is trainer.model


# Optimizers and rates


def moved(rates: dict[str, float], config: TrainConfig = CONFIG, steps: int = 1) -> tuple[Trainer, dict[str, Tensor]]:
    """How far plain gradient descent moves each tensor."""
    trainer = Trainer(tiny_edsr(), Waves(), replace(config, rates=rates), optimizer=SGD(momentum=0.0))
    before = snapshot(trainer.model)
    for step in range(steps):
        trainer.train_step(trainer.batch(step))
    return trainer, {key: value - before[key] for key, value in snapshot(trainer.model).items()}


def test_a_rate_scales_the_steps_of_its_part_and_0_freezes_it():
    _, plain = moved({})
    trainer, rated = moved({"head": 0, "body": 0.25})
    assert any(key.startswith("body") for key in plain)
    for key, step in plain.items():
        factor = 0 if key.startswith("head") else 0.25 if key.startswith("body") else 1
        assert (step.abs().sum() > 0) == (not key.startswith("shift"))
        torch.testing.assert_close(rated[key], factor * step, rtol=1e-3, atol=1e-7)
    assert not any(p.grad is not None for p in trainer.model.head.parameters())


def test_rates_follow_the_schedule():
    config = replace(CONFIG, schedule=Halving(2))
    trainer, _ = moved({"body": 0.25}, config, steps=3)
    rates = {group["name"]: float(group["lr"]) for group in trainer.optimizer.param_groups}
    assert rates == pytest.approx({"rest": CONFIG.lr / 2, "body": CONFIG.lr / 8})


def test_a_frozen_part_stays_in_the_average_too():
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, rates={"head": 0.0}))
    start = snapshot(trainer.model)
    averaged = trainer.fit()
    frozen = {key for key in start if key.startswith("head")}
    assert frozen
    assert not frozen & changed_keys(start, averaged.state_dict())


@pytest.mark.parametrize(("factory", "kind"), [(SGD(), torch.optim.SGD), (AdamW(), torch.optim.AdamW)])
def test_another_optimizer_is_used_and_recorded(factory, kind):
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, optimizer=factory)
    start = snapshot(trainer.model)
    trainer.fit()
    assert type(trainer.optimizer) is kind
    assert trainer.recipe()["optimizer"]["kind"] == kind.__name__
    plain = Trainer(tiny_edsr(), Waves(), CONFIG)
    plain.fit()
    trained = {name for name, _ in trainer.model.named_parameters()}
    for other in (start, plain.model.state_dict()):
        assert changed_keys(other, trainer.model.state_dict()) == trained


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


# Several scales


@pytest.mark.parametrize("optimizer", [srzoo.train.Adam(), SGD()], ids=["Adam", "SGD"])
def test_a_step_at_one_scale_leaves_the_branches_of_the_others_alone(optimizer):
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), CONFIG, optimizer=optimizer)
    start = snapshot(trainer.model)
    by_scale = {trainer.batch(step).scale: trainer.batch(step) for step in range(30)}
    for scale in (2, 4):  # so that these branches have momentum
        trainer.train_step(by_scale[scale])
    before = snapshot(trainer.model)
    trainer.train_step(by_scale[3])
    moved = changed_keys(before, snapshot(trainer.model))
    assert moved == {key for key in before if "branches" not in key or ".x3." in key}
    assert any(key.startswith("body") for key in moved)
    assert changed_keys(start, snapshot(trainer.model)) == set(before)  # and by now all have learnt


def test_a_multi_scale_run_trains_every_branch_and_the_shared_body():
    rows = Rows()
    config = replace(CONFIG, steps=60, batch_size=4, log_every=10)
    trainer = Trainer(tiny_mdsr(), Waves((2, 3, 4)), config, callbacks=[rows])
    start = snapshot(trainer.model)
    held = {trainer.batch(step).scale: trainer.batch(step) for step in range(100, 120)}

    def losses() -> dict[int, float]:
        return {s: trainer.loss(trainer.model(b.lr, s), b.hr).item() for s, b in held.items()}

    before = losses()
    trainer.fit()
    after = losses()
    assert changed_keys(start, trainer.model.state_dict()) == set(start)
    assert set(before) == {2, 3, 4}
    assert all(after[scale] < 0.7 * before[scale] for scale in before)


# Updates that are dropped


def not_finite(sr: Tensor, hr: Tensor) -> Tensor:
    return (sr - hr).abs().mean() * math.nan


def steep(sr: Tensor, hr: Tensor) -> Tensor:
    """A finite loss with a gradient that is not."""
    loss = (sr - hr).abs().mean() + (sr - sr.detach()).square().sum().sqrt()
    assert loss.isfinite()
    return loss


def outlier(sr: Tensor, hr: Tensor) -> Tensor:
    return 50 * (sr - hr).abs().mean()


def spoilt(fault: Callable[[Tensor, Tensor], Tensor], at: int, config: TrainConfig = CONFIG, **options) -> Trainer:
    """A trainer whose loss goes wrong in one step."""

    def loss(sr: Tensor, hr: Tensor) -> Tensor:
        return fault(sr, hr) if trainer.step == at else (sr - hr).abs().mean()

    trainer = Trainer(tiny_edsr(), Waves(), config, loss=loss, **options)
    return trainer


FAULTS = [(not_finite, None), (steep, None), (outlier, 3.0)]


@pytest.mark.parametrize(("fault", "skip_above"), FAULTS)
@pytest.mark.parametrize("optimizer", [srzoo.train.Adam(), SGD()], ids=["Adam", "SGD"])
def test_a_dropped_update_leaves_weights_and_moments_alone_and_counts_as_a_step(fault, skip_above, optimizer):
    config = replace(CONFIG, skip_above=skip_above, skip_window=2, clip_norm=1.0)
    trainer = spoilt(fault, 2, config, optimizer=optimizer)
    for step in range(2):
        trainer.train_step(trainer.batch(step))
    weights = snapshot(trainer.model)
    moments = {key: value.clone() for i in trainer.optimizer.state.values() for key, value in i.items()}
    trainer.train_step(trainer.batch(2))
    assert trainer.step == 3
    assert not changed_keys(weights, snapshot(trainer.model))
    assert moments
    after = {key: value for i in trainer.optimizer.state.values() for key, value in i.items()}
    assert not changed_keys(moments, after)
    trainer.train_step(trainer.batch(3))  # and the next one goes on
    assert changed_keys(weights, snapshot(trainer.model)) == {name for name, _ in trainer.model.named_parameters()}
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


@pytest.mark.parametrize(("fault", "skip_above"), FAULTS)
def test_a_run_with_a_dropped_update_is_the_run_without_it(fault, skip_above):
    """But for the rate and the batch, which go on: a constant rate and one batch make the two comparable."""
    config = replace(CONFIG, skip_above=skip_above, skip_window=2, ema_decay=None)
    skipping, plain = spoilt(fault, 3, config), Trainer(tiny_edsr(), Waves(), config)
    batch = plain.batch(0)
    for _ in range(6):
        skipping.train_step(batch)
    for _ in range(5):
        plain.train_step(batch)
    assert (skipping.step, plain.step) == (6, 5)
    assert not changed_keys(skipping.model.state_dict(), plain.model.state_dict())


@pytest.mark.parametrize(("fault", "skip_above"), FAULTS)
def test_dropped_updates_are_logged_and_not_part_of_the_mean_loss(fault, skip_above, caplog):
    config = replace(CONFIG, log_every=3, skip_above=skip_above, skip_window=2)
    rows = Rows()
    trainer = spoilt(fault, 4, config, callbacks=[rows])
    losses = []
    step = trainer.train_step
    trainer.train_step = lambda batch: losses.append(step(batch).item())  # pyright: ignore[reportAttributeAccessIssue]
    trainer.fit()
    assert [row.get("skipped", 0) for row in rows.rows] == [0, 1]
    assert [row["loss"] for row in rows.rows] == pytest.approx([sum(losses[:3]) / 3, (losses[3] + losses[5]) / 2])
    assert caplog.messages == ["step 6: 1 of the last 3 updates were dropped"]


def test_without_the_rule_an_outlier_is_taken():
    trainer = spoilt(outlier, 2, replace(CONFIG, skip_window=2))
    for step in range(2):
        trainer.train_step(trainer.batch(step))
    weights = snapshot(trainer.model)
    trainer.train_step(trainer.batch(2))
    assert changed_keys(weights, snapshot(trainer.model))


def test_fp16_steps_that_overflow_are_dropped_and_the_scale_falls():
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, precision="fp16", steps=30))
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = snapshot(trainer.model)
    trainer.train_step(trainer.batch(0))
    assert not changed_keys(before, snapshot(trainer.model))
    assert trainer.scaler.get_scale() == 2.0**39
    for step in range(1, 30):
        trainer.train_step(trainer.batch(step))
    assert changed_keys(before, snapshot(trainer.model))
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


# What is refused before step 1


def test_images_that_are_too_small_are_told_before_anything_is_trained(photo_folder, tmp_path, caplog):
    Image.new("RGB", (64, 30)).save(photo_folder / "low.png")
    Image.new("RGB", (1, 1)).save(photo_folder / "tiny.png")
    data = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    Trainer(plain_network(), data, replace(CONFIG, patch_size=24), folder=tmp_path / "run")
    assert any("low.png" in line and "tiny.png" in line for line in caplog.messages)
    with pytest.raises(ValueError, match="none of the 8 images has the 200x200 pixels that a patch of 100 needs at x2"):
        Trainer(plain_network(), data, replace(CONFIG, patch_size=100), folder=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_model_that_lacks_a_scale_of_the_data_is_refused():
    with pytest.raises(ValueError, match="scale 3 was given; edsr_baseline_x2 offers 2"):
        Trainer(tiny_edsr(), Waves((2, 3)), CONFIG)


def test_a_network_without_parameters_is_refused():
    with pytest.raises(ValueError, match="bicubic_x2 has no parameters to train"):
        Trainer(srzoo.create_model("bicubic_x2"), Waves(), CONFIG)


def test_a_rate_for_nothing_and_a_model_that_is_frozen_whole_are_refused():
    with pytest.raises(ValueError, match=r"the rate of 'boddy' is for no parameter of the model; the nearest .* body"):
        Trainer(tiny_edsr(), Waves(), replace(CONFIG, rates={"boddy": 0.1}))
    with pytest.raises(ValueError, match="every parameter of the model is frozen; leave some to train"):
        Trainer(tiny_edsr(), Waves(), replace(CONFIG, rates={"*": 0.0}))


def test_validation_that_does_not_fit_the_model_is_refused(photo_folder):
    with pytest.raises(ValueError, match="scale 3 was given; edsr_baseline_x2 offers 2"):
        Trainer(tiny_edsr(), Waves(), CONFIG, validation={"photos": pairs_from_hr(photo_folder, 3)})
    with pytest.raises(ValueError, match="photo0 has 3 channels, the model takes 1"):
        Trainer(tiny_edsr(channels=1), Waves(), CONFIG, validation={"photos": pairs_from_hr(photo_folder, 2)})
