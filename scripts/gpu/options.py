"""The options of train.py, and the settings of a run they stand for."""

import argparse
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

import srzoo
from srzoo.train import RECIPES, Cosine, Halving, Recipe, TrainConfig, find_recipe

MIB = 2**20
QUEUE = ("edsr_baseline_x2", "edsr_baseline_x4", "edsr_baseline_x3", "mdsr_baseline", "edsr_x2", "srresnet_x4")
STARTS = {"mdsr_baseline": ("edsr_baseline_x2", "edsr_baseline_x3", "edsr_baseline_x4")}
OVERRIDES = ("batch_size", "patch_size", "lr", "skip_above")


def parse_overrides(text: str) -> dict[str, Any]:
    """`width=8,num_blocks=1` as constructor arguments."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    try:
        return {key: json.loads(value) for key, _, value in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form width=32,num_blocks=4") from error


def _add_paths(add: Any) -> None:
    """Options for where files are, and how much of them there may be."""
    add("--packs", type=Path, required=True, help="folder of packs made by pack.py")
    add("--limit-packs", type=int, help="use only the first so many packs")
    add("--out", type=Path, required=True, help="folder for weights, logs and state")
    add("--state", type=Path, help="--out of an earlier call, where this call's --out is empty")
    scratch = Path(tempfile.gettempdir()) / "srzoo-gpu"
    add("--work", type=Path, default=scratch, help=f"scratch: photos, pixel cache (default {scratch})")
    add("--minutes", type=float, help="stop after this long (default: when all is done)")
    add("--max-file-mib", type=float, help="write --out as one tar file in parts of at most this size")
    add("--max-total-mib", type=float, help="refuse models whose files would be larger than this all together")
    add("--round-moments", action="store_true", help="keep the optimizer's moments in bf16: half the state, or less")


def _add_settings(add: Any) -> None:
    """Options for what is trained and how."""
    add("--models", type=lambda text: text.split(","), help=f"in this order (default {','.join(QUEUE)})")
    add("--overrides", type=parse_overrides, default={}, help="constructor arguments: width=32,num_blocks=4")
    add("--recipe", choices=tuple(RECIPES), help="settings (default: the paper's for each model)")
    add("--steps", type=int, help="of each model (default: the recipe's)")
    add("--steps-warm", type=int, help="of models that start from another one's weights (default: as --steps)")
    add("--batch-size", type=int, help="patches of an update (default: the recipe's)")
    add("--patch-size", type=int, help="side of the LR patch (default: the recipe's)")
    add("--lr", type=float, help="peak learning rate (default: the recipe's)")
    add("--schedule", choices=("halving", "cosine"), help="halving: every 200,000 steps (default: the recipe's)")
    add("--clip-norm", type=float, help="largest norm of the gradient, 0 for none (default: the recipe's)")
    add("--ema-decay", type=float, help="of the averaged weights, 0 for no average (default: the recipe's)")
    add("--skip-above", type=float, help="drop updates of so many times the mean loss (default: the recipe's)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--device", default="auto")
    add("--seed", type=int, default=0)
    add("--validation", type=Path, help="folder of HR images to score on while training")
    add("--save-every", type=int, default=5_000, help="steps between saves, and validations (default 5000)")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train models on packed photos, in resumable parts.")
    _add_paths(parser.add_argument)
    _add_settings(parser.add_argument)
    args = parser.parse_args(argv)
    for name in ("max_file_mib", "max_total_mib"):
        if (value := getattr(args, name)) is not None and value <= 0:
            parser.error(f"--{name.replace('_', '-')} must be positive")
    if args.models and len(set(args.models)) < len(args.models):
        parser.error("--models must name each model once")
    return args


def pick_recipe(name: str | None, model: str) -> Recipe:
    """The recipe of that name, else the first that is for the model: the paper's.

    Raises:
        ValueError: If there is none.
    """
    if name is not None:
        return find_recipe(name)
    for recipe in RECIPES.values():
        if any(fnmatchcase(model, pattern) for pattern in recipe.models):
            return recipe
    raise ValueError(f"there is no recipe for {model}; give one of {', '.join(RECIPES)} by --recipe")


def start_models(model: str) -> tuple[str, ...]:
    """The models whose weights a model starts from: x3, x4, x8 from x2, if the queue has it (EDSR, section 3.2).

    Examples:
        >>> start_models("edsr_baseline_x4")
        ('edsr_baseline_x2',)
    """
    found = re.fullmatch(r"(.+)_x(\d+)", model)
    if found and found[2] != "2" and f"{found[1]}_x2" in QUEUE:
        return (f"{found[1]}_x2",)
    return STARTS.get(model, ())


def make_config(args: argparse.Namespace, recipe: Recipe, *, warm: bool, minutes: float | None = None) -> TrainConfig:
    """The settings of one model's run: the recipe's, and what the options change."""
    changes: dict[str, Any] = {name: getattr(args, name) for name in OVERRIDES if getattr(args, name) is not None}
    for name in ("clip_norm", "ema_decay"):
        if (value := getattr(args, name)) is not None:
            changes[name] = value or None
    if args.schedule is not None:
        changes["schedule"] = Halving() if args.schedule == "halving" else Cosine()
    steps = args.steps_warm if warm and args.steps_warm is not None else args.steps
    if steps is not None:
        changes["steps"] = steps
    return replace(
        recipe.config,
        **changes,
        precision=args.precision,
        device=args.device,
        seed=args.seed,
        validate_every=args.save_every,
        checkpoint_every=args.save_every,
        keep_last=1 if args.max_file_mib is not None else 2,
        log_every=min(args.save_every, 500),
        minutes=minutes,
    )


def needed_mib(args: argparse.Namespace, models: Sequence[str]) -> tuple[float, float]:
    """MiB of the last model's state, and of all that `--out` then holds: with the weights of all models, in fp16.

    Raises:
        ValueError: If a model cannot be made.
    """
    count = 0
    weights = 0.0
    for name in models:
        try:
            with torch.device("meta"):
                count = sum(p.numel() for p in srzoo.create_model(name, **args.overrides).parameters())
        except TypeError as error:
            raise ValueError(f"--overrides do not fit {name}: {error}") from error
        weights += 2 * count / MIB
    config = make_config(args, pick_recipe(args.recipe, models[-1]), warm=False)
    each = 4 + (4 if config.ema_decay is not None else 0) + (4 if args.round_moments else 8)
    state = each * count / MIB * (1 if args.max_file_mib is not None else config.keep_last)
    logs = 1.0
    return state, state + weights + logs


def choose_models(args: argparse.Namespace) -> list[str]:
    """The models to train: those named, or of the queue those that are registered and whose files are not too large.

    Raises:
        ValueError: If one that was named cannot be made, has no recipe, or is too large.
    """
    registered = set(srzoo.list_models())
    chosen: list[str] = []
    for name in args.models or [name for name in QUEUE if name in registered]:
        state, total = needed_mib(args, [*chosen, name])
        if args.max_total_mib is not None and total > args.max_total_mib:
            told = (
                f"{name} needs {total:.0f} MiB in --out, {state:.0f} of it state to go on from; --max-total-mib is "
                f"{args.max_total_mib:g}"
            )
            if args.models:
                raise ValueError(f"{told}: allow more, take --round-moments, or train it where a folder stays")
            print(f"left out: {told}")
        else:
            chosen.append(name)
    return chosen
