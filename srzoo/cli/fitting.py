"""What `srzoo train` does for a family that learns without gradients."""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from srzoo.architecture import Fit, Report
from srzoo.cli.training_inputs import read_degradation, read_folders, read_validation, run_folder
from srzoo.cli.training_options import add_options, parse_overrides
from srzoo.train.finetune import prepare
from srzoo.train.fitting import FitResult, check_arguments, check_new, fit_model, read_settings

OPTIONS = (
    *("model", "data", "data_lr", "data_share", "scores", "licences", "leave_out", "degradation", "validation"),
    *("set", "seed", "folder", "quiet", "json"),
)
"""Options that mean something where nothing is trained by gradients."""
SECONDS_BETWEEN_LINES = 5


def check_options(args: argparse.Namespace) -> None:
    """See that no option is given that would be ignored.

    Raises:
        ValueError: If there is one.
    """
    options = add_options(argparse.ArgumentParser())
    wrong = [
        option.option_strings[0]
        for name, option in options.items()
        if name not in OPTIONS and getattr(args, name, option.default) != option.default
    ]
    if wrong:
        allowed = ", ".join(options[name].option_strings[0] for name in OPTIONS)
        raise ValueError(
            f"{args.model} is fitted, not trained by gradients, so {wrong[0]} means nothing; it takes {allowed}"
        )


def run_fit(args: argparse.Namespace, fit: Fit) -> int:
    """Fit a model, and leave a folder with its weights and a summary."""
    if "." in args.model:
        name = args.model.partition(".")[0]
        raise ValueError(f"{name} is fitted from images alone and not from weights; give --model {name}")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ValueError(f"{args.model} is fitted in one process; run srzoo train without torchrun")
    check_options(args)
    settings, arguments = read_settings(fit, parse_overrides(args.set), args.seed)
    model = check_arguments(args.model, fit, arguments)
    folder = run_folder(args, model.name)
    check_new(folder)
    folders = read_folders(args)
    with _progress(silent=args.quiet or args.json) as report:
        source, sets = prepare(
            model, folders,
            validation=read_validation(args.validation),
            degradation=read_degradation(args),
            report=report,
        )  # fmt: skip
        result = fit_model(model, source, sets, folder, settings, report=report)
    _tell(result, as_json=args.json)
    return 0


@contextmanager
def _progress(*, silent: bool) -> Iterator[Report]:
    """A listener that shows how far it is: a bar a stage on a terminal, a line every few seconds elsewhere."""
    if silent:
        yield lambda done, total, what: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import Progress

        with Progress(console=Console(stderr=True)) as bars:
            tasks = {}

            def show(done: int, total: int, what: str) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=done, total=total)

            yield show
    else:
        yield _lines()


def _lines() -> Report:
    """A line where a stage begins and every few seconds."""
    last, stage = time.monotonic(), ""

    def tell(done: int, total: int, what: str) -> None:
        nonlocal last, stage
        if what != stage or time.monotonic() - last > SECONDS_BETWEEN_LINES:
            last, stage = time.monotonic(), what
            sys.stderr.write(f"{what}: {done:,} of {total:,}\n")

    return tell


def _tell(result: FitResult, *, as_json: bool) -> None:
    """What came of it, and the line to type next."""
    if as_json:
        print(json.dumps(result.to_json(), indent=2))
        return
    for name, scales in result.scores.items():
        for scale, entry in scales.items():
            print(f"{name} {scale}: {entry['psnr']:.2f} dB (bicubic {result.bicubic[name][scale]['psnr']:.2f})")
    print(f"{result.folder / 'summary.md'} tells more; use it: srzoo upscale photo.png --model {result.folder}")
