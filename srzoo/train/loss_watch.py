"""Which updates are dropped, and the mean loss of those that are not; kept on the device, so nothing waits for it."""

from typing import Any

import torch
from torch import Tensor

MOST_DROPPED = 100
"""A run that drops so many updates in a row has diverged."""
(SUM, KEPT, DROPPED, IN_A_ROW, WINDOW_SUM, WINDOW_KEPT) = range(6)


class LossWatch:
    """Judges every update by its loss and gradient, and counts.

    An update is dropped if its loss or gradient is not finite, or if its loss is above `skip_above` times the mean
    of the last full window of steps: the rule of the paper's own code (LimBee/NTIRE2017, `skipBatch`), where a
    window is an epoch of 1,000 steps.

    Args:
        device: Where the losses are.
        skip_above: Factor on the last window's mean; None drops only what is not finite.
        window: Steps of a window.
    """

    def __init__(self, device: torch.device, skip_above: float | None, window: int) -> None:
        self._skip_above, self._window = skip_above, window
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._counts = torch.zeros(6, dtype=dtype, device=device)
        self._limit = torch.full((), float("inf"), dtype=dtype, device=device)

    @torch.no_grad()
    def judge(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether to keep an update, a boolean scalar on the device.

        Args:
            loss: Its loss, a scalar.
            norm: Norm of its gradient, a scalar.
        """
        loss = loss.detach().to(self._counts.dtype)
        keep = torch.isfinite(loss + norm) & (loss <= self._limit)
        kept = keep.to(loss.dtype)
        safe = torch.where(keep, loss, torch.zeros_like(loss))
        self._counts += torch.stack([safe, kept, 1 - kept, 1 - kept, safe, kept])
        self._counts[IN_A_ROW] *= 1 - kept
        return keep

    def end_step(self, step: int) -> None:
        """Told of the steps done so far: at the end of a window its mean becomes the measure of the next."""
        if self._skip_above is not None and step % self._window == 0:
            mean = self._counts[WINDOW_SUM] / self._counts[WINDOW_KEPT]
            self._limit = torch.where(self._counts[WINDOW_KEPT] > 0, self._skip_above * mean, self._limit)
            self._counts[WINDOW_SUM:] = 0

    def take(self) -> tuple[float | None, int, int]:
        """Mean loss of the kept updates since the last call (None if there were none), how many, and the dropped.

        Waits for the device.

        Raises:
            ValueError: If the last `MOST_DROPPED` updates were dropped without a break.
        """
        self.check()
        total, kept, dropped = self._counts[:IN_A_ROW].tolist()
        self._counts[:IN_A_ROW] = 0
        return (total / kept if kept else None), int(kept), int(dropped)

    def check(self) -> None:
        """See that the run has not diverged; waits for the device.

        Raises:
            ValueError: If the last `MOST_DROPPED` updates were dropped without a break.
        """
        in_a_row = int(self._counts[IN_A_ROW].item())
        if in_a_row >= MOST_DROPPED:
            raise ValueError(
                f"the last {in_a_row} updates were dropped, their loss was not finite or far above the mean; start a "
                "new run with a lower lr or clip_norm, from this one's best.safetensors if it has one"
            )

    def state_dict(self) -> dict[str, Any]:
        """The counts and the limit."""
        return {"counts": self._counts.clone(), "limit": self._limit.clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict()`."""
        self._counts.copy_(state["counts"])
        self._limit.copy_(state["limit"])
