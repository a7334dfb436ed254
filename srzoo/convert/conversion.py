"""Checkpoints of other projects to zoo models: recognise, rename, bring to our range, check, load strictly."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from srzoo.architecture import Origin, SRModel
from srzoo.convert.checkpoint import Checkpoint, read_checkpoint
from srzoo.convert.image_range import read_range, to_our_range
from srzoo.convert.layouts import PROJECTS, SUPER_IMAGE_EDSR, Layout, find_layout, rename
from srzoo.convert.likeness import CLEARLY_BETTER, LEAST, likeness
from srzoo.convert.super_image import sign_of_super_image
from srzoo.registry import create_model, model_info
from srzoo.weights import load_strictly, read_header

LOGGER = logging.getLogger("srzoo")
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Of tensors that are read."""


@dataclass(frozen=True)
class Conversion:
    """A converted model, and what was recognised in the file."""

    model: SRModel
    """In eval mode, float32."""
    project: str
    """A name of `PROJECTS`, or "matlab" for the authors' `.mat` files."""
    wrapper: tuple[str, ...] = ()
    """What the tensors were wrapped in, from the outside."""
    left_out: tuple[str, ...] = ()
    """What else was in the file and is not used."""
    dtypes: tuple[str, ...] = ("float32",)
    """Of the tensors in the file."""
    image_range: float | None = None
    """What white was to the network's features; None where that does not apply."""
    range_assumed: bool = False
    """Whether `image_range` is the project's default: the file does not say, and nobody gave it."""
    likeness: float = float("nan")
    """PSNR in dB to bicubic on a smooth image, the lowest over the scales: 40 or more for a trained network, but also
    for one trained on another range or order of channels."""
    warnings: tuple[str, ...] = ()


def convert_checkpoint(
    path: str | Path,
    name: str | None = None,
    *,
    project: str = "auto",
    image_range: float | None = None,
    **overrides: Any,
) -> SRModel:
    """A zoo model with the weights of another project's checkpoint, in eval mode: EDSR or MDSR of any size.

    Read are checkpoints of EDSR-PyTorch, torchSR, BasicSR, mmagic and pytorch-vdsr, and the `.mat` files of SRCNN's and
    VDSR's authors. The project is told by the keys, the size by the tensors' shapes; wrappers are opened. Every tensor
    must be known and used, and what our models cannot represent exactly is refused. Doubts are logged. Save the result
    with `srzoo.save_model`.

    Args:
        path: `.pt`, `.pth`, `.ckpt` or `.bin` (read with `weights_only=True`), `.safetensors`, or `.mat`.
        name: Model name without a tag; read off the tensors' shapes if None.
        project: a name of `srzoo.convert.PROJECTS`, such as "basicsr"; "auto" tells by the keys.
        image_range: What white is to the network, such as 1 or 255, where the project's default was changed.
        **overrides: Constructor arguments the shapes do not tell, such as `res_scale=0.1`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read safely, the network is another one (told which), keys are unknown or missing
            (listed), shapes do not fit the network or the name, or values are not finite.
        TypeError: If an override is no argument of the model.

    Examples:
        ```python
        model = srzoo.convert_checkpoint("edsr_baseline_x4-6b446fab.pt")
        srzoo.save_model(model, "edsr_baseline_x4.safetensors")
        ```
    """
    done = convert_file(path, name, project=project, image_range=image_range, **overrides)
    for warning in done.warnings:
        LOGGER.warning("%s: %s", path, warning)
    return done.model


def convert_file(
    path: str | Path,
    name: str | None = None,
    *,
    project: str = "auto",
    image_range: float | None = None,
    **overrides: Any,
) -> Conversion:
    """As `convert_checkpoint`, with what was recognised on the way; doubts are in `warnings` and not logged.

    Raises:
        FileNotFoundError, ValueError, TypeError: As `convert_checkpoint` does.
    """
    base, dot, _ = (name or "").partition(".")
    if dot:
        raise ValueError(f"model is {name}; give {model_info(base).name}, the weights come from the file")
    if Path(path).suffix == ".mat":
        return _from_matlab(Path(path), name, project, image_range, overrides)
    if Path(path).suffix == ".safetensors" and Path(path).is_file() and _is_ours(path):
        raise ValueError(f"{path} is a weight file of srzoo's already; srzoo.load_model reads it")
    checkpoint = read_checkpoint(path)
    try:
        return _convert(checkpoint, name, project, image_range, overrides)
    except ValueError as error:
        raise ValueError(f"{path} cannot be converted: {error}") from error


def _is_ours(path: str | Path) -> bool:
    try:
        read_header(path)
    except ValueError:
        return False
    return True


def _convert(
    checkpoint: Checkpoint, name: str | None, project: str, given: float | None, overrides: Mapping[str, Any]
) -> Conversion:
    tensors = checkpoint.tensors
    layout = find_layout(tensors, project)
    _check_values(tensors)
    if project == "super-image":
        raise ValueError(SUPER_IMAGE_EDSR)
    if project == "auto" and layout.projects[0] == "edsr-pytorch" and (sign := sign_of_super_image(checkpoint.path)):
        raise ValueError(
            f"{sign}, so it is super-image's; {SUPER_IMAGE_EDSR}; "
            "if it is not super-image's, name the project edsr-pytorch (--from)"
        )
    ours = _renamed(layout, tensors)
    found, shape = _describe(layout, ours)
    if name is not None:
        _check_family("it", name, layout.family, found)
        _check_variant(name, found, shape, overrides)
    image_range = read_range(layout, tensors, shape.get("channels", 3), given)
    model = create_model(name or found, **{**shape, **overrides})
    ours = {_placed(key, shape): value for key, value in to_our_range(ours, image_range).items()}
    if not layout.biases:
        ours |= {key: torch.zeros_like(value) for key, value in model.state_dict().items() if key.endswith(".bias")}
    load_strictly(model, ours, "it")
    model.eval().origin = Origin(str(checkpoint.path))
    like = likeness(model)
    return Conversion(
        model=model,
        project=layout.projects[0] if project == "auto" else project,
        wrapper=checkpoint.wrapper,
        left_out=checkpoint.left_out,
        dtypes=tuple(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()})),
        image_range=image_range,
        range_assumed=bool(image_range and not given and not {"sub_mean.bias", "add_mean.bias"} & tensors.keys()),
        likeness=like,
        warnings=_doubts(model, like, overrides),
    )


def _check_values(tensors: Mapping[str, Tensor]) -> None:
    """Plain floating-point numbers, finite."""
    if other := sorted(f"{key} ({kind})" for key, value in tensors.items() if (kind := _odd(value))):
        known = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise ValueError(f"{len(other)} tensors are not plain numbers of {known}: {', '.join(other)}")
    if bad := sorted(key for key, value in tensors.items() if not value.isfinite().all()):
        raise ValueError(f"{len(bad)} tensors have values that are not finite: {', '.join(bad)}; its training diverged")


def _odd(value: Tensor) -> str:
    """What makes a tensor one that cannot be read; empty for plain ones."""
    if value.device.type != "cpu":
        return value.device.type
    if value.layout != torch.strided or value.is_nested:
        return "nested" if value.is_nested else str(value.layout).removeprefix("torch.")
    if value.dtype not in DTYPES:
        return str(value.dtype).removeprefix("torch.")
    if not value.numel():
        return f"empty, {tuple(value.shape)}"
    if value.untyped_storage().nbytes() < value.numel() * value.element_size():  # copying it could fill the memory
        return f"repeats fewer numbers, {tuple(value.shape)}"
    return ""


def _check_family(what: str, name: str, family: str, found: str) -> None:
    """The name given is of the network in the file."""
    if model_info(name).family != family:
        raise ValueError(f"{what} holds {family.upper()}, and {name} is no such model; {found} would be")


def _check_variant(name: str, found: str, shape: Mapping[str, Any], overrides: Mapping[str, Any]) -> None:
    """The name given stands for a network of the file's size, or the user says that it is another size."""
    with torch.device("meta"):
        size = {**create_model(name).arguments, **overrides}
    if name != found and any(size[key] != shape[key] for key in ("width", "num_blocks")):
        raise ValueError(
            f"{name} has width {size['width']} and {size['num_blocks']} blocks, the file {shape['width']} and "
            f"{shape['num_blocks']}; leave --model out"
        )


def _renamed(layout: Layout, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by our names, with placeholders; the mean's are gone.

    Raises:
        ValueError: If keys are unknown; all are listed.
    """
    names = {key: rename(layout, key) for key in tensors if key not in layout.shift}
    if unknown := sorted(key for key, ours in names.items() if ours is None):
        raise ValueError(f"it has {len(unknown)} unknown keys: {', '.join(unknown)}")
    return {ours: tensors[key] for key, ours in names.items() if ours is not None}


def _describe(layout: Layout, tensors: Mapping[str, Tensor]) -> tuple[str, dict[str, Any]]:
    """Model name and constructor arguments that tensors by our names were made for.

    Raises:
        ValueError: If the upsampler is missing or of another kind.
    """
    if tensors["head.weight"].dim() != 4:
        raise ValueError(f"its first convolution has shape {tuple(tensors['head.weight'].shape)}, not four sides")
    width, channels = tensors["head.weight"].shape[:2]
    block = r"body\.\d+\.weight" if layout.family == "vdsr" else r"body\.\d+\.conv1\.weight"
    num_blocks = len({key.split(".")[1] for key in tensors if re.fullmatch(block, key)})
    if layout.family == "vdsr":
        return "vdsr", {"width": width, "num_blocks": num_blocks}
    shape = {"width": width, "num_blocks": num_blocks, "channels": channels}
    if layout.family == "mdsr":
        branches = sorted(
            {int(found[1]) for key in tensors if (found := re.match(r"upsample\.branches\.{(\d+)}", key))}
        )
        if branches != list(range(len(branches))):
            raise ValueError(f"its upsamplers are numbered {', '.join(map(str, branches))}, not 0, 1, ...")
        scales = tuple(_scale_of(tensors, f"upsample.branches.{{{branch}}}.", width) for branch in branches)
        return ("mdsr" if num_blocks == 80 else "mdsr_baseline"), {"scales": scales, **shape}
    variant = "edsr" if (width, num_blocks) == (256, 32) else "edsr_baseline"
    return f"{variant}_x{_scale_of(tensors, 'upsample.', width)}", shape


def _scale_of(tensors: Mapping[str, Tensor], prefix: str, width: int) -> int:
    """Scale of an upsampler, from the output widths of its convolutions."""
    keys = [key for key in tensors if re.fullmatch(rf"{re.escape(prefix)}\d+\.weight", key)]
    if not keys:
        raise ValueError("it has no upsampler, and a scale cannot be told from the rest")
    scale = 1
    for key in keys:
        if tensors[key].dim() != 4:
            raise ValueError(f"an upsampler convolution has shape {tuple(tensors[key].shape)}, not four sides")
        out = tensors[key].shape[0]
        factor = round((out / width) ** 0.5)
        if factor * factor * width != out:
            raise ValueError(f"an upsampler convolution has {out} outputs, no square times {width}")
        scale *= factor
    return scale


def _placed(key: str, shape: Mapping[str, Any]) -> str:
    """A key with its placeholders filled in."""
    key = key.replace("{end}", str(shape["num_blocks"]))
    for branch, scale in enumerate(shape.get("scales", ())):
        key = key.replace(f"{{{branch}}}", f"x{scale}")
    return key


def _doubts(model: SRModel, like: float, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """What speaks against the result, in sentences."""
    arguments = dict(model.arguments)
    other = 0.1 if arguments.get("res_scale") == 1 else 1.0
    if "res_scale" in arguments and "res_scale" not in overrides:
        rival = create_model(model.name, **{**arguments, "res_scale": other})
        rival.load_state_dict(model.state_dict())
        if (better := likeness(rival.eval())) > max(LEAST, like + CLEARLY_BETTER):
            return (
                f"res_scale is {arguments['res_scale']:g}, but with {other:g} the network is nearer to bicubic on a "
                f"smooth image ({better:.0f} dB, not {like:.0f}); was it trained so? then give res_scale={other:g}",
            )
    if like < LEAST:
        return (
            f"on a smooth image the network is only {like:.0f} dB near bicubic, trained ones reach 40; was it trained "
            "with another res_scale, image range or order of channels, or not at all?",
        )
    return ()


def _from_matlab(
    path: Path, name: str | None, project: str, image_range: float | None, overrides: Mapping[str, Any]
) -> Conversion:
    """A model with the weights of its authors' `.mat` file."""
    if project != "auto":
        raise ValueError(
            f"{path} is a .mat file, which is of none of the projects; leave {PROJECTS.get(project, project)} out"
        )
    if image_range is not None:
        raise ValueError(f"{path} is a .mat file, whose image range is known; leave it out")
    from srzoo.convert.matlab import read_matlab

    scale = model_info(name).scales[0] if name is not None and model_info(name).family == "srcnn" else None
    found, tensors = read_matlab(path, scale)
    if name is not None:
        _check_family(str(path), name, found.partition("_")[0], found)
    model = create_model(name or found, **overrides)
    load_strictly(model, tensors, str(path))
    model.eval().origin = Origin(str(path))
    dtypes = tuple(sorted({str(value.dtype).removeprefix("torch.") for value in tensors.values()}))
    like = likeness(model)
    return Conversion(
        model=model, project="matlab", dtypes=dtypes, likeness=like, warnings=_doubts(model, like, overrides)
    )
