from dataclasses import replace

import pytest
import torch
from train_stand_ins import CONFIG, Waves, plain_network, tiny_mdsr

from srzoo.train import Batch, Trainer, World
from srzoo.train.batches import Batches

CPU = torch.device("cpu")


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


@pytest.mark.parametrize("size", [2, 3])
def test_the_shares_of_several_processes_are_the_batch_of_one(size):
    config = replace(CONFIG, batch_size=7)
    whole = Batches(Waves((2, 3)), config, World(), CPU).draw(4)
    shares = [Batches(Waves((2, 3)), config, World(rank, size), CPU).draw(4) for rank in range(size)]
    assert {share.scale for share in shares} == {whole.scale}
    assert torch.equal(torch.cat([share.lr for share in shares]), whole.lr)
    assert torch.equal(torch.cat([share.hr for share in shares]), whole.hr)


def test_more_processes_than_samples_are_refused():
    with pytest.raises(ValueError, match="batch_size is 2 and there are 3 processes; each needs a sample"):
        Batches(Waves(), CONFIG, World(0, 3), CPU)


@pytest.mark.parametrize(("parts", "sizes"), [(1, [5]), (2, [3, 2]), (5, [1] * 5), (9, [1] * 5)])
def test_micro_batches_together_are_the_batch(parts, sizes):
    batch = Batch(torch.rand(5, 3, 4, 4), torch.rand(5, 3, 8, 8), 2)
    split = list(batch.split(parts))
    assert [len(part.lr) for part in split] == sizes
    assert all(part.scale == 2 for part in split)
    assert torch.equal(torch.cat([part.lr for part in split]), batch.lr)
    assert torch.equal(torch.cat([part.hr for part in split]), batch.hr)


@pytest.fixture
def ahead() -> Batches:
    """Batches that are read ahead, as for a GPU whose memory the images do not fit into."""
    batches = Batches(Waves(), CONFIG, World(), CPU)
    batches._prefetches = True
    return batches


@pytest.mark.parametrize("steps", [[0, 1, 2], [3, 4, 9, 10, 2]], ids=["in a row", "with jumps"])
def test_batches_read_ahead_are_those_of_their_steps(ahead, steps):
    plain = Batches(Waves(), CONFIG, World(), CPU)
    for step in steps:
        assert torch.equal(ahead.next(step).hr, plain.draw(step).hr)
    ahead.close()


def test_the_next_batch_is_begun_and_drawn_once(ahead):
    for step in range(4):
        ahead.next(step)
    ahead.close()  # waits for the one that is under way
    assert len(ahead._data.drawn) == 5
    ahead.next(4)  # and goes on after it, as a run that is fitted again
    ahead.close()


def test_an_error_of_the_data_reaches_the_run(ahead, monkeypatch):
    ahead.next(0)
    assert ahead._ahead is not None
    ahead._ahead[1].result()

    def broken(*_, **__):
        raise OSError("the disk has gone")

    monkeypatch.setattr(ahead._data, "sample", broken)
    ahead.next(1)  # was read before
    with pytest.raises(OSError, match="the disk has gone"):
        ahead.next(2)
    ahead.close()


def test_a_source_is_told_the_device_once():
    class Movable(Waves):
        def __init__(self) -> None:
            super().__init__()
            self.devices: list[torch.device] = []

        def to(self, device: torch.device) -> "Movable":
            self.devices.append(device)
            return self

    data = Movable()
    Trainer(plain_network(), data, CONFIG).fit()
    assert data.devices == [CPU]
