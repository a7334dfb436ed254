"""Measure the paper's main table in one run, which goes on where it was when it is killed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from srzoo.benchmark.entries import open_entries
from srzoo.benchmark.journal import Journal
from srzoo.benchmark.main_table import LEFT_OUT, Cell, MainTable, Missing, SetFacts
from srzoo.benchmark.plan import Job, Report, Settings, Unit, plan_benchmark, together
from srzoo.benchmark.rows import Row
from srzoo.benchmark.runs import Kept, kept_rows, run_benchmark
from srzoo.benchmark.systems import (
    SCALES,
    SETS,
    SYSTEMS,
    System,
    cost_of,
    pick_systems,
    registered_name,
    variant_of,
    why_missing,
)  # fmt: skip
from srzoo.data.benchmarks import find_set
from srzoo.distributed import World
from srzoo.upscaling.tiling import DEFAULT_TILE
from srzoo.upscaling.upscaler import Tta
from srzoo.version import __version__

Found = dict[tuple[str, int], str]
"""Variant and scale -> the model's name, or why there is none."""


@dataclass(frozen=True, kw_only=True)
class MainJob:
    """The table ready to be measured; `plan_main_table` makes it."""

    jobs: tuple[Job, ...]
    """One without self-ensemble, one with, where there is something to run."""
    systems: tuple[System, ...]
    scales: tuple[int, ...]
    missing: tuple[Missing, ...]
    missing_sets: Mapping[str, str]
    """Name of a set that is not at hand -> why."""
    command: str

    @property
    def num_images(self) -> int:
        """Images to score, each counted for every system and scale."""
        return sum(job.num_images for job in self.jobs)

    def describe(self) -> str:
        """Systems, sets, scales and device in one line."""
        run = {(variant_of(unit.entry.name), unit.tta) for job in self.jobs for unit in job.units}
        there = [system.name for system in self.systems if (system.variant, system.tta) in run]
        scales = ", ".join(f"x{scale}" for scale in self.scales)
        sets = ", ".join(images.name for images in self.jobs[0].sets)
        return f"{', '.join(there)} on {sets} at {scales}; {self.num_images} images; {self.jobs[0].device_words}"


def plan_main_table(
    given: Sequence[str | Path] = (),
    *,
    sets: Sequence[str] | None = None,
    scales: Iterable[int] | None = None,
    systems: Iterable[str] | None = None,
    data: str | Path | None = None,
    limit: int | None = None,
    tile: int = DEFAULT_TILE,
    device: str | torch.device = "auto",
    fetch: bool = False,
    report: Report | None = None,
    world: World | None = None,
) -> MainJob:
    """The table ready to be measured: sets and weights were looked for, models opened, images decoded.

    Args:
        given: Models that take the place of the zoo's weights: files, folders, `name.tag`. A model's own name says
            which system it is.
        sets: Names of sets or folders of images, all of which must be there; None takes the paper's, of which those
            that are not at hand are left empty.
        scales: Of 2, 3 and 4; None takes all.
        systems: Names of `SYSTEMS`; None takes all.
        data: The folder that holds the sets; None takes `SRZOO_DATA`.
        limit: Only the first images of each set.
        tile: Largest side of a tile in LR pixels.
        device: "auto", or a torch device.
        fetch: Fetch sets and weights that are not at hand from the Hub.
        report: Called with (done, total, what) while sets are checked.
        world: The processes that share the work.

    Raises:
        FileNotFoundError: If no set is at hand, or one that was asked for is not.
        ValueError: If sets have problems, a name is unknown, or a given model belongs to no system.
    """
    world = world or World.current()
    chosen, wanted = pick_systems(systems), _check_scales(scales)

    def look(fetched: bool) -> tuple[list[str], dict[str, str], Found, Found]:
        return *_find_sets(sets, data, fetched), *_find_models(chosen, wanted, fetched)

    if fetch:  # by one process; then all find what it fetched
        together(world, lambda: look(True) if world.is_main else None)
    found_sets, missing_sets, names, missing = together(world, lambda: look(False))
    replaced = {entry.label for entry in open_entries(given, wanted, baseline=False)} if given else set()
    jobs: list[Job] = []
    for tta in ("none", "x8"):
        variants = {system.variant for system in chosen if system.tta == tta}
        models = dict.fromkeys(name for (variant, _), name in names.items() if variant in variants)
        if not variants or not (models or given):
            continue
        job = plan_benchmark(
            [*models, *given], found_sets, data=data, scales=wanted, settings=Settings(tta=tta, limit=limit, tile=tile),
            device=device, baseline=False, report=None if jobs else report, world=world,
        )  # fmt: skip
        jobs.append(replace(job, units=_one_each(job, variants, replaced)))
    jobs = [job for job in jobs if job.units]
    if not jobs:
        raise ValueError(f"none of {', '.join(system.name for system in chosen)} has weights at hand; nothing to run")
    measured = {(variant_of(unit.entry.name), unit.scale, unit.tta) for job in jobs for unit in job.units}
    return MainJob(
        jobs=tuple(jobs),
        systems=chosen,
        scales=wanted,
        missing=tuple(
            Missing(
                system=system.name,
                scale=scale,
                why=missing.get((system.variant, scale), LEFT_OUT) if system in chosen else LEFT_OUT,
            )
            for system in SYSTEMS
            for scale in wanted
            if (system.variant, scale, system.tta) not in measured
        ),
        missing_sets=missing_sets,
        command=_command(sets, scales, systems, limit, given),
    )


def _find_models(systems: Sequence[System], scales: Sequence[int], fetch: bool) -> tuple[Found, Found]:
    """Names of the models that can be run, and why others cannot."""
    names: Found = {}
    missing: Found = {}
    for key in dict.fromkeys((system.variant, scale) for system in systems for scale in scales):
        name = registered_name(*key)
        why = "srzoo has no such model" if name is None else why_missing(name, fetch=fetch)
        if name is None or why:
            missing[key] = why
        else:
            names[key] = name
    return names, missing


def _check_scales(scales: Iterable[int] | None) -> tuple[int, ...]:
    wanted = SCALES if scales is None else tuple(sorted(set(scales)))
    if not wanted or set(wanted) - set(SCALES):
        raise ValueError(f"the table has scales 2, 3 and 4; {', '.join(map(str, wanted)) or 'none'} was given")
    return wanted


def _find_sets(sets: Sequence[str] | None, data: str | Path | None, fetch: bool) -> tuple[list[str], dict[str, str]]:
    """Names of the sets that are at hand, and why the others are not."""
    if sets is not None:
        for name in sets if fetch else ():
            find_set(name, data, fetch=True)
        return list(sets), {}
    missing: dict[str, str] = {}
    for name in SETS:
        try:
            find_set(name, data, fetch=fetch)
        except OSError as error:
            missing[name] = str(error)
    found = [name for name in SETS if name not in missing]
    if not found:
        raise FileNotFoundError(f"none of the paper's sets is at hand; {missing[SETS[0]]}")
    return found, missing


def _one_each(job: Job, variants: set[str], given: set[str]) -> tuple[Unit, ...]:
    """The units of these variants; a given model takes the place of the zoo's.

    Raises:
        ValueError: If a given model belongs to no system, or two to the same at one scale.
    """
    known = dict.fromkeys(system.variant for system in SYSTEMS)
    taken: dict[tuple[str, int], str] = {}
    for entry in sorted(job.entries, key=lambda entry: entry.label in given):  # the zoo's first
        if variant_of(entry.name) not in known:
            told = f"{entry.label} is {entry.name or 'a model without a name'}, which is no system of the table"
            raise ValueError(f"{told}; those are {', '.join(known)}")
        for scale in entry.scales:
            key = (variant_of(entry.name), scale)
            if taken.get(key) in given:
                raise ValueError(f"{taken[key]} and {entry.label} are both {key[0]} at x{scale}; give one of them")
            taken[key] = entry.label
    return tuple(
        unit
        for unit in job.units
        if variant_of(unit.entry.name) in variants
        and taken[variant_of(unit.entry.name), unit.scale] == unit.entry.label
    )


def _command(
    sets: Sequence[str] | None,
    scales: Iterable[int] | None,
    systems: Iterable[str] | None,
    limit: int | None,
    given: Sequence[str | Path],
) -> str:
    """What was asked for, without the paths of this machine."""
    parts = ["srzoo benchmark --paper", *(Path(one).name for one in given), "--data DIR"]
    parts += [f"--sets {','.join(Path(name).name for name in sets)}"] if sets is not None else []
    parts += [f"--scale {','.join(map(str, scales))}"] if scales is not None else []
    parts += [f"--systems {','.join(systems)}"] if systems is not None else []
    parts += [f"--limit {limit}"] if limit is not None else []
    return " ".join(parts)


def kept_of(job: MainJob, journal: Journal) -> list[Kept]:
    """For each of the jobs, the rows that a killed run left."""
    return [kept_rows(one, journal) for one in job.jobs]


def run_main_table(
    job: MainJob,
    *,
    journal: Journal | None = None,
    kept: Sequence[Kept] | None = None,
    progress: Callable[[int, int, Row], None] | None = None,
) -> MainTable:
    """Measure the table, or what is left of it; rows stay on disk until `srzoo.benchmark.runs.forget` of each job.

    Args:
        job: What to do.
        journal: Where rows are kept.
        kept: What `kept_of` gave, if it was asked before.
        progress: Called with (images done, images in all, the last row), of this process alone.

    Raises:
        ValueError: As `srzoo.benchmark.runs.run_benchmark` does.
    """
    size = job.jobs[0].world.size
    left = job.num_images - sum(len(rows) for one in kept or () for rows in one)
    done = 0

    def listen(_: int, __: int, row: Row) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, -(-left // size), row)

    cells: list[Cell] = []
    for i, one in enumerate(job.jobs):
        result = run_benchmark(one, journal=journal, kept=kept[i] if kept else None, progress=listen)
        entries = {entry.label: entry for entry in result.entries}
        cells += [
            Cell(
                system=_system(variant_of(entries[mean.model].name), one.settings.tta).name,
                set=mean.set,
                scale=mean.scale,
                model=mean.model,
                license=entries[mean.model].license,
                protocol=mean.protocol,
                psnr=mean.psnr,
                ssim=mean.ssim,
                seconds=mean.seconds,
                megapixels_per_second=mean.megapixels_per_second,
                nonfinite=mean.nonfinite,
            )
            for mean in result.means
        ]
    return MainTable(
        cells=tuple(cells),
        missing=job.missing,
        sets=_facts(job),
        scales=job.scales,
        costs=tuple(
            cost
            for variant in dict.fromkeys(system.variant for system in SYSTEMS)
            for scale in job.scales
            if (cost := cost_of(variant, scale)) is not None
        ),
        measured_with=_measured_with(job),
        command=job.command,
    )


def _system(variant: str, tta: Tta) -> System:
    [system] = [system for system in SYSTEMS if (system.variant, system.tta) == (variant, tta)]
    return system


def _facts(job: MainJob) -> tuple[SetFacts, ...]:
    """The sets in order, with those that are not at hand."""
    first = job.jobs[0]
    limit = first.settings.limit
    found = {
        images.name: SetFacts(
            name=images.name,
            images=len(images.names[:limit]),
            is_whole=images.record is not None and limit is None,
        )
        for images in first.sets
    }
    empty = {name: SetFacts(name=name, images=0, is_whole=False) for name in job.missing_sets}
    every = found | empty
    return tuple(every[name] for name in sorted(every, key=lambda name: SETS.index(name) if empty else 0))


def _measured_with(job: MainJob) -> str:
    first = job.jobs[0]
    parts = [f"srzoo {__version__}", f"torch {torch.__version__}", first.device_words]
    parts += [f"{first.world.size} processes"] if first.world.size > 1 else []
    parts += [f"only the first {first.settings.limit} images of each set"] if first.settings.limit is not None else []
    return "; ".join(parts)
