import signal
from collections.abc import Callable
from dataclasses import replace

import pytest
from train_stand_ins import CONFIG, Rows, Waves, assert_same_end, changed_keys, plain_network, scripted, tiny_edsr

from srzoo.train import Trainer, load_checkpoint
from srzoo.train.checkpoint import find_checkpoints

pytestmark = pytest.mark.usefixtures("ctrl_c_raises")


def press(*signals: int, when: Callable[[], bool] = lambda: True) -> Callable[..., None]:
    """A hook that raises signals once."""
    left = list(signals)

    def hook(*_) -> None:
        if left and when():
            for _ in range(len(left)):
                signal.raise_signal(left.pop(0))

    return hook


def newest(folder) -> int:
    return load_checkpoint(find_checkpoints(folder)[-1])["step"]


def test_ctrl_c_in_the_middle_of_an_update_waits_for_its_end(tmp_path):
    whole = Trainer(tiny_edsr(), Waves(), CONFIG)
    whole.fit()
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    # after Adam, before the average and the step count
    trainer.optimizer.register_step_post_hook(press(signal.SIGINT, when=lambda: trainer.step == 2))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert newest(tmp_path) == 3
    resumed = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)
    trainer.fit()  # and in the same process, as in a notebook
    assert_same_end(trainer, whole)


def test_ctrl_c_in_the_last_update_is_not_swallowed(tmp_path):
    trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path)
    trainer.optimizer.register_step_post_hook(press(signal.SIGINT, when=lambda: trainer.step == 5))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert newest(tmp_path) == 6


def test_ctrl_c_twice_in_an_update_stops_at_once_and_keeps_the_checkpoint_before(tmp_path):
    config = replace(CONFIG, checkpoint_every=2)
    whole = Trainer(tiny_edsr(), Waves(), config)
    whole.fit()
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path)
    hook = press(signal.SIGINT, signal.SIGINT, when=lambda: trainer.step == 3)
    trainer.optimizer.register_step_post_hook(hook)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert newest(tmp_path) == 2  # not 3 with half an update in it
    resumed = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path)
    resumed.resume()
    resumed.fit()
    assert_same_end(resumed, whole)


def test_sigterm_saves_and_ends_the_process_with_its_status(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        rows = Rows()
        trainer = Trainer(tiny_edsr(), Waves(), CONFIG, folder=tmp_path, callbacks=[rows])
        trainer.optimizer.register_step_post_hook(press(signal.SIGTERM, when=lambda: trainer.step == 1))
        with pytest.raises(SystemExit) as stopped:
            trainer.fit()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)
    assert stopped.value.code == 143
    assert (newest(tmp_path), rows.closed) == (2, 1)


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


@pytest.mark.parametrize("at", [2, 6])
def test_a_validation_that_is_broken_off_is_made_up_for(tmp_path, monkeypatch, at):
    config = replace(CONFIG, validate_every=2, checkpoint_every=100)
    sets = {"none": []}
    first = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation=sets)
    scripted(first, [20.0, 22.0, 21.0], monkeypatch)
    score = first.validate
    monkeypatch.setattr(
        first, "validate", lambda: (signal.raise_signal(signal.SIGINT) if first.step == at else None) or score()
    )
    with pytest.raises(KeyboardInterrupt):
        first.fit()
    assert newest(tmp_path) == at
    rows = Rows()
    second = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation=sets, callbacks=[rows])
    assert second.resume()
    scripted(second, [20.0, 22.0, 21.0][at // 2 - 1 :], monkeypatch)
    second.fit()
    assert [row["step"] for row in rows.of("made up x2 psnr")] == list(range(at, 7, 2))
    assert second.best == {"psnr": 22.0, "step": 4, "stale": 1}
    third = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation=sets)
    assert third.resume()  # which owes nothing more
    scripted(third, [], monkeypatch)
    third.fit()
    assert third.best == second.best


def test_a_run_that_is_told_to_stop_does_not_validate_first(tmp_path, monkeypatch):
    config = replace(CONFIG, validate_every=2)
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, validation={"none": []})
    scripted(trainer, [], monkeypatch)
    trainer.optimizer.register_step_post_hook(press(signal.SIGINT, when=lambda: trainer.step == 1))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert newest(tmp_path) == 2


def test_ctrl_c_while_a_row_is_told_waits_until_all_have_heard_it(tmp_path):
    def interrupt(run, row) -> None:
        if row["step"] == 2:
            signal.raise_signal(signal.SIGINT)

    first, last = Rows(interrupt), Rows()
    config = replace(CONFIG, log_every=2)
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, callbacks=[first, last])
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    assert first.rows == last.rows
    rows = Rows()
    resumed = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, callbacks=[rows])
    resumed.resume()
    resumed.fit()
    assert [row["step"] for row in (*last.rows, *rows.rows)] == [2, 4, 6]


def test_a_resume_between_two_rows_loses_none_of_the_losses_of_the_next(tmp_path):
    config = replace(CONFIG, log_every=4, steps=8)
    rows = Rows()
    whole = Trainer(tiny_edsr(), Waves(), config, callbacks=[rows])
    whole.fit()
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path)
    trainer.optimizer.register_step_post_hook(press(signal.SIGINT, when=lambda: trainer.step == 2))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    again = Rows()
    resumed = Trainer(tiny_edsr(seed=1), Waves(), config, folder=tmp_path, callbacks=[again])
    resumed.resume()
    resumed.fit()
    assert again.starts == [3]
    assert [row["loss"] for row in again.rows] == [row["loss"] for row in rows.rows]
    assert not changed_keys(resumed.averaged.state_dict(), whole.averaged.state_dict())


def test_the_first_speed_after_a_resume_counts_only_its_own_steps(tmp_path, monkeypatch):
    config = replace(CONFIG, log_every=4)
    trainer = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path)
    trainer.optimizer.register_step_post_hook(press(signal.SIGINT, when=lambda: trainer.step == 2))
    with pytest.raises(KeyboardInterrupt):
        trainer.fit()
    clock = [0.0]
    monkeypatch.setattr("srzoo.train.trainer.time.monotonic", lambda: clock[0])
    rows = Rows()
    resumed = Trainer(tiny_edsr(), Waves(), config, folder=tmp_path, callbacks=[rows])
    resumed.resume()
    step = resumed.train_step

    def slow_step(batch):
        clock[0] += 2
        return step(batch)

    monkeypatch.setattr(resumed, "train_step", slow_step)
    resumed.fit()
    assert [row["steps_per_second"] for row in rows.rows] == [0.5, 0.5]
