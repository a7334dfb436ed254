"""Several processes: what one does by itself. `tests/train/test_distributed.py` runs two."""

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from srzoo.distributed import WorkerLost, World, joined_world

LOST = (
    r"(srzoo: )?another process of the run was lost \(.+\); start the same command with --resume to go on from the last"
)


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("count", [7, 8, 16, 23])
def test_shares_make_up_the_batch_and_differ_by_at_most_one(size, count):
    shares = [World(rank, size).share(count) for rank in range(size)]
    assert [i for share in shares for i in range(count)[share]] == list(range(count))
    sizes = [share.stop - share.start for share in shares]
    assert max(sizes) - min(sizes) <= 1


def test_a_batch_with_fewer_samples_than_processes_is_refused():
    with pytest.raises(ValueError, match="batch_size is 2 and there are 3 processes; each needs a sample"):
        World(0, 3).share(2)


def test_gradients_and_loss_are_summed_in_any_memory_layout(monkeypatch):
    def twice_and_one(flat: Tensor) -> None:  # the other process has the same gradients, plus 1
        flat.mul_(2).add_(1)

    monkeypatch.setattr(dist, "all_reduce", twice_and_one)
    parameters = [nn.Parameter(torch.zeros(2, 3, 3, 3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1))]
    grads = [torch.rand(2, 3, 3, 3), torch.rand(4)]
    parameters[0].grad = grads[0].clone(memory_format=torch.channels_last)
    parameters[1].grad = grads[1].clone()
    loss = World(0, 2).sum_gradients(parameters, torch.tensor(0.25))
    assert loss == 1.5
    assert parameters[0].grad.is_contiguous(memory_format=torch.channels_last)
    for parameter, grad in zip(parameters, grads, strict=False):
        assert parameter.grad is not None
        assert torch.equal(parameter.grad, 2 * grad + 1)
    assert parameters[2].grad is None


def test_a_failed_reduction_is_a_lost_process_in_one_sentence(monkeypatch):
    def fail(flat: Tensor) -> None:
        raise RuntimeError("Connection closed by peer [127.0.0.1]:1\nThis may come from a crash\n")

    monkeypatch.setattr(dist, "all_reduce", fail)
    with pytest.raises(WorkerLost, match=LOST) as told:
        World(0, 2).any(True, torch.device("cpu"))
    assert "\n" not in str(told.value)


def test_alone_nothing_is_set_up(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined_world("cpu") as joined:
        assert joined == (World(0, 1), "cpu")
        assert not dist.is_initialized()
    alone = World.current()
    assert alone.is_main
    assert alone.share(5) == slice(0, 5)
    assert alone.any(True, torch.device("cpu"))
    assert alone.share_object({"a": 1}) == {"a": 1}
    assert alone.sum_gradients([nn.Parameter(torch.zeros(1))], torch.tensor(2.0)) == 2


def test_more_processes_than_cuda_devices_are_refused(monkeypatch):
    for key, value in {"WORLD_SIZE": "9", "LOCAL_WORLD_SIZE": "9", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(
        ValueError, match=r"CUDA devices for 9 processes .*; start fewer processes or give --device cpu"
    ):
        with joined_world("cuda"):
            pass
