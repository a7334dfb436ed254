"""What a step of the Trainer does to the weights: gradients of a batch, eager or replayed, and the update itself."""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.train.batches import Batch
from srzoo.train.capture import CapturedBackward
from srzoo.train.config import TrainConfig
from srzoo.train.losses import Loss

LOGGER = logging.getLogger("srzoo")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class BatchGradients:
    """Adds the gradients of a micro-batch to those of the parameters; on CUDA its steps are recorded and replayed.

    Args:
        model: The network, on the device.
        loss: (sr, hr) -> scalar.
        config: Says the batch and how a step is run.
        device: Where.
        precision: Of the convolutions: fp32, bf16 or fp16.

    Raises:
        ValueError: If a graph is asked for where there can be none.
    """

    def __init__(self, model: nn.Module, loss: Loss, config: TrainConfig, device: torch.device, precision: str) -> None:
        self._model, self._loss, self._config = model, loss, config
        self._device, self._precision = device, precision
        self._forward = torch.compile(model) if config.capture == "compile" else model
        self._may_capture = True
        self.recorded: dict[tuple[int, ...], CapturedBackward] = {}
        """Recorded steps by scale and shape of the LR batch."""
        if config.capture == "graph" and not self.captures:
            raise ValueError(
                f"capture is 'graph', which needs CUDA, accumulate 1 and bf16 or fp32; here it is {device.type}, "
                f"accumulate {config.accumulate}, {precision}: take 'auto'"
            )

    @property
    def captures(self) -> bool:
        """Whether steps are replayed as CUDA graphs: not where gradients add up or the scaler asks the host."""
        wanted = self._config.capture in ("auto", "graph") and self._may_capture
        return wanted and self._device.type == "cuda" and self._config.accumulate == 1 and self._precision != "fp16"

    def __call__(self, batch: Batch, scaler: torch.amp.GradScaler) -> Tensor:
        """Leave the gradients, which `scaler` scales, in the parameters; returns the micro-batch's share of the loss.

        Raises:
            ValueError: If a graph was asked for and the network and loss cannot be one.
        """
        weight = len(batch.lr) / self._config.batch_size

        def backward(lr: Tensor, hr: Tensor) -> Tensor:
            dtype = DTYPES[self._precision]
            # no cache of cast weights: each is used once, and a CUDA graph must not hold another call's
            with torch.autocast(self._device.type, dtype, enabled=self._precision != "fp32", cache_enabled=False):
                sr = self._forward(lr, batch.scale) if isinstance(self._model, SRModel) else self._forward(lr)
            loss = self._loss(sr.float(), hr) * weight
            if loss.requires_grad:  # else all that this scale uses is frozen
                scaler.scale(loss).backward()
            return loss.detach()

        if not self.captures:
            return backward(batch.lr, batch.hr)
        key = (batch.scale, *batch.lr.shape)
        try:
            if key not in self.recorded:
                self.recorded[key] = CapturedBackward(backward, self._model, batch.lr, batch.hr)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            if self._config.capture == "graph":
                raise ValueError(f"this network and loss cannot be a CUDA graph ({error}); take 'none'") from error
            LOGGER.warning("steps are not replayed as a CUDA graph, which is slower: %s", error)
            self._may_capture = False
            self._model.zero_grad(set_to_none=True)
            return backward(batch.lr, batch.hr)
        return self.recorded[key](batch.lr, batch.hr)


def set_rates(optimizer: torch.optim.Optimizer, rates: list[float]) -> None:
    """Set the learning rate of each group; one that lies on the device, as a recorded step reads it, is filled."""
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate


def apply_update(optimizer: Any, scaler: torch.amp.GradScaler, keep: Tensor) -> None:
    """Let the optimizer step if `keep` holds; on CUDA a fused one is told by a flag and the host does not wait."""
    if scaler.is_enabled():
        if bool(keep):
            scaler.step(optimizer)
        scaler.update()
    elif keep.device.type == "cuda" and all(group.get("fused") for group in optimizer.param_groups):
        optimizer.grad_scale, optimizer.found_inf = None, (~keep).float()  # as GradScaler tells it
        optimizer.step()
    elif bool(keep):
        optimizer.step()
