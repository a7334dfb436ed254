"""Several processes that share one job: started by torchrun, one process a device.

In training, each process takes its share of every batch. Gradients are summed in one flat reduction, weighted by
samples, so shares of unequal size and branches that are idle at a step need no special case, and the result is that of
one process with the whole batch (docs/decisions/0007).
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

LOGGER = logging.getLogger("srzoo")
Thing = TypeVar("Thing")
RESUME = "start the same command with --resume to go on from the last checkpoint"
"""What to do when a process of a training run was lost."""


class WorkerLost(RuntimeError):  # noqa: N818 - it names what happened
    """Another process of the run has gone: the run cannot go on without it."""


@dataclass(frozen=True)
class World:
    """The processes of a run and which of them this is; one process is a world, too."""

    rank: int = 0
    size: int = 1
    if_lost: str = RESUME
    """What the user is told to do when another process was lost."""

    @classmethod
    def current(cls, if_lost: str = RESUME) -> "World":
        """The world this process is in: what `torch.distributed` was set up with, else this process alone."""
        if dist.is_available() and dist.is_initialized():
            return cls(dist.get_rank(), dist.get_world_size(), if_lost)
        return cls(if_lost=if_lost)

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files and tells the listeners."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's share of `count` samples; shares differ by at most one.

        Raises:
            ValueError: If there are fewer samples than processes.

        Examples:
            >>> [World(rank, 3).share(8) for rank in range(3)]
            [slice(0, 3, None), slice(3, 6, None), slice(6, 8, None)]
        """
        if count < self.size:
            raise ValueError(f"batch_size is {count} and there are {self.size} processes; each needs a sample")
        sizes = [count // self.size + (rank < count % self.size) for rank in range(self.size)]
        start = sum(sizes[: self.rank])
        return slice(start, start + sizes[self.rank])

    def sum_gradients(self, parameters: Sequence[nn.Parameter], loss: Tensor) -> Tensor:
        """Sum the gradients, and `loss`, over all processes; returns the summed loss."""
        if self.size == 1:
            return loss
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([*(grad.reshape(-1) for grad in grads), loss.reshape(1).float()])
        with _told(self.if_lost):
            dist.all_reduce(flat)
        start = 0
        for grad in grads:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()
        return flat[-1].to(loss.dtype)

    @torch.no_grad()
    def share_weights(self, model: nn.Module) -> None:
        """Give every process the weights and buffers of the first."""
        if self.size > 1:
            with _told(self.if_lost):
                for tensor in (*model.parameters(), *model.buffers()):
                    plain = tensor.contiguous()  # the reduction wants plain memory
                    dist.broadcast(plain, 0)
                    tensor.copy_(plain)

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether `flag` is set in any process."""
        if self.size == 1:
            return flag
        told = torch.tensor([float(flag)], device=device)
        with _told(self.if_lost):
            dist.all_reduce(told)
        return bool(told.item() > 0)

    def share_object(self, thing: Thing) -> Thing:
        """The first process's `thing`, in every process."""
        if self.size == 1:
            return thing
        box = [thing]
        with _told(self.if_lost):
            dist.broadcast_object_list(box, 0)
        return box[0]

    def gather(self, thing: Thing) -> list[Thing]:
        """Every process's `thing`, in order of rank, in every process."""
        if self.size == 1:
            return [thing]
        things: list[Thing] = [thing] * self.size
        with _told(self.if_lost):
            dist.all_gather_object(things, thing)
        return things


@contextmanager
def _told(if_lost: str) -> Iterator[None]:
    """Say in one sentence that another process has gone."""
    try:
        yield
    except RuntimeError as error:  # gloo and nccl have no exception of their own
        told = f"another process of the run was lost ({_first_line(error)}); {if_lost}"
        LOGGER.error("%s", told)  # now: a launcher may end this process before the error has come to its end
        raise WorkerLost(told) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:120]


def launched_rank() -> int:
    """Which process this is, by the launcher's word, before it has joined the others; 0 if it was started alone."""
    return int(os.environ.get("RANK", "0")) if is_launched() else 0


def is_launched() -> bool:
    """Whether torchrun (or another launcher that sets WORLD_SIZE) started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined_world(device: str = "auto", minutes: float = 24 * 60, if_lost: str = RESUME) -> Iterator[tuple[World, str]]:
    """Join the processes torchrun started, for the time of the block: the world, and this process's device.

    The backend is nccl where every process has a CUDA device of its own, gloo elsewhere. Started alone, a process
    is a world by itself and nothing is set up.

    Args:
        device: "auto", "cuda" or "cpu"; with several processes, "auto" and "cuda" give each its own CUDA device.
        minutes: How long a process waits for the others before it gives up; one that has died is noticed at once.
        if_lost: What the user is told to do when another process was lost.

    Raises:
        ValueError: If the device is none of these, or there are CUDA devices, but fewer than processes.
        WorkerLost: If another process cannot be reached.
    """
    if not is_launched():
        yield World.current(if_lost), device
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if device not in ("auto", "cuda", "cpu"):
        raise ValueError(
            f"device is {device!r}; with several processes it is auto, cuda or cpu, and each takes its own"
        )
    there = torch.cuda.device_count() if torch.cuda.is_available() and device != "cpu" else 0
    if there < here and (there or device == "cuda"):
        raise ValueError(
            f"there are {there} CUDA devices for {here} processes on this machine; start fewer processes or give "
            "--device cpu"
        )
    on_cuda = there > 0
    if on_cuda:
        torch.cuda.set_device(local)
    try:
        _join("nccl" if on_cuda else "gloo", timedelta(minutes=minutes))
    except RuntimeError as error:
        told = f"the processes of the run could not connect ({_first_line(error)}); start them again"
        LOGGER.error("%s", told)
        raise WorkerLost(told) from error
    try:
        yield World.current(if_lost), f"cuda:{local}" if on_cuda else "cpu"
    except Exception:
        if not on_cuda:  # nccl would wait for the others, who may be waiting for this process
            dist.destroy_process_group()
        raise
    except BaseException:  # told to stop: all leave together
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _join(backend: str, timeout: timedelta) -> None:
    """Set up `torch.distributed` by the variables torchrun sets.

    torchrun keeps its store over a restart, with the addresses of the processes before, and gloo would call those.
    So each attempt gets a part of the store for itself. The attempts are counted by each machine, so this is for one.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or os.environ.get("GROUP_WORLD_SIZE") != "1":
        dist.init_process_group(backend, timeout=timeout)
        return
    from torch.distributed.rendezvous import rendezvous

    store, rank, size = next(rendezvous("env://", timeout=timeout))
    own = dist.PrefixStore(  # pyright: ignore[reportPrivateImportUsage]
        f"srzoo/attempt_{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store
    )
    dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=timeout)
