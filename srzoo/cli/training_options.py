"""The options of `srzoo train` and what they stand for."""

import argparse
import json
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from srzoo.architecture import SRModel
from srzoo.blocks import LumaUpsampler
from srzoo.data.presets import PRESETS
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
    Stepped,
    Timm,
    TrainConfig,
    WeightedSum,
    suggest_config,
)

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
    "minutes": (float, "stop after this long; --resume goes on (default: never)"),
    "early_stop": (int, "stop when the score has not risen for so many validations (default: never)"),
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
        **{key: told[key] for key in ("start", "data", "teacher", "source", "reached") if told[key]},
    }
    lines = [
        textwrap.fill(f"{key:9} {value}", 110, initial_indent="  ", subsequent_indent=" " * 12)
        for key, value in rows.items()
    ]
    return "\n".join([f"{recipe.name}: {recipe.title}", *lines])


def add_options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    """Add the options of `srzoo train`; returns them by the names their values have."""
    options: dict[str, argparse.Action] = {}

    def add(*names: str, **settings: Any) -> None:
        option = parser.add_argument(*names, **settings)
        options[option.dest] = option

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
    add("--degradation", choices=tuple(PRESETS), help="how LR images are made (default: the recipe's, else bicubic)")
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
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="constructor argument, such as width=32; or a setting of a fit, such as num_samples=1000000",
    )
    add(
        "--teacher",
        metavar="MODEL|FILE",
        help="learn the outputs of a trained model, such as mdsr_baseline, in place of the HR patches; none for no "
        "teacher (default: the recipe's)",
    )
    add("--freeze", action="append", default=[], metavar="PART", help="part that keeps its weights, such as body")
    add("--rate", action="append", default=[], metavar="PART=F", help="factor on the learning rate of a part")
    add(
        "--recipe",
        choices=tuple(RECIPES),
        metavar="NAME",
        help="settings by name, see --list-recipes; options given beside it come first",
    )
    add(
        "--list-recipes",
        action=_ListRecipes,
        nargs=0,
        help="print the recipes, with what they are for and reached, and leave",
    )
    add("--schedule", choices=("cosine", "halving", "constant"), help="default: cosine")
    add("--halve-every", type=int, metavar="N", help="steps, for --schedule halving (default: 200000)")
    add("--warmup", type=int, metavar="N", help="steps, for --schedule cosine (default: a tenth, at most 100)")
    for name, (kind, told) in NUMBERS.items():
        add(f"--{name.replace('_', '-')}", type=kind, metavar="N", help=told)
    add("--loss", choices=tuple(LOSSES), help="default: l1, the paper's")
    add("--optimizer", metavar="NAME", help="adam (default), adamw, sgd, or timm:NAME for one of timm's")
    add(
        "--precision",
        choices=("auto", "fp32", "bf16", "fp16"),
        help="of the convolutions (default: auto, the fastest of the device)",
    )
    add("--device", help="cpu, cuda, cuda:1 and so on (default: auto, a GPU where there is one)")
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
    add("--json", action="store_true", help="machine-readable result")
    return options


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
    kind = args.schedule or {Halving: "halving", Stepped: "stepped", Cosine: "cosine"}.get(type(default), "constant")
    for option, goes_with in (("warmup", "cosine"), ("halve_every", "halving")):
        if getattr(args, option) is not None and kind != goes_with:
            raise ValueError(f"--{option.replace('_', '-')} does not go with --schedule {kind}")
    if args.warmup is not None:
        return replace(default, warmup=args.warmup) if isinstance(default, Cosine) else Cosine(args.warmup)
    if args.halve_every is not None:
        return Halving(args.halve_every)
    kinds: dict[str, Schedule] = {"cosine": Cosine(min(100, steps // 10)), "halving": Halving(), "constant": Constant()}
    return default if args.schedule is None or isinstance(default, type(kinds[kind])) else kinds[kind]


def read_loss(args: argparse.Namespace, model: SRModel) -> Loss:
    """The loss: the one given, else the recipe's, else the paper's.

    Raises:
        ValueError: If it sees luma alone and the model makes the colours too.
        ImportError, FileNotFoundError: If a loss on features lacks timm or the network's weights.
    """
    loss = LOSSES[args.loss]() if args.loss else RECIPES[args.recipe].loss if args.recipe else L1()
    if (
        _sees_luma_alone(loss)
        and model.channels == 3
        and not any(isinstance(m, LumaUpsampler) for m in model.modules())
    ):
        raise ValueError(
            f"the loss is on luma alone and {model.name} makes the colours too, which nothing would train; give "
            "another --loss, or --set channels=1"
        )
    if args.loss and "perceptual" in args.loss:  # what it lacks is told before anything else is done
        loss(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))
    return loss


def _sees_luma_alone(loss: Loss) -> bool:
    parts = [part for _, part in loss.terms] if isinstance(loss, WeightedSum) else [loss]
    return all(isinstance(part, OnLuma) for part in parts)


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
