"""The models of a benchmark: what the user named, found and opened before anything runs."""

import copy
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

from srzoo.architecture import SRModel
from srzoo.benchmark.systems import method_of
from srzoo.registry import count_trained, create_model, is_path, list_models, model_info, open_model, weight_file
from srzoo.weights import content_hash, file_sha256, load_strictly, read_header

BASELINE = "bicubic"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model of a benchmark; it is opened again when its turn comes, so that only one is in memory."""

    label: str
    """What tables call it: `name.tag`, or what the user gave."""
    open: Callable[[], SRModel] = field(repr=False)
    """Gives the model, in eval mode, on whatever device."""
    scales: tuple[int, ...]
    name: str
    """Registered name; empty for a model built by hand."""
    arguments: Mapping[str, Any]
    parameters: int
    content: str
    """Hash of its tensors, as it runs."""
    code: str = ""
    """Hash of the code that it runs with; see `code_of`."""
    license: str = ""
    recorded: Mapping[str, Any] = field(default_factory=dict)
    """Scores that its weights record: set -> scale -> psnr, ssim, images, protocol."""
    method: str | None = None
    """The published method it is built like, run without self-ensemble; see `method_of`."""
    ensemble_method: str | None = None
    """The same under the self-ensemble of eight."""
    is_baseline: bool = False
    """Whether it was added to compare with, and not asked for."""

    def opened(self) -> SRModel:
        """The model that was planned with, as `open` gives it.

        Raises:
            ValueError: If it has other tensors or arguments by now.
        """
        model = self.open()
        if content_hash(model.state_dict()) != self.content or model.arguments != self.arguments:
            raise ValueError(f"{self.label} changed while the benchmark ran; start it again")
        return model

    def to_json(self) -> dict[str, Any]:
        """Facts as plain JSON values."""
        return {
            "model": self.label,
            "name": self.name,
            "arguments": _plain(self.arguments),
            "parameters": self.parameters,
            "content": self.content,
            "license": self.license,
        }


def _plain(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(dict(arguments), default=str))


def expand(spec: str) -> list[str]:
    """The models that a user's word stands for.

    A glob stands for all models with weights that it matches (with a dot in it, for all weights), a variant without
    scale for each of its scales that has weights; anything else for itself.

    Raises:
        ValueError: If a glob matches nothing that has weights.

    Examples:
        >>> expand("edsr_baseline")
        ['edsr_baseline_x2', 'edsr_baseline_x3', 'edsr_baseline_x4']
        >>> expand("edsr_baseline_x[23].photos")
        ['edsr_baseline_x2.photos', 'edsr_baseline_x3.photos']
    """
    if is_path(spec):
        return [spec]
    if any(letter in spec for letter in "*?["):
        found = list_models(spec, tags=True) if "." in spec else _usable(spec)
        if not found:
            there = ", ".join(list_models(pretrained=True))
            raise ValueError(f"no model with weights matches {spec!r}; there are {there}")
        return found
    base, dot, tag = spec.partition(".")
    if base in list_models(base):
        return [spec]
    family = [name for name in list_models(f"{base}_x*") if name.removeprefix(f"{base}_x").isdigit()]
    if dot:
        return [name for name in list_models(f"{base}_x*.{tag}", tags=True) if name.partition(".")[0] in family] or [
            spec
        ]
    return [name for name in _usable(f"{base}_x*") if name in family] or family[:1] or [spec]


def _usable(pattern: str) -> list[str]:
    """Models that have weights, or need none."""
    with_weights = set(list_models(pattern, pretrained=True))
    return [name for name in list_models(pattern) if name in with_weights or not model_info(name).parameters]


def open_entries(
    models: Iterable[str | Path | SRModel], scales: Sequence[int] | None, *, luma: bool = False, baseline: bool = True
) -> list[Entry]:
    """Every model opened once, and bicubic at each of their scales first.

    Args:
        models: Names, globs, variants, paths, `hf-hub:` addresses, or models.
        scales: Which scales to run; None for all.
        luma: Rebuild each on one channel.
        baseline: Add bicubic where it was not asked for.

    Raises:
        FileNotFoundError: If a file or folder does not exist.
        ValueError: If a name is unknown, a model has no weights, offers none of the scales, or cannot work on luma.
    """
    found: dict[str, Entry] = {}
    identities: dict[str, Any] = {}
    for spec in models:
        words: Sequence[Any] = [spec] if isinstance(spec, SRModel) else expand(str(spec))
        entries = [_open_entry(word, luma) for word in words]
        kept = [_with_scales(entry, scales) for entry in entries]
        if not any(kept):
            there = ", ".join(str(scale) for scale in sorted({scale for entry in entries for scale in entry.scales}))
            asked = ", ".join(map(str, scales or ()))
            raise ValueError(f"{_name_of(spec)} does not offer scale {asked}; it has {there}")
        for word, entry in zip(words, kept, strict=True):
            if entry is None:
                continue
            by_hand = id(word) if isinstance(word, SRModel) and not word.name else None
            identity = (entry.content, entry.code, entry.name, entry.arguments, by_hand)
            found.setdefault(entry.label, entry)
            if identities.setdefault(entry.label, identity) != identity:
                raise ValueError(f"two different models are called {entry.label}; benchmark them one at a time")
    if not found:
        raise ValueError("no model was given; name one, such as edsr_baseline_x4")
    added = [_baseline(scale, luma) for scale in scales_of(found.values())] if baseline else []
    return [*(entry for entry in added if entry is not None and entry.label not in found), *found.values()]


def scales_of(entries: Iterable[Entry]) -> list[int]:
    """All scales that some entry runs at."""
    return sorted({scale for entry in entries for scale in entry.scales})


def _with_scales(entry: Entry, scales: Sequence[int] | None) -> Entry | None:
    """The entry at those scales only; None if it has none of them."""
    if scales is None:
        return entry
    kept = tuple(scale for scale in entry.scales if scale in scales)
    return replace(entry, scales=kept) if kept else None


def _name_of(spec: str | Path | SRModel) -> str:
    return (spec.name or type(spec).__name__) if isinstance(spec, SRModel) else str(spec)


def _baseline(scale: int, luma: bool) -> Entry | None:
    """Bicubic at a scale, where it is offered."""
    name = f"{BASELINE}_x{scale}"
    if name not in list_models(name):
        return None
    return replace(_open_entry(name, luma), is_baseline=True)


def _open_entry(spec: str | SRModel, luma: bool) -> Entry:
    """Facts of one model, which is opened and let go."""
    source: Callable[[], SRModel] = partial(_given, spec) if isinstance(spec, SRModel) else partial(open_model, spec)
    opener = partial(_opened_on_luma, source) if luma else source
    model = opener()
    recorded, row_license = _recorded(model)
    origin = model.origin
    is_named = isinstance(spec, SRModel) or not is_path(spec)
    label = origin.name if origin is not None and is_named else _name_of(spec)
    return Entry(
        label=label,
        open=opener,
        scales=tuple(sorted(model.scales)),
        name=model.name,
        arguments=dict(model.arguments),
        parameters=count_trained(model),
        content=content_hash(model.state_dict()),
        code=code_of(model),
        license=(origin.license if origin is not None else "") or row_license,
        recorded=recorded,
        method=method_of(model, "none"),
        ensemble_method=method_of(model, "x8"),
    )


def code_of(model: SRModel) -> str:
    """A hash of what a model computes besides its tensors: source files, and plain attributes of its parts.

    Covers srzoo's own files, which may have been edited since the version was set, and those that define the classes
    of the model's parts; of torch the version tells. A class without a file, typed into a console, is of this process
    alone.
    """
    told = [_own_code(Path(__file__).parents[1])]
    for kind in sorted({type(part) for part in model.modules()}, key=lambda kind: (kind.__module__, kind.__qualname__)):
        if kind.__module__.partition(".")[0] not in ("torch", "srzoo"):
            file = getattr(sys.modules.get(kind.__module__), "__file__", None)
            told.append(file_sha256(file) if file and Path(file).is_file() else f"process {os.getpid()}, {id(kind)}")
    for name, part in model.named_modules():
        plain = {key: value for key, value in vars(part).items() if isinstance(value, bool | int | float | str | tuple)}
        told.append(f"{name} {type(part).__qualname__} {sorted({**plain, 'training': False}.items())}")
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


@cache
def _own_code(folder: Path) -> str:
    """A hash over the Python files of a folder."""
    files = sorted(folder.rglob("*.py"))
    return hashlib.sha256(
        "".join(f"{file.relative_to(folder)} {file_sha256(file)}" for file in files).encode()
    ).hexdigest()


def _given(model: SRModel) -> SRModel:
    return copy.deepcopy(model).eval()  # the user's stays where it is, and in its mode


def _opened_on_luma(source: Callable[[], SRModel]) -> SRModel:
    return on_luma(source())


def on_luma(model: SRModel) -> SRModel:
    """The model on one channel, luma, with the same tensors.

    Raises:
        ValueError: If its tensors depend on the channels, because it works on RGB.
    """
    name = model.name or type(model).__name__
    refusal = f"{name} works on RGB, and path luma is for models that work on luma alone; take path rgb"
    if model.channels == 1:
        return model
    if not model.name or "channels" not in model.arguments:
        raise ValueError(refusal)
    grey = create_model(model.name, **{**model.arguments, "channels": 1})
    try:
        load_strictly(grey, model.state_dict(), name)
    except ValueError:
        raise ValueError(refusal) from None
    grey.origin = model.origin
    return grey.eval()


def _recorded(model: SRModel) -> tuple[Mapping[str, Any], str]:
    """Scores that the weights of a model record, from the header of their file, and their licence."""
    if model.origin is None:
        return {}, ""
    header = read_header(weight_file(model.origin.name, local_files_only=True))
    return header.metrics, header.license
