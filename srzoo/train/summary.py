"""What a finished run tells people: summary.md, beside the weights."""

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote

from srzoo.benchmark import measure
from srzoo.data.pairs import Pair
from srzoo.files import replacing
from srzoo.resize import imresize
from srzoo.train.callbacks import describe_seconds

Scores = Mapping[str, Mapping[str, Mapping[str, float | int | str]]]
"""Set -> scale ("x2") -> psnr, ssim, images, protocol: what `srzoo.benchmark.measure` returns."""
MOST_LEFT_OUT = 20


@dataclass(frozen=True, kw_only=True)
class RunFacts:
    """What there is to say of a run.

    Args:
        model: Name of the model.
        start: What it started from, in words: "the weights edsr_baseline_x4.photos", "random weights".
        teacher: Whose outputs it learnt, if there was a teacher.
        num_images: Training images.
        megapixels: Their size together.
        fingerprint: Of the training images.
        num_left_out: Images that were not used.
        left_out: Lines that say which and why.
        steps: Updates done.
        seconds: Time spent training.
        device: Where, in words.
        settings: Those that matter most, in words.
        license: Of the weights, if they have one.
        pictures: Licence -> pictures trained on, where their licences are known.
        left_out_by_licence: Licence -> images that were left out for it.
        bicubic: Scores of bicubic upscaling, see `score_bicubic`; empty without validation images.
        before: Scores of the start; None where it had learnt nothing.
        after: Scores of the weights that were kept.
    """

    model: str
    start: str
    num_images: int
    megapixels: int | float
    fingerprint: str
    num_left_out: int = 0
    left_out: Sequence[str] = ()
    steps: int
    seconds: int | float
    device: str
    settings: str = ""
    license: str = ""
    teacher: str = ""
    pictures: Mapping[str, int] = field(default_factory=dict)
    left_out_by_licence: Mapping[str, int] = field(default_factory=dict)
    bicubic: Scores
    before: Scores | None
    after: Scores


def score_bicubic(sets: Mapping[str, Sequence[Pair]]) -> dict[str, dict[str, dict[str, float | int | str]]]:
    """Mean scores of bicubic upscaling on sets of pairs, as `srzoo.benchmark.measure` gives them.

    Examples:
        >>> import torch
        >>> hr = torch.full((3, 24, 24), 9, dtype=torch.uint8)
        >>> score_bicubic({"flat": [Pair("flat", hr[:, ::2, ::2], hr, 2)]})["flat"]["x2"]["ssim"]
        1.0
    """
    found: dict[str, dict[str, dict[str, float | int | str]]] = {name: {} for name in sets}
    for name, pairs in sets.items():
        for scale in sorted({pair.scale for pair in pairs}):
            some = [pair for pair in pairs if pair.scale == scale]
            found[name] |= measure(partial(imresize, scale=scale), {name: some})[name]
    return found


def _cell(text: str) -> str:
    """Text that cannot end a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def count_by_licence(by_licence: Mapping[str, int]) -> str:
    """The pictures under each licence as text for a table, most first.

    Examples:
        >>> count_by_licence({"CC-BY-4.0": 3, "CC0-1.0": 12})
        'CC0-1.0: 12, CC-BY-4.0: 3'
    """
    ordered = sorted(by_licence.items(), key=lambda item: -item[1])
    return _cell(", ".join(f"{licence}: {number}" for licence, number in ordered))


def _facts_table(facts: RunFacts) -> list[str]:
    size = f"{facts.megapixels:.1f}" if facts.megapixels < 100 else f"{facts.megapixels:.0f}"
    rows = {
        "model": f"`{facts.model}`",
        "started from": _cell(facts.start),
        "teacher": _cell(facts.teacher),
        "images": f"{facts.num_images}, {size} megapixels"
        + (f"; {facts.num_left_out} left out" if facts.num_left_out else ""),
        "pictures by licence": count_by_licence(facts.pictures),
        "left out by licence": count_by_licence(facts.left_out_by_licence),
        "fingerprint of the images": f"`{facts.fingerprint}`",
        "steps": f"{facts.steps:,}",
        "time": describe_seconds(facts.seconds),
        "device": _cell(facts.device),
        "settings": _cell(facts.settings),
        "licence of the weights": _cell(facts.license),
    }
    return ["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows.items() if value)]


def _score_text(scores: Scores | None, name: str, scale: str) -> str:
    """`31.20 / 0.8900` of a set and scale; empty where there is none."""
    entry = (scores or {}).get(name, {}).get(scale)
    return f"{entry['psnr']:.2f} / {entry['ssim']:.4f}" if entry else ""


def _gain(facts: RunFacts, name: str, scale: str) -> float | None:
    """Change of the PSNR in dB from the start, or from bicubic where the start had learnt nothing."""
    start = facts.bicubic if facts.before is None else facts.before
    if scale not in start.get(name, {}):
        return None
    return float(facts.after[name][scale]["psnr"]) - float(start[name][scale]["psnr"])


def _scores(facts: RunFacts) -> list[str]:
    """The table of scores, and a word on what fell."""
    if not any(facts.after.values()):
        return ["There were no validation images, so nothing was scored."]
    middle = ["bicubic"] if facts.before is None else ["bicubic", "before"]
    titles = ["set", "scale", "images", *middle, "after", "gain in PSNR"]
    lines = [f"| {' | '.join(titles)} |", f"| {' | '.join(['---'] * len(titles))} |"]
    fallen = []
    for name, scales in facts.after.items():
        for scale, entry in scales.items():
            columns = (
                [facts.bicubic, facts.after] if facts.before is None else [facts.bicubic, facts.before, facts.after]
            )
            gain = _gain(facts, name, scale)
            cells = [_cell(name), scale, str(entry["images"]), *(_score_text(some, name, scale) for some in columns)]
            lines.append(f"| {' | '.join(cells)} | {'' if gain is None else f'{gain:+.2f} dB'} |")
            if gain is not None and gain < 0:
                fallen.append(f"{name} {scale}")
    protocols = sorted({str(entry["protocol"]) for scales in facts.after.values() for entry in scales.values()})
    against = "bicubic" if facts.before is None else "before"
    lines += ["", f"PSNR in dB / SSIM, means over the images ({'; '.join(protocols)}). The gain is against {against}."]
    if fallen:
        lines += ["", f"The PSNR fell on {', '.join(fallen)}: what it started from is better there."]
    return lines


def _images(folder: Path, paths: Sequence[str | Path]) -> list[str]:
    """Each picture as a Markdown image, with a path relative to the folder."""
    lines = []
    for path in map(Path, paths):
        relative = Path(os.path.relpath(path, folder)).as_posix()
        lines += [f"![{path.stem}]({quote(relative)})", ""]
    return lines[:-1]


def _left_out(lines: Sequence[str]) -> list[str]:
    told = [f"- {line}" for line in lines[:MOST_LEFT_OUT]]
    more = len(lines) - len(told)
    return told + ([f"- and {more} more"] if more else [])


def write_summary(
    folder: str | Path, facts: RunFacts, *, curves: str | Path | None = None, samples: Sequence[str | Path] = ()
) -> Path:
    """Write `summary.md` into the folder of a run and return its path.

    Args:
        folder: The run's folder, which `srzoo upscale --model` takes; it must exist.
        facts: What to tell.
        curves: The picture `draw_curves` made, if any.
        samples: The pictures `draw_samples` made.

    Raises:
        OSError: If the file cannot be written.
    """
    folder = Path(folder)
    command = f"srzoo upscale photo.png --model {shlex.quote(str(folder))}"
    lines = [f"# {facts.model} after {facts.steps:,} steps", "", *_facts_table(facts), ""]
    lines += ["## Scores", "", *_scores(facts), ""]
    if curves is not None:
        lines += ["## Curves", "", *_images(folder, [curves]), ""]
    if samples:
        lines += ["## Samples", "", "Each is the part of an image that training changed most; the PSNR is the image's."]
        lines += ["", *_images(folder, samples), ""]
    if facts.left_out:
        lines += ["## Left out", "", *_left_out(facts.left_out), ""]
    lines += ["## Use it", "", "```sh", command, "```"]
    path = folder / "summary.md"
    with replacing(path) as work:
        work.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
