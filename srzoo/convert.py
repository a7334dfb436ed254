"""Other projects' checkpoints to zoo models: explicit, never at load time.

Read today: the layout of EDSR-PyTorch (the official code), which torchSR shares.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.blocks import MeanShift
from srzoo.registry import create_model
from srzoo.weights import load_strictly

# Official key -> ours. {i} stands for a number kept as it is; MDSR's branches are numbered in the order of its scales.
EDSR_KEYS = {
    r"head\.0\.(.+)": r"head.\1",
    r"body\.(\d+)\.body\.0\.(.+)": r"body.\1.conv1.\2",
    r"body\.(\d+)\.body\.2\.(.+)": r"body.\1.conv2.\2",
    r"body\.(\d+)\.(weight|bias)": r"body.\1.\2",
    r"tail\.0\.(\d+)\.(.+)": r"upsample.\1.\2",
    r"tail\.1\.(.+)": r"tail.\1",
}
MDSR_KEYS = {
    **{pattern: ours for pattern, ours in EDSR_KEYS.items() if not pattern.startswith("tail")},
    r"pre_process\.(\d+)\.(\d+)\.body\.0\.(.+)": r"pre.branches.{\1}.\2.conv1.\3",
    r"pre_process\.(\d+)\.(\d+)\.body\.2\.(.+)": r"pre.branches.{\1}.\2.conv2.\3",
    r"upsample\.(\d+)\.(\d+)\.(.+)": r"upsample.branches.{\1}.\2.\3",
    r"tail\.0\.(.+)": r"tail.\1",
}
SHIFT_KEYS = ("sub_mean.weight", "sub_mean.bias", "add_mean.weight", "add_mean.bias")


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """State dict of a `.pt`, `.pth` or `.safetensors` file; pickles are read with `weights_only=True`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read safely or is no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a checkpoint (.pt, .pth, .safetensors)")
    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling and safetensors raise many kinds; none means a readable checkpoint
        raise ValueError(f"{path} cannot be read as a checkpoint of plain tensors ({error})") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no state dict (a dict from names to tensors)")
    return dict(state)


def _rename(key: str, patterns: Mapping[str, str]) -> str | None:
    for pattern, ours in patterns.items():
        if re.fullmatch(pattern, key):
            return re.sub(pattern, ours, key)
    return None


def _check_shift(state: Mapping[str, Tensor], channels: int) -> None:
    """The frozen mean shift must be the one our models have built in."""
    if not any(key in state for key in SHIFT_KEYS):
        return
    mean = MeanShift(channels).mean.view(-1) * 255
    expected = {
        "sub_mean.weight": torch.eye(channels).view(channels, channels, 1, 1),
        "sub_mean.bias": -mean,
        "add_mean.weight": torch.eye(channels).view(channels, channels, 1, 1),
        "add_mean.bias": mean,
    }
    for key, value in expected.items():
        if key in state and not torch.allclose(state[key].float(), value, rtol=1e-4, atol=1e-3):
            raise ValueError(f"{key} of the checkpoint is not DIV2K's mean on 0..255; our models cannot represent it")


def _stage_factors(widths: list[int], width: int) -> int:
    """Scale of an upsampler, from the output widths of its convolutions."""
    scale = 1
    for out in widths:
        factor = round((out / width) ** 0.5)
        if factor * factor * width != out:
            raise ValueError(f"an upsampler convolution has {out} outputs, no square times {width}")
        scale *= factor
    return scale


def _scale_of(state: Mapping[str, Tensor], prefix: str, width: int) -> int:
    keys = sorted(key for key in state if re.fullmatch(rf"{re.escape(prefix)}\d+\.weight", key))
    if not keys:
        raise ValueError(f"the checkpoint has no upsampler ({prefix}N.weight); a scale cannot be told from it")
    return _stage_factors([state[key].shape[0] for key in keys], width)


def _describe(state: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Model name and constructor overrides that a state dict in the official layout was made for."""
    if "head.0.weight" not in state:
        raise ValueError(
            "the checkpoint is not in the EDSR-PyTorch layout (no head.0.weight); "
            f"its keys begin with {', '.join(sorted(state)[:5])}"
        )
    width, channels = state["head.0.weight"].shape[:2]
    num_blocks = len({key.split(".")[1] for key in state if re.fullmatch(r"body\.\d+\.body\.0\.weight", key)})
    if any(key.startswith("pre_process.") for key in state):
        branches = sorted({int(found[1]) for key in state if (found := re.match(r"upsample\.(\d+)\.", key))})
        scales = tuple(_scale_of(state, f"upsample.{branch}.", width) for branch in branches)
        name = "mdsr" if num_blocks == 80 else "mdsr_baseline"
        return name, {"scales": scales, "width": width, "num_blocks": num_blocks, "channels": channels}
    scale = _scale_of(state, "tail.0.", width)
    variant = "edsr" if (width, num_blocks) == (256, 32) else "edsr_baseline"
    return f"{variant}_x{scale}", {"width": width, "num_blocks": num_blocks, "channels": channels}


def convert_checkpoint(path: str | Path, name: str | None = None, **overrides: Any) -> SRModel:
    """A zoo model with the weights of an EDSR-PyTorch checkpoint (EDSR or MDSR, any size), in eval mode.

    The mean shift's tensors are checked and dropped (our models have it built in); every other key must be
    known and used. Save the result with `srzoo.save_model`.

    Args:
        path: `.pt` (read with `weights_only=True`) or `.safetensors` in the official layout.
        name: Model name; read off the tensors' shapes if None.
        **overrides: Constructor arguments the shapes do not tell, such as `res_scale=0.1`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If keys are unknown or missing (listed), shapes do not fit, or the layout is another.

    Examples:
        ```python
        model = srzoo.convert_checkpoint("edsr_baseline_x4-6b446fab.pt")
        srzoo.save_model(model, "edsr_baseline_x4.safetensors")
        ```
    """
    state = read_checkpoint(path)
    found, shape = _describe(state)
    model = create_model(name or found, **{**shape, **overrides})
    is_mdsr = "scales" in shape
    patterns = MDSR_KEYS if is_mdsr else EDSR_KEYS
    _check_shift(state, shape["channels"])
    tensors: dict[str, Tensor] = {}
    unknown: list[str] = []
    for key, value in state.items():
        if key in SHIFT_KEYS:
            continue
        ours = _rename(key, patterns)
        if ours is None:
            unknown.append(key)
            continue
        for branch, scale in enumerate(shape.get("scales", ())):
            ours = ours.replace(f"{{{branch}}}", f"x{scale}")
        tensors[ours] = value
    if unknown:
        raise ValueError(f"{path} has {len(unknown)} unknown keys: {', '.join(sorted(unknown))}")
    load_strictly(model, tensors, str(path))
    return model.eval()
