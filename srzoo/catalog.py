"""The families there are: those of `srzoo.models`, of installed plug-ins, those registered by hand."""

import importlib
import pkgutil
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import entry_points

from srzoo.architecture import Architecture, Weights
from srzoo.hub import HubFile

GROUP = "srzoo.architectures"


@dataclass(frozen=True)
class BrokenPlugin:
    """An installed plug-in that could not be used, and why."""

    name: str
    target: str
    error: str


@dataclass
class Catalog:
    """Families by name and model names by family, with where each came from."""

    families: dict[str, Architecture] = field(default_factory=dict)
    owner: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Model name -> (family, where it is defined)."""
    broken: list[BrokenPlugin] = field(default_factory=list)
    by_hand: set[str] = field(default_factory=set)
    """Families that came by a call of `register`."""
    packages: dict[str, str] = field(default_factory=dict)
    """Family -> package and version that adds it, for those of plug-ins."""

    def add(self, arch: object, where: str) -> None:
        """Take a record in; nothing overrides silently."""
        if not isinstance(arch, Architecture):
            raise TypeError(f"{where} gives {type(arch).__name__}, not an srzoo.Architecture")
        names = arch.model_names()
        if not re.fullmatch(r"[a-z][a-z0-9_]*", arch.family):
            raise ValueError(f"family {arch.family!r} in {where}: use lower-case letters, digits and _")
        for name in names:
            if not re.fullmatch(rf"{arch.family}[a-z0-9_]*", name):
                raise ValueError(f"model {name!r} in {where} must start with its family, {arch.family!r}")
            if name in self.owner:
                raise ValueError(f"model {name!r} is defined in {self.owner[name][1]} and again in {where}")
        if arch.family in self.families:
            raise ValueError(f"family {arch.family!r} is defined twice, the second time in {where}")
        tags = [(row.model, row.tag) for row in arch.weights]
        if len(set(tags)) < len(tags):
            raise ValueError(f"weights of {arch.family!r} in {where} have the same model and tag twice")
        for row in arch.weights:
            if row.model not in names:
                raise ValueError(f"weights {row.model}.{row.tag} in {where} are for no model of {arch.family!r}")
            _check_source(row, where)
        self.families[arch.family] = arch
        self.owner.update(dict.fromkeys(names, (arch.family, where)))

    def forget(self, arch: Architecture) -> None:
        """Take a record out again."""
        del self.families[arch.family]
        for name in arch.model_names():
            del self.owner[name]


def _check_source(row: Weights, where: str) -> None:
    """A row says where its file is, and a file of the Hub cannot change under it."""
    if not row.file and not row.hub:
        raise ValueError(f"weights {row.model}.{row.tag} in {where} have neither file nor hub")
    if row.hub and not (HubFile.parse(row.hub).is_pinned and re.fullmatch(r"[0-9a-f]{64}", row.sha256)):
        raise ValueError(
            f"weights {row.model}.{row.tag} in {where} have hub {row.hub!r}, sha256 {row.sha256!r}; "
            "give hub as owner/name@ with a 40-digit commit, and the sha256 of the file"
        )


@cache
def catalog() -> Catalog:
    """Built-in families, then plug-ins; read when first asked for, not at import."""
    every = Catalog()
    for module in pkgutil.iter_modules(importlib.import_module("srzoo.models").__path__, "srzoo.models."):
        found = importlib.import_module(module.name)
        if not hasattr(found, "ARCH"):
            raise AttributeError(f"{module.name} has no ARCH; a model file ends with ARCH = Architecture(...)")
        every.add(found.ARCH, module.name)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            arch = entry.load()
            every.add(arch, f"plug-in {entry.name} ({entry.value})")
            if entry.dist is not None:
                every.packages[arch.family] = f"{entry.dist.name} {entry.dist.version}"
        except Exception as error:  # one broken plug-in must not take the zoo down
            reason = f"{type(error).__name__}: {error}"
            every.broken.append(BrokenPlugin(entry.name, entry.value, reason))
    return every


def architectures() -> Mapping[str, Architecture]:
    """All families by name: built in, from plug-ins, registered."""
    return dict(catalog().families)


def find_family(name: str) -> Architecture | None:
    """The family of a model name, or of `name.tag`; None if there is no such name.

    Examples:
        >>> find_family("edsr_baseline_x4.photos").family
        'edsr'
    """
    known = catalog().owner.get(name.partition(".")[0])
    return catalog().families[known[0]] if known else None


def broken_plugins() -> list[BrokenPlugin]:
    """Installed plug-ins that could not be used."""
    return list(catalog().broken)


def register(arch: Architecture) -> None:
    """Add a family for this process: what a script or notebook does; packages use the entry-point group.

    Registering a family again with the same class replaces it, so a notebook's cell can be run again.

    Args:
        arch: The record a model file ends with.

    Raises:
        ValueError: If a name is taken or malformed.
        TypeError: If it is not an `Architecture`.
    """
    if isinstance(arch, Architecture):
        known = catalog().families.get(arch.family)
        if known is not None and arch.family in catalog().by_hand and _same_class(known.model, arch.model):
            catalog().forget(known)  # a notebook's cell, run again
    where = f" for {arch.model.__module__}" if isinstance(arch, Architecture) else ""
    catalog().add(arch, f"a call of srzoo.register{where}")
    catalog().by_hand.add(arch.family)


def _same_class(one: type, other: type) -> bool:
    return (one.__module__, one.__qualname__) == (other.__module__, other.__qualname__)


def told_broken() -> str:
    """What to add to an error where a broken plug-in may be the cause."""
    return "".join(
        f"; plug-in {plugin.name} ({plugin.target}) could not be loaded: {plugin.error}" for plugin in catalog().broken
    )
