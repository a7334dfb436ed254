import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from train_stand_ins import (
    CONFIG,
    Waves,
    assert_same_end,
    changed_keys,
    interrupted,
    plain_network,
    snapshot,
    tiny_edsr,
    tiny_mdsr,
)

from srzoo.data import PatchSource
from srzoo.train import (
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    Halving,
    TrainConfig,
    Trainer,
    load_checkpoint,
    save_checkpoint,
)
from srzoo.train.checkpoint import find_checkpoints

# As if nothing had happened


def assert_resumes(make: Callable[..., nn.Module], config: TrainConfig, folder: Path, **options: Any) -> Trainer:
    """A run that is interrupted and resumed, with other weights to start from, ends as a whole one does."""
    whole_data = Waves()
    whole = Trainer(make(), whole_data, config, **options)
    whole.fit()
    first_data = interrupted(make, config, folder, step=3, **options)
    second_data = Waves()
    resumed = Trainer(make(seed=9), second_data, config, folder=folder, **options)
    torch.manual_seed(77)
    assert resumed.resume()
    assert resumed.step == 3
    resumed.fit()
    assert_same_end(resumed, whole)
    assert first_data.drawn + second_data.drawn == whole_data.drawn
    assert len(set(whole_data.drawn)) == 6
    return resumed


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("ema_decay", [0.9, None])
def test_an_interrupted_run_that_is_resumed_ends_as_if_it_had_not_been(tmp_path, precision, ema_decay):
    config = replace(CONFIG, precision=precision, ema_decay=ema_decay, schedule=Cosine(warmup=2), clip_norm=0.1)
    assert_resumes(tiny_edsr, config, tmp_path)


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.0), AdamW()], ids=["SGD", "plain", "AdamW"])
def test_the_state_of_any_optimizer_is_resumed(tmp_path, optimizer):
    assert_resumes(tiny_edsr, CONFIG, tmp_path, optimizer=optimizer)


def test_rates_and_frozen_parts_are_resumed(tmp_path):
    rates = {"head": 0.0, "body": 0.1, "body.0": 0.5}
    resumed = assert_resumes(tiny_edsr, replace(CONFIG, rates=rates, schedule=Halving(2)), tmp_path)
    found = {group["name"]: float(group["lr"]) for group in resumed.optimizer.param_groups}
    last = CONFIG.lr / 4
    assert found == pytest.approx({"rest": last, "body": 0.1 * last, "body.0": 0.5 * last})
    assert not any(parameter.requires_grad for parameter in resumed.model.head.parameters())
    head = {key: value for key, value in tiny_edsr().state_dict().items() if key.startswith("head")}
    assert head
    assert all(torch.equal(resumed.model.state_dict()[key], value) for key, value in head.items())


def test_micro_batches_are_resumed(tmp_path):
    assert_resumes(tiny_edsr, replace(CONFIG, batch_size=3, accumulate=2), tmp_path)


def test_a_network_with_dropout_goes_on_with_the_same_random_numbers(tmp_path):
    def with_dropout(seed: int = 0) -> nn.Module:
        network = plain_network(seed=seed)
        return nn.Sequential(nn.Dropout2d(0.4), network)

    assert_resumes(with_dropout, replace(CONFIG, batch_size=4), tmp_path)


def test_the_buffers_of_a_plain_network_are_resumed_too(tmp_path):
    def with_norm(seed: int = 0) -> nn.Module:
        return nn.Sequential(nn.BatchNorm2d(3), plain_network(seed=seed))

    assert_resumes(with_norm, CONFIG, tmp_path)


def test_the_rule_for_outliers_goes_on_with_the_window_it_was_in(tmp_path):
    """The loss of step 5 is three times that of the steps before, of which two were before the interrupt."""

    def loss(sr, hr):
        calls.append(1)
        return (sr - hr).abs().mean() * (6 if len(calls) in (6, 12) else 1)

    calls: list[int] = []
    config = replace(CONFIG, skip_above=3.0, skip_window=5)
    resumed = assert_resumes(tiny_edsr, config, tmp_path, loss=loss)
    plain = Trainer(tiny_edsr(), Waves(), replace(config, steps=5))
    plain.fit()
    assert not changed_keys(resumed.model.state_dict(), plain.model.state_dict())  # step 6 was dropped


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
        assert load_checkpoint(find_checkpoints(tmp_path)[-1])["step"] == step
    assert_same_end(piece, whole)


def test_a_finished_run_that_is_resumed_does_nothing_more(tmp_path):
    first = Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path)
    first.fit()
    again = Trainer(plain_network(seed=1), Waves(), CONFIG, folder=tmp_path)
    assert again.resume()
    again.fit()
    assert_same_end(first, again)


@pytest.mark.parametrize("make", [tiny_edsr, tiny_mdsr])
def test_the_state_of_a_run_can_be_taken_over_without_a_file(make):
    one, other = (Trainer(make(seed=seed), Waves(), CONFIG) for seed in (0, 1))
    one.train_step(one.batch(0))
    other.load_state_dict(copy.deepcopy(one.state_dict()))
    assert_same_end(one, other)


def test_there_is_nothing_to_resume_without_a_folder_or_a_checkpoint(tmp_path):
    assert not Trainer(plain_network(), Waves(), CONFIG).resume()
    assert not Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path / "new").resume()


# Damaged checkpoints


def test_a_damaged_checkpoint_falls_back_to_the_one_before_and_says_so(tmp_path, caplog):
    whole = Trainer(tiny_edsr(), Waves(), CONFIG)
    whole.fit()
    Trainer(tiny_edsr(), Waves(), replace(CONFIG, checkpoint_every=2, keep_last=3), folder=tmp_path).fit()
    *_, before, newest = find_checkpoints(tmp_path)
    newest.write_bytes(newest.read_bytes()[:-100])
    resumed = Trainer(tiny_edsr(seed=1), Waves(), CONFIG, folder=tmp_path)
    assert resumed.resume()
    assert resumed.step == load_checkpoint(before)["step"] == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "step_00000006.safetensors is damaged" in caplog.text
    assert "trying the one before" in caplog.text
    resumed.fit()
    assert_same_end(resumed, whole)


def test_a_run_of_which_every_checkpoint_is_damaged_is_refused(tmp_path):
    Trainer(tiny_edsr(), Waves(), replace(CONFIG, checkpoint_every=3), folder=tmp_path).fit()
    for path in find_checkpoints(tmp_path):
        path.write_bytes(b"half")
    with pytest.raises(ValueError, match=r"step_00000003\.safetensors is damaged"):
        Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path).resume()


# What may differ


@pytest.fixture
def started(tmp_path) -> Trainer:
    """A run of a tiny EDSR that stopped after one step."""
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, minutes=0.0), folder=tmp_path)
    trainer.fit()
    return trainer


def test_settings_that_do_not_matter_may_change(started, tmp_path, caplog):
    free = dict(log_every=1, validate_every=2, checkpoint_every=3, keep_last=4, minutes=None, accumulate=2)
    other = Trainer(tiny_edsr(), Waves(), replace(CONFIG, **free), folder=tmp_path)
    assert other.resume()
    assert other.step == 1
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("key", "then"),
    [
        ("device", "NVIDIA H100"),
        ("threads", 64),
        ("processes", 8),
        ("precision", "bf16"),
        ("torch", "2.6.0"),
        ("instructions", "AVX2"),
        ("srzoo", "0.0.1"),
    ],
)
def test_a_run_goes_on_elsewhere_and_says_once_what_differs(started, tmp_path, caplog, key, then):
    path = find_checkpoints(tmp_path)[-1]
    state = load_checkpoint(path)
    now = state["environment"][key]
    save_checkpoint(path, {**state, "environment": {**state["environment"], key: then}})
    other = Trainer(tiny_edsr(seed=1), Waves(), CONFIG, folder=tmp_path)
    assert other.resume()
    told = f"the run goes on elsewhere ({key} was {then}, is {now}): the last bits of the weights may differ"
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [told]
    assert not changed_keys(other.model.state_dict(), started.model.state_dict())
    other.fit()
    assert other.step == 6


def test_a_run_goes_on_in_another_precision(tmp_path, caplog):
    interrupted(tiny_edsr, replace(CONFIG, precision="fp16"), tmp_path, step=2)
    other = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    assert other.resume()
    assert "precision was fp16, is fp32" in caplog.text
    assert other.fit().training is False


@pytest.mark.parametrize("schedule", [Constant(), Halving(2), Halving(200_000)], ids=str)
def test_a_run_can_be_made_longer(tmp_path, schedule):
    config = replace(CONFIG, schedule=schedule)
    whole = Trainer(tiny_edsr(), Waves(), replace(config, steps=9))
    whole.fit()
    Trainer(tiny_edsr(), Waves(), config, folder=tmp_path).fit()
    longer = Trainer(tiny_edsr(), Waves(), replace(config, steps=9), folder=tmp_path)
    assert longer.resume()
    longer.fit()
    assert_same_end(longer, whole)


def test_a_cosine_cannot_be_made_longer_once_it_falls(tmp_path):
    config = replace(CONFIG, schedule=Cosine(warmup=2))
    interrupted(tiny_edsr, config, tmp_path, step=3)  # the third step is the first at the top: 1 whatever the length
    assert Trainer(tiny_edsr(), Waves(), replace(config, steps=9), folder=tmp_path).resume()
    interrupted(tiny_edsr, config, tmp_path / "further", step=4)
    longer = Trainer(tiny_edsr(), Waves(), replace(config, steps=9), folder=tmp_path / "further")
    with pytest.raises(ValueError, match="had another schedule or, with this schedule, another number of steps than 9"):
        longer.resume()
    assert longer.step == 0


def test_another_schedule_is_refused_where_it_would_have_been_another_run(tmp_path):
    interrupted(tiny_edsr, replace(CONFIG, schedule=Halving(2)), tmp_path, step=3)
    assert Trainer(tiny_edsr(), Waves(), CONFIG, schedule=Halving(2), folder=tmp_path).resume()
    with pytest.raises(ValueError, match="had another schedule"):
        Trainer(tiny_edsr(), Waves(), CONFIG, schedule=Halving(1), folder=tmp_path).resume()


# What is refused


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(lr=0.5), r"lr was 0\.01, is 0\.5"),
        (dict(seed=3), "seed was 0, is 3"),
        (dict(lr=0.5, batch_size=3), r"batch_size was 2, is 3; lr was 0\.01, is 0\.5"),
        (dict(patch_size=7), "patch_size was 6, is 7"),
        (dict(clip_norm=2.0), r"clip_norm was None, is 2\.0"),
        (dict(skip_above=2.0), r"skip_above was None, is 2\.0"),
        (dict(skip_window=7), "skip_window was 1000, is 7"),
        (dict(ema_decay=None), r"ema_decay was 0\.9, is None"),
        (dict(ema_decay=0.5), r"ema_decay was 0\.9, is 0\.5"),
        (dict(rates={"body": 0.5}), r"rates was {}, is {'body': 0\.5}"),
    ],
    ids=str,
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


def test_a_run_of_another_model_is_refused_with_both_arguments(started, tmp_path):
    other = Trainer(tiny_edsr(num_blocks=2), Waves(), CONFIG, folder=tmp_path)
    with pytest.raises(
        ValueError, match=r"had other settings \(arguments was .*'num_blocks': 1.*, is .*'num_blocks': 2"
    ):
        other.resume()
    assert other.step == 0


def test_a_model_of_equal_shapes_but_other_arguments_is_refused(started, tmp_path):
    with pytest.raises(ValueError, match=r"other settings \(arguments was"):
        Trainer(tiny_edsr(res_scale=0.5), Waves(), CONFIG, folder=tmp_path).resume()


def test_a_plain_network_of_other_shapes_is_refused_with_what_does_not_fit(tmp_path):
    def with_width(width: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.Conv2d(width, 12, 1), nn.PixelShuffle(2))

    Trainer(with_width(4), Waves(), replace(CONFIG, minutes=0.0), folder=tmp_path).fit()
    with pytest.raises(ValueError, match=r"the run to resume does not fit Sequential: .* of another shape: 0\.bias"):
        Trainer(with_width(5), Waves(), CONFIG, folder=tmp_path).resume()


def test_another_loss_is_refused(started, tmp_path):
    def squared(sr, hr):
        return (sr - hr).square().mean()

    with pytest.raises(ValueError, match=r"other settings \(loss was {'kind': 'L1'}, is '.*squared'\)"):
        Trainer(tiny_edsr(), Waves(), CONFIG, loss=squared, folder=tmp_path).resume()


def test_another_optimizer_and_other_constants_of_it_are_refused(started, tmp_path):
    with pytest.raises(ValueError, match=r"\(optimizer was {'kind': 'Adam', .*}, is {'kind': 'SGD', .*}\)"):
        Trainer(tiny_edsr(), Waves(), CONFIG, optimizer=SGD(), folder=tmp_path).resume()
    other = Adam(weight_decay=0.1)
    with pytest.raises(ValueError, match=r"'weight_decay': 0\.0}, is .*'weight_decay': 0\.1}\)"):
        Trainer(tiny_edsr(), Waves(), CONFIG, optimizer=other, folder=tmp_path).resume()
