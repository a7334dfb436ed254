"""The mean and the image range of another project's network, and tensors brought to ours."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from srzoo.blocks import MeanShift
from srzoo.convert.layouts import OFFICIAL_SHIFT, Layout

OURS = 255.0
"""What white is to the features of our EDSR and MDSR."""


def _agrees(found: Tensor, expected: Tensor) -> bool:
    """Whether two tensors are equal but for the rounding of the coarser one's dtype."""
    coarse = torch.finfo(found.dtype).eps if found.dtype.is_floating_point else 0
    return bool(torch.allclose(found.double(), expected.double(), rtol=max(1e-4, coarse), atol=1e-6))


def read_range(
    layout: Layout, tensors: Mapping[str, Tensor], channels: int, given: float | None = None
) -> float | None:
    """What white is to the network's features: from its mean tensors, else as given, else as its project has it.

    Args:
        layout: Where the tensors are from.
        tensors: By the other project's names.
        channels: Image channels.
        given: What the user says.

    Raises:
        ValueError: If the mean is another than the one built into our models, or the range is not as given.
    """
    mean = MeanShift(channels).mean.view(-1).double()
    if given is not None and not 0 < given < math.inf:
        raise ValueError(f"the image range is {given:g}; it is what white is to the network, such as 1 or 255")
    if layout.image_range is None:
        if given is not None:
            raise ValueError(f"the image range of {layout.family.upper()} is known; leave {given:g} out")
        return None
    if layout.shift != OFFICIAL_SHIFT:
        for key, expected in (("mean", mean), ("std", torch.ones_like(mean))):
            if key in tensors and not (
                tensors[key].numel() == channels and _agrees(tensors[key].flatten(), expected.expand(channels))
            ):
                raise ValueError(_other_mean(key, tensors[key]))
        return given or layout.image_range
    found = None
    if (bias := tensors.get("sub_mean.bias")) is not None and bias.numel() == channels:
        found = next((r for r in (OURS, 1.0, given) if r and _agrees(bias.flatten(), -r * mean)), None)
        if given and found and abs(found - given) > 1e-4 * given:
            raise ValueError(f"its mean is removed on the range 0..{found:g}, not 0..{given:g} as given; leave it out")
    found = found or given or layout.image_range
    eye = torch.eye(channels).view(channels, channels, 1, 1)
    expected = {
        "sub_mean.weight": eye,
        "sub_mean.bias": -found * mean,
        "add_mean.weight": eye,
        "add_mean.bias": found * mean,
    }
    for key, value in expected.items():
        if key in tensors and not (tensors[key].shape == value.shape and _agrees(tensors[key], value)):
            raise ValueError(_other_mean(key, tensors[key]))
    return found


def _other_mean(key: str, value: Tensor) -> str:
    numbers = ", ".join(f"{number:.4g}" for number in value.flatten()[:9].tolist())
    return (
        f"{key} of the checkpoint is not DIV2K's mean on 0..255 or 0..1, but {numbers}; our models remove that mean "
        "before the first convolution pads with zeros, so another one cannot be made up for at the borders"
    )


def to_our_range(tensors: Mapping[str, Tensor], image_range: float | None) -> dict[str, Tensor]:
    """Float32 tensors for features of images in 0..255: every bias times `255 / image_range`, weights as they are.

    Convolutions, ReLU, pixel shuffle and sums scale with their input, so the network's function stays the same.

    Examples:
        >>> to_our_range({"head.bias": torch.ones(1), "head.weight": torch.ones(1)}, 1.0)
        {'head.bias': tensor([255.]), 'head.weight': tensor([1.])}
    """
    factor = OURS / (image_range or OURS)
    return {
        key: (value.double() * factor).float() if factor != 1 and key.endswith(".bias") else value.float()
        for key, value in tensors.items()
    }
