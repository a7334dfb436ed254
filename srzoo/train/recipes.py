"""Named training recipes: the paper's, and quicker ones of our own with what they reached."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from srzoo.train.config import TrainConfig
from srzoo.train.describe import describe
from srzoo.train.losses import L1, MSE, Loss, OnLuma
from srzoo.train.optimizers import SGD, Adam, OptimizerFactory, Timm
from srzoo.train.schedules import Constant, Cosine, Halving, Stepped


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
    degradation: str = "bicubic"
    """How LR images are made: a name of `srzoo.data.PRESETS`."""
    teacher: str = ""
    """Model whose outputs are learnt in place of the HR images, such as `mdsr_baseline`; empty for none."""
    source: str
    """Where the settings come from."""
    reached: str
    """Scores measured by srzoo, or quoted from the paper and said to be."""

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain JSON values."""
        told = {
            key: getattr(self, key)
            for key in ("name", "title", "start", "data", "degradation", "teacher", "source", "reached")
        }
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
_SRRESNET = replace(_PAPER, steps=1_000_000, patch_size=24, schedule=Constant())
_LUMA = replace(_TWO_CORES, steps=20_000, lr=3e-3)
_MUON = replace(_TWO_CORES, steps=5_000, lr=1e-3)
_HALF_SUM = "The loss is half the sum of squared errors over a sub-image, {pixels}: half as many times their mean"

_OLDER: tuple[Recipe, ...] = (
    Recipe(
        name="srcnn",
        title="SRCNN as its paper trains it",
        models=("srcnn_x*",),
        config=replace(
            _PAPER,
            steps=6_250_000,
            batch_size=128,
            patch_size=11,
            lr=1e-4,
            schedule=Constant(),
            rates={"reconstruct": 0.1},
        ),
        loss=220.5 * OnLuma(MSE()),
        optimizer=SGD(momentum=0.9),
        start="at random, Gaussian with a deviation of 0.001",
        data="395,909 images of ImageNet, sub-images of 33 SR pixels (11 LR pixels at x3); or 91 images",
        source="the paper, section 3.3: SGD with momentum 0.9, 1e-4, and 1e-5 in the last layer; 8e8 backpropagations. "
        + _HALF_SUM.format(pixels="of which 21 x 21 are left without padding")
        + ". Here edges are repeated. Batches of 128 are from the authors' files",
        reached="published, not run here: Set5 Y 36.66 / 32.75 / 30.49 dB at x2 / x3 / x4",
    ),
    Recipe(
        name="fsrcnn",
        title="FSRCNN as its paper trains it, the first of its two steps",
        models=("fsrcnn_x*", "fsrcnn_small_x*"),
        config=replace(
            _PAPER, steps=1_000_000, batch_size=128, patch_size=10, lr=1e-3, schedule=Constant(), rates={"deconv": 0.1}
        ),
        loss=180.5 * OnLuma(MSE()),
        optimizer=SGD(momentum=0.9),
        start="at random at x2; x3 and x4 from x2 (section 4.4, where the convolutions may stay frozen): "
        "--init fsrcnn_x2.safetensors",
        data="91 images, turned and at five sizes; then General-100 is added and the rates are halved",
        source="the paper, section 4.1: SGD, 1e-3, and 1e-4 in the transposed convolution; sub-images of 10, 7 and 6 "
        "LR pixels at x2, x3 and x4. "
        + _HALF_SUM.format(pixels="19 x 19 at x2")
        + ". Batches of 128, momentum and steps are from the authors' files",
        reached="published, not run here: Set5 Y 37.00 / 33.16 / 30.71 dB at x2 / x3 / x4",
    ),
    Recipe(
        name="espcn",
        title="ESPCN as its paper trains it",
        models=("espcn_x*",),
        config=replace(
            _PAPER,
            steps=1_000_000,
            batch_size=16,
            patch_size=17,
            lr=0.01,
            schedule=Cosine(0, final=0.01),
            rates={"reconstruct": 0.1},
        ),
        loss=OnLuma(MSE()),
        optimizer=Adam(),
        data="50,000 images of ImageNet, or 91 images; sub-images of 17 LR pixels",
        source="the paper, section 3.2: mean squared error, lr from 0.01 down to 0.0001 whenever it no longer improves "
        "(here by a cosine), the last layer 10 times slower, until 100 epochs bring nothing. The paper names no "
        "optimizer, batch or number of steps: Adam, 16 and 1,000,000 are srzoo's",
        reached="published, not run here: Set5 Y 33.13 / 30.90 dB at x3 / x4",
    ),
    Recipe(
        name="vdsr",
        title="VDSR as its paper trains it, one scale a step",
        models=("vdsr",),
        config=replace(
            _PAPER, steps=9_960, batch_size=64, patch_size=20, lr=0.1, schedule=Stepped(2_490, by=0.1), clip_norm=0.4
        ),
        loss=840.5 * OnLuma(MSE()),
        optimizer=SGD(momentum=0.9, weight_decay=1e-4),
        start="at random, He et al.",
        data="291 images, turned and mirrored, patches of 41 SR pixels, all scales in one batch",
        source="the paper, sections 3.2 and 5.2: SGD with momentum 0.9 and weight decay 1e-4, 64 patches a batch, 80 "
        "epochs of 9,960 steps in all, lr 0.1 and a tenth every 20 epochs (2,490 steps). "
        + _HALF_SUM.format(pixels="41 x 41")
        + ". Each value of the gradient is clipped to theta/lr there, here the norm of the whole gradient to 0.4; and "
        "a batch has one scale, of patches of 20 LR pixels",
        reached="published, not run here: Set5 Y 37.53 / 33.66 / 31.35 dB at x2 / x3 / x4",
    ),
    Recipe(
        name="srresnet_l2",
        title="SRResNet as its paper trains it",
        models=("srresnet_x*",),
        config=_SRRESNET,
        loss=MSE(),
        data="350,000 images of ImageNet, HR patches of 96 pixels (24 LR pixels at x4)",
        source="Ledig et al. 2017, section 3.2: 16 patches a batch, Adam with beta1 0.9, 1e-4, 1,000,000 steps, mean "
        "squared error; there HR lies in [-1, 1], which makes the loss 4 times as large and leaves Adam's steps alone",
        reached="published, not run here: Set5 Y 32.05 dB at x4",
    ),
    Recipe(
        name="srresnet_l1",
        title="SRResNet by L1, as EDSR's table 2 compares it",
        models=("srresnet_x*",),
        config=_PAPER,
        data=_DIV2K,
        source="EDSR, table 2 and section 4: the loss and the settings of EDSR on DIV2K",
        reached="published, not run here: DIV2K 0801-0900 RGB 34.44 / 30.85 / 28.92 dB at x2 / x3 / x4",
    ),
)
_OWN: tuple[Recipe, ...] = (
    Recipe(
        name="muon",
        title="few steps on a machine without a graphics card",
        models=("edsr*", "mdsr*", "srresnet_x*"),
        config=_MUON,
        optimizer=Timm("adamuon"),
        start="from what is trained: x3 and x4 from x2, mdsr_baseline from the three, --init",
        data="948 crops of 471 freely licensed photographs, drawn by score",
        source="srzoo, docs/log.md; AdaMuon (Si et al. 2025) is timm's, extra train",
        reached="Set5 Y-PSNR of mdsr_baseline 37.59, 33.83, 31.58 dB, started from its weights at 37.56, 33.74, 31.48, "
        "and from there 37.59, 33.88, 31.64 with --batch-size 8 --lr 3e-4 --steps 1200; "
        "edsr_baseline_x4, started from parts of mdsr_baseline, 31.64 dB with --lr 8e-4 --steps 2500",
    ),
    Recipe(
        name="vdsr_luma",
        title="VDSR in few steps on a machine without a graphics card",
        models=("vdsr",),
        config=replace(_MUON, batch_size=8, patch_size=16),
        loss=OnLuma(L1()),
        optimizer=Timm("adamuon"),
        data="948 crops of 471 freely licensed photographs, drawn by score",
        source="srzoo, docs/log.md",
        reached="Set5 Y-PSNR 36.88 33.07 30.78 dB; with --teacher mdsr_baseline 37.04 33.25 30.96, and "
        "37.24 33.38 31.09 after three more rounds of larger patches at lower rates",
    ),
    Recipe(
        name="luma",
        title="the small luma networks on a machine without a graphics card",
        models=("srcnn_x*", "fsrcnn_x*", "fsrcnn_small_x*", "espcn_x*"),
        config=_LUMA,
        loss=OnLuma(MSE()),
        optimizer=Timm("adamuon"),
        start="x3 and x4 from x2: --init",
        data="948 crops of 471 freely licensed photographs, drawn by score",
        source="srzoo, docs/log.md",
        reached="Set5 Y-PSNR of fsrcnn_x2, x3, x4 36.74, 32.72, 30.49 dB: --precision fp32 --batch-size 8, 14,000 "
        "steps of patches of 32 and 8,000 more of 16 at 1.5e-3; x3 and x4 8,000 of 24 at 2e-3",
    ),
    Recipe(
        name="jpeg",
        title="for real photographs: blur, noise and JPEG between HR and LR",
        models=("edsr_baseline_x*", "mdsr_baseline"),
        config=replace(_MUON, steps=4_000),
        optimizer=Timm("adamuon"),
        start="from weights for bicubic LR: --model edsr_baseline_x2.photos",
        data="948 crops of 471 freely licensed photographs, drawn by score",
        degradation="photo",
        source="srzoo, docs/log.md",
        reached="Kodak24 Y-PSNR of LR images by photo: 30.15 dB at x2 (--steps 2600), from 29.54; 26.99 at x4 "
        "(--steps 4200), from 26.54",
    ),
)

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
            models=("edsr*", "mdsr*"),
            config=_TWO_CORES,
            start="from edsr_baseline_x2 at x3, x4 and for mdsr_baseline; x2 at random takes 11,000 steps at 4e-4",
            data="948 crops of 471 freely licensed photographs, drawn by score",
            source="srzoo, docs/decisions/0006",
            reached="Set5 Y-PSNR 37.42 dB at x2 (55 min), 33.62 at x3 (5,000 steps, 29 min), 31.39 at x4 (43 min); "
            "mdsr_baseline 37.56, 33.74, 31.48 (9,000 steps, 100 min beside other work); 2 cores with AVX-512 bf16",
        ),
        *_OLDER,
        *_OWN,
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


def check_recipe(recipe: Recipe, model: str) -> None:
    """See that a recipe is for a model.

    Raises:
        ValueError: If it is not; those that are get told.

    Examples:
        >>> check_recipe(find_recipe("vdsr"), "edsr_baseline_x2")
        Traceback (most recent call last):
        ValueError: the recipe vdsr is for vdsr; for edsr_baseline_x2 there are edsr_baseline, two_cores, muon, jpeg
    """
    if _is_for(recipe, model):
        return
    others = [other.name for other in RECIPES.values() if _is_for(other, model)]
    hint = f"for {model} there are {', '.join(others)}" if others else f"there is none for {model}: give its settings"
    raise ValueError(f"the recipe {recipe.name} is for {', '.join(recipe.models)}; {hint}")


def _is_for(recipe: Recipe, model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in recipe.models)


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
