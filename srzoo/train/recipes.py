"""Named training recipes: the paper's, and quicker ones of our own with what they reached."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from srzoo.train.config import TrainConfig
from srzoo.train.describe import describe
from srzoo.train.losses import L1, Loss
from srzoo.train.optimizers import Adam, OptimizerFactory
from srzoo.train.schedules import Cosine, Halving


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a model is trained, and what came of it.

    Examples:
        >>> find_recipe("edsr").config.batch_size
        16
    """

    name: str
    title: str
    models: tuple[str, ...]
    """Model names it is for; patterns such as `edsr_x*`."""
    config: TrainConfig
    loss: Loss = field(default_factory=L1)
    optimizer: OptimizerFactory = field(default_factory=Adam)
    start: str = "at random"
    """What the weights are before step 1."""
    data: str
    source: str
    """Where the settings come from."""
    reached: str
    """Scores measured by srzoo, or quoted from the paper and said to be."""

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        told = {key: getattr(self, key) for key in ("name", "title", "start", "data", "source", "reached")}
        more = {"models": list(self.models), "config": self.config.to_json()}
        return {**told, **more, "loss": describe(self.loss), "optimizer": describe(self.optimizer)}


_PAPER = TrainConfig(
    steps=600_000,
    batch_size=16,
    validate_every=5_000,
    checkpoint_every=5_000,
    patch_size=48,
    lr=1e-4,
    schedule=Halving(200_000),
    ema_decay=None,
    skip_above=None,
)
_DIV2K = "DIV2K images 1 to 800, MATLAB bicubic; validation on 801 to 810 (paper) or 801 to 900"
_DIFFERS = (
    "the paper's training table: HR patches of 96, 144, 192 pixels (48 LR pixels), 16 a batch, 1e-4 halved every "
    "200,000 steps, Adam(0.9, 0.999, 1e-8), L1, 600,000 steps; the official code (EDSR-PyTorch) does the same for "
)
_TWO_CORES = TrainConfig(
    steps=6_000, batch_size=4, patch_size=48, lr=3e-4, schedule=Cosine(100), clip_norm=1.0, ema_decay=0.998,
    validate_every=500, checkpoint_every=500, log_every=50, seed=1,
)  # fmt: skip

RECIPES: Mapping[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="edsr_baseline",
            title="EDSR baseline as the paper trains it",
            models=("edsr_baseline_x*",),
            config=_PAPER,
            start="at random at x2; x3 and x4 from x2 (section 3.2): --init edsr_baseline_x2.safetensors",
            data=_DIV2K,
            source=_DIFFERS + "300,000: --steps 300000",
            reached="published, not run here: DIV2K 0801-0900 RGB 34.61 / 30.92 / 28.95 dB at x2 / x3 / x4",
        ),
        Recipe(
            name="edsr",
            title="EDSR as the paper trains it",
            models=("edsr_x*",),
            config=_PAPER,
            start="at random at x2; x3 and x4 from x2 (section 3.2): --init edsr_x2.safetensors",
            data=_DIV2K,
            source=_DIFFERS + "300,000: --steps 300000",
            reached="published, not run here: DIV2K 0801-0900 RGB 35.03 / 31.26 / 29.25 dB at x2 / x3 / x4",
        ),
        Recipe(
            name="mdsr_baseline",
            title="MDSR baseline as the paper trains it, one scale a step",
            models=("mdsr_baseline",),
            config=_PAPER,
            data=_DIV2K,
            source=_DIFFERS + "650,000: --steps 650000",
            reached="published, not run here: DIV2K 0801-0900 RGB 34.63 / 30.94 / 28.97 dB at x2 / x3 / x4",
        ),
        Recipe(
            name="mdsr",
            title="MDSR as the paper trains it, one scale a step",
            models=("mdsr",),
            config=_PAPER,
            data=_DIV2K,
            source=_DIFFERS + "650,000: --steps 650000",
            reached="published, not run here: DIV2K 0801-0900 RGB 34.92 / 31.22 / 29.24 dB at x2 / x3 / x4",
        ),
        Recipe(
            name="two_cores",
            title="small batches with an average, for a machine without a graphics card",
            models=("edsr_baseline_x*", "mdsr_baseline"),
            config=_TWO_CORES,
            start="from edsr_baseline_x2 at x3, x4 and for mdsr_baseline; x2 at random takes 11,000 steps at 4e-4",
            data="948 crops of 471 freely licensed photographs, drawn by score",
            source="srzoo, docs/decisions/0006",
            reached="Set5 Y-PSNR 37.42 dB at x2 (55 min), 33.62 at x3 (5,000 steps, 29 min), 31.39 at x4 (43 min); "
            "mdsr_baseline 37.56, 33.74, 31.48 (9,000 steps, 100 min beside other work); 2 cores with AVX-512 bf16",
        ),
    )
}


def find_recipe(name: str) -> Recipe:
    """The recipe of that name.

    Raises:
        ValueError: If there is none; the nearest names are told.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(RECIPES)}"
        raise ValueError(f"there is no recipe {name!r}; {hint}")
    return RECIPES[name]


def suggest_config(num_images: int, *, on_gpu: bool, learnt: bool = True, steps: int | None = None) -> TrainConfig:
    """Settings for that many images: few images, fewer steps at a lower rate, before the network learns them by heart.

    Args:
        num_images: Images to train on.
        on_gpu: Whether a GPU runs it: 16 patches a step there, 4 on a processor (docs/decisions/0006).
        learnt: Whether the network can upscale already; one that cannot takes more and larger steps.
        steps: Steps, if the user gave them.

    Examples:
        >>> [suggest_config(num, on_gpu=False).steps for num in (10, 100, 1000)]
        [500, 1000, 4000]
    """
    if steps is None:
        steps = (500 if num_images < 30 else 1_000 if num_images < 300 else 4_000) if learnt else 10_000
    every = min(500, max(20, steps // 8))
    return TrainConfig(
        steps=steps,
        batch_size=16 if on_gpu else 4,
        lr=4e-4 if not learnt else 2e-4 if num_images < 30 else 3e-4,
        schedule=Cosine(warmup=min(100, steps // 10)),
        clip_norm=1.0,
        ema_decay=0.99 if steps < 2_000 else 0.998,
        validate_every=every,
        checkpoint_every=every,
        log_every=min(50, max(5, steps // 20)),
    )
