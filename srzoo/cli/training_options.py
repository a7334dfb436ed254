"""The options of `srzoo train` and what they stand for."""

import argparse
import csv
import json
import logging
import os
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from srzoo.architecture import SRModel
from srzoo.data import Degradation, ImageFolder, hub_folder
from srzoo.data.cache import cache_root
from srzoo.data.licences import Licences, has_licences, read_licences
from srzoo.data.presets import PRESETS
from srzoo.registry import create_model, is_path, open_model
from srzoo.train import (
    L1,
    MSE,
    RECIPES,
    SGD,
    SSIM,
    Adam,
    AdamW,
    Charbonnier,
    Constant,
    Cosine,
    FFTAmplitude,
    Halving,
    Loss,
    OnLuma,
    OptimizerFactory,
    Perceptual,
    Recipe,
    Schedule,
    Start,
    Timm,
    TrainConfig,
    WarmStart,
    suggest_config,
    warm_start,
)
from srzoo.train.growing import grow_to, num_blocks_of

LOGGER = logging.getLogger("srzoo")

LOSSES: dict[str, Callable[[], Loss]] = {
    "l1": L1,
    "mse": MSE,
    "charbonnier": Charbonnier,
    "luma-l1": lambda: OnLuma(L1()),
    "luma-mse": lambda: OnLuma(MSE()),
    "l1+ssim": lambda: L1() + 0.1 * SSIM(),
    "l1+fft": lambda: L1() + 0.1 * FFTAmplitude(),
    "l1+perceptual": lambda: L1() + 0.01 * Perceptual(),
}
OPTIMIZERS: dict[str, Callable[[], OptimizerFactory]] = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def _degradation(name: str) -> Degradation | None:
    """A degradation by name; None for bicubic, whose LR images are made once."""
    return None if name == "bicubic" else PRESETS[name]


DEGRADATIONS: dict[str, Callable[[], Degradation | None]] = {name: partial(_degradation, name) for name in PRESETS}
NUMBERS: dict[str, tuple[type, str]] = {
    "steps": (int, "parameter updates"),
    "batch_size": (int, "patches of an update, over all processes"),
    "accumulate": (int, "micro-batches an update is made in, to save memory"),
    "patch_size": (int, "side of the LR patch in pixels"),
    "lr": (float, "peak learning rate"),
    "clip_norm": (float, "largest norm of the gradient"),
    "skip_above": (float, "drop updates whose loss is above this many times the mean"),
    "ema_decay": (float, "of the averaged weights; 0 keeps none"),
    "seed": (int, "of the first weights and of all that is drawn"),
    "validate_every": (int, "steps"),
    "checkpoint_every": (int, "steps"),
    "keep_last": (int, "checkpoints to keep"),
    "log_every": (int, "steps"),
    "minutes": (float, "stop after this long; --resume goes on"),
    "early_stop": (int, "stop when the score has not risen for so many validations"),
}


class _ListRecipes(argparse.Action):
    """Print the recipes and leave."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        for recipe in RECIPES.values():
            print(describe_recipe(recipe))
        parser.exit()


def describe_recipe(recipe: Recipe) -> str:
    """A recipe in a few lines."""
    told = recipe.to_json()
    config, default = told.pop("config"), TrainConfig().to_json()
    changed = {key: value for key, value in config.items() if key in ("steps", "lr") or value != default[key]}
    rows = {
        "for": ", ".join(recipe.models),
        "settings": ", ".join(f"{key} {json.dumps(value)}" for key, value in changed.items()),
        **{key: told[key] for key in ("start", "data", "source", "reached")},
    }
    lines = [
        textwrap.fill(f"{key:9} {value}", 110, initial_indent="  ", subsequent_indent=" " * 12)
        for key, value in rows.items()
    ]
    return "\n".join([f"{recipe.name}: {recipe.title}", *lines])


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `srzoo train`."""
    add = parser.add_argument
    add("--model", required=True, help="model name; with a tag, or with --pretrained, its weights are fine-tuned")
    add(
        "--data",
        required=True,
        action="append",
        metavar="DIR",
        help="folder of HR images, or hf-hub:OWNER/NAME of a dataset; may be given several times",
    )
    add("--data-lr", action="append", metavar="DIR", help="folder of LR images of each --data (default: made from HR)")
    add("--data-share", action="append", type=float, metavar="W", help="share of the patches from each --data")
    add("--scores", metavar="CSV", help="draw images in proportion to a score: columns file, score")
    add(
        "--licences",
        metavar="CSV",
        help="count the pictures by licence in the run's header: columns file, licence, and original of crops "
        "(default: the file of --scores, if it has them)",
    )
    add(
        "--leave-out",
        action="append",
        default=[],
        metavar="LICENCE",
        help="do not train on images under it: share-alike, or a pattern such as 'CC-BY-NC*'; may be repeated",
    )
    add("--degradation", choices=tuple(DEGRADATIONS), default="bicubic", help="how LR images are made")
    add(
        "--validation",
        metavar="DIR|SHARE",
        default="0.1",
        help="folder of HR images to score on, or the share of the images to hold out, or 0 (default: 0.1)",
    )
    add("--pretrained", action="store_true", help="start from the model's pretrained weights")
    add(
        "--init",
        action="append",
        default=[],
        metavar="MODEL|FILE",
        help="start from what fits of another model (x4 from x2, as the paper does); may be given several times",
    )
    add("--set", action="append", default=[], metavar="KEY=VALUE", help="constructor argument, such as width=32")
    add("--freeze", action="append", default=[], metavar="PART", help="part that keeps its weights, such as body")
    add("--rate", action="append", default=[], metavar="PART=F", help="factor on the learning rate of a part")
    add("--recipe", choices=tuple(RECIPES), help="settings by name; options given beside it come first")
    add("--list-recipes", action=_ListRecipes, nargs=0, help="print the recipes and leave")
    add("--schedule", choices=("cosine", "halving", "constant"), help="default: cosine")
    add("--halve-every", type=int, metavar="N", help="steps, for --schedule halving (default: 200000)")
    add("--warmup", type=int, metavar="N", help="steps, for --schedule cosine (default: a tenth, at most 100)")
    for name, (kind, told) in NUMBERS.items():
        add(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=told)
    add("--loss", choices=tuple(LOSSES), help="default: l1, the paper's")
    add("--optimizer", metavar="NAME", help="adam (default), adamw, sgd, or timm:NAME for one of timm's")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"))
    add("--device")
    add("--capture", choices=("auto", "none", "graph", "compile"), help="how a step is run (auto: graph on CUDA)")
    add(
        "--run",
        "--folder",
        dest="folder",
        metavar="DIR",
        help="folder of the run (default: $SRZOO_RUNS or the user's cache, by model)",
    )
    add("--resume", action="store_true", help="go on from the run's newest checkpoint")
    add("--dry-run", action="store_true", help="say what would be done, with time and memory, and leave")
    add("--tensorboard", action="store_true", help="also write curves and images for TensorBoard")
    add("--quiet", action="store_true", help="no progress")
    add("--json", action="store_true", help="machine-readable result")  # fmt: skip


def parse_overrides(pairs: list[str], option: str = "--set") -> dict[str, Any]:
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
            raise ValueError(f"{option} {pair!r} is not KEY=VALUE with a plain value, such as width=32")
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


def read_model(args: argparse.Namespace) -> tuple[SRModel, Start]:
    """The model to train, and what it starts from.

    Raises:
        ValueError: If there are two starts, or nothing of what it is to start from fits.
    """
    overrides = parse_overrides(args.set)
    is_pretrained = args.pretrained or is_path(args.model) or "." in args.model
    if args.init and is_pretrained:
        raise ValueError("--init and pretrained weights are two starts; give one of them")
    if is_pretrained:
        model = open_model(args.model)
        start = Start.of(model)
        if overrides:  # such as channels=1: what fits, and what can be made to fit
            model, _ = _started(create_model(model.name, **{**model.arguments, **overrides}), [model])
        return model, start
    model = create_model(args.model, **overrides)
    if not args.init:
        return model, Start()
    sources = [open_model(name) for name in args.init]
    licenses = sorted({source.origin.license for source in sources if source.origin is not None} - {""})
    model, started = _started(model, sources)
    told = f"{'parts' if started.fresh else 'all'} of {' and '.join(args.init)}"
    return model, Start(told, learnt=not started.fresh, license=" AND ".join(licenses))


def _started(model: SRModel, sources: list[SRModel]) -> tuple[SRModel, WarmStart]:
    """The model with what fits of others; shallower ones are grown to its depth first."""
    grown = [grow_to(model, source) for source in sources]
    for new, source in zip(grown, sources, strict=True):
        if new is not source:
            told = f"{num_blocks_of(new) - num_blocks_of(source)} blocks that change nothing"
            LOGGER.info("%s was grown to %d blocks: %s", source.name, num_blocks_of(new), told)
    started = warm_start(model, *grown)
    told = ", ".join(f"{len(getattr(started, key))} {key}" for key in ("copied", "adapted", "fresh"))
    LOGGER.info("tensors of %s: %s", model.name, told)
    return model, started


def read_picture_licences(args: argparse.Namespace) -> Licences | None:
    """The licences of the training images, if they are given.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no such columns, or something is to be left out and no licences are given.
    """
    path = args.licences or (args.scores if args.scores and has_licences(args.scores) else None)
    if args.leave_out and path is None:
        raise ValueError(
            f"--leave-out {args.leave_out[0]} needs the licence of each image; give --licences CSV with columns file "
            "and licence"
        )
    return read_licences(path) if path else None


def read_folders(args: argparse.Namespace) -> list[ImageFolder]:
    """The training images.

    Raises:
        ValueError: If there are not as many `--data-lr` or `--data-share` as `--data`, or `--scores` or `--licences`
            meets several; and as `read_picture_licences` does.
    """
    for name in ("data_lr", "data_share"):
        given = getattr(args, name)
        if given is not None and len(given) != len(args.data):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(
                f"there are {len(args.data)} --data and {len(given)} {option}; give one for each, in order"
            )
    if args.scores and len(args.data) > 1:
        raise ValueError("--scores goes with a single --data; for several folders give --data-share")
    if args.licences and len(args.data) > 1:
        raise ValueError(
            "--licences goes with a single --data; several are given theirs in Python, by srzoo.data.ImageFolder"
        )
    licences = read_picture_licences(args)
    return [
        ImageFolder(
            hub_folder(folder.removeprefix("hf-hub:")) if folder.startswith("hf-hub:") else folder,
            lr=args.data_lr[i] if args.data_lr else None,
            weight=args.data_share[i] if args.data_share else None,
            scores=read_scores(args.scores) if args.scores else None,
            licences=licences,
            leave_out=args.leave_out,
        )
        for i, folder in enumerate(args.data)
    ]


def read_validation(text: str) -> str | float:
    """A folder, or a share of the images."""
    try:
        return float(text)
    except ValueError:
        return text


def read_config(
    args: argparse.Namespace,
    num_images: int,
    start: Start,
    device: str,
    on_gpu: bool,
    recorded: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """All settings: those given, else those of the run to resume, else the recipe's, else `suggest_config`'s.

    Raises:
        ValueError: If one is out of range or does not go with another.
    """
    if recorded is not None:
        config = TrainConfig.from_json({key: value for key, value in recorded.items() if key != "step"})
        config = replace(config, minutes=None)
    elif args.recipe:
        config = RECIPES[args.recipe].config
    else:
        config = suggest_config(num_images, on_gpu=on_gpu, learnt=start.learnt, steps=args.steps)
    given = {name: getattr(args, name) for name in (*NUMBERS, "precision", "capture")}
    given = {name: value for name, value in given.items() if value is not None}
    if args.ema_decay == 0:
        given["ema_decay"] = None
    rates = parse_overrides(args.rate, "--rate")
    if both := sorted(set(args.freeze) & set(rates)):
        raise ValueError(f"{', '.join(both)} is to be frozen and has a rate; give one of --freeze and --rate")
    if rates := {**dict.fromkeys(args.freeze, 0), **rates}:
        given["rates"] = rates
    steps = given.get("steps", config.steps)
    return replace(config, **given, schedule=_read_schedule(args, config.schedule, steps), device=device)


def _read_schedule(args: argparse.Namespace, default: Schedule, steps: int) -> Schedule:
    """The schedule that was asked for; what is not given of it is as in `default`, where that is of its kind."""
    kind = args.schedule or {Halving: "halving", Cosine: "cosine"}.get(type(default), "constant")
    for option, goes_with in (("warmup", "cosine"), ("halve_every", "halving")):
        if getattr(args, option) is not None and kind != goes_with:
            raise ValueError(f"--{option.replace('_', '-')} does not go with --schedule {kind}")
    if args.warmup is not None:
        return Cosine(args.warmup)
    if args.halve_every is not None:
        return Halving(args.halve_every)
    kinds: dict[str, Schedule] = {"cosine": Cosine(min(100, steps // 10)), "halving": Halving(), "constant": Constant()}
    return default if args.schedule is None or isinstance(default, type(kinds[kind])) else kinds[kind]


def read_loss(args: argparse.Namespace) -> Loss:
    """The loss: the one given, else the recipe's, else the paper's.

    Raises:
        ImportError, FileNotFoundError: If a loss on features lacks timm or the network's weights.
    """
    if args.loss:
        loss = LOSSES[args.loss]()
        if "perceptual" in args.loss:  # what it lacks is told before anything else is done
            loss(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
        return loss
    return RECIPES[args.recipe].loss if args.recipe else L1()


def read_optimizer(args: argparse.Namespace) -> OptimizerFactory:
    """The optimizer: the one given, else the recipe's, else the paper's.

    Raises:
        ValueError: If the name is unknown.
        ImportError: If timm is not installed.
    """
    name = args.optimizer
    if name is None:
        return RECIPES[args.recipe].optimizer if args.recipe else Adam()
    if name.startswith("timm:"):
        factory = Timm(name.removeprefix("timm:"))
        trial = [{"params": [torch.nn.Parameter(torch.zeros(2, 2))], "lr": 1e-4}]
        factory(trial, lr=1e-4, device=torch.device("cpu"))  # what it lacks is told before anything else is done
        return factory
    if name not in OPTIMIZERS:
        raise ValueError(f"--optimizer is {name!r}; there are {', '.join(OPTIMIZERS)}, and timm:NAME for one of timm's")
    return OPTIMIZERS[name]()


def run_folder(args: argparse.Namespace, name: str) -> Path:
    """Where the run of a model goes."""
    root = Path(os.environ.get("SRZOO_RUNS", cache_root() / "runs"))
    return Path(args.folder) if args.folder else root / name
