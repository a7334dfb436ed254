"""The Trainer: one visible loop, any network from LR to SR."""

import copy
import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from srzoo.architecture import SRModel
from srzoo.benchmark import call_model, check_channels, measure
from srzoo.data.pairs import Pair
from srzoo.device import fast_precision, pick_device, to_channels_last
from srzoo.train.callbacks import Callback, Row
from srzoo.train.checkpoint import load_checkpoint, save_checkpoint
from srzoo.train.config import TrainConfig
from srzoo.train.losses import l1_loss
from srzoo.version import __version__
from srzoo.weights import load_strictly

LOGGER = logging.getLogger("srzoo")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CHECKPOINT = "checkpoint.safetensors"


@runtime_checkable
class Patches(Protocol):
    """Where batches come from; `srzoo.data.PatchSource` is one."""

    scales: tuple[int, ...]
    fingerprint: str

    def check(self, patch_size: int) -> None:
        """Raise ValueError if patches of that LR size cannot be had."""
        ...

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int
    ) -> tuple[Tensor, Tensor]:
        """LR and HR patches, uint8, b c h w, a pure function of the state of `rng`."""
        ...


@dataclass(frozen=True)
class Batch:
    """LR and HR patches in [0, 1] on the device, all of one scale."""

    lr: Tensor
    hr: Tensor
    scale: int


@contextmanager
def _held_interrupt() -> Iterator[None]:
    """Hold Ctrl+C back until the block is done: half an update must not reach a checkpoint."""
    if threading.current_thread() is not threading.main_thread():  # which alone is interrupted
        yield
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)


def _name(thing: object) -> str:
    """The registered name of a model, else the name of the class or function."""
    return getattr(thing, "name", "") or getattr(thing, "__qualname__", type(thing).__qualname__)


def flat_scores(scores: Mapping[str, Mapping[str, Mapping[str, float | int | str]]]) -> dict[str, float]:
    """Scores as one row of a log: `Set5 x2 psnr` and so on.

    Examples:
        >>> flat_scores({"Set5": {"x2": {"psnr": 37.4, "ssim": 0.958, "images": 5, "protocol": "Y"}}})
        {'Set5 x2 psnr': 37.4, 'Set5 x2 ssim': 0.958}
    """
    return {
        f"{name} {scale} {key}": float(entry[key])
        for name, scales in scores.items()
        for scale, entry in scales.items()
        for key in ("psnr", "ssim")
    }


class Trainer:
    """Trains any `nn.Module` from LR to SR.

    The batches are a pure function of `config.seed` and the step, so a run that is stopped and resumed sees
    the sequence it would have seen. Each step takes one scale (EDSR, section 4.3), drawn from the data's.

    Args:
        model: A zoo model, called as `model(lr, scale)`, or any other network, called as `model(lr)`.
        data: Source of patches.
        config: All settings.
        folder: Where the checkpoint goes and `resume` looks for it; nothing is written if None.
        loss: (sr, hr) -> scalar, both in [0, 1].
        validation: Pairs to score the averaged weights on, by name of the set.
        callbacks: Told of every logged row, see `srzoo.train.callbacks`.

    Raises:
        ValueError: If an image is too small for the patch, or the model has no parameters, or does not offer the
            scales or channels of the data or the validation pairs.

    Examples:
        ```python
        model = srzoo.create_model("edsr_baseline_x2")
        data = PatchSource("photos/", scales=model.scales)
        Trainer(model, data, TrainConfig(steps=1000), folder="runs/first").fit()
        ```
    """

    def __init__(
        self,
        model: nn.Module,
        data: Patches,
        config: TrainConfig,
        *,
        folder: str | Path | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = l1_loss,
        validation: Mapping[str, Sequence[Pair]] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        data.check(config.patch_size)
        self.validation = dict(validation or {})
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(f"{_name(model)} has no parameters to train")
        if isinstance(model, SRModel):
            pairs = [pair for some in self.validation.values() for pair in some]
            for scale in (*data.scales, *(pair.scale for pair in pairs)):
                model.check_scale(scale)
            for pair in pairs:
                check_channels(model.channels, pair)
        self.config = config
        self.data = data
        self.folder = Path(folder) if folder is not None else None
        self.loss = loss
        self.callbacks = callbacks
        self.device = pick_device(config.device)
        self.precision = fast_precision(self.device) if config.precision == "auto" else config.precision
        self.model = to_channels_last(model, self.device).train()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.lr, betas=(0.9, 0.999))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.ema = copy.deepcopy(self.model).eval() if config.ema_decay is not None else None
        self.step = 0
        self.seconds = 0.0

    @property
    def averaged(self) -> nn.Module:
        """The weights to validate and keep: the moving average where there is one, else the model."""
        return self.model if self.ema is None else self.ema

    def batch(self, step: int) -> Batch:
        """The batch of a step, a pure function of seed and step."""
        rng = np.random.default_rng([self.config.seed, step])
        scale = int(rng.choice(self.data.scales))
        lr, hr = self.data.sample(
            rng, scale=scale, batch_size=self.config.batch_size, patch_size=self.config.patch_size
        )
        lr, hr = (
            x.to(self.device, non_blocking=True).float().div_(255).contiguous(memory_format=torch.channels_last)
            for x in (lr, hr)
        )
        return Batch(lr, hr, scale)

    def train_step(self, batch: Batch) -> Tensor:
        """One update of the parameters; returns the loss, still on the device."""
        config = self.config
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * config.schedule.factor(self.step, config.steps)
        with torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32"):
            sr = call_model(self.model, batch.lr, batch.scale)
        loss = self.loss(sr.float(), batch.hr)
        self.scaler.scale(loss).backward()
        if config.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.model.parameters(), config.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self._update_average()
        self.step += 1
        return loss.detach()

    @torch.no_grad()
    def _update_average(self) -> None:
        """Move the average towards the weights; a young one moves faster, so that the start is forgotten."""
        if self.ema is None or self.config.ema_decay is None:
            return
        decay = min(self.config.ema_decay, (1 + self.step) / (10 + self.step))
        average_all = get_ema_multi_avg_fn(decay)
        average_all(list(self.ema.parameters()), list(self.model.parameters()), self.step)
        for average, value in zip(self.ema.buffers(), self.model.buffers(), strict=True):
            average.copy_(value)

    def fit(self) -> nn.Module:
        """Train to `config.steps` (or until `config.minutes` are over) and return the averaged model.

        With a folder, a checkpoint is written every `checkpoint_every` steps, at the end, and when the run is
        interrupted (Ctrl+C), which is raised again.
        """
        config = self.config
        deadline = time.monotonic() + config.minutes * 60 if config.minutes is not None else None
        losses: list[Tensor] = []
        since = time.monotonic()
        try:
            while self.step < config.steps:
                with _held_interrupt():
                    losses.append(self.train_step(self.batch(self.step)))
                last = self.step == config.steps
                out_of_time = deadline is not None and time.monotonic() > deadline
                if last or out_of_time or self.step % config.log_every == 0:
                    mean_loss = torch.stack(losses).mean().item()  # waits for the device
                    now = time.monotonic()
                    self.seconds += now - since
                    if not math.isfinite(mean_loss):
                        self._check_finite()  # fp16 skips steps that overflow; then the weights are still sound
                    self._tell(loss=mean_loss, steps_per_second=len(losses) / (now - since))
                    losses, since = [], time.monotonic()
                if self.validation and (last or self.step % config.validate_every == 0):
                    pause = time.monotonic()
                    self._tell(**flat_scores(self.validate()))
                    since += time.monotonic() - pause
                if last or out_of_time or self.step % config.checkpoint_every == 0:
                    pause = time.monotonic()
                    self._check_finite()
                    self.save()
                    since += time.monotonic() - pause
                if out_of_time:
                    break
        except KeyboardInterrupt:
            self.seconds += time.monotonic() - since
            self.save()
            raise
        finally:
            for callback in self.callbacks:
                callback.close()
        return self.averaged

    def validate(self) -> dict[str, dict[str, dict[str, float | int | str]]]:
        """Scores of the averaged weights on the validation sets: set -> scale -> psnr, ssim, images, protocol."""
        return measure(self.averaged, self.validation)

    def _check_finite(self) -> None:
        """Stop a run that has diverged, before its weights take the place of the last good checkpoint."""
        if not all(bool(parameter.isfinite().all()) for parameter in self.model.parameters()):
            kept = f"; the checkpoint of an earlier step is in {self.folder}" if self.folder else ""
            raise ValueError(
                f"the weights are no longer finite at step {self.step}; lower lr or set clip_norm and start anew{kept}"
            )

    def _tell(self, **values: float) -> None:
        row: Row = {"step": self.step, "seconds": round(self.seconds, 2), **values}
        for callback in self.callbacks:
            callback.log(row, self.config.steps)

    def _trajectory(self) -> dict[str, Any]:
        """What decides the sequence of weights, apart from the images."""
        arguments = dict(self.model.arguments) if isinstance(self.model, SRModel) else {}
        told = {"model": _name(self.model), "arguments": arguments, "loss": _name(self.loss)}
        told |= {**self.config.trajectory(), "scales": list(self.data.scales)}
        return json.loads(json.dumps(told))  # tuples become lists, as they do on the way through a file

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "trajectory": self._trajectory(),
            "data": self.data.fingerprint,
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`.

        Raises:
            ValueError: If the run was started with other settings, other images or another model.
        """
        then, now = state["trajectory"], self._trajectory()
        changed = [key for key in now if key in then and then[key] != now[key]]  # others are a later srzoo's
        if changed:
            told = "; ".join(f"{key} was {then[key]!r}, is {now[key]!r}" for key in changed)
            raise ValueError(f"the run to resume had other settings ({told}); give the same ones or start anew")
        if state["data"] != self.data.fingerprint:
            raise ValueError(
                "the run to resume had other training images or sampling weights; give the same ones or start anew"
            )
        load_strictly(self.model, state["model"], "the run to resume")
        if self.ema is not None:
            load_strictly(self.ema, state["ema"], "the run to resume")
        self.step, self.seconds = state["step"], state["seconds"]
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():  # laid out as the parameter: fast updates
            for key, value in moments.items():
                if value.shape == parameter.shape:
                    moments[key] = torch.empty_like(parameter).copy_(value)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])

    def recipe(self) -> dict[str, Any]:
        """What a weight file's header says of this run: settings, progress, data, versions, device."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else self.device.type
        return {
            "config": self.config.to_json(),
            "steps": self.step,
            "seconds": round(self.seconds),
            "data": self.data.fingerprint,
            "precision": self.precision,
            "device": name,
            "srzoo": __version__,
            "torch": torch.__version__,
        }

    def save(self) -> None:
        """Write the checkpoint into the folder, if there is one."""
        if self.folder is not None:
            save_checkpoint(self.folder / CHECKPOINT, self.state_dict())

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none.

        Raises:
            ValueError: If the checkpoint is damaged or belongs to a run with other settings or images.
        """
        if self.folder is None or not (self.folder / CHECKPOINT).exists():
            return False
        self.load_state_dict(load_checkpoint(self.folder / CHECKPOINT))
        LOGGER.info("resumed at step %d of %d", self.step, self.config.steps)
        return True
