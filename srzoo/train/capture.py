"""Forward, loss and backward recorded once as a CUDA graph and replayed: no time is lost between kernels."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Backward = Callable[[Tensor, Tensor], Tensor]
"""(lr, hr) -> loss, with the gradients left in the parameters."""


class CapturedBackward:
    """A `Backward` of one scale and batch shape as a CUDA graph.

    Recording runs it three times first, as CUDA asks for, without updating a weight; of what a forward pass
    changes, running statistics (batch norm) and the random generator (dropout) see these runs; both are put back.

    Args:
        backward: What to record; it must not wait for the device.
        model: The network whose gradients it leaves.
        lr: A batch, b c h w, on the device; its values do not matter.
        hr: Its ground truth.
    """

    def __init__(self, backward: Backward, model: nn.Module, lr: Tensor, hr: Tensor) -> None:
        with torch.cuda.device(lr.device):
            self._record(backward, model, lr, hr)

    def _record(self, backward: Backward, model: nn.Module, lr: Tensor, hr: Tensor) -> None:
        self._parameters: Sequence[nn.Parameter] = list(model.parameters())
        self._lr, self._hr = lr.clone(), hr.clone()
        buffers = [buffer.clone() for buffer in model.buffers()]
        random = torch.cuda.get_rng_state(lr.device)
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                self._forget_gradients()
                backward(self._lr, self._hr)
        torch.cuda.current_stream().wait_stream(side)
        self._forget_gradients()
        self._graph = torch.cuda.CUDAGraph()
        # thread_local: the thread that reads the next batch goes on copying to the device meanwhile
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._loss = backward(self._lr, self._hr)
        with torch.no_grad():
            for buffer, before in zip(model.buffers(), buffers, strict=True):
                buffer.copy_(before)
        torch.cuda.set_rng_state(random, lr.device)
        self._gradients = [p.grad for p in self._parameters]  # None: a branch of another scale

    def _forget_gradients(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def __call__(self, lr: Tensor, hr: Tensor) -> Tensor:
        """The loss of a batch of the recorded shape; the gradients are left in the parameters."""
        self._lr.copy_(lr)
        self._hr.copy_(hr)
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        self._graph.replay()
        return self._loss.clone()
