"""What the options of `srzoo train` name: the model and what it starts from, the images, the folder of the run."""

import argparse
import csv
import logging
import os
from pathlib import Path

from srzoo.architecture import SRModel
from srzoo.cli.training_options import parse_overrides
from srzoo.data import Degradation, ImageFolder, hub_folder
from srzoo.data.cache import cache_root
from srzoo.data.licences import Licences, has_licences, read_licences
from srzoo.data.presets import PRESETS
from srzoo.models.srresnet import SRResNet
from srzoo.registry import create_model, is_path, open_model
from srzoo.train import RECIPES, Start, WarmStart, warm_start
from srzoo.train.finetune import name_weights
from srzoo.train.growing import grow_to, num_blocks_of
from srzoo.train.teacher import check_teacher

LOGGER = logging.getLogger("srzoo")


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
    told = f"{'parts' if started.fresh else 'all'} of {' and '.join(map(name_weights, sources))}"
    known = {scale for source in sources for scale in source.scales}  # an upsampler of equal shape is for another grid
    learnt = not started.fresh and set(model.scales) <= known
    return model, Start(told, learnt=learnt, license=" AND ".join(licenses))


def _started(model: SRModel, sources: list[SRModel]) -> tuple[SRModel, WarmStart]:
    """The model with what fits of others; shallower ones are grown to its depth first.

    Raises:
        ValueError: If nothing fits, or one of the models is an SRResNet and the other not: two tensors would, in units
            of their own.
    """
    for source in sources:
        if isinstance(model, SRResNet) != isinstance(source, SRResNet):
            raise ValueError(
                f"{model.name} cannot start from parts of {source.name}; an SRResNet starts from a whole EDSR, by "
                "srzoo.train.srresnet_from_edsr or scripts/srresnet_from_edsr.py, whose file is then given to --init"
            )
    grown = [grow_to(model, source) for source in sources]
    for new, source in zip(grown, sources, strict=True):
        if new is not source:
            told = f"{num_blocks_of(new) - num_blocks_of(source)} blocks that change nothing"
            LOGGER.info("%s was grown to %d blocks: %s", source.name, num_blocks_of(new), told)
    started = warm_start(model, *grown)
    told = ", ".join(f"{len(getattr(started, key))} {key}" for key in ("copied", "adapted", "fresh"))
    LOGGER.info("tensors of %s: %s", model.name, told)
    return model, started


def read_teacher(args: argparse.Namespace, model: SRModel) -> SRModel | None:
    """The trained model whose outputs are learnt: as given, else the recipe's; None for none.

    Raises:
        FileNotFoundError, ValueError: If it is not there, has no weights, or does not fit the model to train.
    """
    name = args.teacher or (RECIPES[args.recipe].teacher if args.recipe else "")
    if name in ("", "none"):
        return None
    teacher = open_model(name)
    check_teacher(teacher, model.scales, model.channels)
    return teacher


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


def read_degradation(args: argparse.Namespace) -> Degradation | None:
    """How LR images are made: as given, else as the recipe has it; None for bicubic, whose LR images are made once."""
    name = args.degradation or (RECIPES[args.recipe].degradation if args.recipe else "bicubic")
    return None if name == "bicubic" else PRESETS[name]


def read_validation(text: str) -> str | float:
    """A folder, or a share of the images."""
    try:
        return float(text)
    except ValueError:
        return text


def run_folder(args: argparse.Namespace, name: str) -> Path:
    """Where the run of a model goes."""
    root = Path(os.environ.get("SRZOO_RUNS", cache_root() / "runs"))
    return Path(args.folder) if args.folder else root / name
