"""What a benchmark will do: everything is found, opened and checked before anything runs."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

import torch

from srzoo.architecture import SRModel
from srzoo.benchmark.entries import Entry, open_entries, scales_of
from srzoo.benchmark.meter import describe_device
from srzoo.benchmark.published import Published, find_published
from srzoo.data.benchmarks import ImageSet, find_set
from srzoo.device import pick_device
from srzoo.distributed import World
from srzoo.metrics import PROTOCOLS, Protocol
from srzoo.tta import dihedral, flips
from srzoo.upscaling.tiling import DEFAULT_TILE
from srzoo.upscaling.upscaler import Tta
from srzoo.version import __version__

Made = TypeVar("Made")
Cropped = tuple[str, int, tuple[str, ...]]
"""Set, scale, and names of the images that are cropped to a multiple of the scale."""
GROUPS = {"none": None, "flips": flips, "x8": dihedral}
ProtocolName = Literal["paper", "rgb", "y-rounded"]
PROTOCOL_NAMES = ("paper", "rgb", "y-rounded")
Report = Callable[[int, int, str], None]
"""Called with (done, total, what) while sets are checked."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How models are run and scored.

    Args:
        tta: "none", "flips" (mean of 4) or "x8" (mean of 8: EDSR+, MDSR+).
        protocol: "paper" is each set's own (`Protocol.paper`; DIV2K: `Protocol.div2k`); "rgb" and "y-rounded" as
            `srzoo.metrics.PROTOCOLS` has them.
        path: "rgb", or "luma" for models that work on luma (`srzoo.data.pairs.luma_pair`).
        tile: Largest side of a tile in LR pixels; tiles overlap by the model's receptive field.
        limit: Only the first images of each set.

    Raises:
        ValueError: If a value is none of those.
    """

    tta: Tta = "none"
    protocol: ProtocolName = "paper"
    path: Literal["rgb", "luma"] = "rgb"
    tile: int = DEFAULT_TILE
    limit: int | None = None

    def __post_init__(self) -> None:
        for key, allowed in (("tta", GROUPS), ("protocol", PROTOCOL_NAMES), ("path", ("rgb", "luma"))):
            if (value := getattr(self, key)) not in allowed:
                raise ValueError(f"{key} is {value!r}; allowed are {', '.join(allowed)}")
        if self.tile < 1:
            raise ValueError(f"tile is {self.tile}; it must be at least 1")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit is {self.limit}; it must be at least 1")
        if self.path == "luma" and self.protocol == "rgb":
            raise ValueError("protocol rgb scores RGB, and path luma has none; take protocol paper or path rgb")

    def rule(self, images: ImageSet) -> Callable[[int], Protocol]:
        """Scale -> protocol for a set."""
        return PROTOCOLS["div2k" if self.protocol == "paper" and images.protocol == "div2k" else self.protocol]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One model on one set at one scale."""

    entry: Entry
    images: ImageSet
    scale: int
    names: tuple[str, ...]
    """Of the images to score."""
    rule: Protocol
    tta: Tta
    published: Published | None
    key: str
    """Says all that the rows depend on."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A benchmark that can be run; `plan_benchmark` makes it."""

    settings: Settings
    units: tuple[Unit, ...]
    sets: tuple[ImageSet, ...]
    device: torch.device
    world: World
    device_words: str
    """The first process's device, as `srzoo.benchmark.meter.describe_device` tells it."""
    cropped: tuple[Cropped, ...] = ()
    """For each set and scale the images that are cropped, where there are some."""

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The models, each once."""
        return tuple({unit.entry.label: unit.entry for unit in self.units}.values())

    @property
    def num_images(self) -> int:
        """Images to score, each counted for every model and scale."""
        return sum(len(unit.names) for unit in self.units)

    @property
    def lr(self) -> str | None:
        """The folder that LR images come from; None if they are made from HR."""
        return next((str(images.lr) for images in self.sets if images.lr is not None), None)

    def describe(self) -> str:
        """Models, sets, protocol and device in one line."""
        asked = [entry.label for entry in self.entries if not entry.is_baseline]
        scales = ", ".join(f"x{scale}" for scale in sorted({unit.scale for unit in self.units}))
        rules = dict.fromkeys(str(unit.rule) for unit in self.units)
        more = [f"tta {self.settings.tta}"] if self.settings.tta != "none" else []
        more += ["path luma"] if self.settings.path == "luma" else []
        more += [f"LR from {self.lr}"] if self.lr is not None else []
        more += [f"{self.world.size} processes"] if self.world.size > 1 else []
        return "; ".join(
            [
                f"{', '.join(asked)} on {', '.join(images.name for images in self.sets)} at {scales}",
                f"{self.num_images} images with bicubic's",
                f"protocol {' | '.join(rules)}",
                *more,
                str(self.device),
            ]
        )


def plan_benchmark(
    models: str | Path | SRModel | Iterable[str | Path | SRModel],
    sets: str | Path | Iterable[str | Path] = ("Set5", "Set14"),
    *,
    data: str | Path | None = None,
    lr: str | Path | None = None,
    scales: Iterable[int] | None = None,
    settings: Settings | None = None,
    device: str | torch.device = "auto",
    baseline: bool = True,
    fetch: bool = False,
    report: Report | None = None,
    world: World | None = None,
) -> Job:
    """A benchmark ready to run: every model was opened, every image decoded once.

    Takes what `benchmark` takes; `world` are the processes that share the work, each of which makes the same plan.

    Raises:
        FileNotFoundError: If a model, a set or a folder is not there.
        ValueError: If sets have problems (all are told), a model has no weights, or a setting is not allowed.
    """
    world = world or World.current()
    settings = settings or Settings()
    given, names = _each(models), [str(one) for one in _each(sets)]
    only = None if scales is None else tuple(scales)

    def find(fetched: bool) -> list[ImageSet]:
        return _find_all(names, partial(find_set, data=data, lr=lr, path=settings.path, fetch=fetched))

    def prepare() -> tuple[list[ImageSet], list[Entry], torch.device]:
        found, chosen = find(False), pick_device(device)
        entries = open_entries(given, only, luma=settings.path == "luma", baseline=baseline)
        if world.is_main:
            _check(found, entries, settings, report)
        return found, entries, chosen

    if fetch:
        together(world, lambda: find(True) if world.is_main else None)
    found, entries, chosen = together(world, prepare)
    mine = _facts(found, entries, settings, chosen) if world.is_main else None
    facts = world.share_object(cast(_Facts, mine))
    # by the first's hashes, so that a file that changes meanwhile is noticed when it is opened again
    entries = [replace(entry, content=content) for entry, content in zip(entries, facts.contents, strict=True)]
    return Job(
        settings=settings,
        units=_units(entries, found, facts, settings, chosen.type, world.size),
        sets=tuple(found),
        device=chosen,
        world=world,
        device_words=facts.device,
        cropped=facts.cropped,
    )


class _Facts(NamedTuple):
    """What the first process tells the others, so that all make the same keys."""

    fingerprints: list[str]
    """Of the sets."""
    contents: list[str]
    """Of the models."""
    device: str
    cropped: tuple[Cropped, ...]


def _facts(sets: Sequence[ImageSet], entries: Sequence[Entry], settings: Settings, device: torch.device) -> _Facts:
    """The facts, of sets that were checked."""
    cropped = []
    for images in sets:
        scored = set(images.names[: settings.limit])
        for scale in scales_of(entries):
            names = tuple(name for name in images.cropped(scale) if name in scored)
            cropped += [(images.name, scale, names)] if names else []
    return _Facts(
        [images.fingerprint for images in sets],
        [entry.content for entry in entries],
        describe_device(device),
        tuple(cropped),
    )


def _find_all(names: Sequence[str], find: Callable[[str], ImageSet]) -> list[ImageSet]:
    """Every set, or what is wrong with all that cannot be found."""
    found: list[ImageSet] = []
    troubles: list[ValueError | OSError] = []
    for name in names:
        try:
            found.append(find(name))
        except (ValueError, OSError) as error:
            if all(str(error) != str(other) for other in troubles):
                troubles.append(error)
    if len(troubles) == 1:
        raise troubles[0]
    if troubles:
        kind = FileNotFoundError if all(isinstance(one, FileNotFoundError) for one in troubles) else ValueError
        raise kind("\n- ".join([f"{len(troubles)} sets cannot be scored:", *map(str, troubles)]))
    return found


def together(world: World, make: Callable[[], Made]) -> Made:
    """What `make` gives; if it raises in one process, all raise that, and none waits for the others."""
    made, trouble = None, None
    try:
        made = make()
    except (ValueError, TypeError, OSError, ImportError) as error:
        trouble = error
    if world.size == 1 and trouble is not None:
        raise trouble
    told = next((error for error in world.gather(trouble) if error is not None), None)
    if told is not None:
        raise told
    return cast(Made, made)


def _each(things: Any) -> list[Any]:
    """One thing, or several, as a list."""
    return [things] if isinstance(things, str | Path | SRModel) else list(things)


def _check(sets: Sequence[ImageSet], entries: Sequence[Entry], settings: Settings, report: Report | None) -> None:
    """See that all can be scored; what is wrong with any set is told at once."""
    names = [images.name for images in sets]
    if not sets:
        raise ValueError("no set was given; name one, such as Set5")
    if len(set(names)) < len(names):
        raise ValueError(f"two sets have the same name ({', '.join(names)}); benchmark them one at a time")
    troubles = []
    for images in sets:
        if settings.path == "luma" and images.protocol == "div2k":
            troubles.append(f"{images.name} is scored on RGB, and path luma has none; take path rgb")
        try:
            images.check(scales_of(entries), report)
        except ValueError as error:
            troubles.append(str(error))
    if troubles:
        raise ValueError("\n".join(troubles))


def _units(
    entries: Sequence[Entry],
    sets: Sequence[ImageSet],
    told: _Facts,
    settings: Settings,
    device: str,
    processes: int,
) -> tuple[Unit, ...]:
    """Every model at each of its scales on every set, model by model."""
    units = []
    for entry in entries:
        for images, fingerprint in zip(sets, told.fingerprints, strict=True):
            for scale in entry.scales:
                rule = settings.rule(images)(scale)
                tta: Tta = "none" if entry.is_baseline else settings.tta
                facts = {
                    "srzoo": __version__,
                    "torch": torch.__version__,
                    "model": [entry.to_json(), entry.code],
                    "set": [images.name, fingerprint],
                    "scale": scale,
                    "protocol": asdict(rule),
                    "tta": tta,
                    "path": settings.path,
                    "tile": settings.tile,
                    "device": told.device,
                    "processes": 1 if device == "cuda" else processes,  # each has a CUDA device of its own
                }
                units.append(
                    Unit(
                        entry=entry,
                        images=images,
                        scale=scale,
                        names=images.names[: settings.limit],
                        rule=rule,
                        tta=tta,
                        published=_published(entry, images, scale, tta, settings),
                        key=hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32],
                    )
                )
    return tuple(units)


def _published(entry: Entry, images: ImageSet, scale: int, tta: Tta, settings: Settings) -> Published | None:
    """What was published for a model, where it is measured in the same way."""
    method = {"none": entry.method, "x8": entry.ensemble_method}.get(tta)
    if method is None or images.record is None or settings.protocol != "paper" or settings.limit is not None:
        return None
    if images.lr is not None:  # who knows how it was made
        return None
    return find_published(method, images.name, scale)
