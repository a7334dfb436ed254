"""The moving average of the weights, which is validated and kept."""

import copy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """An exponential moving average of a network's weights; its buffers are the network's own.

    Args:
        model: The network to average.
        decay: Share of the average that a step leaves, between 0 and 1. A young average moves faster, so that the
            start is forgotten: its decay is (1 + step) / (10 + step) while that is smaller.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval()
        """A network with the averaged weights, in eval mode."""
        self._decay = decay
        self._own: tuple[list[Tensor], list[Tensor]] = [*self.model.parameters()], [*self.model.buffers()]
        self._theirs: tuple[list[Tensor], list[Tensor]] = [*model.parameters()], [*model.buffers()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the network's weights after step `step`, counted from 0."""
        average_all = get_ema_multi_avg_fn(min(self._decay, (1 + step) / (10 + step)))
        average_all(self._own[0], self._theirs[0], step)
        for average, value in zip(self._own[1], self._theirs[1], strict=True):
            average.copy_(value)
