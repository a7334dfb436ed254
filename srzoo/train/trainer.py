"""The Trainer: one visible loop, any network from LR to SR."""

import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.benchmark.scoring import check_channels, flat_scores, measure
from srzoo.data.pairs import Pair
from srzoo.data.patches import PatchSource
from srzoo.device import fast_precision, pick_device, to_channels_last, tuned_convolutions
from srzoo.distributed import World
from srzoo.train.averaging import MovingAverage, StatesOfStep, to_training_mode
from srzoo.train.batches import Batch, Batches, Patches
from srzoo.train.callbacks import Callback, Row
from srzoo.train.checkpoint import find_checkpoints, load_newest, save_newest
from srzoo.train.config import TrainConfig
from srzoo.train.continuity import (
    check_same_run,
    check_same_schedule,
    check_same_teacher,
    describe_changes,
    describe_environment,
    probe_steps,
)
from srzoo.train.describe import describe
from srzoo.train.interrupts import Interrupts, Told
from srzoo.train.loss_watch import MOST_DROPPED, LossWatch
from srzoo.train.losses import L1, Loss
from srzoo.train.optimizers import Adam, OptimizerFactory, parameter_groups, restore_optimizer
from srzoo.train.schedules import Schedule
from srzoo.train.teacher import Teacher, check_teacher
from srzoo.train.update import BatchGradients, apply_update, set_rates
from srzoo.weights import Header, load_strictly, write_weights

LOGGER = logging.getLogger("srzoo")
BEST = "best.safetensors"
AGREE_EVERY = 10
"""Steps after which several processes with GPUs ask each other whether to stop."""


def _name(thing: object) -> str:
    """The registered name of a model, else the name of the class."""
    return getattr(thing, "name", "") or type(thing).__qualname__


class Trainer:
    """Trains any `nn.Module` from LR to SR.

    The batches are a pure function of `config.seed` and the step, so a run that is stopped and resumed sees
    the sequence it would have seen. Each step takes one scale (EDSR, section 4.3), drawn from the data's.
    Started by torchrun, every process takes its share of each batch (`srzoo.distributed`).

    Args:
        model: A zoo model, called as `model(lr, scale)`, or any other network, called as `model(lr)`.
        data: Source of patches.
        config: All settings.
        loss: (sr, hr) -> scalar, both float32 in [0, 1]; a mean over samples.
        optimizer: Factory of the optimizer, see `srzoo.train.optimizers`.
        schedule: Takes the place of `config.schedule`.
        callbacks: Told of the run, see `srzoo.train.callbacks`.
        folder: Where checkpoints go and `resume` looks for them; nothing is written if None.
        validation: Pairs to score the averaged weights on, by name of the set.
        score_start: Also score the weights before step 1: they are then the best until others are better.
        teacher: A trained model whose outputs for the LR patches are learnt in place of the HR patches; a frozen copy
            of it is used. Validation scores against the HR images all the same.

    Raises:
        ValueError: If an image is too small for the patch, or the model has no parameters, or does not offer the
            scales or channels of the data or the validation pairs, or the teacher does not.

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
        loss: Loss = L1(),  # noqa: B008 - frozen
        optimizer: OptimizerFactory = Adam(),  # noqa: B008 - frozen
        schedule: Schedule | None = None,
        callbacks: Sequence[Callback] = (),
        folder: str | Path | None = None,
        validation: Mapping[str, Sequence[Pair]] | None = None,
        score_start: bool = False,
        teacher: SRModel | None = None,
    ) -> None:
        data.check(config.patch_size)
        self.validation = dict(validation or {})
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise ValueError(f"{_name(model)} has no parameters to train")
        _check_fit(model, data, self.validation)
        if teacher is not None:
            check_teacher(
                teacher, data.scales, getattr(model if isinstance(model, SRModel) else data, "channels", None)
            )
        self.config = config if schedule is None else replace(config, schedule=schedule)
        self.data, self.loss, self.callbacks = data, loss, callbacks
        self.folder = Path(folder) if folder is not None else None
        self.world = World.current()
        self.device = pick_device(config.device)
        self.precision = fast_precision(self.device) if config.precision == "auto" else config.precision
        self.teacher = Teacher(teacher, self.device, self.precision) if teacher is not None else None
        self._check_processes()
        self.batches = Batches(data, config, self.world, self.device, self.teacher)
        self.model = to_channels_last(model, self.device).train()
        self.world.share_weights(self.model)
        self._factory = optimizer
        groups = parameter_groups(self.model, config.rates, config.lr)
        self._peaks = [float(group["lr"]) for group in groups]
        self.optimizer = optimizer(groups, lr=config.lr, device=self.device)
        self._trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        to_training_mode(self.model)  # once it is known what is frozen
        self._states = StatesOfStep(self.model)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self._backward = BatchGradients(self.model, loss, config, self.device, self.precision)
        self._check_options()
        self.ema = MovingAverage(self.model, config.ema_decay) if config.ema_decay is not None else None
        self.watch = LossWatch(self.device, config.skip_above, config.skip_window)
        self.step = 0
        self.seconds = 0.0
        self.best: dict[str, float] = {}
        """Highest mean PSNR of a validation and its step; `stale`: validations since."""
        self.first_scores: dict[str, Any] = {}
        """Scores before step 1, as `validate` gives them, with `score_start`."""
        self._validated = -1 if score_start else 0
        self._interrupts = Interrupts()
        self._resumed = False
        self._since, self._since_step = time.monotonic(), 0

    @property
    def averaged(self) -> nn.Module:
        """The weights to validate and keep: the moving average where there is one, else the model."""
        return self.model if self.ema is None else self.ema.model

    # One step

    def batch(self, step: int) -> Batch:
        """This process's share of the batch of a step, a pure function of seed and step."""
        return self.batches.draw(step)

    def train_step(self, batch: Batch) -> Tensor:
        """One update of the parameters, unless it is dropped; returns the loss, still on the device."""
        config = self.config
        factor = config.schedule.factor(self.step, config.steps)
        set_rates(self.optimizer, [peak * factor for peak in self._peaks])
        self.optimizer.zero_grad(set_to_none=True)
        self._states.begin()
        loss = torch.zeros((), device=self.device)
        for part in batch.split(config.accumulate):
            loss = loss + self._backward(part, self.scaler)
        loss = self.world.sum_gradients(self._trained, loss)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norm = nn.utils.get_total_norm(gradients)
        if config.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self._trained, config.clip_norm, norm)
        keep = self.watch.judge(loss, norm)
        apply_update(self.optimizer, self.scaler, keep)
        self._states.end(keep)
        if self.ema is not None:
            self.ema.update(self.step)
        self.step += 1
        self.watch.end_step(self.step)
        return loss

    def _check_processes(self) -> None:
        """See that all processes have the same images and teacher: each makes its share of the same batches."""
        taught = self.teacher.content if self.teacher is not None else ""
        for what, own in (("training images", self.data.fingerprint), ("teachers", taught)):
            if self.world.any(self.world.share_object(own) != own, self.device):
                raise ValueError(f"the processes of the run have different {what}; give all of them the same")

    def _check_options(self) -> None:
        """See that what was asked for can be had.

        Raises:
            ValueError: If it cannot; an option that does nothing is an error.
        """
        if self.config.early_stop is not None and not self.validation:
            raise ValueError("early_stop waits for a better score and there are no images to validate on; give some")

    # The run

    def fit(self) -> nn.Module:
        """Train to `config.steps` (or until `config.minutes` are over) and return the averaged model.

        With a folder, a checkpoint is written every `checkpoint_every` steps, at the end, and when the run is told
        to stop (Ctrl+C, SIGTERM), which then has its usual effect.

        Raises:
            FileExistsError: If the folder has a run already that was not resumed.
            ValueError: If the run has diverged: too many updates in a row had to be dropped.
            WorkerLost: If another process of the run has gone.
            OSError: If a checkpoint cannot be written; the one before is still there.
        """
        deadline = time.monotonic() + self.config.minutes * 60 if self.config.minutes is not None else None
        if self.folder is not None and not (self._resumed or self.step) and find_checkpoints(self.folder):
            raise FileExistsError(f"{self.folder} has a run already; call resume() first, or choose another folder")
        self._resumed = True  # a second call goes on
        with ExitStack() as stack:
            stack.callback(self.batches.close)
            for callback in self._listeners:
                stack.callback(callback.close, self)  # all are closed, also where one of them fails
            for callback in self._listeners:
                callback.start(self)
            while True:
                try:
                    with self._interrupts.held():
                        self._run(deadline)
                    return self.averaged.eval()
                except Told as told:
                    self._save_interrupted()
                    told.take_effect()  # the user's handler may return: then the run goes on
                    if self.world.size > 1:  # not of several processes, the others of which have left
                        raise KeyboardInterrupt from None
                except KeyboardInterrupt:
                    self._save_interrupted()
                    raise

    def _run(self, deadline: float | None) -> None:
        """The loop: step, log, validate, save."""
        config, alone = self.config, self.world.size == 1
        to_training_mode(self.model)
        self._since, self._since_step = time.monotonic(), self.step
        if self._owes_validation:  # it was stopped before or in it
            with self._clock_stopped():
                self._validate_and_keep()
                self.save()
        while self.step < config.steps and not self.is_stale:
            with self._interrupts.held_back(whole=False, also_after=True):
                with tuned_convolutions():
                    self.train_step(self.batches.next(self.step))
            stop, out_of_time = self._asked_to_stop(deadline)
            last = self.step == config.steps or out_of_time
            with self._interrupts.held_back(whole=True, also_after=not alone):
                if last or self.step % config.log_every == 0:
                    self._log()
                elif self.step % MOST_DROPPED == 0:
                    self.watch.check()
            if stop:
                raise Told(self._interrupts.pending or signal.SIGINT)
            if self._owes_validation:
                with self._clock_stopped():
                    self._validate_and_keep()
            if last or self.is_stale or self.step % config.checkpoint_every == 0:
                with self._clock_stopped():
                    self.save()
            if out_of_time:
                break

    def _asked_to_stop(self, deadline: float | None) -> tuple[bool, bool]:
        """Whether a signal came, and whether the time is over; several processes agree on it now and then."""
        late = deadline is not None and time.monotonic() > deadline
        if self.world.size == 1:
            return self._interrupts.pending is not None, late
        every = AGREE_EVERY if self.device.type == "cuda" else 1  # asking waits for the device
        if self.step % every and self.step != self.config.steps:
            return False, False
        return self.world.any(self._interrupts.pending is not None, self.device), self.world.any(late, self.device)

    @property
    def _listeners(self) -> Sequence[Callback]:
        return self.callbacks if self.world.is_main else ()

    def _save_interrupted(self) -> None:
        if self._interrupts.is_whole:
            self.seconds += time.monotonic() - self._since
            self.save()

    @contextmanager
    def _clock_stopped(self) -> Iterator[None]:
        """Time in the block is not counted as training."""
        pause = time.monotonic()
        try:
            yield
        finally:
            self._since += time.monotonic() - pause

    def _log(self) -> None:
        """A row of the mean loss since the last one."""
        loss, kept, dropped = self.watch.take()
        now = time.monotonic()
        self.seconds += now - self._since
        speed = (self.step - self._since_step) / max(now - self._since, 1e-9)
        self._since, self._since_step = now, self.step
        row: Row = {"lr": self.config.lr * self.config.schedule.factor(self.step - 1, self.config.steps)}
        if loss is not None:
            row["loss"] = loss
        row["steps_per_second"] = speed
        if dropped:
            row["skipped"] = dropped
            LOGGER.warning("step %d: %d of the last %d updates were dropped", self.step, dropped, kept + dropped)
        self._tell(row)

    def _tell(self, row: Row) -> None:
        for callback in self._listeners:
            callback.log(self, {"step": self.step, "seconds": round(self.seconds, 2), **row})

    # Validation

    def validate(self) -> dict[str, dict[str, dict[str, float | int | str]]]:
        """Scores of the averaged weights on the validation sets: set -> scale -> psnr, ssim, images, protocol."""
        return measure(self.averaged, self.validation)

    @property
    def _owes_validation(self) -> bool:
        """Whether a validation is due at this step and has not been done."""
        due = self.step == self.config.steps or self.step % self.config.validate_every == 0
        return bool(self.validation) and due and self._validated != self.step

    def _validate_and_keep(self) -> None:
        """Score the averaged weights, tell it, and keep them if they are the best so far."""
        scores = self.validate() if self.world.is_main else {}
        if self.step == 0:
            self.first_scores = dict(scores)
        flat = flat_scores(scores)
        psnrs = [value for key, value in flat.items() if key.endswith(" psnr")]
        mean = self.world.share_object(sum(psnrs) / max(1, len(psnrs)))
        mean = mean if math.isfinite(mean) else -math.inf  # never the best
        with self._interrupts.held_back(whole=True, also_after=self.world.size > 1):
            self._tell(dict(flat))
            if not self.best or mean > self.best["psnr"]:
                self.best = {"psnr": mean, "step": self.step, "stale": 0}
                if self.folder is not None and self.world.is_main:
                    self.save_weights(self.folder / BEST, scores)
            else:
                self.best = {**self.best, "stale": self.best["stale"] + 1}
            self._validated = self.step

    @property
    def is_stale(self) -> bool:
        """Whether the score has not risen for as long as `early_stop` allows."""
        limit = self.config.early_stop
        return limit is not None and self.best.get("stale", 0) >= limit

    # State

    def _identity(self) -> dict[str, Any]:
        """What decides the sequence of weights: a run may only go on with the same."""
        return {
            "model": _name(self.model),
            "arguments": dict(self.model.arguments) if isinstance(self.model, SRModel) else {},
            "loss": describe(self.loss),
            "optimizer": describe(self._factory),
            **self.config.trajectory(),
            "scales": list(self.data.scales),
            "data": self.data.fingerprint,
        }

    def _describe_teacher(self) -> dict[str, str] | None:
        """Which teacher it is; its weights are in no checkpoint."""
        return None if self.teacher is None else {"told": self.teacher.told, "content": self.teacher.content}

    def _environment(self) -> dict[str, Any]:
        return describe_environment(self.device, self.precision, self.world.size)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on as if nothing had happened."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "first_scores": self.first_scores,
            "identity": self._identity(),
            "teacher": self._describe_teacher(),
            "config": self.config.to_json(),
            "validated": self._validated,
            "factors": [self.config.schedule.factor(step, self.config.steps) for step in probe_steps(self.step)],
            "environment": self._environment(),
            "model": self.model.state_dict(),
            "ema": self.ema.model.state_dict() if self.ema is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "watch": self.watch.state_dict(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`.

        Another device, precision, number of processes or torch is allowed, and said to change the last bits; so is
        another number of steps where the schedule's past stays the same.

        Raises:
            ValueError: If the run was started with other settings, other images, another model or another teacher.
        """
        check_same_run(state["identity"], self._identity())
        check_same_teacher(state.get("teacher"), self._describe_teacher())
        check_same_schedule(state["factors"], state["step"], self.config.schedule, self.config.steps)
        load_strictly(self.model, state["model"], "the run to resume")
        if self.ema is not None:
            load_strictly(self.ema.model, state["ema"], "the run to resume")
        self.step, self.seconds, self.best = state["step"], state["seconds"], dict(state["best"])
        self.first_scores = dict(state["first_scores"])
        self._validated = state["validated"]
        restore_optimizer(self.optimizer, state["optimizer"])
        if state["scaler"] and self.scaler.is_enabled():
            self.scaler.load_state_dict(state["scaler"])
        self.watch.load_state_dict(state["watch"])
        torch.set_rng_state(state["random"].cpu())
        if state["random_cuda"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random_cuda"].cpu(), self.device)
        if changes := describe_changes(state["environment"], self._environment()):
            LOGGER.warning("the run goes on elsewhere (%s): the last bits of the weights may differ", changes)

    def recipe(self) -> dict[str, Any]:
        """What a weight file's header says of this run: settings, progress, data, teacher, versions, device."""
        teacher = self.teacher
        taught = {"teacher": teacher.told, "teacher_license": teacher.license} if teacher is not None else {}
        return {
            "config": self.config.to_json(),
            "loss": describe(self.loss),
            "optimizer": describe(self._factory),
            "images": self.data.describe() if isinstance(self.data, PatchSource) else None,
            "steps": self.step,
            "seconds": round(self.seconds),
            "data": self.data.fingerprint,
            **taught,
            **self._environment(),
        }

    def save(self) -> None:
        """Write a checkpoint into the folder, if there is one, and let go of the oldest."""
        if self.folder is not None and self.world.is_main:
            for callback in self._listeners:
                callback.saving(self)
            save_newest(self.folder, self.step, self.state_dict(), self.config.keep_last)

    def save_weights(self, path: str | Path, metrics: Mapping[str, Any]) -> None:
        """Write the averaged weights as a weight file with this run's recipe; `metrics` as `validate` gives them."""
        arguments = dict(self.model.arguments) if isinstance(self.model, SRModel) else {}
        header = Header(
            model=getattr(self.model, "name", ""), arguments=arguments, recipe=self.recipe(), metrics=metrics
        )
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write_weights(path, self.averaged.state_dict(), header)

    def resume(self) -> bool:
        """Go on from the folder's newest checkpoint that can be read; False if there is none.

        Raises:
            ValueError: If all are damaged, or they belong to a run with other settings or images.
        """
        found = load_newest(self.folder) if self.folder is not None and self.world.is_main else None
        state = self.world.share_object(found)
        if state is None:
            self._resumed = True
            return False
        self.load_state_dict(state)
        self._resumed = True
        LOGGER.info("resumed at step %d of %d", self.step, self.config.steps)
        return True


def _check_fit(model: nn.Module, data: Patches, validation: Mapping[str, Sequence[Pair]]) -> None:
    """See that a zoo model offers the scales and channels it is to be trained and scored at."""
    if isinstance(model, SRModel):
        pairs = [pair for some in validation.values() for pair in some]
        for scale in (*data.scales, *(pair.scale for pair in pairs)):
            model.check_scale(scale)
        for pair in pairs:
            check_channels(model.channels, pair)
