"""What the scripts of the paper's claims share: settings, results that outlive a kill, one training run, the verdict.

A claim is a script with `TITLE`, `PAPER` (what the slides say), `RULE` (which word it gets when), `measure(study)`,
`rows(found)`, `verdict(found)` and `draw(found, figure)`, where `found` is what its JSON file holds: `page.py` makes
the documentation from these files.
"""

import argparse
import hashlib
import importlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

import srzoo
from srzoo.benchmark import measure
from srzoo.data import Pair, PatchSource, find_images, pairs_from_hr
from srzoo.device import fast_precision, pick_device
from srzoo.files import replacing
from srzoo.train import L1, JsonLines, Loss, PlainProgress, TrainConfig, Trainer
from srzoo.weights import file_sha256

Found = Mapping[str, Any]
Rows = list[list[str]]

CLAIMS = (
    *("batch_norm", "residual_scaling", "loss", "self_ensemble"),
    *("warm_start", "multi_scale", "width_or_depth"),
)
ASSETS = Path(__file__).parents[2] / "docs" / "assets" / "paper"
TOY = dict(steps=4, width=4, blocks=1, batch_size=2, patch_size=12, seeds=1, rounds=1, side=16, models=1, images=1)
"""What --toy puts in the place of a script's own settings."""

AGREES, PARTLY, NOT_SEEN, DISAGREES = "agrees", "agrees in part", "not seen in short runs", "disagrees"
LEAST = 0.02
"""A smaller difference, in dB, counts as none."""
RULE_OF_GAINS = f'"{AGREES}" from {LEAST} dB up, "{DISAGREES}" from {-LEAST} dB down, "{NOT_SEEN}" otherwise'
"""What `judge` does."""


@dataclass(frozen=True)
class Verdict:
    """Whether our runs agree with the paper, and the sentences that say so in numbers."""

    word: str
    reason: str


def judge(gains: Sequence[float], least: float = LEAST) -> str:
    """The word for gains, which are positive where they go the paper's way: only if all do, it is agreement.

    Examples:
        >>> judge([0.1, 0.05]), judge([0.1, 0.01]), judge([-0.1, -0.2])
        ('agrees', 'not seen in short runs', 'disagrees')
    """
    if gains and min(gains) >= least:
        return AGREES
    return DISAGREES if gains and max(gains) <= -least else NOT_SEEN


def signed(gains: Sequence[float]) -> str:
    """Gains in dB as text.

    Examples:
        >>> signed([0.1, -0.024])
        '+0.10, -0.02'
    """
    return ", ".join(f"{gain:+.2f}" for gain in gains)


def mean(values: Sequence[float]) -> float:
    """The mean."""
    return sum(values) / len(values)


@dataclass(frozen=True)
class Study:
    """One claim: its settings, and the results that are there already.

    Args:
        name: Of the claim, and of its files.
        settings: Numbers that decide the results.
        photos: HR images to train on; None for a claim that trains nothing.
        validation: Folders of HR images to score, if any; the first draws the learning curves.
        device: As `TrainConfig` takes it.
    """

    name: str
    settings: Mapping[str, Any]
    photos: Path | None
    validation: Sequence[Path]
    device: str = "auto"

    def __getitem__(self, setting: str) -> Any:
        """One of the settings."""
        return self.settings[setting]

    @cached_property
    def folder(self) -> Path:
        """Where runs and results are kept (below `SRZOO_RUNS`): another place for other settings, images, device."""
        sets = [[set_name(path), fingerprint(path)] for path in self.validation]
        told = [dict(self.settings), fingerprint(self.photos) if self.photos else None, sets, self.device]
        digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]
        return Path(os.environ.get("SRZOO_RUNS", "runs")) / "paper" / f"{self.name}-{digest}"

    def path(self, name: str) -> Path:
        """Where something of that name is kept, without suffix."""
        return self.folder / re.sub(r"[^\w-]+", "_", name)

    def pairs(self, scales: Sequence[int]) -> dict[str, list[Pair]]:
        """Name of each validation set -> its pairs at these scales."""
        return {
            set_name(folder): [pair for scale in scales for pair in pairs_from_hr(folder, scale)]
            for folder in self.validation
        }

    def once(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The result of a piece of work; one that an earlier call has left on disk is not made again."""
        path = self.path(name).with_suffix(".json")
        say(f"{self.name}: {name}" + (" is there already" if path.exists() else ""))
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json(path, {"name": name, **work()})
        return json.loads(path.read_text(encoding="utf-8"))

    def train(
        self,
        name: str,
        make: Callable[[], srzoo.SRModel],
        seed: int,
        *,
        loss: Loss | None = None,
        log: type[JsonLines] = JsonLines,
        keep: bool = False,
        **settings: Any,
    ) -> dict[str, Any]:
        """Train a network, once: its size, learning curves, and scores at the end.

        Args:
            name: Of the run.
            make: Gives the network; its random weights come from `seed`, and so do the batches.
            seed: See `make`.
            loss: The loss; None takes L1.
            log: What writes the log that the curves are read from.
            keep: Leave the trained weights at `path(name)` with the suffix `.safetensors`.
            **settings: Of `TrainConfig`, over the study's.

        Raises:
            ValueError: If a run that is to be scored has diverged; one that is not is kept, with `diverged` set.
        """

        def work() -> dict[str, Any]:
            torch.manual_seed(seed)
            model = make()
            steps = settings.get("steps", self["steps"])
            every = max(1, steps // 8)
            shared = {key: self[key] for key in ("batch_size", "patch_size", "lr")}
            usual = dict(steps=steps, clip_norm=1.0, ema_decay=0.99, validate_every=every, checkpoint_every=every)
            usual |= dict(log_every=every, keep_last=1, seed=seed, device=self.device)
            sets, run = self.pairs(model.scales), self.path(name)
            first = next(iter(sets), "")
            trainer = Trainer(
                model,
                PatchSource(self.photos or "", scales=model.scales),
                TrainConfig(**{**usual, **shared, **settings}),
                loss=loss or L1(),
                folder=run,
                validation={first: sets[first]} if sets else {},
                callbacks=[log(run / "log.jsonl"), PlainProgress()],
            )
            trainer.resume()  # goes on with a run that was killed
            try:
                trained, diverged = trainer.fit(), False
            except ValueError:
                if sets or not has_diverged(trainer):
                    raise
                trained, diverged = model, True
            assert isinstance(trained, srzoo.SRModel)
            if keep:
                srzoo.save_model(trained, run.with_suffix(".safetensors"))
            log_rows = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
            shutil.rmtree(run)
            return {
                "seed": seed,
                "parameters": sum(parameter.numel() for parameter in model.parameters()),
                "width": model.arguments["width"],
                "blocks": model.arguments["num_blocks"],
                "steps": trainer.step,
                "seconds": round(trainer.seconds, 1),
                "precision": trainer.precision,
                "diverged": diverged,
                "losses": [row for row in log_rows if "lr" in row],
                "curves": {f"x{scale}": curve(log_rows, f"{first} x{scale} psnr") for scale in model.scales},
                "psnr": {
                    name: {scale: score["psnr"] for scale, score in scales.items()}
                    for name, scales in measure(trained, sets).items()
                },
            }

        return self.once(name, work)


def has_diverged(trainer: Trainer) -> bool:
    """Whether a run ended because too many updates in a row had to be dropped."""
    try:
        trainer.watch.check()
    except ValueError:
        return True
    return False


def fingerprint(folder: Path) -> str:
    """A hash over the names and bytes of the images of a folder."""
    told = [[path.relative_to(folder).as_posix(), file_sha256(path)] for path in find_images(folder)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def set_name(folder: Path) -> str:
    """Name of a set: of its folder, or of the one above `HR`."""
    return folder.parent.name if folder.name == "HR" else folder.name


def curve(log_rows: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[float]]:
    """Steps, seconds of training and PSNR of each validation."""
    found = [row for row in log_rows if key in row]
    return {
        column: [row[at] for row in found] for column, at in (("step", "step"), ("seconds", "seconds"), ("dB", key))
    }


def by_name(found: Found) -> dict[str, dict[str, Any]]:
    """The runs of a claim by name."""
    return {run["name"]: run for run in found["runs"]}


def saved_bytes(model: srzoo.SRModel, lr: torch.Tensor, precision: str = "fp32") -> int:
    """What a training step has to hold for its backward pass; parameters not counted, nor a tensor twice."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    held: dict[int, torch.Tensor] = {}  # kept, so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if (place := tensor.untyped_storage().data_ptr()) not in own:
            held[place] = tensor
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), autocast(lr.device, precision):
        model(lr).mean()
    return sum(tensor.untyped_storage().nbytes() for tensor in held.values())


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Convolutions in that precision, as the Trainer runs them."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision, torch.float32)
    return torch.autocast(device.type, dtype, enabled=precision != "fp32", cache_enabled=False)


def describe_machine(device: str) -> dict[str, str | int]:
    """Where the figures were made."""
    found = pick_device(device)
    processor = f"cpu, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    return {
        "device": torch.cuda.get_device_name(found) if found.type == "cuda" else processor,
        "precision": fast_precision(found),
        "torch": torch.__version__,
        "srzoo": srzoo.__version__,
    }


def write_json(path: Path, values: Found) -> None:
    """Write whole or not at all; a number that is none (NaN, infinity) becomes null."""
    finite = json.loads(json.dumps(values), parse_constant=lambda _: None)
    with replacing(path) as work:
        work.write_text(json.dumps(finite, indent=1) + "\n", encoding="utf-8")


def say(line: str) -> None:
    """A line of progress."""
    print(line, file=sys.stderr, flush=True)


def draw_picture(script: Any, found: Found, path: Path) -> None:
    """Draw a claim's plot as a PNG."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit('plots need matplotlib: pip install "srzoo[paper]"; or leave them out by --no-plot') from error
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    script.draw(found, figure)
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    with replacing(path) as work:
        figure.savefig(work, dpi=110, format="png")


def run_claim(
    name: str, argv: Sequence[str] | None, *, trains: bool = True, scores: bool = True, **settings: Any
) -> None:
    """The command line of a claim: measure, write `NAME.json`, draw `NAME.png`, print table and verdict.

    Args:
        name: Of the claim, whose script is imported.
        argv: The arguments; None takes the command line's.
        trains: Whether it takes photos to train on.
        scores: Whether it takes sets to score.
        **settings: What the claim's results depend on, each an option of its own, with their usual values.
    """
    script = importlib.import_module(name)
    parser = argparse.ArgumentParser(description=script.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(data=None, validation=[])
    if trains:
        parser.add_argument("--data", type=Path, required=True, metavar="PHOTOS", help="HR images to train on")
    if scores:
        parser.add_argument(
            "--validation", type=Path, nargs="+", required=True, metavar="FOLDER", help="HR images to score"
        )
    parser.add_argument("-o", "--output", type=Path, default=ASSETS, help="where the table's figures and the plot go")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--toy", action="store_true", help="a few steps of a tiny network, to see the parts in seconds")
    parser.add_argument("--no-plot", action="store_true")
    for key, value in settings.items():
        parser.add_argument(f"--{key.replace('_', '-')}", type=type(value), help=f"default: {value}")
    args = parser.parse_args(argv)
    usual = {**settings, **{key: value for key, value in TOY.items() if args.toy and key in settings}}
    given = {key: getattr(args, key) for key in settings if getattr(args, key) is not None}
    study = Study(name, {**usual, **given}, args.data, args.validation, args.device)
    if not args.no_plot:
        importlib.import_module("matplotlib")  # before an hour's work, not after it
    start = time.monotonic()
    found = {
        "claim": name,
        "toy": args.toy,
        "settings": dict(study.settings),
        "machine": describe_machine(args.device),
        "photos": len(list_photos(args.data)) if args.data else 0,
        "validation": [set_name(folder) for folder in args.validation],
        **script.measure(study),
    }
    args.output.mkdir(parents=True, exist_ok=True)
    write_json(args.output / f"{name}.json", found)
    found = json.loads((args.output / f"{name}.json").read_text(encoding="utf-8"))
    if not args.no_plot:
        draw_picture(script, found, args.output / f"{name}.png")
    for row in script.rows(found):
        print("  ".join(row))
    verdict = script.verdict(found)
    print(f"{script.TITLE}: {verdict.word}. {verdict.reason}")
    say(f"{name}: {time.monotonic() - start:.0f} s")


def list_photos(folder: Path) -> list[str]:
    """Names of the images that are trained on."""
    return list(PatchSource(folder, scales=(2,)).names)
