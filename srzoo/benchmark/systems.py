"""The systems of the paper's main table: what they are called, which models they are, which of those can be had."""

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from srzoo.architecture import SRModel
from srzoo.benchmark.published import PUBLISHED, Published, find_published
from srzoo.catalog import catalog
from srzoo.hub import place
from srzoo.registry import count_trained, create_model, list_models, model_info, open_model
from srzoo.upscaling.upscaler import Tta

SETS = ("Set5", "Set14", "B100", "Urban100", "DIV2K")
SCALES = (2, 3, 4)
SR_SIZE = (1280, 720)
"""Width and height that multiply-accumulates are counted for, as papers do."""
NO_WEIGHTS = "no weights"


@dataclass(frozen=True)
class System:
    """One column of the table."""

    name: str
    variant: str
    """What its models are called, without scale."""
    methods: tuple[str, ...]
    """What it is called in `srzoo.benchmark.PUBLISHED`; the first that was published counts."""
    tta: Tta = "none"

    def published(self, set_name: str, scale: int) -> Published | None:
        """What was published for it."""
        found = (find_published(method, set_name, scale) for method in self.methods)
        return next((row for row in found if row is not None), None)


SYSTEMS = (
    System("Bicubic", "bicubic", ("Bicubic",)),
    System("A+", "aplus", ("A+",)),
    System("SRCNN", "srcnn", ("SRCNN",)),
    System("FSRCNN", "fsrcnn", ("FSRCNN",)),
    System("ESPCN", "espcn", ("ESPCN",)),
    System("VDSR", "vdsr", ("VDSR",)),
    System("SRResNet", "srresnet", ("SRResNet", "SRResNet (L2 loss)")),
    System("EDSR-baseline", "edsr_baseline", ("EDSR baseline",)),
    System("MDSR-baseline", "mdsr_baseline", ("MDSR baseline",)),
    System("EDSR", "edsr", ("EDSR",)),
    System("MDSR", "mdsr", ("MDSR",)),
    System("EDSR-baseline+", "edsr_baseline", ("EDSR baseline+",), "x8"),
    System("MDSR-baseline+", "mdsr_baseline", ("MDSR baseline+",), "x8"),
    System("EDSR+", "edsr", ("EDSR+",), "x8"),
    System("MDSR+", "mdsr", ("MDSR+",), "x8"),
)
"""In the paper's order; the + is the mean over eight flips and rotations."""


def pick_systems(names: Iterable[str] | None = None) -> tuple[System, ...]:
    """The systems of these names, in any case, in the table's order; None takes all.

    Raises:
        ValueError: If a name is unknown.

    Examples:
        >>> [system.variant for system in pick_systems(["vdsr", "SRCNN"])]
        ['srcnn', 'vdsr']
    """
    if names is None:
        return SYSTEMS
    asked = {name.lower(): name for name in names}
    if unknown := [name for key, name in asked.items() if key not in {system.name.lower() for system in SYSTEMS}]:
        raise ValueError(f"{unknown[0]!r} is no system of the table; there are {', '.join(s.name for s in SYSTEMS)}")
    if not asked:
        raise ValueError(f"no system was given; there are {', '.join(system.name for system in SYSTEMS)}")
    return tuple(system for system in SYSTEMS if system.name.lower() in asked)


def registered_name(variant: str, scale: int) -> str | None:
    """The model of a variant at a scale; None if the zoo has none.

    Examples:
        >>> registered_name("edsr_baseline", 4), registered_name("mdsr", 4), registered_name("mdsr", 8)
        ('edsr_baseline_x4', 'mdsr', None)
    """
    for name in (f"{variant}_x{scale}", variant):
        if name in list_models(name) and scale in model_info(name).scales:
            return name
    return None


def variant_of(name: str) -> str:
    """A model's name without its scale.

    Examples:
        >>> variant_of("edsr_baseline_x4"), variant_of("mdsr")
        ('edsr_baseline', 'mdsr')
    """
    variant, _, scale = name.rpartition("_x")
    return variant if scale.isdigit() else name


def method_of(model: SRModel, tta: str = "none") -> str | None:
    """The published method a zoo model is built like; None if there is none, or it has other arguments than its name.

    `channels` and `scales` may be others.

    Examples:
        >>> import srzoo
        >>> method_of(srzoo.create_model("bicubic_x2"))
        'Bicubic'
        >>> method_of(srzoo.create_model("edsr_baseline_x2", res_scale=0.1)) is None
        True
    """
    if model.name not in catalog().owner:  # built by hand
        return None
    arch = catalog().families[catalog().owner[model.name][0]]
    named = {key: parameter.default for key, parameter in inspect.signature(arch.model).parameters.items()}
    named |= arch.model_names()[model.name]
    if any(model.arguments.get(key) != value for key, value in named.items() if key not in ("channels", "scales")):
        return None
    methods = [s.methods[0] for s in SYSTEMS if (s.variant, s.tta) == (variant_of(model.name), tta)]
    return next((method for method in methods if any(row.method == method for row in PUBLISHED)), None)


def why_missing(name: str, *, fetch: bool = False) -> str:
    """Why a model cannot be run with its first weights; empty if it can. The network is left alone unless `fetch`."""
    rows = model_info(name).weights
    if rows and place(rows[0]) == "hub" and not fetch:
        return "weights on the Hub; --fetch gets them"
    try:
        open_model(name, local_files_only=not fetch)
    except (ValueError, OSError, ImportError) as error:
        return str(error) if rows else NO_WEIGHTS
    return ""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a variant takes at a scale, by the shape that its name stands for."""

    variant: str
    scale: int
    parameters: int
    """Trained numbers; see `srzoo.registry.count_trained`."""
    gigamacs: float | None
    """Multiply-accumulates in units of 1e9 for an SR image of 1280 x 720; None if they cannot be counted."""

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Cost":
        """What `to_json` told."""
        return cls(**values)


def cost_of(variant: str, scale: int) -> Cost | None:
    """Size and work of a variant at a scale; None if the zoo has no such model. Nothing is computed.

    Examples:
        >>> cost_of("edsr_baseline", 4)
        Cost(variant='edsr_baseline', scale=4, parameters=1517571, gigamacs=114.2)
    """
    name = registered_name(variant, scale)
    if name is None:
        return None
    with torch.device("meta"):
        model = create_model(name).eval()
    lr = torch.empty(1, model.channels, round(SR_SIZE[1] / scale), round(SR_SIZE[0] / scale), device="meta")
    counter = FlopCounterMode(display=False)
    try:
        with counter, torch.inference_mode():
            model(lr, scale)
        gigamacs = round(counter.get_total_flops() / 2e9, 1)
    except RuntimeError as error:
        if "meta" not in str(error).lower():
            raise
        gigamacs = None  # what depends on the pixels cannot be counted without them
    return Cost(variant=variant, scale=scale, parameters=count_trained(model), gigamacs=gigamacs)
