"""From a model and a folder of images to a folder with everything: weights, log, curves, samples, summary."""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from srzoo.architecture import SRModel
from srzoo.data import DataReport, Folders, ImageFolder, Pair, PatchSource, held_out_pairs, pairs_from_hr
from srzoo.data.degradations import Degradation
from srzoo.data.licences import weights_licence
from srzoo.device import pick_device
from srzoo.hub import HUB
from srzoo.registry import is_path, open_model
from srzoo.train.callbacks import Callback, JsonLines
from srzoo.train.checkpoint import find_checkpoints
from srzoo.train.config import TrainConfig
from srzoo.train.curves import draw_curves
from srzoo.train.losses import L1, Loss
from srzoo.train.optimizers import Adam, OptimizerFactory
from srzoo.train.recipes import suggest_config
from srzoo.train.samples import draw_samples
from srzoo.train.summary import RunFacts, score_bicubic, write_summary
from srzoo.train.teacher import check_teacher
from srzoo.train.trainer import BEST, Trainer
from srzoo.weights import Header, content_hash, load_strictly, read_header, read_tensors, save_model

LOGGER = logging.getLogger("srzoo")
Scores = dict[str, dict[str, dict[str, float | int | str]]]
HELD_OUT = "held-out"
"""Name of the validation set that is split off the training images."""


@dataclass(frozen=True)
class FineTuned:
    """What a run left.

    Args:
        folder: Where everything is; `srzoo upscale photo.png --model FOLDER` uses it.
        model: The trained network with the weights of `model.safetensors`, in eval mode.
        steps: Steps done.
        finished: Whether these are all; if not, the same call with `resume=True` goes on.
        seconds: Time spent training.
        before: Scores before step 1 (of bicubic, where the model had learnt nothing): set -> scale -> psnr, ssim,
            images, protocol.
        after: Scores of the weights that were kept.
    """

    folder: Path
    model: SRModel
    steps: int
    finished: bool
    seconds: float
    before: Scores
    after: Scores

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        return {
            "weights": str(self.folder / "model.safetensors"),
            "steps": self.steps,
            "finished": self.finished,
            "seconds": round(self.seconds),
            "before": self.before,
            "scores": self.after,
        }


@dataclass(frozen=True)
class Start:
    """What a model is before step 1, for the record.

    Args:
        told: In words: "the weights edsr_baseline_x4.photos", "random weights".
        learnt: Whether it can upscale: then its scores are the ones to compare with, else bicubic's.
        license: SPDX identifier of the weights' licence, which fine-tuned ones take over.
    """

    told: str = "random weights"
    learnt: bool = False
    license: str = ""

    @classmethod
    def of(cls, model: SRModel) -> "Start":
        """What a model made by `create_model` or `load_model` is: its weights and their licence, or nothing yet.

        Examples:
            >>> import srzoo
            >>> Start.of(srzoo.create_model("edsr_baseline_x2.photos"))
            Start(told='the weights edsr_baseline_x2.photos', learnt=True, license='CC-BY-SA-4.0')
        """
        if model.origin is None:
            return cls()
        return cls(f"the weights {name_weights(model)}", learnt=True, license=model.origin.license)


def name_weights(model: SRModel) -> str:
    """What the weights of a model are called in a record: a name that means the same on every machine.

    Those of the zoo and of the Hub have one; a file is told by its model and the hash of its tensors.

    Examples:
        >>> import srzoo
        >>> name_weights(srzoo.create_model("edsr_baseline_x2", pretrained=True))
        'edsr_baseline_x2.photos'
        >>> name_weights(srzoo.create_model("bicubic_x2"))
        'bicubic_x2, content e3b0c442'
    """
    given = model.origin.name if model.origin is not None else ""
    if given and (given.startswith(HUB) or not is_path(given)):
        return given
    is_file = given.endswith(".safetensors") and Path(given).is_file()
    content = read_header(given).content if is_file else content_hash(model.state_dict())
    return f"{model.name or type(model).__name__}, content {content[:8]}"


def prepare(
    model: SRModel,
    images: Folders,
    *,
    validation: str | Path | ImageFolder | float | None = 0.1,
    degradation: Degradation | None = None,
    **options: Any,
) -> tuple[PatchSource, dict[str, list[Pair]]]:
    """The source of patches for a model and the pairs to validate on.

    Args:
        model: It says the scales and channels.
        images: Folders of HR images, as `PatchSource` takes them.
        validation: A folder of HR images (an `ImageFolder` where it has LR images of its own), whose LR images are
            made as those to train on; or the share of the images to hold out; None (or 0) validates on nothing.
        degradation: How LR images are made; None for MATLAB's bicubic or the LR images that are there.
        options: For `PatchSource`.

    Raises:
        FileNotFoundError, ValueError: As `PatchSource`, `split_images` and `pairs_from_hr` do.
    """
    options |= {"scales": model.scales, "channels": model.channels, "degradation": degradation}
    source = PatchSource(images, **options)
    if not validation:
        return source, {}
    if isinstance(validation, float | int):
        held = source.hold_out(validation)
        pairs = [pair for scale in model.scales for pair in held_out_pairs(source, held, scale)]
        return (source.without(held), {HELD_OUT: pairs}) if held else (source, {})
    folder = validation if isinstance(validation, ImageFolder) else ImageFolder(validation)
    if folder.lr is None and any(given.lr is not None for given in source.folders):
        LOGGER.warning("the LR images to validate on are MATLAB's bicubic of %s, those to train on are not", folder.hr)
    other = PatchSource(folder, **options)
    if copies := source.copies_of(other):
        LOGGER.warning("%d images to validate on are not trained on, though they are in both folders", len(copies))
        source = source.without(copies)
    if degradation is None and folder.lr is None and model.channels == 3:  # grey files are scored as grey
        pairs = [pair for scale in model.scales for pair in pairs_from_hr(folder.hr, scale)]
    else:
        whole = max(max(other.images(name, model.scales[0])[0].shape) for name in other.names)
        pairs = [p for scale in model.scales for p in held_out_pairs(other, other.names, scale, most_side=whole)]
    return source, {_set_name(folder.hr): pairs}


def _set_name(folder: str | Path) -> str:
    """What a folder of images is called in scores: `Set5` for `Set5/HR`."""
    path = Path(folder).resolve()
    return path.parent.name if path.name.upper() == "HR" and path.parent.name else path.name


def fine_tune(
    model: SRModel,
    images: Folders,
    folder: str | Path,
    config: TrainConfig | None = None,
    *,
    start: Start | None = None,
    validation: str | Path | ImageFolder | float | None = 0.1,
    degradation: Degradation | None = None,
    loss: Loss = L1(),  # noqa: B008 - frozen
    optimizer: OptimizerFactory = Adam(),  # noqa: B008 - frozen
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    teacher: SRModel | str | Path | None = None,
) -> FineTuned:
    """Train a model on a folder of images and leave a folder with everything that came of it.

    `folder` gets `model.safetensors` (the averaged weights with the best validation score, with a full header),
    `log.jsonl`, `curves.png`, `samples/`, `summary.md`, and `best.safetensors` and `checkpoints/` to resume from.

    Args:
        model: From `create_model`, with pretrained weights or without; it is trained in place.
        images: Folder of HR images, `ImageFolder`, or several.
        folder: Where everything goes.
        config: Settings; None takes `suggest_config` for that many images.
        start: What the model is now; None asks the model (`Start.of`).
        validation: A folder of HR images, or the share of the images to hold out; None validates on nothing.
        degradation: How LR images are made; None for MATLAB's bicubic or the LR images that are there.
        loss: (sr, hr) -> scalar.
        optimizer: Factory of the optimizer.
        callbacks: Told of the run, besides the log.
        resume: Go on from the folder's newest checkpoint, if there is one.
        teacher: A trained model, or what `open_model` takes, such as `"mdsr_baseline"`: its outputs for the LR patches
            are learnt in place of the HR patches.

    Raises:
        FileExistsError: If the folder has a run already and `resume` is off.
        FileNotFoundError, ValueError, OSError: As `PatchSource`, `Trainer` and `open_model` do.

    Examples:
        ```python
        model = srzoo.create_model("edsr_baseline_x4", pretrained=True)
        fine_tune(model, "my_photos/", "runs/mine")
        ```
    """
    if teacher is not None:
        teacher = open_model(teacher) if isinstance(teacher, str | Path) else teacher
        check_teacher(teacher, model.scales, model.channels)  # before images are decoded
    source, sets = prepare(model, images, validation=validation, degradation=degradation)
    start = start or Start.of(model)
    on_gpu = pick_device("auto").type == "cuda"
    config = config or suggest_config(len(source.names), on_gpu=on_gpu, learnt=start.learnt)
    return train_prepared(
        model, source, sets, folder, config,
        start=start, loss=loss, optimizer=optimizer, callbacks=callbacks, resume=resume, teacher=teacher,
    )  # fmt: skip


def train_prepared(
    model: SRModel,
    source: PatchSource,
    sets: Mapping[str, Sequence[Pair]],
    folder: str | Path,
    config: TrainConfig,
    *,
    start: Start,
    loss: Loss,
    optimizer: OptimizerFactory,
    callbacks: Sequence[Callback] = (),
    resume: bool = False,
    teacher: SRModel | None = None,
) -> FineTuned:
    """As `fine_tune`, from what `prepare` gives.

    Raises:
        FileExistsError: If the folder has a run already and `resume` is off.
        ValueError, OSError: As `Trainer` does.
    """
    folder = Path(folder)
    if find_checkpoints(folder) and not resume:
        raise FileExistsError(f"{folder} has a run already; resume it (--resume), or choose another folder (--run)")
    folder.mkdir(parents=True, exist_ok=True)
    found = source.check(config.patch_size)
    first = copy.deepcopy(model).eval() if start.learnt else None
    trainer = Trainer(
        model, source, config, loss=loss, optimizer=optimizer, folder=folder, validation=sets,
        score_start=start.learnt and bool(sets),
        callbacks=[JsonLines(folder / "log.jsonl"), *callbacks], teacher=teacher,
    )  # fmt: skip
    if resume and not trainer.resume():
        LOGGER.info("there is nothing to resume in %s; starting at step 0", folder)
    trainer.fit()
    return _finish(trainer, model, first, found, start)


def _finish(trainer: Trainer, model: SRModel, first: SRModel | None, found: DataReport, start: Start) -> FineTuned:
    """Write what the run leaves, in the first process; the others have the same weights and no scores."""
    folder = trainer.folder
    assert folder is not None
    kept = copy.deepcopy(trainer.averaged).eval()
    assert isinstance(kept, SRModel)
    finished = trainer.step >= trainer.config.steps or trainer.is_stale
    if not trainer.world.is_main:
        return FineTuned(folder, kept, trainer.step, finished, trainer.seconds, {}, {})
    bicubic = score_bicubic(trainer.validation)
    before = trainer.first_scores if start.learnt else bicubic
    recipe = {
        **trainer.recipe(),
        "start": start.told,
        "start_license": start.license,
        "before": before,
        "kept_step": trainer.step,
    }
    if trainer.best and (folder / BEST).exists():
        header = read_header(folder / BEST)
        load_strictly(kept, read_tensors(folder / BEST, header), BEST)
        after, recipe["kept_step"] = dict(header.metrics), header.recipe["steps"]
    else:
        after = trainer.validate()
    images = recipe["images"] or {}
    pictures = images.get("pictures", {})
    teacher = recipe.get("teacher", "")
    license = weights_licence(start.license, [*pictures, *recipe.get("teacher_license", "").split(" AND ")])
    told = f"fine-tuned by srzoo train from {start.told}" if start.learnt else "trained by srzoo train"
    told += f", with the teacher {teacher}" if teacher else ""
    header = Header(model=model.name, license=license, source=told, recipe=recipe, metrics=after)
    save_model(kept, folder / "model.safetensors", header=header)
    facts = RunFacts(
        model=model.name,
        start=start.told,
        teacher=teacher,
        num_images=found.images,
        megapixels=found.megapixels,
        fingerprint=trainer.data.fingerprint,
        left_out=found.warnings(),
        num_left_out=count_left_out(found, len(model.scales)),
        steps=trainer.step,
        seconds=trainer.seconds,
        device=f"{recipe['device']}, {recipe['precision']}, {recipe['threads']} threads",
        settings=describe_settings(trainer.config),
        license=license,
        pictures=pictures,
        left_out_by_licence=images.get("left_out", {}),
        bicubic=bicubic,
        before=before if first is not None else None,
        after=after,
    )
    pairs = [pair for some in trainer.validation.values() for pair in some]
    samples = draw_samples(pairs, first, kept, folder / "samples") if pairs else []
    write_summary(folder, facts, curves=draw_curves(folder / "log.jsonl", folder / "curves.png"), samples=samples)
    return FineTuned(folder, kept, trainer.step, finished, trainer.seconds, before, after)


def describe_settings(config: TrainConfig) -> str:
    """The settings that matter most, in words.

    Examples:
        >>> describe_settings(TrainConfig(batch_size=4, lr=3e-4))
        'batches of 4 patches of 48 LR pixels, lr 0.0003, schedule Halving'
    """
    schedule = type(config.schedule).__name__
    patches = f"{config.batch_size} patches of {config.patch_size} LR pixels"
    return f"batches of {patches}, lr {config.lr:g}, schedule {schedule}"


def count_left_out(found: DataReport, num_scales: int) -> int:
    """Images that are drawn at no scale: unreadable, copies, or too small at all scales.

    Examples:
        >>> found = DataReport(48, 5, 1.0, unreadable=("a.png: torn",), duplicates=(("b.png", "c.png"),))
        >>> count_left_out(found, 1)
        2
    """
    everywhere = len(found.too_small) == num_scales
    small = set.intersection(*map(set, found.too_small.values())) if everywhere else set()
    return len(found.unreadable) + sum(len(group) - 1 for group in found.duplicates) + len(small)
