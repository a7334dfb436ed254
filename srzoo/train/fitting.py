"""From a family that learns without gradients and a folder of images to a folder with its weights and a summary."""

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srzoo.architecture import Draw, Fit, Report, SRModel
from srzoo.benchmark import measure
from srzoo.data import Pair, PatchSource
from srzoo.data.licences import weights_licence
from srzoo.files import replacing
from srzoo.registry import create_model, find_family
from srzoo.train.callbacks import describe_seconds
from srzoo.train.continuity import describe_environment
from srzoo.train.finetune import Scores
from srzoo.train.summary import count_by_licence, score_bicubic
from srzoo.weights import Header, load_strictly, save_model


@dataclass(frozen=True)
class FitResult:
    """What a fit left.

    Args:
        folder: Where everything is; `srzoo upscale photo.png --model FOLDER` uses it.
        model: The fitted model, in eval mode.
        seconds: Time spent fitting.
        bicubic: Scores of bicubic upscaling: set -> scale -> psnr, ssim, images, protocol.
        scores: Those of the model.
    """

    folder: Path
    model: SRModel
    seconds: float
    bicubic: Scores
    scores: Scores

    def to_json(self) -> dict[str, Any]:
        """The facts as plain JSON values."""
        return {
            "weights": str(self.folder / "model.safetensors"),
            "seconds": round(self.seconds),
            "before": self.bicubic,
            "scores": self.scores,
        }


def find_fit(name: str) -> Fit | None:
    """How the model of that name is fitted; None where it is trained by gradients, or is unknown.

    Examples:
        >>> find_fit("edsr_baseline_x2") is None, find_fit("aplus_x2").settings.__name__
        (True, 'APlusSettings')
    """
    family = find_family(name)
    return family.fit if family is not None else None


def read_settings(fit: Fit, given: Mapping[str, Any], seed: int | None = None) -> tuple[Any, dict[str, Any]]:
    """The settings of a fit, and what of `given` is none of them: constructor arguments.

    Args:
        fit: Says what settings there are.
        given: Names and values of settings and constructor arguments together.
        seed: For the field `seed`, where there is one; None leaves it.

    Raises:
        TypeError: If a value is of another kind than the default.
        ValueError: If a value is out of range, a name is almost that of a setting, or the seed is below 0 or cannot
            be set.

    Examples:
        >>> settings, arguments = read_settings(find_fit("aplus_x2"), {"num_samples": 9_000, "num_atoms": 64})
        >>> settings.num_samples, arguments
        (9000, {'num_atoms': 64})
    """
    known = {field.name: field.default for field in fields(fit.settings)}
    if seed is not None:
        if "seed" not in known:
            raise ValueError("--seed was given, and this fit draws nothing; leave it out")
        given = {**given, "seed": seed}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            continue
        usual = known[name]
        kinds = (int, float) if isinstance(usual, float) else type(usual)
        if not isinstance(value, kinds) or isinstance(value, bool) != isinstance(usual, bool):
            raise TypeError(f"{name} is {value!r}; give a value such as {usual!r}")
        chosen[name] = type(usual)(value)
    if chosen.get("seed", 0) < 0:
        raise ValueError(f"seed is {chosen['seed']}; it must be 0 or more")
    return fit.settings(**chosen), {name: value for name, value in given.items() if name not in known}


def check_arguments(name: str, fit: Fit, arguments: Mapping[str, Any]) -> SRModel:
    """The model to fit, with random weights.

    Raises:
        TypeError, ValueError: As `create_model` does; a name that is almost a setting's is answered with that.
    """
    try:
        return create_model(name, **arguments)
    except TypeError as error:
        settings = [field.name for field in fields(fit.settings)]
        close = [near for key in arguments for near in get_close_matches(key, settings, n=1)]
        hint = f"did you mean {close[0]}?" if close else f"settings of its fit are {', '.join(settings)}"
        raise TypeError(f"{error}; {hint}") from error


def drawing(source: PatchSource, scale: int, seed: int) -> Draw:
    """Random patches of a source in [0, 1]; equal seeds give equal patches."""
    rng = np.random.default_rng(seed)

    def draw(num: int, side: int) -> tuple[Tensor, Tensor]:
        lr, hr = source.sample(rng, scale=scale, batch_size=num, patch_size=side)
        return lr.float() / 255, hr.float() / 255

    return draw


def fit_model(
    model: SRModel,
    source: PatchSource,
    sets: Mapping[str, Sequence[Pair]],
    folder: str | Path,
    settings: Any = None,
    *,
    license: str = "",
    report: Report = lambda done, total, what: None,
) -> FitResult:
    """Fit a model of one scale whose family has a `fit`; `folder` gets `model.safetensors` and `summary.md`.

    Args:
        model: From `create_model`, with random weights; it is not changed.
        source: Where the patches come from.
        sets: Name of a set -> pairs to score on.
        folder: Where the files go.
        settings: Of the family's own kind; None takes the defaults.
        license: SPDX identifier for the weights, if they have one; those of share-alike pictures are added.
        report: Told of progress.

    Raises:
        FileExistsError: If the folder has a model already.
        ValueError: If the family learns by gradients, or the model has several scales; or as the family's fit says.
        ImportError: If the fit needs a package that is not installed.

    Examples:
        ```python
        model = srzoo.create_model("aplus_x3")
        source, sets = srzoo.train.prepare(model, "photos", validation="Set5/HR")
        fit_model(model, source, sets, "runs/aplus_x3", APlusSettings(num_samples=500_000))
        ```
    """
    folder = Path(folder)
    check_new(folder)
    fit = find_fit(model.name)
    if fit is None:
        raise ValueError(f"{model.name or type(model).__name__} is trained by gradients; use srzoo.train.fine_tune")
    if len(model.scales) != 1:
        raise ValueError(f"{model.name} has {len(model.scales)} scales; a model of one scale can be fitted")
    settings = fit.settings() if settings is None else settings
    started = time.monotonic()
    fitted = fit.run(model, drawing(source, model.scales[0], getattr(settings, "seed", 0)), settings, report)
    made = create_model(model.name, **{**model.arguments, **fitted.arguments}).eval()
    load_strictly(made, fitted.tensors, f"what the fit of {model.name} gave")
    seconds = time.monotonic() - started
    scores = measure(made, sets)
    images = source.describe()
    license = weights_licence(license, images.get("pictures", {}))
    recipe = {
        "fit": asdict(settings),
        "told": dict(fitted.told),
        "images": images,
        "data": source.fingerprint,
        "seconds": round(seconds),
        **describe_environment(torch.device("cpu"), "fp32", 1),
    }
    folder.mkdir(parents=True, exist_ok=True)
    header = Header(model=made.name, license=license, source="fitted by srzoo train", recipe=recipe, metrics=scores)
    save_model(made, folder / "model.safetensors", header=header)
    result = FitResult(folder, made, seconds, score_bicubic(sets), scores)
    _write_summary(result, source, settings, license)
    return result


def check_new(folder: str | Path) -> None:
    """See that a folder has no model yet.

    Raises:
        FileExistsError: If it has one.
    """
    if (Path(folder) / "model.safetensors").exists():
        raise FileExistsError(f"{folder} has a model already; choose another folder (--run)")


def _write_summary(result: FitResult, source: PatchSource, settings: Any, license: str) -> None:
    """What came of it, for people."""
    images = source.describe()
    told = ", ".join(f"{name} {value}" for name, value in asdict(settings).items())
    rows = {
        "model": f"`{result.model.name}`",
        "images": str(len(source.names)),
        "pictures by licence": count_by_licence(images.get("pictures", {})),
        "left out by licence": count_by_licence(images.get("left_out", {})),
        "fingerprint of the images": f"`{source.fingerprint}`",
        "settings": told,
        "time": describe_seconds(result.seconds),
        "licence of the weights": license.replace("|", "\\|"),
    }
    lines = [f"# {result.model.name}, fitted", "", "| | |", "| --- | --- |"]
    lines += [f"| {name} | {value} |" for name, value in rows.items() if value]
    lines += ["", "## Scores", "", "| set | scale | images | bicubic | fitted |", "| --- | --- | --- | --- | --- |"]
    for name, scales in result.scores.items():
        for scale, entry in scales.items():
            was = result.bicubic[name][scale]
            cells = [name.replace("|", "\\|"), scale, str(entry["images"]), *(f"{e['psnr']:.2f}" for e in (was, entry))]
            lines.append(f"| {' | '.join(cells)} |")
    command = f"srzoo upscale photo.png --model {shlex.quote(str(result.folder))}"
    lines += ["", "PSNR in dB, means over the images.", "", "## Use it", "", "```sh", command, "```", ""]
    with replacing(result.folder / "summary.md") as work:
        work.write_text("\n".join(lines), encoding="utf-8")
