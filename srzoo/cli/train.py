"""`srzoo train`: train or fine-tune a model on a folder of images."""

import argparse
import csv
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import torch

from srzoo.architecture import SRModel
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.data.cache import cache_root
from srzoo.registry import create_model, open_model
from srzoo.train import (
    BarProgress,
    Callback,
    Cosine,
    Halving,
    JsonLines,
    PlainProgress,
    TrainConfig,
    Trainer,
    warm_start,
)
from srzoo.train.trainer import CHECKPOINT
from srzoo.weights import Header, save_model

LOGGER = logging.getLogger("srzoo")


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "train",
        help="train or fine-tune a model",
        description="Train a model on a folder of HR images; LR images are made by MATLAB's bicubic. "
        "The folder of the run gets log.jsonl, checkpoint.safetensors and, at the end, MODEL.safetensors.",
    )
    defaults = TrainConfig()
    parser.add_argument(
        "--model",
        required=True,
        help="model name; with a tag, or with --pretrained, its weights are fine-tuned",
    )
    parser.add_argument("--data", required=True, help="folder of HR images")
    parser.add_argument("--pretrained", action="store_true", help="start from the model's pretrained weights")
    parser.add_argument(
        "--init",
        metavar="MODEL|FILE",
        help="start from what fits of another model (x4 from x2, as the paper does)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="constructor argument, such as width=32",
    )
    parser.add_argument("--validation", metavar="DIR", help="folder of HR images to score on")
    parser.add_argument("--scores", metavar="CSV", help="draw images in proportion to a score: columns file, score")
    parser.add_argument(
        "--run",
        dest="folder",
        metavar="DIR",
        help="folder of the run (default: $SRZOO_RUNS or the user's cache, by model)",
    )
    parser.add_argument("--resume", action="store_true", help="go on from the run's checkpoint")
    parser.add_argument("--schedule", choices=("halving", "cosine"), default="halving")
    parser.add_argument("--halve-every", type=int, metavar="N", help="steps, for --schedule halving (default: 200000)")
    parser.add_argument("--warmup", type=int, metavar="N", help="steps, for --schedule cosine (default: 200)")
    for name, kind in (
        ("steps", int), ("batch_size", int), ("patch_size", int), ("lr", float), ("clip_norm", float),
        ("ema_decay", float), ("seed", int), ("validate_every", int),
        ("checkpoint_every", int), ("log_every", int), ("minutes", float),
    ):  # fmt: skip
        value = getattr(defaults, name)
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=kind, default=value, metavar="N", help=f"default: {value}"
        )
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quiet", action="store_true", help="no progress")
    parser.add_argument("--json", action="store_true", help="machine-readable result")
    parser.set_defaults(run=run)


def parse_overrides(pairs: list[str]) -> dict[str, Any]:
    """`width=32` and the like as constructor arguments; values are JSON.

    Raises:
        ValueError: If one has no `=` or no plain value.

    Examples:
        >>> parse_overrides(["width=32", "res_scale=0.1"])
        {'width': 32, 'res_scale': 0.1}
    """
    overrides = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        try:
            overrides[key] = json.loads(value)
        except json.JSONDecodeError:
            equals = ""
        if not equals:
            raise ValueError(f"--set {pair!r} is not KEY=VALUE with a plain value, such as width=32")
    return overrides


def read_scores(path: str) -> dict[str, float]:
    """Image file -> score, from a CSV file with columns `file` and `score`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing or a score is no number.
    """
    with open(path, newline="", encoding="utf-8") as file:
        try:
            return {row["file"]: float(row["score"]) for row in csv.DictReader(file)}
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} needs columns file and score, with numbers ({error})") from error


def _start_model(args: argparse.Namespace) -> SRModel:
    """The model to train, with the start the user asked for."""
    model = create_model(args.model, pretrained=args.pretrained, **parse_overrides(args.set))
    if args.init:
        if args.pretrained or "." in args.model:
            raise ValueError("--init and pretrained weights are two starts; give one of them")
        started = warm_start(model, open_model(args.init))
        LOGGER.info("started from %s: %d tensors copied, %d fresh", args.init, len(started.copied), len(started.fresh))
    return model


def _config(args: argparse.Namespace) -> TrainConfig:
    other = {"halving": "warmup", "cosine": "halve_every"}[args.schedule]
    if getattr(args, other) is not None:
        raise ValueError(f"--{other.replace('_', '-')} does not go with --schedule {args.schedule}")
    if args.schedule == "halving":
        schedule = Halving() if args.halve_every is None else Halving(args.halve_every)
    else:
        schedule = Cosine() if args.warmup is None else Cosine(args.warmup)
    names = (
        "steps", "batch_size", "patch_size", "lr", "clip_norm", "seed", "validate_every", "checkpoint_every",
        "log_every", "minutes", "precision", "device",
    )  # fmt: skip
    given = {name: getattr(args, name) for name in names}
    return TrainConfig(schedule=schedule, ema_decay=args.ema_decay or None, **given)


def _folder(args: argparse.Namespace) -> Path:
    """The run's folder; an earlier run in it is only ever resumed."""
    root = Path(os.environ.get("SRZOO_RUNS", cache_root() / "runs"))
    folder = Path(args.folder) if args.folder else root / args.model
    if (folder / CHECKPOINT).exists() and not args.resume:
        raise FileExistsError(f"{folder} has a run already; give --resume to go on with it, or another --run")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def run(args: argparse.Namespace) -> int:
    """Train, save the averaged weights, say where they are."""
    config = _config(args)
    torch.manual_seed(args.seed)
    model = _start_model(args)
    weights = read_scores(args.scores) if args.scores else None
    data = PatchSource(args.data, scales=model.scales, channels=model.channels, weights=weights)
    validation = {}
    if args.validation:
        pairs = [pair for scale in model.scales for pair in pairs_from_hr(args.validation, scale)]
        validation[Path(args.validation).resolve().name] = pairs
    folder = _folder(args)
    callbacks: list[Callback] = [JsonLines(folder / "log.jsonl")]
    if not (args.quiet or args.json):
        callbacks.append(BarProgress() if sys.stderr.isatty() else PlainProgress())
    trainer = Trainer(model, data, config, folder=folder, validation=validation, callbacks=callbacks)
    if args.resume and not trainer.resume():
        LOGGER.info("there is nothing to resume in %s; starting at step 0", folder)
    trained = trainer.fit()
    assert isinstance(trained, SRModel)
    scores = trainer.validate()
    target = folder / f"{model.name}.safetensors"
    save_model(trained, target, header=Header(model=model.name, recipe=trainer.recipe(), metrics=scores))
    result = {
        "weights": str(target),
        "steps": trainer.step,
        "of": config.steps,
        "seconds": round(trainer.seconds),
        "scores": scores,
    }
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{target} after step {trainer.step} of {config.steps}; use it: srzoo upscale photo.png --model {target}")
    return 0
