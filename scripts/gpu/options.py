"""The options of train.py, and the settings of a run they stand for."""

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from srzoo.train import Cosine, Halving, TrainConfig

MODELS = "edsr_baseline_x2,edsr_baseline_x4,edsr_baseline_x3"


def parse_overrides(text: str) -> dict[str, Any]:
    """`width=8,num_blocks=1` as constructor arguments."""
    pairs = [part.partition("=") for part in text.split(",") if part]
    try:
        return {key: json.loads(value) for key, _, value in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form width=32,num_blocks=4") from error


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train models on packed photos, in resumable parts.")
    add = parser.add_argument
    add("--packs", type=Path, required=True, help="folder of packs made by pack.py")
    add("--limit-packs", type=int, help="use only the first so many packs")
    add("--out", type=Path, required=True, help="folder for weights, logs and state")
    add("--state", type=Path, help="folder of an earlier part's files, where --out does not hold them")
    add(
        "--work",
        type=Path,
        default=Path(tempfile.gettempdir()) / "srzoo-gpu",
        help="scratch: photos and pixel cache",
    )
    add("--minutes", type=float, help="stop after this long (default: when all is done)")
    add(
        "--models",
        type=lambda text: text.split(","),
        default=MODELS,
        help=f"in this order (default {MODELS})",
    )
    add(
        "--overrides",
        type=parse_overrides,
        default={},
        help="constructor arguments, such as width=32,num_blocks=4",
    )
    add("--steps", type=int, default=300_000, help="of the first model (default 300000)")
    add("--steps-warm", type=int, help="of the models started from the first one (default: as --steps)")
    add("--batch-size", type=int, default=16)
    add("--patch-size", type=int, default=48, help="side of the LR patch")
    add("--lr", type=float, default=1e-4)
    add("--schedule", choices=("halving", "cosine"), default="halving", help="halving: every 200,000 steps")
    add("--clip-norm", type=float, help="largest norm of the gradient (default: no limit)")
    add("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    add("--device", default="auto")
    add("--seed", type=int, default=0)
    add("--validation", type=Path, help="folder of HR images to score on while training")
    add(
        "--save-every",
        type=int,
        default=5_000,
        help="steps from save to save, and from validation to validation",
    )
    add("--max-file-mib", type=float, default=15, help="largest file written to --out (default 15)")
    args = parser.parse_args(argv)
    args.state = args.state or args.out
    if args.max_file_mib <= 0 or len(set(args.models)) < len(args.models):
        parser.error("--max-file-mib must be positive, and --models name each model once")
    return args


def make_config(args: argparse.Namespace, steps: int, minutes: float | None) -> TrainConfig:
    """The settings of one model's run."""
    return TrainConfig(
        steps=steps,
        batch_size=args.batch_size,
        patch_size=args.patch_size,
        lr=args.lr,
        schedule=Halving() if args.schedule == "halving" else Cosine(),
        clip_norm=args.clip_norm,
        precision=args.precision,
        device=args.device,
        seed=args.seed,
        validate_every=args.save_every,
        checkpoint_every=args.save_every,
        log_every=min(args.save_every, 500),
        minutes=minutes,
    )
