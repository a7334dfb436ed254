"""Networks of other projects as state dicts with random values, and what those projects compute with them."""

import re
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

MEAN = torch.tensor([0.4488, 0.4371, 0.4040])
FACTORS = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}
State = dict[str, Tensor]


def add_conv(state: State, key: str, width_out: int, width_in: int, side: int = 3) -> None:
    state[f"{key}.weight"] = torch.randn(width_out, width_in, side, side) * 0.1
    state[f"{key}.bias"] = torch.randn(width_out)


def conv(state: State, key: str, x: Tensor) -> Tensor:
    weight = state[f"{key}.weight"]
    return F.conv2d(x, weight, state.get(f"{key}.bias"), padding=weight.shape[-1] // 2)


def saved(content: object, path: Path) -> Path:
    torch.save(content, path)
    return path


# EDSR-PyTorch


def add_shift(state: State, image_range: float = 255) -> None:
    for key, sign in (("sub_mean", -1), ("add_mean", 1)):
        state[f"{key}.weight"] = torch.eye(3).view(3, 3, 1, 1)
        state[f"{key}.bias"] = sign * image_range * MEAN


def add_body(state: State, width: int, blocks: int) -> None:
    add_conv(state, "head.0", width, 3)
    for i in range(blocks):
        add_conv(state, f"body.{i}.body.0", width, width)
        add_conv(state, f"body.{i}.body.2", width, width)
    add_conv(state, f"body.{blocks}", width, width)


def official_edsr(scale: int, width: int = 4, blocks: int = 2, image_range: float = 255) -> State:
    state: State = {}
    add_shift(state, image_range)
    add_body(state, width, blocks)
    for stage, factor in enumerate(FACTORS[scale]):
        add_conv(state, f"tail.0.{2 * stage}", factor**2 * width, width)
    add_conv(state, "tail.1", 3, width)
    return state


def official_mdsr(width: int = 4, blocks: int = 1) -> State:
    state: State = {}
    add_shift(state)
    for branch in range(3):
        for block in (0, 1):
            add_conv(state, f"pre_process.{branch}.{block}.body.0", width, width, 5)
            add_conv(state, f"pre_process.{branch}.{block}.body.2", width, width, 5)
    for branch, scale in enumerate((2, 3, 4)):
        for stage, factor in enumerate(FACTORS[scale]):
            add_conv(state, f"upsample.{branch}.{2 * stage}", factor**2 * width, width)
    add_body(state, width, blocks)
    add_conv(state, "tail.0", 3, width)
    return state


def official_forward(state: State, lr: Tensor, scale: int, res_scale: float = 1, image_range: float = 255) -> Tensor:
    """The official network, run by its own key names on 0..image_range."""

    def block(key: str, x: Tensor) -> Tensor:
        return x + res_scale * conv(state, f"{key}.2", F.relu(conv(state, f"{key}.0", x)))

    is_mdsr = "pre_process.0.0.body.0.weight" in state
    branch = (2, 3, 4).index(scale) if is_mdsr else None
    x = conv(state, "head.0", conv(state, "sub_mean", lr * image_range))
    if is_mdsr:
        for i in (0, 1):
            x = block(f"pre_process.{branch}.{i}.body", x)
    skip, i = x, 0
    while f"body.{i}.body.0.weight" in state:
        x, i = block(f"body.{i}.body", x), i + 1
    x = conv(state, f"body.{i}", x) + skip
    upsample, tail = (f"upsample.{branch}", "tail.0") if is_mdsr else ("tail.0", "tail.1")
    for stage, factor in enumerate(FACTORS[scale]):
        x = F.pixel_shuffle(conv(state, f"{upsample}.{2 * stage}", x), factor)
    return conv(state, "add_mean", conv(state, tail, x)) / image_range


# BasicSR and mmagic


def first_last_edsr(scale: int, upsampler: str, width: int = 4, blocks: int = 2) -> State:
    state: State = {}
    add_conv(state, "conv_first", width, 3)
    for i in range(blocks):
        add_conv(state, f"body.{i}.conv1", width, width)
        add_conv(state, f"body.{i}.conv2", width, width)
    add_conv(state, "conv_after_body", width, width)
    for stage, factor in enumerate(FACTORS[scale]):
        add_conv(state, upsampler.format(stage=stage, place=2 * stage), factor**2 * width, width)
    add_conv(state, "conv_last", 3, width)
    return state


def basicsr_edsr(scale: int) -> State:
    return first_last_edsr(scale, "upsample.{place}")


def mmagic_edsr(scale: int) -> State:
    return first_last_edsr(scale, "upsample.{stage}.upsample_conv")


def first_last_features(state: State, x: Tensor, scale: int, res_scale: float) -> Tensor:
    first = conv(state, "conv_first", x)
    x, i = first, 0
    while f"body.{i}.conv1.weight" in state:
        x = x + res_scale * conv(state, f"body.{i}.conv2", F.relu(conv(state, f"body.{i}.conv1", x)))
        i += 1
    x = conv(state, "conv_after_body", x) + first
    upsamplers = sorted({key.rpartition(".")[0] for key in state if key.startswith("upsample.")})
    for key, factor in zip(upsamplers, FACTORS[scale], strict=True):
        x = F.pixel_shuffle(conv(state, key, x), factor)
    return conv(state, "conv_last", x)


def basicsr_forward(state: State, lr: Tensor, scale: int, res_scale: float = 1, image_range: float = 255) -> Tensor:
    mean = MEAN.view(1, 3, 1, 1)
    return first_last_features(state, (lr - mean) * image_range, scale, res_scale) / image_range + mean


def mmagic_forward(state: State, lr: Tensor, scale: int, res_scale: float = 1) -> Tensor:
    mean = MEAN.view(1, 3, 1, 1)
    return first_last_features(state, lr - mean, scale, res_scale) + mean


def as_basicsr(official: State) -> State:
    """An official EDSR by BasicSR's names."""
    found: State = {}
    for key, value in official.items():
        if "mean" in key:
            continue
        key = key.replace("head.0.", "conv_first.").replace("tail.1.", "conv_last.").replace("tail.0.", "upsample.")
        key = key.replace(".body.0.", ".conv1.").replace(".body.2.", ".conv2.")
        found[re.sub(r"^body\.\d+\.(weight|bias)$", r"conv_after_body.\1", key)] = value
    return found


def as_mmagic(official: State) -> State:
    """An official EDSR by mmagic's names, for images in [0, 1]."""
    found: State = {}
    for key, value in as_basicsr(official).items():
        key = key.replace("upsample.0.", "upsample.0.upsample_conv.").replace(
            "upsample.2.", "upsample.1.upsample_conv."
        )
        found[key] = value / 255 if key.endswith("bias") else value
    return found


# pytorch-vdsr


def plain_vdsr(layers: int = 3, width: int = 4) -> State:
    state = {"input.weight": torch.randn(width, 1, 3, 3) * 0.2, "output.weight": torch.randn(1, width, 3, 3) * 0.2}
    return state | {f"residual_layer.{i}.conv.weight": torch.randn(width, width, 3, 3) * 0.2 for i in range(layers)}
