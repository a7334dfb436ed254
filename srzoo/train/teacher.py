"""A teacher: a trained network whose outputs are what another one learns to give, in place of the HR patches."""

import copy
import json
from collections.abc import Iterable
from hashlib import sha256

import torch
from jaxtyping import Float
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.device import to_channels_last
from srzoo.hub import HUB
from srzoo.registry import is_path, weight_file
from srzoo.train.update import DTYPES
from srzoo.weights import content_hash, read_header, read_tensors


class Teacher:
    """(lr, scale) -> what a trained model makes of LR patches: float32, not clamped, without gradient.

    It is a copy of the model, frozen and in eval mode: training the model itself does not change it.

    Args:
        model: The trained model, which stays as it is.
        device: Where the patches are.
        precision: Of the convolutions: fp32, bf16 or fp16.
    """

    def __init__(self, model: SRModel, device: torch.device, precision: str) -> None:
        frozen = copy.deepcopy(model).eval().requires_grad_(False).float()
        self.told = name_teacher(model)
        """Its name and content, such as `mdsr_baseline.photos, content 1234abcd`."""
        self.license = model.origin.license if model.origin is not None else ""
        """SPDX identifier of its weights' licence, where it is known."""
        self.content = _fingerprint(frozen)
        """Equal for two teachers that give the same."""
        self._model = to_channels_last(frozen, device)
        self._device, self._precision = device, precision

    @torch.no_grad()  # and not inference_mode, whose tensors a loss may not keep for its backward pass
    def __call__(self, lr: Float[Tensor, "b c h w"], scale: int) -> Float[Tensor, "b c H W"]:
        """What the student is to give for `lr` (in [0, 1]): H, W are scale times h, w; channels last."""
        dtype = DTYPES[self._precision]
        with torch.autocast(self._device.type, dtype, enabled=self._precision != "fp32", cache_enabled=False):
            sr = self._model(lr, scale)
        return sr.float().contiguous(memory_format=torch.channels_last)


def name_teacher(model: SRModel) -> str:
    """What a trained model is called in a record: its weights' name and content, those `srzoo info` tells.

    Examples:
        >>> import srzoo
        >>> name_teacher(srzoo.create_model("bicubic_x2"))
        'bicubic_x2, content e3b0c442'
    """
    given, name = model.origin.name if model.origin is not None else "", model.name or type(model).__name__
    if given:
        try:
            path = weight_file(given, local_files_only=True)
            header = read_header(path)
            is_as_filed = _equal(read_tensors(path, header), model.state_dict())
        except (OSError, ValueError):  # the file has gone since
            is_as_filed = False
        else:
            if is_as_filed:
                is_named = given.startswith(HUB) or not is_path(given)  # a path means nothing on another machine
                return f"{given if is_named else name}, content {header.content[:8]}"
    return f"{name}, content {content_hash(model.state_dict())[:8]}"  # trained since it was loaded, or by hand


def _equal(filed: dict[str, Tensor], own: dict[str, Tensor]) -> bool:
    """Whether tensors are those of a file, which may be in half precision."""
    return filed.keys() == own.keys() and all(
        torch.equal(filed[name].to(tensor.dtype), tensor.cpu()) for name, tensor in own.items()
    )


def _fingerprint(model: SRModel) -> str:
    """A hash of all that decides what a model gives."""
    facts = [type(model).__qualname__, dict(model.arguments), content_hash(model.state_dict())]
    return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def check_teacher(teacher: SRModel, scales: Iterable[int], channels: int | None) -> None:
    """See that a model can teach another one.

    Args:
        teacher: The trained model.
        scales: Those the other is trained at.
        channels: Image channels of the other; None if that is not known.

    Raises:
        TypeError: If it is no model of the zoo's kind.
        ValueError: If it lacks a scale or has other channels.

    Examples:
        >>> import srzoo
        >>> check_teacher(srzoo.create_model("bicubic_x2"), (2, 3), 3)
        Traceback (most recent call last):
        ValueError: the teacher bicubic_x2 offers x2 and is to teach x3; give one that offers x2, x3
    """
    if not isinstance(teacher, SRModel):
        raise TypeError(f"the teacher is a {type(teacher).__name__}; give a model with weights, as open_model gives it")
    name, scales = teacher.name or type(teacher).__name__, sorted(scales)
    if lacking := [scale for scale in scales if scale not in teacher.scales]:
        offered, lacks, wanted = (
            ", ".join(f"x{scale}" for scale in some) for some in (teacher.scales, lacking, scales)
        )
        raise ValueError(f"the teacher {name} offers {offered} and is to teach {lacks}; give one that offers {wanted}")
    if channels is not None and channels != teacher.channels:
        raise ValueError(
            f"the teacher {name} is for {_channels(teacher.channels)} and is to teach a model for "
            f"{_channels(channels)}; give one for as many"
        )


def _channels(number: int) -> str:
    return f"{number} channel{'s' if number != 1 else ''}"
