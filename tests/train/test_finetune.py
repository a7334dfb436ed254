import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from train_stand_ins import CONFIG, changed_keys, snapshot, tiny_edsr, tiny_mdsr

from srzoo.benchmark import measure
from srzoo.data import Bicubic, Chain, Noise, pairs_from_hr
from srzoo.registry import open_model
from srzoo.train import SGD, Callback, Cosine, FineTuned, Start, TrainConfig, fine_tune, load_checkpoint
from srzoo.train.checkpoint import find_checkpoints
from srzoo.train.finetune import prepare
from srzoo.weights import read_header

QUICK = replace(
    CONFIG, steps=4, patch_size=8, lr=1e-3, schedule=Cosine(1), validate_every=2, checkpoint_every=2, log_every=2
)
FILES = {"model.safetensors", "best.safetensors", "log.jsonl", "summary.md", "curves.png"}

LEARNT = Start("these weights", learnt=True)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


class StopAfter(Callback):
    """Ctrl+C in the row of a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def log(self, run, row) -> None:
        if row["step"] == self.step:
            signal.raise_signal(signal.SIGINT)


def tuned(images: Path, folder: Path, *, model=None, config: TrainConfig | None = QUICK, **options: Any) -> FineTuned:
    return fine_tune(model or tiny_edsr(), images, folder, config, **{"start": LEARNT, **options})


def test_a_folder_with_everything_is_left(photo_folder, tmp_path):
    first = tiny_edsr()
    scores = []
    for start in (LEARNT, None):
        folder = tmp_path / f"run{len(scores)}"
        found = tuned(photo_folder, folder, validation=0.3, start=start)
        assert {path.name for path in folder.iterdir()} == FILES | {"samples", "checkpoints"}
        assert len(find_checkpoints(folder)) == 2
        assert list((folder / "samples").iterdir())
        assert (found.folder, found.steps, found.finished) == (folder, 4, True)
        assert found.seconds > 0
        entry = found.after["held-out"]["x2"]
        assert entry["images"] == 2
        told = json.loads(json.dumps(found.to_json()))
        assert told["weights"] == str(folder / "model.safetensors")
        assert (told["steps"], told["scores"], told["before"]) == (4, found.after, found.before)
        rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in rows if "loss" in row] == [2, 4]
        assert [row["step"] for row in rows if "loss" not in row] == ([0, 2, 4] if start else [2, 4])
        scores.append(found)
    _, sets = prepare(first, photo_folder, validation=0.3)
    assert scores[0].before == measure(first.eval(), sets)  # the network's own
    assert scores[1].before["held-out"]["x2"]["psnr"] > scores[0].before["held-out"]["x2"]["psnr"]  # bicubic's
    assert scores[0].after == scores[1].after


def test_the_weights_are_those_of_the_best_validation_with_a_full_header(photo_folder, tmp_path):
    start = Start("the weights edsr_baseline_x2.photos", learnt=True, license="CC0-1.0")
    found = tuned(photo_folder, tmp_path / "run", start=start)
    for name in (tmp_path / "run", tmp_path / "run" / "model.safetensors"):
        model = open_model(name)
        assert not model.training
        assert not changed_keys(model.state_dict(), found.model.state_dict())
    lr = torch.rand(1, 3, 9, 7)
    torch.testing.assert_close(open_model(tmp_path / "run")(lr), found.model(lr), rtol=1e-5, atol=1e-6)
    header = read_header(tmp_path / "run" / "model.safetensors")
    assert (header.model, header.license) == ("edsr_baseline_x2", "CC0-1.0")
    assert "the weights edsr_baseline_x2.photos" in header.source
    assert header.metrics == found.after
    assert header.recipe["before"] == found.before
    assert header.recipe["start"] == start.told
    assert TrainConfig.from_json(header.recipe["config"]) == QUICK
    best = read_header(tmp_path / "run" / "best.safetensors")
    assert header.content == best.content
    assert header.recipe["kept_step"] == best.recipe["steps"]
    _, sets = prepare(tiny_edsr(), photo_folder)
    assert measure(found.model, sets) == found.after


def test_the_best_weights_win_over_the_last(photo_folder, tmp_path, monkeypatch):
    left = [10.0, 30.0, 20.0]
    monkeypatch.setattr(
        "srzoo.train.trainer.Trainer.validate",
        lambda run: {"held-out": {"x2": {"psnr": left.pop(0), "ssim": 0.5, "images": 1, "protocol": "made up"}}},
    )
    found = tuned(photo_folder, tmp_path / "run")
    assert found.after["held-out"]["x2"]["psnr"] == 30.0
    assert read_header(tmp_path / "run" / "model.safetensors").recipe["kept_step"] == 2
    step2, step4 = (load_checkpoint(path)["ema"] for path in find_checkpoints(tmp_path / "run"))
    assert not changed_keys(step2, found.model.state_dict())
    assert changed_keys(step4, found.model.state_dict())


def test_fine_tuning_learns(photo_folder, tmp_path):
    config = replace(QUICK, steps=30, lr=5e-3, validate_every=30)
    found = tuned(photo_folder, tmp_path / "run", config=config)
    assert found.after["held-out"]["x2"]["psnr"] > found.before["held-out"]["x2"]["psnr"] + 2


@pytest.mark.usefixtures("ctrl_c_raises")
def test_a_run_that_is_stopped_goes_on_and_ends_as_a_whole_one(photo_folder, tmp_path):
    whole = tuned(photo_folder, tmp_path / "whole")
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        tuned(photo_folder, folder, callbacks=[StopAfter(2)])
    assert not (folder / "model.safetensors").exists()
    with pytest.raises(FileExistsError, match=r"run has a run already; resume it \(--resume\), or choose another"):
        tuned(photo_folder, folder)
    found = tuned(photo_folder, folder, resume=True)
    assert (found.before, found.after) == (whole.before, whole.after)
    assert not changed_keys(found.model.state_dict(), whole.model.state_dict())
    rows = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert rows == [0, 2, 2, 4, 4]
    assert {path.name for path in folder.iterdir()} == FILES | {"samples", "checkpoints"}
    again = tuned(photo_folder, folder, resume=True)  # there is nothing left to do
    assert (again.steps, again.after) == (4, whole.after)


def test_a_run_that_is_out_of_time_leaves_everything_and_says_it_is_not_finished(photo_folder, tmp_path):
    found = tuned(photo_folder, tmp_path / "run", config=replace(QUICK, minutes=0.0))
    assert (found.steps, found.finished) == (1, False)
    assert (tmp_path / "run" / "model.safetensors").exists()
    assert tuned(photo_folder, tmp_path / "run", resume=True).finished


def test_resume_in_an_empty_folder_starts(photo_folder, tmp_path):
    assert tuned(photo_folder, tmp_path / "run", resume=True).steps == 4


def test_a_folder_of_images_is_validated_on_and_called_by_its_name(photo_folder, tmp_path, caplog):
    images = tmp_path / "Set9" / "HR"
    images.parent.mkdir()
    photo_folder.rename(images)
    other = tmp_path / "train"
    other.mkdir()
    (other / "copy.png").write_bytes((images / "photo0.png").read_bytes())
    (images / "photo1.png").rename(other / "photo1.png")
    found = tuned(other, tmp_path / "run", validation=images)
    assert found.after == measure(found.model, {"Set9": pairs_from_hr(images, 2)})
    assert found.after["Set9"]["x2"]["images"] == 5
    assert "1 images to validate on are not trained on" in caplog.text
    assert read_header(tmp_path / "run/model.safetensors").recipe["images"]["drawn"] == 1


@pytest.mark.parametrize("nothing", [None, 0.0])
def test_without_validation_the_last_average_is_kept(photo_folder, tmp_path, nothing):
    found = tuned(photo_folder, tmp_path / "run", validation=nothing)
    assert (found.before, found.after) == ({}, {})
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {"model.safetensors", "log.jsonl", "summary.md"}
    last = load_checkpoint(find_checkpoints(tmp_path / "run")[-1])["ema"]
    assert not changed_keys(last, found.model.state_dict())
    assert read_header(tmp_path / "run" / "model.safetensors").recipe["kept_step"] == 4


def test_held_out_images_are_not_trained_on(photo_folder):
    source, sets = prepare(tiny_edsr(), photo_folder, validation=0.3)
    held = {pair.name for pair in sets["held-out"]}
    assert len(held) == 2
    assert len(source.names) == 4
    assert not held & {Path(name).stem for name in source.names} | held & set(source.names)


def test_a_multi_scale_model_is_validated_at_each_of_its_scales(photo_folder):
    source, sets = prepare(tiny_mdsr(), photo_folder, validation=0.3)
    assert source.scales == (2, 3, 4)
    assert sorted(pair.scale for pair in sets["held-out"]) == [2, 2, 3, 3, 4, 4]


def test_one_image_is_trained_on_without_validation(photo_folder, tmp_path):
    images = tmp_path / "one"
    images.mkdir()
    (photo_folder / "photo0.png").rename(images / "photo0.png")
    source, sets = prepare(tiny_edsr(), images)
    assert (len(source.names), sets) == (1, {})


def test_without_a_configuration_one_is_suggested_for_that_many_images(photo_folder, tmp_path, monkeypatch):
    asked = []

    def suggest(num_images, *, on_gpu, learnt):
        asked.append((num_images, on_gpu, learnt))
        return QUICK

    monkeypatch.setattr("srzoo.train.finetune.suggest_config", suggest)
    tuned(photo_folder, tmp_path / "run", config=None, validation=0.3)
    tuned(photo_folder, tmp_path / "fresh", config=None, validation=None, start=None)  # asks the model
    assert asked == [(4, torch.cuda.is_available(), True), (6, torch.cuda.is_available(), False)]


def test_the_model_is_trained_in_place_with_the_optimizer_and_loss_that_are_given(photo_folder, tmp_path):
    model = tiny_edsr()
    before = snapshot(model)
    tuned(photo_folder, tmp_path / "run", model=model, optimizer=SGD(), loss=lambda sr, hr: (sr - hr).square().mean())
    assert changed_keys(before, model.state_dict()) == {name for name, _ in model.named_parameters()}
    recipe = read_header(tmp_path / "run" / "model.safetensors").recipe
    assert recipe["optimizer"]["kind"] == "SGD"
    assert "lambda" in recipe["loss"]


def test_weights_that_only_get_worse_do_not_take_the_place_of_the_start(photo_folder, tmp_path, monkeypatch):
    left = [30.0, 20.0, 10.0]
    monkeypatch.setattr(
        "srzoo.train.trainer.Trainer.validate",
        lambda run: {"held-out": {"x2": {"psnr": left.pop(0), "ssim": 0.5, "images": 1, "protocol": "made up"}}},
    )
    first = tiny_edsr()
    found = tuned(photo_folder, tmp_path / "run")
    assert found.after == found.before
    assert read_header(tmp_path / "run/model.safetensors").recipe["kept_step"] == 0
    assert not changed_keys(first.state_dict(), found.model.state_dict())


def test_the_model_says_what_it_starts_from(photo_folder, tmp_path):
    tuned(photo_folder, tmp_path / "run", start=Start("these weights", learnt=True, license="CC0-1.0"))
    start = Start.of(open_model(tmp_path / "run"))
    assert (start.learnt, start.license) == (True, "CC0-1.0")
    assert "edsr_baseline_x2, content " in start.told
    assert str(tmp_path) not in start.told
    assert Start.of(tiny_edsr()) == Start()


def test_validation_images_are_made_as_the_training_images_are(photo_folder, tmp_path):
    images = tmp_path / "val"
    images.mkdir()
    for i in (0, 1):
        (photo_folder / f"photo{i}.png").rename(images / f"photo{i}.png")
    _, sets = prepare(tiny_edsr(), photo_folder, validation=images, degradation=Chain(Bicubic(), Noise(30.0)))
    _, plain = prepare(tiny_edsr(), photo_folder, validation=images)
    for noisy, clean in zip(sets["val"], plain["val"], strict=True):
        assert noisy.hr.equal(clean.hr)
        assert 10 < (noisy.lr.float() - clean.lr.float()).std() < 40
