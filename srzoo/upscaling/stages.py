"""Which networks make a factor: one, or several after each other."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from srzoo.architecture import Architecture, SRModel
from srzoo.catalog import catalog
from srzoo.device import to_channels_last
from srzoo.registry import is_path, open_model
from srzoo.upscaling.checks import checked_model
from srzoo.upscaling.target import MAX_SCALE, SLACK

OTHER_INPUTS = ("jpeg", "unknown")
"""Tags of weights that were not trained on bicubic LR images: what a network gives is none of theirs."""


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


@dataclass(frozen=True)
class Sisters:
    """Weights that differ from one model's in their scale alone.

    Args:
        there: Their names, by scale; the model's own among them.
        missing: Names of those that there are no weights for.
        followers: Names of what comes after the first network, by scale, where that is not `there`: weights of
            `OTHER_INPUTS` are for the picture itself, and what they give is for plain ones.
    """

    there: Mapping[int, str] = field(default_factory=dict)
    missing: Sequence[str] = ()
    followers: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, model: SRModel) -> "Sisters":
        """Those of a model of the zoo; none for a model that is not in it.

        Examples:
            >>> Sisters.of("bicubic_x4", open_model("bicubic_x4")).there
            {2: 'bicubic_x2', 3: 'bicubic_x3', 4: 'bicubic_x4', 8: 'bicubic_x8'}
        """
        base, _, tag = name.partition(".")
        if base not in catalog().owner:
            return cls()
        arch = catalog().families[catalog().owner[base][0]]
        tag = tag or next((row.tag for row in arch.weights if row.model == base), "")
        there: dict[int, str] = {}
        missing: list[str] = []
        if len(model.scales) == 1:
            for scale, other in _names(arch, base, model):
                full = f"{other}.{tag}" if tag else other
                has_weights = any((row.model, row.tag) == (other, tag) for row in arch.weights)
                if has_weights or not any(True for _ in model.state_dict()):
                    there[scale] = full
                else:
                    missing.append(full)
        followers: dict[int, str] = {}
        if tag in OTHER_INPUTS:
            for scale, other in _names(arch, base, model):
                tags = (row.tag for row in arch.weights if row.model == other and row.tag not in OTHER_INPUTS)
                plain = next(tags, None)
                if plain is not None:
                    followers[scale] = f"{other}.{plain}"
        return cls(there, missing, followers)


def _names(arch: Architecture, base: str, model: SRModel) -> Iterator[tuple[int, str]]:
    """Scales of a variant, and the name of the model that makes each."""
    if len(model.scales) > 1:
        yield from ((scale, base) for scale in model.scales)
        return
    variant = base.removesuffix(f"_x{model.check_scale(None)}")
    there = arch.model_names()
    yield from ((scale, name) for scale in arch.scales if (name := f"{variant}_x{scale}") in there)


@dataclass
class Networks:
    """The networks of an upscaler: the model it was given, and those that can come after or before it.

    Args:
        models: What was given: one model, or several, which are run in this order.
        sisters: Of the model, if it is one and was given by name.
    """

    models: Sequence[SRModel]
    sisters: Sisters = field(default_factory=Sisters)
    _opened: dict[str, SRModel] = field(default_factory=dict)

    @classmethod
    def of(cls, given: Any, device: torch.device) -> "Networks":
        """The networks behind what a user gives: a model, or a list of them, each as `checked_model` takes it.

        Raises:
            TypeError: If one is no model.
            ValueError: If one is unknown, or they do not take the same channels.
        """
        if isinstance(given, Networks):
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
        return cls(models, Sisters.of(str(given), models[0]))

    @property
    def first(self) -> SRModel:
        """The model that was given, or the first of them."""
        return self.models[0]

    @property
    def _scales(self) -> tuple[int, ...]:
        """Scales that one network makes from the picture."""
        return tuple(sorted({*self.first.scales, *self.sisters.there}))

    @property
    def largest_factor(self) -> int:
        """Largest factor that the model makes itself; above it a sister does, or networks after each other."""
        return max(self.first.scales)

    @property
    def factors(self) -> tuple[int, ...]:
        """All factors that can be made."""
        if len(self.models) > 1:
            return tuple(sorted({math.prod(scales) for scales in product(*(model.scales for model in self.models))}))
        above = (factor for factor in range(self.largest_factor + 1, MAX_SCALE + 1) if self._chain(factor))
        return tuple(sorted({*self.first.scales, *above}))

    def factors_for(self, factor: Fraction | float | int) -> tuple[int, ...]:
        """Factors to choose from for one that is wanted: the model's own, as long as they are enough."""
        is_own = len(self.models) == 1 and factor <= self.largest_factor * SLACK
        return tuple(self.first.scales) if is_own else self.factors

    def _chain(self, factor: int) -> tuple[int, ...] | None:
        """Scales of the networks that make a factor; None if there are none."""
        later = tuple(self.sisters.followers)
        if not later:
            return chain(factor, self._scales)
        found = [(factor,)] if factor in self._scales else []
        for scale in self._scales:
            rest = chain(factor // scale, later) if factor % scale == 0 else None
            found += [(scale, *rest)] if rest is not None else []
        return min(found, key=lambda scales: (len(scales), scales), default=None)

    def check_scale(self, scale: int | None) -> int:
        """The factor to make.

        Raises:
            ValueError: If it cannot be made, or there are several and none was given.
        """
        if scale is not None and scale <= MAX_SCALE and scale in self.factors:
            return int(scale)
        if len(self.models) == 1 and (scale is None or scale <= self.largest_factor):
            return self.first.check_scale(scale)
        if scale is None and len(self.factors) == 1 and self.factors[0] <= MAX_SCALE:
            return self.factors[0]
        given = "no scale was given" if scale is None else f"scale {scale} was given"
        name = self.first.name or type(self.first).__name__
        who = f"{name} offers" if len(self.models) == 1 else "the models after each other make"
        told = f"{given}; {who} {', '.join(map(str, self.factors))}"
        if len(self.models) > 1 and max(self.factors) > MAX_SCALE:
            told += f", and {MAX_SCALE} is the most"
        names = self.sisters.missing
        missing = [int(name.partition(".")[0].rpartition("_x")[2]) for name in names]
        if scale is not None and scale <= MAX_SCALE and chain(scale, self._scales + tuple(missing)) is not None:
            told += f"; there are no weights {' or '.join(names)} for the others"
        elif not self.sisters.there and len(self.models) == 1:
            told += "; for others give a list of models"
        raise ValueError(told)

    def stages(self, factor: int) -> tuple[Stage, ...]:
        """The networks that make a factor, first to last.

        Raises:
            ValueError: If there are none, or a sister cannot be used.
        """
        if len(self.models) > 1:
            for scales in product(*(sorted(model.scales) for model in self.models)):
                if math.prod(scales) == factor:
                    return tuple(Stage(model, scale) for model, scale in zip(self.models, scales, strict=True))
        elif factor in self.first.scales:
            return (Stage(self.first, factor),)
        self.check_scale(factor)
        scales = self._chain(factor) or ()
        names = [self.sisters.there, *[self.sisters.followers or self.sisters.there] * (len(scales) - 1)]
        return tuple(Stage(self._at(scale, there), scale) for scale, there in zip(scales, names, strict=True))

    def is_alone(self, factor: int) -> bool:
        """Whether the model that was given makes a factor by itself."""
        stages = self.stages(factor)
        return len(stages) == 1 and stages[0].model is self.first

    def tell(self, factor: int) -> str | None:
        """What makes a factor, in words; None if it is the model that was given."""
        if self.is_alone(factor):
            return None
        return f"x{factor} by {', then '.join(stage.word for stage in self.stages(factor))}"

    def open_sisters(self) -> "Networks":
        """The same with all weights loaded, to travel to where they cannot be had."""
        for there in (self.sisters.there, self.sisters.followers):
            for scale in there:
                self._at(scale, there)
        return self

    def _at(self, scale: int, names: Mapping[int, str]) -> SRModel:
        """The network for a scale: of those names, or the model that was given."""
        if scale in self.first.scales and names is not self.sisters.followers:
            return self.first
        name = names[scale]
        if name not in self._opened:
            device = next((tensor.device for tensor in self.first.state_dict().values()), torch.device("cpu"))
            self._opened[name] = to_channels_last(open_model(name), device).eval()
        return self._opened[name]

    def identify(self) -> list[str]:
        """The sisters' weights, as they are listed: name and digest."""
        rows = {f"{row.model}.{row.tag}": row.sha256 for arch in catalog().families.values() for row in arch.weights}
        names = [name for there in (self.sisters.there, self.sisters.followers) for _, name in sorted(there.items())]
        return [f"{name} {rows.get(name, '')}".strip() for name in names]
