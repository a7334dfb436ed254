"""The authors' MATLAB files of SRCNN and VDSR to state dicts of the zoo."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

SRCNN_SHAPES = {
    "weights_conv1": (81, 64),  # taps, out
    "biases_conv1": (64, 1),
    "weights_conv2": (64, 25, 32),  # in, taps, out
    "biases_conv2": (32, 1),
    "weights_conv3": (32, 25),  # in, taps
    "biases_conv3": (1, 1),
}
SRCNN_LAYERS = ("extract", "map", "reconstruct")
SRCNN_SCALES = (2, 3, 4)
VDSR_LAYERS = ("head", *(f"body.{i}" for i in range(18)), "tail")


def read_matlab(path: str | Path, scale: int | None = None) -> tuple[str, dict[str, Tensor]]:
    """Model name and state dict (float32) of a `.mat` file as the authors of SRCNN and VDSR publish them.

    SRCNN 9-5-5: `weights_conv1` to `biases_conv3`, one file a scale; the file does not say which, its name does
    (`x3.mat`, `srcnn_955_x3.mat`). VDSR: a struct `model` with 20 cells `weight` and `bias`, one file for all scales.
    Kernels are correlations in both, as torch's are: none is flipped.

    Args:
        path: MATLAB file, version 5 to 7.2.
        scale: Upscaling factor of an SRCNN file; None takes it from the file's name.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If scipy is missing.
        ValueError: If the file is damaged, has other variables, shapes or values than these networks, or the scale is
            unknown, another one than the file's name says, or given for VDSR.

    Examples:
        ```python
        name, state = read_matlab("srcnn_955_x3.mat")
        model = srzoo.create_model(name)
        model.load_state_dict(state)
        ```
    """
    path = Path(path)
    variables = _variables(path)
    if any(name in variables for name in SRCNN_SHAPES):
        return f"srcnn_x{_srcnn_scale(path, scale)}", _srcnn(path, variables)
    if "model" in variables:
        if scale is not None:
            raise ValueError(f"{path} is a VDSR file, which serves all scales, not an SRCNN file of scale {scale}")
        return "vdsr", _vdsr(path, variables["model"])
    found = ", ".join(sorted(variables)) or "no variable"
    raise ValueError(f"{path} has {found}; known are SRCNN's (weights_conv1, ...) and VDSR's (model)")


def _variables(path: Path) -> dict[str, Any]:
    """Name and value of each variable of a MATLAB file."""
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give a MATLAB file in it (.mat)")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; give a MATLAB file (.mat)")
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError('reading MATLAB files needs scipy; install it with: pip install "srzoo[matlab]"') from error
    try:
        with open(path, "rb") as file:
            found = loadmat(file)
    except NotImplementedError as error:
        raise ValueError(f"{path} is a MATLAB 7.3 file; save it with -v7 or older in MATLAB") from error
    except Exception as error:  # the parser raises many kinds at damaged bytes
        raise ValueError(f"{path} cannot be read as a MATLAB file ({type(error).__name__}: {error})") from error
    return {name: value for name, value in found.items() if not name.startswith("__")}


def _srcnn_scale(path: Path, scale: int | None) -> int:
    """The scale given, or the one the file's name ends a word with: `x3`; both must agree."""
    told = {int(digits) for digits in re.findall(r"(?<![a-z0-9])x(\d+)(?![a-z0-9])", path.stem.lower())}
    if scale is None:
        if len(told) != 1:
            raise ValueError(
                f"{path} is an SRCNN file whose name does not tell its scale (as x3.mat does); "
                "give it as a model's name: --model srcnn_x3"
            )
        [scale] = told
    if scale not in SRCNN_SCALES:
        raise ValueError(f"scale is {scale}; SRCNN's files are for {', '.join(map(str, SRCNN_SCALES))}")
    if told and scale not in told:
        named = min(told)
        raise ValueError(f"{path}: its name says x{named}, srcnn_x{scale} was given; rename it or take srcnn_x{named}")
    return scale


def _numbers(path: Path, name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """A numeric array of MATLAB as float32, checked; MATLAB drops trailing sides of 1."""
    is_number = isinstance(value, np.ndarray) and value.dtype.kind in "fiu"
    if not is_number or value.shape + (1,) * (len(shape) - value.ndim) != shape:
        found = f"shape {value.shape}" if is_number else f"no array of numbers but {type(value).__name__}"
        raise ValueError(f"{name} in {path} has {found}; this network's has shape {shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold is refused below
        value = value.astype(np.float32).reshape(shape)
    if not np.isfinite(value).all():
        raise ValueError(f"{name} in {path} has values that are not finite; the file is damaged")
    return value


def _srcnn(path: Path, variables: Mapping[str, Any]) -> dict[str, Tensor]:
    missing, unknown = SRCNN_SHAPES.keys() - variables.keys(), variables.keys() - SRCNN_SHAPES.keys()
    if missing or unknown:
        told = [
            f"{word} {', '.join(sorted(names))}" for word, names in (("lacks", missing), ("also has", unknown)) if names
        ]
        raise ValueError(f"{path} {' and '.join(told)}; an SRCNN file has {', '.join(SRCNN_SHAPES)} and nothing else")
    arrays = {name: _numbers(path, name, variables[name], shape) for name, shape in SRCNN_SHAPES.items()}
    state = {}
    for number, layer in enumerate(SRCNN_LAYERS, start=1):
        bias = arrays[f"biases_conv{number}"].reshape(-1)
        weight = arrays[f"weights_conv{number}"]
        weight = {1: weight[None], 2: weight, 3: weight[..., None]}[number]  # in, taps, out
        num_in, taps, num_out = weight.shape
        side = round(taps**0.5)
        weight = weight.reshape(num_in, side, side, num_out).transpose(3, 0, 2, 1)  # taps run down the columns
        state[f"{layer}.weight"] = torch.tensor(weight.copy())
        state[f"{layer}.bias"] = torch.tensor(bias.copy())
    return state


def _vdsr(path: Path, model: Any) -> dict[str, Tensor]:
    fields = getattr(getattr(model, "dtype", None), "names", None)
    if not fields or set(fields) != {"weight", "bias"} or model.size != 1:
        raise ValueError(f"model in {path} is not VDSR's: a struct with the cells weight and bias")
    cells = {}
    for field in ("weight", "bias"):
        cells[field] = model[field].item()
        if not isinstance(cells[field], np.ndarray) or cells[field].dtype != object or cells[field].size != 20:
            found = getattr(cells[field], "size", "no")
            raise ValueError(f"model.{field} in {path} has {found} layers; VDSR has 20, each in a cell")
    state = {}
    for i, layer in enumerate(VDSR_LAYERS):
        num_in, num_out = 1 if i == 0 else 64, 1 if i == 19 else 64
        weight = _numbers(path, f"model.weight{{{i + 1}}}", cells["weight"].flat[i], (3, 3, num_in, num_out))
        bias = _numbers(path, f"model.bias{{{i + 1}}}", cells["bias"].flat[i], (num_out, 1))
        state[f"{layer}.weight"] = torch.tensor(weight.transpose(3, 2, 0, 1).copy())
        state[f"{layer}.bias"] = torch.tensor(bias.reshape(-1).copy())
    return state
