"""Train a list of models on packed photos, in resumable parts, on a machine without network.

python scripts/gpu/train.py --packs packs/ --out runs/gpu --minutes 9

Each call goes on where the last one stopped. See README.md beside this file.
"""

import argparse
import io
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # srzoo need not be installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from options import make_config, parse_args
from pack import unpack_photos
from parts import clear_parts, find_file, join_file, publish_file, split_file

import srzoo
from srzoo.data import PatchSource, pairs_from_hr
from srzoo.train import JsonLines, PlainProgress, Trainer, warm_start
from srzoo.weights import Header

MIB = 2**20
CHECKPOINT = "checkpoint.safetensors"
UNPACKED = "unpacked-photos"


class PartTrainer(Trainer):
    """A Trainer whose every save also goes to the output folder, in files of at most `limit` bytes."""

    def __init__(self, *args: Any, work: Path, out: Path, limit: int, start: str | None, **kwargs: Any) -> None:
        super().__init__(*args, folder=work, **kwargs)
        self.work, self.out, self.limit, self.start = work, out, limit, start

    def recipe(self) -> dict[str, Any]:
        """How the weights came about."""
        return {**super().recipe(), "start": self.start}

    def save(self) -> None:
        """State first, then the averaged weights; a finished model keeps only its weights."""
        super().save()
        model = self.averaged
        assert isinstance(model, srzoo.SRModel)  # make_trainer sees to that
        target = self.out / model.name / CHECKPOINT
        if unfinished := self.step < self.config.steps:
            split_file(self.work / CHECKPOINT, target, self.limit)
        whole = self.work / f"{model.name}.safetensors"
        srzoo.save_model(model, whole, torch.float16, header=Header(model="", recipe=self.recipe()))
        publish_file(whole, self.out / whole.name, self.limit)
        if not unfinished:
            clear_parts(target)


def check_models(args: argparse.Namespace) -> None:
    """See that the models can be made, before anything is written."""
    for name in args.models:
        try:
            with torch.device("meta"):
                srzoo.create_model(name, **args.overrides)
        except TypeError as error:
            raise ValueError(f"--overrides do not fit {name}: {error}") from error


def report(done: int, total: int, what: str) -> None:
    """Progress of decoding, now and then."""
    if done % 200 == 0 or done == total:
        print(f"{what} {done}/{total}")


def read_recipe(args: argparse.Namespace, name: str) -> dict[str, Any] | None:
    """How far a model got, from its weight file; brings the file to the work folder."""
    found = find_file(f"{name}.safetensors", (args.out, args.state))
    if found is None:
        return None
    whole = args.work / name / f"{name}.safetensors"
    whole.parent.mkdir(parents=True, exist_ok=True)
    join_file(found, whole)
    return dict(srzoo.read_header(whole).recipe)


def is_finished(recipe: dict[str, Any] | None) -> bool:
    """Whether all steps that were asked for are done."""
    return recipe is not None and recipe["steps"] >= recipe["config"]["steps"]


def make_trainer(
    args: argparse.Namespace,
    name: str,
    first: str | None,
    scores: dict[str, float],
    left: Callable[[], float | None],
) -> PartTrainer:
    """A trainer at the step where the last part stopped; `first` is the model a new one starts from."""
    work, out = args.work / name, args.out / name
    out.mkdir(parents=True, exist_ok=True)
    earlier, log = args.state / name / "log.jsonl", out / "log.jsonl"
    if earlier.is_file() and not log.exists():
        shutil.copyfile(earlier, log)
    torch.manual_seed(args.seed)
    model = srzoo.create_model(name, **args.overrides)
    state = find_file(f"{name}/{CHECKPOINT}", (args.out, args.state))
    (work / CHECKPOINT).unlink(missing_ok=True)
    if state is not None:
        join_file(state, work / CHECKPOINT)
    elif first is not None:
        copied = warm_start(model, srzoo.load_model(args.work / first / f"{first}.safetensors")).copied
        print(f"{name}: starts with {len(copied)} tensors of {first}")
    photos, cache, folder = args.work / UNPACKED, args.work / "cache", args.validation
    data = PatchSource(photos, scales=model.scales, weights=scores, cache=cache, report=report)
    pairs = [pair for scale in model.scales for pair in pairs_from_hr(folder, scale)] if folder else []
    steps = args.steps if first is None else args.steps_warm or args.steps
    trainer = PartTrainer(
        model,
        data,
        make_config(args, steps, left()),
        work=work,
        out=args.out,
        limit=int(args.max_file_mib * MIB),
        start=first,
        validation={folder.name: pairs} if folder else None,
        callbacks=[JsonLines(log), PlainProgress()],
    )
    trainer.resume()
    print(f"{name}: step {trainer.step} of {steps}, {trainer.device}, {trainer.precision}")
    return trainer


def run(args: argparse.Namespace) -> None:
    """Train until the models are finished or the minutes are over, and say what is done."""
    start = time.monotonic()

    def left() -> float | None:
        return None if args.minutes is None else max(0.0, args.minutes - (time.monotonic() - start) / 60)

    check_models(args)
    scores: dict[str, float] = {}
    for name in args.models:
        if not is_finished(read_recipe(args, name)):
            if scores and left() == 0:
                break
            scores = scores or unpack_photos(args.packs, args.limit_packs, args.work / UNPACKED)
            first = args.models[0] if name != args.models[0] else None
            trainer = make_trainer(args, name, first, scores, left)
            trainer.fit()
            if trainer.step < trainer.config.steps:
                break
    remain = 0
    for name in args.models:
        recipe = read_recipe(args, name)
        remain += not is_finished(recipe)
        done = f"{recipe['steps']} of {recipe['config']['steps']} steps" if recipe else "not begun"
        print(f"{'done' if is_finished(recipe) else 'remains'}: {name}, {done}")
    told = f"{remain} to go: call again with the files of {args.out}" if remain else "all models are finished"
    print(told)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 also when steps remain, 2 for a user's mistake."""
    args = parse_args(argv)
    torch.backends.cudnn.benchmark = True  # all batches have one size
    try:
        run(args)
    except KeyboardInterrupt:
        print("stopped; call again to go on from the last save", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # saves before it stops
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # progress is seen through pipes, too
    sys.exit(main())
