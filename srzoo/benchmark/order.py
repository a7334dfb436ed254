"""Whether the systems of the paper's main table come in its order."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby, pairwise
from typing import Any

from srzoo.benchmark.rows import plain

CHAIN = ("Bicubic", "A+", "SRCNN", "VDSR", "EDSR-baseline")
"""From the lowest PSNR to the highest."""
MAY_TIE = (("A+", "SRCNN"),)
"""Neighbours of the chain of which the second may also be equal to the first."""
ENSEMBLE = ("EDSR-baseline", "EDSR-baseline+")
MULTI_SCALE = ("EDSR-baseline", "MDSR-baseline")
TIE = 0.005
"""In dB. Half of the last digit that papers print: means that differ by no more are equal."""
NEAR = 0.15
"""In dB. How far the multi-scale baseline may be from the single-scale one."""
RULES = (
    f"Bicubic < A+ <= SRCNN < VDSR < EDSR-baseline and EDSR-baseline < EDSR-baseline+; means within {TIE} dB of each "
    "other are equal, which `<` does not allow and `<=` does; EDSR-baseline ~ MDSR-baseline: at most "
    f"{NEAR} dB between them. A system without a score is left out, and its neighbours are compared."
)


@dataclass(frozen=True, kw_only=True)
class Relation:
    """Two systems of one set and scale, and whether they are as they should be."""

    set: str
    scale: int
    lower: str
    relation: str
    """"<", "<=", or "~" for near."""
    higher: str
    lower_psnr: float
    """In dB."""
    higher_psnr: float
    holds: bool

    def __str__(self) -> str:
        word = "ok" if self.holds else "VIOLATED"
        difference = f"{round(self.higher_psnr - self.lower_psnr, 3) + 0:+.3f} dB"
        told = f"{self.lower} {self.lower_psnr:.3f} {self.relation} {self.higher} {self.higher_psnr:.3f}"
        return f"{word}: {self.set} x{self.scale}: {told} ({difference})"


@dataclass(frozen=True, kw_only=True)
class OrderCheck:
    """All relations that could be checked, and a sentence for each system that was left out somewhere."""

    relations: tuple[Relation, ...]
    skipped: tuple[str, ...] = ()
    possible: int = 0
    """Relations that there would be if every system had a score."""
    absent: tuple[str, ...] = ()
    """Systems that have no score somewhere."""

    @property
    def violated(self) -> tuple[Relation, ...]:
        """The relations that do not hold."""
        return tuple(one for one in self.relations if not one.holds)

    @property
    def passed(self) -> bool:
        """Whether something was checked, and all of it holds."""
        return bool(self.relations) and not self.violated

    def describe(self) -> str:
        """How many relations were checked, how many hold, and what was without a score, in a sentence without end."""
        if not self.relations:
            told = f"none of {self.possible} relations could be checked"
        else:
            lost = len(self.violated)
            result = f"{lost} {'is' if lost == 1 else 'are'} violated" if lost else "all hold"
            told = f"{len(self.relations)} of {self.possible} relations could be checked, {result}"
        return f"{told}; without {', '.join(self.absent)}" if self.absent else told

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, in which a mean that is NaN is None."""
        told = [{key: plain(value) for key, value in asdict(one).items()} for one in self.relations]
        return {
            "passed": self.passed,
            "rules": RULES,
            "relations": told,
            "possible": self.possible,
            "absent": list(self.absent),
            "skipped": list(self.skipped),
        }


def check_order(scores: Mapping[tuple[str, int], Mapping[str, float]]) -> OrderCheck:
    """Check the order of the systems on each set at each scale.

    `<` asks for more than `TIE` dB between two means, `<=` for no loss of more than that, `~` for at most `NEAR` dB.
    NaN violates whatever it takes part in.

    Args:
        scores: Set and scale -> system -> mean PSNR in dB; a system that has none is left out of the mapping.

    Examples:
        >>> check = check_order({("Set5", 2): {"Bicubic": 33.68, "SRCNN": 36.7, "VDSR": 36.6}})
        >>> for one in check.relations:
        ...     print(one)
        ok: Set5 x2: Bicubic 33.680 < SRCNN 36.700 (+3.020 dB)
        VIOLATED: Set5 x2: SRCNN 36.700 < VDSR 36.600 (-0.100 dB)
        >>> check.skipped[0]
        'not checked: A+ (Set5 x2 has no score of it)'
    """
    relations: list[Relation] = []
    absent: dict[str, list[tuple[str, int]]] = {}
    for (name, scale), found in scores.items():
        for system in dict.fromkeys((*CHAIN, *ENSEMBLE, *MULTI_SCALE)):
            if system not in found:
                absent.setdefault(system, []).append((name, scale))
        there = [system for system in CHAIN if system in found]
        wanted = [(lower, "<=" if _may_tie(lower, higher) else "<", higher) for lower, higher in pairwise(there)]
        wanted += [(ENSEMBLE[0], "<", ENSEMBLE[1]), (MULTI_SCALE[0], "~", MULTI_SCALE[1])]
        relations += [
            _relation(name, scale, lower, relation, higher, found)
            for lower, relation, higher in wanted
            if lower in found and higher in found
        ]
    skipped = tuple(f"not checked: {system} ({_places(places)} no score of it)" for system, places in absent.items())
    possible = (len(CHAIN) - 1 + len((ENSEMBLE, MULTI_SCALE))) * len(scores)
    return OrderCheck(relations=tuple(relations), skipped=skipped, possible=possible, absent=tuple(absent))


def _may_tie(lower: str, higher: str) -> bool:
    return (lower, higher) in MAY_TIE


def _relation(name: str, scale: int, lower: str, relation: str, higher: str, found: Mapping[str, float]) -> Relation:
    gain = found[higher] - found[lower]
    holds = {"<": gain > TIE, "<=": gain >= -TIE, "~": abs(gain) <= NEAR}[relation]  # NaN holds nowhere
    return Relation(
        set=name,
        scale=scale,
        lower=lower,
        relation=relation,
        higher=higher,
        lower_psnr=found[lower],
        higher_psnr=found[higher],
        holds=holds,
    )


def _places(places: Sequence[tuple[str, int]]) -> str:
    """Sets and scales in words, with the verb."""
    told = []
    for name, group in groupby(places, key=lambda place: place[0]):
        told.append(f"{name} {', '.join(f'x{scale}' for _, scale in group)}")
    return f"{'; '.join(told)} {'has' if len(places) == 1 else 'have'}"
