"""What to do with each job, by what is on disk: make, make again, skip, leave alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from srzoo.files import remove_stale
from srzoo.upscaling.jobs.journal import Entry, Journal, State, judge
from srzoo.upscaling.jobs.planning import Job

Action = Literal["make", "again", "skip", "leave"]
"""There is no result; there is one to be replaced; there is one as asked for; there is one not to be touched."""
AS_WOULD_BE = "is there and as it would be made"
WHY: Mapping[State, str] = {
    "other": "was made of another image",
    "changed": "was changed after it was made",
    "foreign": "is not known to have been made by srzoo",
}
"""State of a file that nothing but `overwrite` replaces -> what it is, in words."""


@dataclass(frozen=True)
class Rules:
    """What may happen to results that exist.

    Args:
        overwrite: Replace them, whosoever they are.
        skip_existing: Skip those that are whole and made as this job would; make ours that are not so again.
        batch: Whether the job has several images: then results that exist are no failure.
    """

    overwrite: bool = False
    skip_existing: bool = False
    batch: bool = True


Seen = tuple[int, int, int] | None
"""A file as it was when it was looked at; None if nothing was there."""


@dataclass(frozen=True)
class Decision:
    """What is to be done with one job, and why.

    Args:
        job: The job.
        action: What is to be done.
        reason: Why, in words that go on after the result's name; empty for "make".
        is_failure: Whether the user does not get what was asked for.
        rules: What it was decided by.
        seen: What was at the places of the result and of the map of uncertainty.
    """

    job: Job
    action: Action
    reason: str = ""
    is_failure: bool = False
    rules: Rules = Rules()
    seen: tuple[Seen, Seen] = (None, None)


def folders_of(jobs: Sequence[Job]) -> list[Path]:
    """The folders that results and maps of uncertainty go to, each once."""
    return list(dict.fromkeys(path.parent for job in jobs for path in (job.target, job.spread) if path is not None))


def prepare_folders(jobs: Sequence[Job], *, journal: bool, clean: bool = True) -> int:
    """Make sure, before anything is done, that results can be written; returns how many stale files were removed.

    Args:
        jobs: All jobs.
        journal: Whether journals will be written.
        clean: Remove what killed processes left half-written.

    Raises:
        PermissionError, NotADirectoryError: If a folder, or the journal in it, cannot be written.
    """
    removed = 0
    for folder in folders_of(jobs):
        if journal:
            Journal(folder).check()
        if clean and folder.is_dir():
            removed += remove_stale(folder)
    return removed


def decide(
    jobs: Sequence[Job],
    rules: Rules,
    settings: str,
) -> list[Decision]:
    """What is to be done with each job.

    Args:
        jobs: The jobs.
        rules: What may happen to results that exist.
        settings: Digest of the settings.

    Raises:
        OSError: If a journal cannot be read.
    """
    journals: dict[Path, Mapping[str, Sequence[Entry]]] = {}

    def entries(path: Path) -> Sequence[Entry]:
        if path.parent not in journals:
            journals[path.parent] = Journal(path.parent).read()
        return journals[path.parent].get(path.name, ())

    sources = {os.path.realpath(job.source) for job in jobs if job.source is not None}
    decisions: list[Decision] = []
    for job in jobs:
        seen = seen_at(job.target), seen_at(job.spread)
        decision = _heed_map(_decide(job, rules, settings, entries, sources), rules, settings, entries)
        decisions.append(replace(decision, rules=rules, seen=seen))
    return decisions


def look_again(decision: Decision, settings: str) -> Decision:
    """The decision, or another one if somebody made or changed the result since.

    Args:
        decision: What was decided.
        settings: Digest of the settings.

    Raises:
        OSError: If a journal cannot be read.
    """
    job = decision.job
    if (seen_at(job.target), seen_at(job.spread)) == decision.seen:
        return decision
    return decide([job], decision.rules, settings)[0]


def seen_at(path: Path | None) -> Seen:
    """What tells the file at a place from another or a changed one; None if there is none."""
    try:
        status = None if path is None else path.lstat()
    except OSError:
        return None
    return None if status is None else (status.st_ino, status.st_size, status.st_mtime_ns)


def _decide(
    job: Job, rules: Rules, settings: str, entries: Callable[[Path], Sequence[Entry]], sources: set[str]
) -> Decision:
    target = job.target
    if target is None or not os.path.lexists(target):
        return Decision(job, "make")
    if target.exists() and not target.is_file():
        return Decision(job, "leave", "is a folder" if target.is_dir() else "is no regular file", True)
    if os.path.realpath(target) in sources:  # whatever the rules: an image that is yet to be read
        return Decision(job, "leave", "is an image of this job, too, and is not replaced", rules.overwrite)
    if rules.skip_existing and job.source is not None:
        try:
            state, reason = judge(target, job.source, settings, entries(target))
        except OSError as error:
            return Decision(job, "leave", f"cannot be checked ({error})", True)
        if state in ("absent", "whole"):
            return Decision(job, "make") if state == "absent" else Decision(job, "skip", AS_WOULD_BE)
        if state not in WHY:
            return Decision(job, "again", f"is made again: {reason}")
        if not rules.overwrite:
            return Decision(job, "leave", f"{WHY[state]} and was left alone; --overwrite replaces it", True)
    if rules.overwrite:
        return Decision(job, "again", "is replaced")
    return Decision(job, "leave", "exists; --overwrite replaces it", not rules.batch)


def _heed_map(decision: Decision, rules: Rules, settings: str, entries: Callable[[Path], Sequence[Entry]]) -> Decision:
    """The decision, given what is at the place of the map of uncertainty."""
    job = decision.job
    if job.spread is None or decision.action == "leave" or not os.path.lexists(job.spread):
        missing = job.spread is not None and decision.action == "skip"
        return Decision(job, "again", "is made again: its map of uncertainty is missing") if missing else decision
    try:
        state, reason = judge(job.spread, job.source or job.spread, settings, entries(job.spread))
    except OSError as error:
        return Decision(job, "leave", f"is not made: its map {job.spread} cannot be checked ({error})", True)
    if state in WHY and not rules.overwrite:
        why = f"is not made: its map {job.spread} {WHY[state]}; --overwrite replaces it"
        return Decision(job, "leave", why, True)
    if decision.action == "skip" and state != "whole":
        return Decision(job, "again", f"is made again: of its map of uncertainty, {reason or 'it is missing'}")
    return decision
