from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from train_stand_ins import CONFIG, Waves, assert_same_end, changed_keys, interrupted, plain_network, snapshot

import srzoo
from srzoo.train import Trainer
from srzoo.train.averaging import MovingAverage, to_training_mode

STATES = ("running_mean", "running_var")


def tiny_srresnet(seed: int = 0, **options: Any) -> srzoo.SRModel:
    torch.manual_seed(seed)
    return srzoo.create_model("srresnet_x2", **{"width": 4, "num_blocks": 1, **options})


def states(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in model.state_dict().items() if key.endswith(STATES)}


def test_batch_norms_averages_are_averaged_as_the_weights_are():
    trainer = Trainer(tiny_srresnet(), Waves(), CONFIG)
    expected = {key: value.double() for key, value in states(trainer.model).items()}
    assert len(expected) == 6
    for step in range(5):
        trainer.train_step(trainer.batch(step))
        share = min(0.9, (1 + step) / (10 + step))
        expected = {key: share * expected[key] + (1 - share) * now for key, now in states(trainer.model).items()}
    for key, value in states(trainer.averaged).items():
        torch.testing.assert_close(value.double(), expected[key], rtol=1e-5, atol=1e-6)
        assert not torch.equal(value, trainer.model.state_dict()[key])


class Odd(nn.Module):
    """Buffers that no average is to be taken of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("count", torch.tensor(0))
        self.register_buffer("cache", torch.zeros(2), persistent=False)
        self.register_buffer("state", torch.zeros(2))


def test_counts_masks_and_caches_are_copied():
    model = Odd()
    average = MovingAverage(model, 0.9)
    for step, value in enumerate((4, 8)):
        for buffer in (model.count, model.cache, model.state):
            buffer.fill_(value)
        average.update(step)
    mine = average.model
    assert torch.equal(mine.mask, model.mask)
    assert mine.count.item() == 8
    assert mine.cache.tolist() == [8, 8]
    assert mine.state.tolist() == pytest.approx([2 / 11 * 3.6 + 9 / 11 * 8] * 2)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_network_with_batch_norm_learns_in_every_precision(precision):
    config = replace(CONFIG, steps=60, batch_size=4, precision=precision, ema_decay=0.9)
    trainer = Trainer(tiny_srresnet(), Waves(), config)
    first = [trainer.train_step(trainer.batch(step)).item() for step in range(5)]
    for step in range(5, 55):
        trainer.train_step(trainer.batch(step))
    last = [trainer.train_step(trainer.batch(step)).item() for step in range(55, 60)]
    assert sum(last) < 0.7 * sum(first)
    state = trainer.averaged.state_dict()
    assert {value.dtype for value in state.values()} == {torch.float32}
    batch = trainer.batch(60)
    with torch.no_grad():  # by its averages it does what it does by the batch's own statistics, or nearly
        assert (trainer.averaged(batch.lr) - batch.hr).abs().mean().item() < 1.5 * sum(last) / 5


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3, "accumulate": 2}, {"ema_decay": None}], ids=str)
def test_a_resumed_run_with_batch_norm_ends_as_a_whole_one(precision, options, tmp_path):
    config = replace(CONFIG, precision=precision, **options)
    whole = Trainer(tiny_srresnet(), Waves(), config)
    whole.fit()
    interrupted(tiny_srresnet, config, tmp_path, step=3)
    resumed = Trainer(tiny_srresnet(seed=9), Waves(), config, folder=tmp_path)
    assert resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)


def test_each_micro_batch_has_statistics_of_its_own():
    trainer = Trainer(tiny_srresnet(), Waves(), replace(CONFIG, batch_size=4, accumulate=2))
    same = tiny_srresnet()
    batch = trainer.batch(0)
    trainer.train_step(batch)
    for part in batch.split(2):
        same(part.lr)
    assert not changed_keys(states(trainer.model), states(same))


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_batch_that_is_not_finite_leaves_no_trace_in_the_averages(precision):
    trainer = Trainer(tiny_srresnet(), Waves(), replace(CONFIG, precision=precision))
    trainer.train_step(trainer.batch(0))
    before = snapshot(trainer.model)
    spoilt = trainer.batch(1)
    spoilt.lr[0, 0, 0, 0] = torch.nan
    trainer.train_step(spoilt)
    assert not changed_keys(before, snapshot(trainer.model))
    assert all(value.isfinite().all() for value in trainer.averaged.state_dict().values())
    trainer.train_step(trainer.batch(2))
    assert {key for key in changed_keys(before, snapshot(trainer.model)) if key.endswith(STATES)} == set(
        states(trainer.model)
    )


@pytest.mark.parametrize("make", [tiny_srresnet, lambda: nn.Sequential(nn.BatchNorm2d(3), plain_network())])
def test_frozen_batch_norm_goes_on_by_its_averages(make):
    model = make()
    part = "body" if isinstance(model, srzoo.SRModel) else "0"
    trainer = Trainer(model, Waves(), replace(CONFIG, rates={part: 0}))
    before = snapshot(model)
    trainer.fit()
    changed = changed_keys(before, snapshot(trainer.model))
    assert changed
    assert not any(key.startswith(f"{part}.") for key in changed)


def test_other_frozen_modules_are_in_training_mode():
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(), nn.BatchNorm2d(3), nn.BatchNorm2d(3, affine=False)).eval()
    model[0].requires_grad_(False)
    assert all(module.training for module in to_training_mode(model).modules())


def test_a_validation_leaves_the_averages_alone_and_goes_by_them(photo_folder):
    pairs = srzoo.data.pairs_from_hr(photo_folder, 2)[:1]
    trainer = Trainer(tiny_srresnet(), Waves(), replace(CONFIG, ema_decay=None), validation={"photos": pairs})
    trainer.train_step(trainer.batch(0))
    before = snapshot(trainer.model)
    assert trainer.validate() == trainer.validate()
    assert not changed_keys(before, snapshot(trainer.model))
    assert trainer.model.training
