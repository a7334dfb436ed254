"""The moving average of the weights, which is validated and kept; and what batch norm keeps of the batches."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


def _states(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """The buffers that are part of the weights: what a forward pass may change, such as batch norm's averages."""
    kept = model.state_dict(keep_vars=True)
    return ((name, buffer) for name, buffer in model.named_buffers() if name in kept)


class MovingAverage:
    """An exponential moving average of a network's weights, and of what batch norm keeps of the batches.

    Batch norm's averages belong to weights: those of the averaged weights are near the average of the network's own.
    Whole numbers (counts of batches), values that are not finite, and buffers outside the state dict are the
    network's own.

    Args:
        model: The network to average.
        decay: Share of the average that a step leaves, between 0 and 1. A young average moves faster, so that the
            start is forgotten: its decay is (1 + step) / (10 + step) while that is smaller.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        """A network with the averaged weights, in eval mode."""
        self._decay = decay
        averaged = {name for name, _ in model.named_parameters()}
        averaged |= {
            name for name, state in _states(model) if state.is_floating_point() and bool(state.isfinite().all())
        }
        self._own, self._theirs = ([], []), ([], [])  # averaged, copied
        for network, parts in ((self.model, self._own), (model, self._theirs)):
            for name, tensor in (*network.named_parameters(), *network.named_buffers()):
                parts[name not in averaged].append(tensor)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network's weights after step `step`, counted from 0."""
        average_all = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        average_all(self._own[0], self._theirs[0], step)
        for average, value in zip(self._own[1], self._theirs[1], strict=True):
            average.copy_(value)


class StatesOfStep:
    """What the forward passes of a step change besides gradients, to be put back if its update is dropped.

    A batch that is not finite would otherwise stay in batch norm's averages for ever.

    Args:
        model: The network.
    """

    def __init__(self, model: nn.Module) -> None:
        self._states = [state for _, state in _states(model)]
        self._before: list[Tensor] = []

    @torch.no_grad()
    def begin(self) -> None:
        """Note the states before a step."""
        self._before = [state.clone() for state in self._states]

    @torch.no_grad()
    def end(self, keep: Tensor) -> None:
        """Put them back unless `keep` (a boolean scalar on the device) holds; the host does not wait for it."""
        for state, before in zip(self._states, self._before, strict=True):
            state.copy_(torch.where(keep, state, before))


def to_training_mode(model: nn.Module) -> nn.Module:
    """The network in training mode, but for batch norm whose own weights are frozen: it goes on by its averages.

    Examples:
        >>> norm = nn.BatchNorm2d(4).requires_grad_(False)
        >>> to_training_mode(nn.Sequential(nn.Conv2d(4, 4, 1), norm)).training, norm.training
        (True, False)
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and getattr(module, "running_mean", None) is not None and not any(p.requires_grad for p in own):
            module.eval()
    return model
