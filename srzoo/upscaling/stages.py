"""Which networks make a factor: one, or several after each other."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from srzoo.architecture import SRModel
from srzoo.catalog import catalog
from srzoo.device import to_channels_last
from srzoo.registry import is_path, open_model
from srzoo.upscaling.checks import checked_model
from srzoo.upscaling.target import MAX_SCALE, SLACK


class Stage(NamedTuple):
    """One network of a cascade."""

    model: SRModel
    scale: int

    @property
    def word(self) -> str:
        """The network in a word or two, for notes."""
        name = self.model.name or type(self.model).__name__
        return name if len(self.model.scales) == 1 else f"{name} x{self.scale}"


def chain(factor: int, scales: Sequence[int]) -> tuple[int, ...] | None:
    """The fewest of the scales whose product is the factor, in the order of networks; None if there are none.

    The smaller scales come first: then the last network sees fewer pixels, and on pictures shrunk by 8 it is 0.06 dB
    better, see docs/guides/extreme_scales.md.

    Examples:
        >>> chain(8, (2, 3, 4)), chain(64, (2, 3, 4)), chain(10, (2, 3, 4))
        ((2, 4), (4, 4, 4), None)
    """
    best: tuple[int, ...] | None = None
    for scale in sorted((scale for scale in set(scales) if scale > 1 and factor % scale == 0), reverse=True):
        rest = () if factor == scale else chain(factor // scale, scales)
        if rest is not None and (best is None or len(rest) + 1 < len(best)):
            best = tuple(sorted((scale, *rest)))
    return best


def products(scales: Sequence[int], above: int = 1) -> tuple[int, ...]:
    """Factors up to 64 and above a number that networks of such scales make after each other, sorted.

    Examples:
        >>> products((2, 4), above=4)
        (8, 16, 32, 64)
    """
    return tuple(factor for factor in range(above + 1, MAX_SCALE + 1) if chain(factor, scales) is not None)


def find_siblings(name: str, model: SRModel) -> tuple[dict[int, str], list[str]]:
    """Models that differ from one in their scale alone, by scale: those with weights of its tag; and those without.

    Examples:
        >>> find_siblings("bicubic_x4", open_model("bicubic_x4"))
        ({2: 'bicubic_x2', 3: 'bicubic_x3', 4: 'bicubic_x4', 8: 'bicubic_x8'}, [])
    """
    base, _, tag = name.partition(".")
    if base not in catalog().owner or len(model.scales) > 1:
        return {}, []
    arch = catalog().families[catalog().owner[base][0]]
    tag = tag or next((row.tag for row in arch.weights if row.model == base), "")
    variant = base.removesuffix(f"_x{model.check_scale(None)}")
    there, missing = {}, []
    for scale in arch.scales:
        other = f"{variant}_x{scale}"
        if other not in arch.model_names():
            continue
        full = f"{other}.{tag}" if tag else other
        has_weights = any((row.model, row.tag) == (other, tag) for row in arch.weights)
        if has_weights or not any(True for _ in model.state_dict()):
            there[scale] = full
        else:
            missing.append(full)
    return there, missing


@dataclass
class Family:
    """The networks of an upscaler: the model it was given, and those that can come after or before it.

    Args:
        models: What was given: one model, or several, which are run in this order.
        siblings: Names of the models that differ from the one in their scale alone, by scale.
        missing: Names of those that have no weights.
    """

    models: Sequence[SRModel]
    siblings: Mapping[int, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    _opened: dict[int, SRModel] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, device: torch.device) -> "Family":
        """The networks behind what a user gives: a model, or a list of them, each as `checked_model` takes it.

        Raises:
            TypeError: If one is no model.
            ValueError: If one is unknown, or they do not take the same channels.
        """
        if isinstance(given, Family):
            for model in (*given.models, *given._opened.values()):
                to_channels_last(model, device).eval()
            return given
        is_list = isinstance(given, Sequence) and not isinstance(given, str)
        if is_list and not given:
            raise ValueError("the list of models is empty; give at least one model")
        models = [to_channels_last(checked_model(one), device).eval() for one in (given if is_list else [given])]
        if len({model.channels for model in models}) > 1:
            told = ", ".join(f"{model.name or type(model).__name__} {model.channels}" for model in models)
            raise ValueError(f"models after each other must take the same number of channels; these take {told}")
        if is_list or not isinstance(given, str | Path) or is_path(given):
            return cls(models)
        return cls(models, *find_siblings(str(given), models[0]))

    @property
    def first(self) -> SRModel:
        """The model that was given, or the first of them."""
        return self.models[0]

    @property
    def _scales(self) -> tuple[int, ...]:
        """Scales that one network of the family makes."""
        return tuple(sorted({*self.first.scales, *self.siblings}))

    @property
    def most(self) -> int:
        """Largest factor that one network of the family makes; above it networks come after each other."""
        return max(self._scales)

    @property
    def factors(self) -> tuple[int, ...]:
        """All factors that can be made."""
        if len(self.models) > 1:
            return tuple(sorted({math.prod(scales) for scales in product(*(model.scales for model in self.models))}))
        return tuple(sorted({*self.first.scales, *products(self._scales, self.most)}))

    def factors_for(self, factor: Fraction | float | int) -> tuple[int, ...]:
        """Factors to choose from for one that is wanted: the model's own, as long as one network could make it."""
        is_one = len(self.models) == 1 and factor <= self.most * SLACK
        return tuple(self.first.scales) if is_one else self.factors

    def check_scale(self, scale: int | None) -> int:
        """The factor to make.

        Raises:
            ValueError: If it cannot be made, or there are several and none was given.
        """
        if scale in self.factors and (scale or 0) <= MAX_SCALE:
            return int(scale)  # pyright: ignore[reportArgumentType]
        if len(self.models) == 1 and (scale is None or scale <= self.most):
            return self.first.check_scale(scale)
        if scale is None and len(self.factors) == 1 and self.factors[0] <= MAX_SCALE:
            return self.factors[0]
        given = "no scale was given" if scale is None else f"scale {scale} was given"
        name = self.first.name or type(self.first).__name__
        who = f"{name} offers" if len(self.models) == 1 else "the models after each other make"
        told = f"{given}; {who} {', '.join(map(str, self.factors))}"
        if len(self.models) > 1 and max(self.factors) > MAX_SCALE:
            told += f", and {MAX_SCALE} is the most"
        missing = [int(name.partition(".")[0].rpartition("_x")[2]) for name in self.missing]
        if scale is not None and scale <= MAX_SCALE and chain(scale, self._scales + tuple(missing)) is not None:
            told += f"; there are no weights {' or '.join(self.missing)} for the others"
        elif not self.siblings and len(self.models) == 1:
            told += "; for others give a list of models"
        raise ValueError(told)

    def stages(self, factor: int) -> tuple[Stage, ...]:
        """The networks that make a factor, first to last.

        Raises:
            ValueError: If there are none, or a sibling cannot be used.
        """
        if len(self.models) > 1:
            for scales in product(*(sorted(model.scales) for model in self.models)):
                if math.prod(scales) == factor:
                    return tuple(Stage(model, scale) for model, scale in zip(self.models, scales, strict=True))
        elif factor in self.first.scales:
            return (Stage(self.first, factor),)
        self.check_scale(factor)
        return tuple(Stage(self._at(scale), scale) for scale in chain(factor, self._scales) or ())

    def open_siblings(self) -> "Family":
        """The family with all its weights loaded, to travel to where they cannot be had."""
        for scale in self.siblings:
            self._at(scale)
        return self

    def _at(self, scale: int) -> SRModel:
        """The network of the family for a scale."""
        if scale in self.first.scales:
            return self.first
        if scale not in self._opened:
            device = next((tensor.device for tensor in self.first.state_dict().values()), torch.device("cpu"))
            model = open_model(self.siblings[scale])
            self._opened[scale] = to_channels_last(model, device).eval()
        return self._opened[scale]

    def identify(self) -> list[str]:
        """The siblings' weights, as they are listed: name and digest."""
        rows = {f"{row.model}.{row.tag}": row.sha256 for arch in catalog().families.values() for row in arch.weights}
        return [f"{name} {rows.get(name, '')}".strip() for _, name in sorted(self.siblings.items())]


def tell(stages: Sequence[Stage]) -> str | None:
    """A cascade in words; None for a single network."""
    if len(stages) == 1:
        return None
    return f"x{math.prod(stage.scale for stage in stages)} by {', then '.join(stage.word for stage in stages)}"
