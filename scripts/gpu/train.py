"""Train a list of models on packed photos, in resumable parts, on a machine without network.

python scripts/gpu/train.py --packs packs/ --out runs/gpu --minutes 9

Each call goes on where the last one stopped. See docs/guides/gpu.md.
"""

import argparse
import io
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # srzoo need not be installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from options import MIB, choose_models, make_config, parse_args, pick_recipe, start_models
from pack import unpack_photos
from parts import has_parts, pack_folder, unpack_folder
from torch import Tensor

import srzoo
from srzoo.data import ImageFolder, PatchSource, pairs_from_hr
from srzoo.registry import open_model
from srzoo.train import JsonLines, PlainProgress, Trainer, warm_start
from srzoo.weights import Header

BUNDLE = "run.tar"
UNPACKED = "unpacked-photos"
MODEL_FILES = ("*.safetensors", "*/log.jsonl", "*/checkpoints/step_*.safetensors")
Left = Callable[[], float | None]
"""Minutes that are left; None for no limit."""


class QueueTrainer(Trainer):
    """A Trainer of a zoo model that publishes averaged weights in fp16 with every save.

    Args:
        start: Names of the models it was started from.
        round_moments: Save the optimizer's moments in bf16.
        published: Called after every save.
    """

    def __init__(
        self, *args: Any, start: Sequence[str], round_moments: bool, published: Callable[[], None], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.start, self.round_moments, self.published = list(start), round_moments, published

    def recipe(self) -> dict[str, Any]:
        """How the weights came about."""
        return {**super().recipe(), "start": self.start, "round_moments": self.round_moments}

    def state_dict(self) -> dict[str, Any]:
        """State to go on from."""
        state = super().state_dict()
        return {**state, "optimizer": _rounded(state["optimizer"])} if self.round_moments else state

    def save(self) -> None:
        """State first, then the averaged weights; a finished model keeps only its weights."""
        super().save()
        model, folder = self.averaged, self.folder
        assert isinstance(model, srzoo.SRModel)  # make_trainer sees to both
        assert folder is not None
        header = Header(model="", source="trained by scripts/gpu/train.py", recipe=self.recipe())
        srzoo.save_model(model, folder.parent / f"{model.name}.safetensors", torch.float16, header=header)
        if self.step >= self.config.steps:
            shutil.rmtree(folder / "checkpoints")
        self.published()


def _rounded(value: Any) -> Any:
    """Nested state with its larger fp32 tensors in bf16; steps and rates, single numbers, stay exact."""
    if isinstance(value, Tensor):
        return value.bfloat16() if value.dim() and value.dtype == torch.float32 else value
    if isinstance(value, dict):
        return {key: _rounded(held) for key, held in value.items()}
    return [_rounded(held) for held in value] if isinstance(value, list) else value


def run_folder(args: argparse.Namespace) -> Path:
    """Where weights, logs and state are worked on: `--out` itself, unless that is to be a tar file in parts."""
    return args.out if args.max_file_mib is None else args.work / "run"


def open_run(args: argparse.Namespace) -> Path:
    """The folder of the run, with what earlier calls left in `--out` or else in `--state`: then `--out` has it, too."""
    folder = run_folder(args)
    if folder != args.out:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    if not list_run(folder):
        for source in (args.out, args.state):
            if source is not None and _copy_run(source, folder):
                break
    if folder != args.out and not has_parts(args.out / BUNDLE) and list_run(folder):
        publish(args)
    return folder


def list_run(folder: Path) -> list[Path]:
    """The files of a run that a later call needs."""
    return [path for pattern in MODEL_FILES for path in folder.glob(pattern)]


def _copy_run(source: Path, folder: Path) -> bool:
    """Copy a run, in parts or as plain files; whether there is one."""
    if has_parts(source / BUNDLE):
        unpack_folder(source / BUNDLE, folder)
        return True
    for path in (found := list_run(source)):
        target = folder / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    return bool(found)


def publish(args: argparse.Namespace) -> None:
    """Bring the run's files to `--out`, if they are to be in parts there; the best weights of a validation stay."""
    if args.max_file_mib is not None:
        args.out.mkdir(parents=True, exist_ok=True)
        pack_folder(run_folder(args), args.out / BUNDLE, int(args.max_file_mib * MIB), skip=("best.safetensors",))


def report(done: int, total: int, what: str) -> None:
    """Progress of decoding, now and then."""
    if done % 200 == 0 or done == total:
        print(f"{what} {done}/{total}")


def read_recipe(folder: Path, name: str) -> Mapping[str, Any] | None:
    """How a model was trained so far, from its weight file; None if it was not begun."""
    path = folder / f"{name}.safetensors"
    return srzoo.read_header(path).recipe if path.is_file() else None


def is_finished(recipe: Mapping[str, Any] | None) -> bool:
    """Whether all steps that were asked for are done."""
    return recipe is not None and recipe["steps"] >= recipe["config"]["steps"]


def describe_progress(folder: Path, models: Sequence[str]) -> list[tuple[str, str, str]]:
    """For each model: "done" or "remains", its name, and how far it is."""
    rows = []
    for name in models:
        recipe = read_recipe(folder, name)
        done = f"{recipe['steps']} of {recipe['config']['steps']} steps" if recipe else "not begun"
        rows.append(("done" if is_finished(recipe) else "remains", name, done))
    return rows


def _start_from(model: srzoo.SRModel, sources: Sequence[str], folder: Path) -> None:
    """Fill a new model with what fits of the trained ones."""
    if sources:
        copied = warm_start(model, *(srzoo.load_model(folder / f"{source}.safetensors") for source in sources)).copied
        print(f"{model.name}: starts with {len(copied)} tensors of {', '.join(sources)}")
    else:
        print(f"{model.name}: starts at random")


def make_trainer(
    args: argparse.Namespace, folder: Path, name: str, scores: Mapping[str, float], left: Left
) -> QueueTrainer:
    """A trainer at the step where the last part stopped."""
    torch.manual_seed(args.seed)
    model = srzoo.create_model(name, **args.overrides)
    begun = read_recipe(folder, name)
    sources = [source for source in start_models(name) if is_finished(read_recipe(folder, source))]
    sources = begun["start"] if begun else sources
    if not begun:
        _start_from(model, sources, folder)
    photos = ImageFolder(args.work / UNPACKED, scores=scores)
    data = PatchSource(photos, scales=model.scales, channels=model.channels, cache=args.work / "cache", report=report)
    pairs = (
        [pair for scale in model.scales for pair in pairs_from_hr(args.validation, scale)] if args.validation else []
    )
    recipe = pick_recipe(args.recipe, name)
    trainer = QueueTrainer(
        model,
        data,
        make_config(args, recipe, warm=bool(sources), minutes=left()),
        loss=recipe.loss,
        optimizer=recipe.optimizer,
        teacher=open_model(recipe.teacher) if recipe.teacher else None,
        folder=folder / name,
        start=sources,
        round_moments=args.round_moments,
        published=lambda: publish(args),
        validation={args.validation.name: pairs} if pairs else None,
        callbacks=[JsonLines(folder / name / "log.jsonl"), PlainProgress()],
    )
    if not trainer.resume() and begun:
        raise ValueError(
            f"{name} has weights of {begun['steps']} steps in {folder} and no state to go on from; copy the state "
            "of the last part again, or remove the weights to start anew"
        )
    print(f"{name}: step {trainer.step} of {trainer.config.steps}, {trainer.device}, {trainer.precision}")
    return trainer


def run(args: argparse.Namespace) -> None:
    """Train until the models are finished or the minutes are over, and say what is done."""
    start = time.monotonic()

    def left() -> float | None:
        return None if args.minutes is None else max(0.0, args.minutes - (time.monotonic() - start) / 60)

    models = choose_models(args)
    folder = open_run(args)
    scores: dict[str, float] = {}
    for name in models:
        if not is_finished(read_recipe(folder, name)):
            if scores and left() == 0:
                break
            scores = scores or unpack_photos(args.packs, args.limit_packs, args.work / UNPACKED)
            trainer = make_trainer(args, folder, name, scores, left)
            trainer.fit()
            if trainer.step < trainer.config.steps:
                break
    rows = describe_progress(folder, models)
    for state, name, done in rows:
        print(f"{state}: {name}, {done}")
    remain = sum(state == "remains" for state, *_ in rows)
    print(f"{remain} to go: call again with the files of {args.out}" if remain else "all models are finished")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0 also when steps remain, 2 for a user's mistake."""
    args = parse_args(argv)
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
