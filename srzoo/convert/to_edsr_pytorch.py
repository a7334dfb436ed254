"""Our EDSR and MDSR in the layout of EDSR-PyTorch, for users of that code."""

import re
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.blocks import MeanShift
from srzoo.convert.image_range import OURS
from srzoo.files import replacing

_SHARED = {
    r"head\.(weight|bias)": r"head.0.\1",
    r"body\.(\d+)\.conv1\.(.+)": r"body.\1.body.0.\2",
    r"body\.(\d+)\.conv2\.(.+)": r"body.\1.body.2.\2",
    r"body\.(\d+)\.(weight|bias)": r"body.\1.\2",
}
_EDSR = {**_SHARED, r"upsample\.(\d+\..+)": r"tail.0.\1", r"tail\.(.+)": r"tail.1.\1"}
_MDSR = {
    r"pre\.branches\.x(\d+)\.(\d+)\.conv1\.(.+)": r"pre_process.{\1}.\2.body.0.\3",
    r"pre\.branches\.x(\d+)\.(\d+)\.conv2\.(.+)": r"pre_process.{\1}.\2.body.2.\3",
    r"upsample\.branches\.x(\d+)\.(.+)": r"upsample.{\1}.\2",
    **_SHARED,
    r"tail\.(.+)": r"tail.0.\1",
}


def to_edsr_pytorch(model: SRModel) -> OrderedDict[str, Tensor]:
    """The model's float32 tensors by EDSR-PyTorch's names, in that code's order, with its tensors for the mean.

    Args:
        model: An EDSR or MDSR of three channels.

    Raises:
        ValueError: If it is another network, has other channels, or a scale that code does not have (2, 4, 8, ..., 3).

    Examples:
        >>> from srzoo.registry import create_model
        >>> list(to_edsr_pytorch(create_model("edsr_baseline_x2", width=4, num_blocks=1)))[:5]
        ['sub_mean.weight', 'sub_mean.bias', 'add_mean.weight', 'add_mean.bias', 'head.0.weight']
    """
    family = _check(model)
    mean = MeanShift(3).mean.view(3)
    eye = torch.eye(3).view(3, 3, 1, 1)
    state = OrderedDict(
        {
            "sub_mean.weight": eye,
            "sub_mean.bias": -OURS * mean,
            "add_mean.weight": eye.clone(),
            "add_mean.bias": OURS * mean,
        }
    )
    for key, value in model.state_dict().items():
        state[_official(key, model, _MDSR if family == "mdsr" else _EDSR)] = value.detach().cpu().float().clone()
    return _in_order(state, family)


def _official(key: str, model: SRModel, names: dict[str, str]) -> str:
    """That code's name for one of our keys; branches are numbered in the order of the scales."""
    pattern = next(pattern for pattern in names if re.fullmatch(pattern, key))
    name = re.sub(pattern, names[pattern], key)
    for branch, scale in enumerate(model.scales):
        name = name.replace(f"{{{scale}}}", str(branch))
    return name


def _check(model: SRModel) -> str:
    """The model's family, if that code has such a network."""
    family = model.name.partition("_")[0]
    if family not in ("edsr", "mdsr"):
        raise ValueError(
            f"{model.name or type(model).__name__} is neither EDSR nor MDSR, the networks EDSR-PyTorch shares"
        )
    if model.channels != 3:
        raise ValueError(f"{model.name} has {model.channels} channels, EDSR-PyTorch's mean shift takes 3")
    if other := [scale for scale in model.scales if scale != 3 and scale & (scale - 1)]:
        raise ValueError(f"{model.name} has scale {other[0]}, EDSR-PyTorch's upsampler takes 3 and powers of 2")
    return family


def _in_order(state: OrderedDict[str, Tensor], family: str) -> OrderedDict[str, Tensor]:
    """The order in which that code registers its modules."""
    parts = ["sub_mean", "add_mean", *(("pre_process", "upsample") if family == "mdsr" else ()), "head", "body", "tail"]
    return OrderedDict(sorted(state.items(), key=lambda item: parts.index(item[0].partition(".")[0])))


def edsr_pytorch_options(model: SRModel) -> str:
    """What to give EDSR-PyTorch's `main.py`, so that it builds the network of this model.

    Raises:
        ValueError: As `to_edsr_pytorch` does.

    Examples:
        >>> from srzoo.registry import create_model
        >>> edsr_pytorch_options(create_model("edsr_x2"))
        '--model EDSR --scale 2 --n_resblocks 32 --n_feats 256 --res_scale 0.1'
    """
    family, arguments = _check(model), model.arguments
    options = {
        "model": family.upper(),
        "scale": "+".join(map(str, model.scales)),
        "n_resblocks": arguments["num_blocks"],
        "n_feats": arguments["width"],
        **({"res_scale": f"{arguments['res_scale']:g}"} if "res_scale" in arguments else {}),
    }
    return " ".join(f"--{key} {value}" for key, value in options.items())


def save_edsr_pytorch(model: SRModel, path: str | Path) -> None:
    """Write `to_edsr_pytorch(model)` as a `.pt` file for `torch.load(path, weights_only=True)`; whole or not at all.

    Raises:
        ValueError: As `to_edsr_pytorch` does, or if the path does not end in .pt or .pth.
        FileNotFoundError: If the folder does not exist.
    """
    path = Path(path)
    if path.suffix not in (".pt", ".pth"):
        raise ValueError(f"{path} does not end in .pt or .pth, which is what EDSR-PyTorch reads")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"folder {path.parent} does not exist; create it first")
    state = to_edsr_pytorch(model)
    with replacing(path) as work, open(work, "wb") as file:  # by handle: torch puts a path's name into the file
        torch.save(state, file)
