import json
import threading
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from train_stand_ins import CONFIG, Rows, Waves, assert_same_end, plain_network, scripted, snapshot, stop_at, tiny_edsr

import srzoo
from srzoo.data import pairs_from_hr
from srzoo.train import Callback, Cosine, JsonLines, Run, Trainer, load_checkpoint
from srzoo.train.checkpoint import find_checkpoints
from srzoo.train.loss_watch import MOST_DROPPED

# The log


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
    assert all(set(row) == {"step", "seconds", "lr", "loss", "steps_per_second"} for row in losses)
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


def test_a_logged_rate_is_the_one_of_its_step():
    rows = Rows()
    config = replace(CONFIG, log_every=1, schedule=Cosine(warmup=2))
    Trainer(plain_network(), Waves(), config, callbacks=[rows]).fit()
    expected = [0.5, 1, 1, (2 + 2**0.5) / 4, 0.5, (2 - 2**0.5) / 4]
    assert [row["lr"] / CONFIG.lr for row in rows.rows] == pytest.approx(expected)


def test_validation_and_saving_do_not_count_as_training_time(tmp_path, monkeypatch):
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

    def slow_validation():
        clock[0] += 1000
        return {}

    monkeypatch.setattr(trainer, "train_step", slow_step)
    monkeypatch.setattr(trainer, "save", slow_save)
    monkeypatch.setattr(trainer, "validate", slow_validation)
    trainer.fit()
    assert [row["steps_per_second"] for row in rows.of("loss")] == [1.0, 1.0]
    assert trainer.seconds == 6


# Callbacks


def test_a_callback_is_told_of_the_start_each_row_each_checkpoint_and_the_end(tmp_path):
    rows = Rows()
    config = replace(CONFIG, log_every=2, checkpoint_every=4)
    trainer = Trainer(plain_network(), Waves(), config, callbacks=[rows], folder=tmp_path)
    trainer.fit()
    assert (rows.starts, rows.saved, rows.closed) == ([0], [4, 6], 1)
    assert [row["step"] for row in rows.rows] == [2, 4, 6]


def test_a_callback_sees_the_run_as_the_protocol_says(tmp_path):
    seen = []

    def look(run: Run, _: Mapping) -> None:
        assert isinstance(run, Run)
        seen.append((run.step, run.config, run.model, run.averaged, run.validation, run.recipe()["steps"]))

    config = replace(CONFIG, log_every=3)
    trainer = Trainer(plain_network(), Waves(), config, callbacks=[Rows(look)], validation={"none": []})
    trainer.fit()
    assert [(step, steps) for step, *_, steps in seen] == [(3, 3), (6, 6), (6, 6)]
    assert all(entry[1:5] == (config, trainer.model, trainer.averaged, {"none": []}) for entry in seen)


def test_callbacks_are_closed_however_the_run_ends():
    def fail(*_) -> None:
        raise OSError("disk full")

    for rows, error in ((Rows(), None), (stop_at(1), KeyboardInterrupt), (Rows(fail), OSError)):
        trainer = Trainer(plain_network(), Waves(), replace(CONFIG, log_every=1), callbacks=[rows])
        if error is None:
            trainer.fit()
        else:
            with pytest.raises(error):
                trainer.fit()
        assert rows.closed == 1


# Checkpoints


def test_checkpoints_are_written_as_often_as_asked_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(
        "srzoo.train.trainer.save_newest", lambda folder, step, state, keep: saved.append((folder, step, state, keep))
    )
    config = replace(CONFIG, steps=5, checkpoint_every=2, keep_last=7)
    Trainer(plain_network(), Waves(), config, folder=tmp_path).fit()
    assert [(folder, step, keep) for folder, step, _, keep in saved] == [(tmp_path, step, 7) for step in (2, 4, 5)]
    assert [state["step"] for _, _, state, _ in saved] == [2, 4, 5]


@pytest.mark.parametrize(("keep_last", "left"), [(1, [6]), (2, [5, 6]), (9, [1, 2, 3, 4, 5, 6])])
def test_the_last_checkpoints_are_kept(tmp_path, keep_last, left):
    config = replace(CONFIG, checkpoint_every=1, keep_last=keep_last)
    Trainer(plain_network(), Waves(), config, folder=tmp_path).fit()
    found = find_checkpoints(tmp_path)
    assert [load_checkpoint(path)["step"] for path in found] == left
    assert [path.name for path in found] == [f"step_{step:08d}.safetensors" for step in left]


def test_nothing_is_written_without_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = replace(CONFIG, checkpoint_every=1, validate_every=2)
    Trainer(tiny_edsr(), Waves(), config, validation={"none": []}).fit()
    assert list(tmp_path.iterdir()) == []


# The end


def test_early_stop_ends_a_run_that_no_longer_gets_better(tmp_path, monkeypatch):
    config = replace(CONFIG, steps=50, validate_every=2, early_stop=3)
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation={"none": []})
    scripted(trainer, [20, 21, 20.5, 20.9, 22, 21, 22, 21.5, 99], monkeypatch)  # the same again is no better
    trainer.fit()
    assert trainer.is_stale
    assert trainer.step == 16
    assert trainer.best == {"psnr": 22, "step": 10, "stale": 3}
    again = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation={"none": []})
    assert again.resume()
    assert again.is_stale
    again.fit()
    assert_same_end(trainer, again)


def test_a_run_without_early_stop_goes_on(monkeypatch):
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, validate_every=1), validation={"none": []})
    scripted(trainer, [9, 8, 7, 6, 5, 4], monkeypatch)
    trainer.fit()
    assert (trainer.step, trainer.is_stale, trainer.best["stale"]) == (6, False, 5)


def test_a_run_that_is_out_of_time_logs_saves_and_stops(tmp_path):
    rows = Rows()
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, minutes=0.0), folder=tmp_path, callbacks=[rows])
    trainer.fit()
    assert (trainer.step, rows.saved, [row["step"] for row in rows.rows]) == (1, [1], [1])


def test_a_run_that_diverges_stops_in_one_sentence_with_good_weights(tmp_path):
    def explodes(sr, hr):
        return (sr - hr).abs().mean() * (float("nan") if trainer.step >= 4 else 1)

    config = replace(CONFIG, steps=1000, log_every=MOST_DROPPED // 2, checkpoint_every=60)
    trainer = Trainer(plain_network(), Waves(), config, loss=explodes, folder=tmp_path)
    with pytest.raises(ValueError, match=r"the last .* updates were dropped, .*; start a new run with a lower lr"):
        trainer.fit()
    assert trainer.step == 1.5 * MOST_DROPPED + MOST_DROPPED % 2 / 2
    plain = Trainer(plain_network(), Waves(), config)
    for step in range(4):
        plain.train_step(plain.batch(step))
    for path in find_checkpoints(tmp_path):
        state = load_checkpoint(path)
        assert all(torch.equal(state["model"][key], value) for key, value in plain.model.state_dict().items())


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
    for run in (trainer, whole):
        run.watch._counts.zero_()  # the failed update was judged twice
    assert_same_end(trainer, whole)


def test_the_recipe_is_plain_json_that_names_what_the_weights_come_from():
    trainer = Trainer(tiny_edsr(), Waves(), replace(CONFIG, minutes=0.0))
    trainer.fit()
    recipe = json.loads(json.dumps(trainer.recipe()))
    assert recipe["config"] == trainer.config.to_json()
    expected = {"steps": 1, "data": "waves", "precision": "fp32", "device": "cpu", "srzoo": srzoo.__version__}
    assert recipe.items() >= expected.items()
    assert recipe["loss"] == {"kind": "L1"}
    assert recipe["optimizer"] == {"kind": "Adam", "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0}


def test_fit_leaves_the_settings_of_torch_as_they_were(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    trainer = Trainer(plain_network(), Waves(), CONFIG)
    before = snapshot(trainer.model)
    trainer.fit()
    assert torch.backends.cudnn.benchmark is False
    assert before.keys() == trainer.model.state_dict().keys()


def test_a_run_is_not_written_over_by_one_that_does_not_resume_it(tmp_path):
    Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path).fit()
    before = find_checkpoints(tmp_path)
    with pytest.raises(FileExistsError, match="has a run already; call resume"):
        Trainer(plain_network(), Waves(), CONFIG, folder=tmp_path).fit()
    assert find_checkpoints(tmp_path) == before


def test_early_stop_without_images_to_validate_on_is_refused():
    with pytest.raises(ValueError, match="early_stop waits for a better score and there are no images"):
        Trainer(plain_network(), Waves(), replace(CONFIG, early_stop=2))


def test_a_graph_without_cuda_is_refused():
    with pytest.raises(ValueError, match="capture is 'graph', which needs CUDA"):
        Trainer(plain_network(), Waves(), replace(CONFIG, capture="graph"))


def test_every_callback_is_closed_though_one_fails():
    closed = []

    class Fails(Callback):
        def close(self, run) -> None:
            closed.append("fails")
            raise OSError("full")

    class Closes(Callback):
        def close(self, run) -> None:
            closed.append("closes")

    with pytest.raises(OSError, match="full"):
        Trainer(plain_network(), Waves(), CONFIG, callbacks=[Closes(), Fails()]).fit()
    assert sorted(closed) == ["closes", "fails"]
