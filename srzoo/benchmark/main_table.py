"""The paper's main table: every system on every set at hand, beside what was published."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from srzoo.benchmark.order import CHAIN, ENSEMBLE, OrderCheck, check_order
from srzoo.benchmark.rows import plain
from srzoo.benchmark.systems import SYSTEMS, Cost, System

LEFT_OUT = "left out"
"""Why a system has no score that was not asked for."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A system on a set at a scale, as it was measured."""

    system: str
    set: str
    scale: int
    model: str
    """`name.tag`, or the file that was given."""
    license: str
    protocol: str
    psnr: float
    """In dB; NaN if no image came out finite."""
    ssim: float
    seconds: float
    """For an image."""
    megapixels_per_second: float
    nonfinite: tuple[str, ...] = ()
    """Images of which SR holds NaN or infinity."""


@dataclass(frozen=True, kw_only=True)
class Missing:
    """A system that has no score at a scale, and why."""

    system: str
    scale: int
    why: str


@dataclass(frozen=True, kw_only=True)
class SetFacts:
    """A set of the table: how many of its images were scored; none if it is not at hand."""

    name: str
    images: int
    is_whole: bool
    """Whether it is the whole benchmark, so that published figures are comparable."""


@dataclass(frozen=True, kw_only=True)
class MainTable:
    """The table as it was measured; what was published is looked up when it is shown."""

    cells: tuple[Cell, ...]
    missing: tuple[Missing, ...]
    sets: tuple[SetFacts, ...]
    scales: tuple[int, ...]
    costs: tuple[Cost, ...]
    measured_with: str
    """Versions and device."""
    command: str
    """That makes it again."""

    def cell(self, system: str, name: str, scale: int) -> Cell | None:
        """What was measured."""
        wanted = (system, name, scale)
        return next((cell for cell in self.cells if (cell.system, cell.set, cell.scale) == wanted), None)

    def differences(self, system: System, name: str, scale: int) -> tuple[float | None, float | None]:
        """Ours less the published PSNR and SSIM; None where they are not comparable or there is one of them only."""
        cell, row = self.cell(system.name, name, scale), system.published(name, scale)
        whole = any(one.is_whole for one in self.sets if one.name == name)
        if cell is None or row is None or cell.nonfinite or not whole:
            return None, None
        comparable = row.ssim is not None and row.source.ssim_comparable
        return cell.psnr - row.psnr, cell.ssim - row.ssim if comparable and row.ssim is not None else None

    @property
    def order(self) -> OrderCheck:
        """Whether the systems come in the paper's order; means that leave images out count as NaN."""
        scores: dict[tuple[str, int], dict[str, float]] = {}
        for one in self.sets:
            if one.images:
                scores |= {(one.name, scale): {} for scale in self.scales}
        for cell in self.cells:
            scores[cell.set, cell.scale][cell.system] = math.nan if cell.nonfinite else cell.psnr
        return check_order(scores)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Systems of the order that were asked for and have no score at some scale."""
        asked = {one.system for one in self.missing if one.why != LEFT_OUT}
        return tuple(name for name in dict.fromkeys((*CHAIN, *ENSEMBLE)) if name in asked)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values; `from_json` takes them, and looks published figures and order up anew."""
        cells = []
        for cell in self.cells:
            [system] = [system for system in SYSTEMS if system.name == cell.system]
            row = system.published(cell.set, cell.scale)
            psnr, ssim = self.differences(system, cell.set, cell.scale)
            beside = {"published": None if row is None else asdict(row), "difference": [plain(psnr), plain(ssim)]}
            cells.append({**{key: plain(value) for key, value in asdict(cell).items()}, **beside})
        return {
            "command": self.command,
            "measured_with": self.measured_with,
            "scales": list(self.scales),
            "sets": [asdict(one) for one in self.sets],
            "cells": cells,
            "missing": [asdict(one) for one in self.missing],
            "costs": [cost.to_json() for cost in self.costs],
            "order": self.order.to_json(),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "MainTable":
        """The table that `to_json` told.

        Raises:
            ValueError: If the values are those of something else.
        """
        names = [field.name for field in fields(Cell)]
        try:
            cells = [{name: cell[name] for name in names} for cell in values["cells"]]
            return cls(
                cells=tuple(Cell(**{**cell, **_as_measured(cell)}) for cell in cells),
                missing=tuple(Missing(**one) for one in values["missing"]),
                sets=tuple(SetFacts(**one) for one in values["sets"]),
                scales=tuple(values["scales"]),
                costs=tuple(map(Cost.from_json, values["costs"])),
                measured_with=values["measured_with"],
                command=values["command"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no table of `srzoo benchmark --paper` ({error})") from None


def _as_measured(cell: Mapping[str, Any]) -> dict[str, Any]:
    scores = {key: math.nan if cell[key] is None else cell[key] for key in ("psnr", "ssim")}
    return {**scores, "nonfinite": tuple(cell["nonfinite"])}
