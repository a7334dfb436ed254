"""`srzoo train`: train or fine-tune a model on folders of images."""

import argparse
import json
import logging
import sys
import time
from pathlib import Path
from typing import Any

import torch

from srzoo.architecture import SRModel
from srzoo.cli.fitting import run_fit
from srzoo.cli.sigterm import sigterm_exits
from srzoo.cli.training_inputs import (
    read_degradation,
    read_folders,
    read_model,
    read_teacher,
    read_validation,
    run_folder,
)
from srzoo.cli.training_options import add_options, read_config, read_loss, read_optimizer
from srzoo.data import PatchSource
from srzoo.data.cache import Report
from srzoo.device import pick_device
from srzoo.train import (
    RECIPES,
    BarProgress,
    Callback,
    FineTuned,
    PlainProgress,
    Start,
    TensorBoard,
    TrainConfig,
    Trainer,
    WorkerLost,
    World,
    joined_world,
)
from srzoo.train.checkpoint import find_checkpoints
from srzoo.train.checkpoint import read_config as read_run_config
from srzoo.train.estimate import Estimate, estimate_run
from srzoo.train.finetune import prepare, train_prepared
from srzoo.train.fitting import find_fit
from srzoo.train.recipes import check_recipe

LOGGER = logging.getLogger("srzoo")


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "train",
        help="train or fine-tune a model",
        description="Train a model on folders of images. The folder of the run gets model.safetensors, summary.md, "
        "curves.png, samples/, log.jsonl and checkpoints/ to resume from. Without --recipe or options, the settings "
        "are chosen by the number of images.",
        epilog="aplus_x2, aplus_x3 and aplus_x4 are fitted, without steps: they take the options on images, --set, "
        "--seed, --run, --quiet and --json, and any other is an error; see the guide to fitting in the documentation.",
    )
    add_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Train, and leave a folder with everything that came of it; under torchrun, as one of several processes."""
    if (fit := find_fit(args.model)) is not None:
        with sigterm_exits():
            return run_fit(args, fit)
    try:
        with sigterm_exits(), joined_world(args.device or "auto") as (world, device):
            if not world.is_main:
                LOGGER.setLevel(logging.ERROR)
            return _train(args, device, world)
    except WorkerLost:  # which was told in the log when it was noticed
        return 1


def _train(args: argparse.Namespace, device: str, world: World) -> int:
    seed = args.seed if args.seed is not None else RECIPES[args.recipe].config.seed if args.recipe else 0
    torch.manual_seed(max(0, seed))
    model, start = read_model(args)
    if find_fit(model.name) is not None:
        raise ValueError(
            f"{args.model} holds a fitted model, which cannot be trained further; give --model {model.name}"
        )
    if args.recipe:
        check_recipe(RECIPES[args.recipe], model.name)
    on_gpu = pick_device(device).type == "cuda"
    read_config(args, 100, start, device, on_gpu)  # settings that cannot be are told before images are decoded
    loss, optimizer, folders = read_loss(args, model), read_optimizer(args), read_folders(args)
    teacher = read_teacher(args, model)
    folder = run_folder(args, model.name)
    if find_checkpoints(folder) and not args.resume:
        raise FileExistsError(f"{folder} has a run already; give --resume to go on with it, or another --run")
    recorded = world.share_object(read_run_config(folder) if args.resume and world.is_main else None)
    source, sets = prepare(
        model,
        folders,
        validation=read_validation(args.validation),
        degradation=read_degradation(args),
        report=_decoding() if world.is_main and not (args.quiet or args.json) else None,
    )
    config = read_config(args, len(source.names), start, device, on_gpu, recorded)
    if args.dry_run:
        trainer = Trainer(model, source, config, loss=loss, optimizer=optimizer, validation=sets, teacher=teacher)
        trainer.step = recorded["step"] if recorded else 0
        estimate = estimate_run(trainer)
        if world.is_main:
            _tell_plan(args, trainer, source, start, folder, estimate)
        return 0
    tells = world.is_main
    callbacks: list[Callback] = []
    if tells and not (args.quiet or args.json):
        callbacks.append(BarProgress() if sys.stderr.isatty() else PlainProgress())
    if args.tensorboard:
        callbacks.append(TensorBoard(folder / "tensorboard"))
    try:
        result = train_prepared(
            model, source, sets, folder, config, start=start,
            loss=loss, optimizer=optimizer, callbacks=callbacks, resume=args.resume, teacher=teacher,
        )  # fmt: skip
    except (KeyboardInterrupt, SystemExit) as told:
        if tells and (saved := find_checkpoints(folder)):
            step = int(saved[-1].stem.removeprefix("step_"))
            sys.stderr.write(
                f"srzoo: stopped at step {step}, saved in {folder}; go on with the same command and --resume\n"
            )
        raise SystemExit(130 if isinstance(told, KeyboardInterrupt) else told.code) from None
    if tells:
        _tell_result(result, config, args.json)
    return 0


def _decoding() -> Report:
    """A listener that writes a line every few seconds while images are decoded."""
    last = time.monotonic()

    def report(done: int, total: int, what: str) -> None:
        nonlocal last
        if time.monotonic() - last > 5:
            last = time.monotonic()
            sys.stderr.write(f"{what}: {done} of {total} images\n")

    return report


def _tell_result(result: FineTuned, config: TrainConfig, as_json: bool) -> None:
    """What came of the run, and the line to type next."""
    if as_json:
        print(json.dumps({**result.to_json(), "of": config.steps}, indent=2))
        return
    for name, scales in result.after.items():
        for scale, entry in scales.items():
            was = result.before.get(name, {}).get(scale)
            gain = f" (was {was['psnr']:.2f})" if was else ""
            print(f"{name} {scale}: {entry['psnr']:.2f} dB{gain}")
    if not result.finished:
        print(f"step {result.steps} of {config.steps}: go on with the same command and --resume")
    print(f"{result.folder / 'summary.md'} tells more; use it: srzoo upscale photo.png --model {result.folder}")


def _tell_plan(
    args: argparse.Namespace, trainer: Trainer, source: PatchSource, start: Start, folder: Path, estimate: Estimate
) -> None:
    """Print what would be done, with time and memory measured on a few steps."""
    config, sets, model = trainer.config, trainer.validation, trainer.model
    assert isinstance(model, SRModel)
    found = source.inspect(config.patch_size)
    if args.json:
        told = {
            "model": model.name,
            "start": start.told,
            "teacher": trainer.teacher.told if trainer.teacher else None,
            "images": found.images,
            "megapixels": found.megapixels,
            "left_out": found.warnings(),
            "validation": {name: len(pairs) for name, pairs in sets.items()},
            "config": config.to_json(),
            "precision": trainer.precision,
            "device": str(trainer.device),
            "folder": str(folder),
            **estimate.to_json(),
        }
        print(json.dumps(told, indent=2))
        return
    hours = estimate.hours
    duration = f"{hours:.1f} hours" if hours >= 2 else f"{hours * 60:.0f} minutes"
    memory = f"{estimate.memory_mib:,.0f} MiB" if estimate.memory_mib is not None else "unknown"
    rows = {
        "model": f"{model.name}, {sum(p.numel() for p in model.parameters()):,} parameters, from {start.told}",
        **({"teacher": trainer.teacher.told} if trainer.teacher else {}),
        "images": "; ".join(found.lines()),
        "validation": ", ".join(f"{len(pairs)} pairs of {name}" for name, pairs in sets.items()) or "none",
        "settings": f"{config.steps:,} steps of {config.batch_size} patches of {config.patch_size} LR pixels, "
        f"lr {config.lr:g}, {config.schedule}",
        "device": f"{trainer.device}, {trainer.precision}",
        "time": f"{duration} and validation, at {estimate.steps_per_second:.2f} steps/s "
        f"({estimate.steps_tried} steps tried)",
        "memory": f"{memory} at the most",
        "folder": f"{folder} (nothing was written)",
    }
    for key, value in rows.items():
        print(f"{key:11} {value}")
