"""A model at one scale, ready for engines: its layers if it can be recorded, turned as test-time operations ask."""

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.tta import Op
from srzoo.tta.ops import Geometry
from srzoo.upscaling.layers import CannotRecordError, Layer, Layers, record

LOGGER = logging.getLogger("srzoo")


@dataclass(frozen=True, eq=False)
class Network:
    """A model at one of its scales.

    Args:
        model: In eval mode.
        scale: The scale.
    """

    model: SRModel
    scale: int

    @property
    def channels(self) -> int:
        """Image channels in and out."""
        return self.model.channels

    @property
    def halo(self) -> int:
        """Receptive-field radius in LR pixels."""
        return self.model.halo(self.scale)

    @property
    def dtype(self) -> torch.dtype:
        """Of its weights, or its constants if it has none."""
        tensors = (*self.model.parameters(), *self.model.buffers())
        return next((tensor.dtype for tensor in tensors if tensor.is_floating_point()), torch.float32)

    def guess_pixel_bytes(self) -> int:
        """A guess at the bytes the model takes for an LR pixel: three results as wide as its widest convolution's."""
        widest = max((p.shape[0] for p in self.model.parameters() if p.ndim == 4), default=self.channels)
        return 4 * self.scale**2 * (3 * min(widest, 256) + 4 * self.channels)

    @cached_property
    def recorded(self) -> Layers | str:
        """Its layers; or, in words, why it has to be run as it is.

        Raises:
            ValueError: If what it gives is not an image of the size that is due.
        """
        try:
            layers = record(self.model, self.scale)
        except CannotRecordError as error:
            return str(error)
        return layers if _agrees(layers, self.model) else "what it does depends on the size of the image"

    def replaced(self, layers: Layers) -> "Network":
        """The same model, to be run by other layers."""
        other = Network(self.model, self.scale)
        other.__dict__["recorded"] = layers
        return other

    @property
    def layers(self) -> Layers | None:
        """Its layers, if it could be recorded."""
        return self.recorded if isinstance(self.recorded, Layers) else None


def check_result(sr: object, lr: Tensor, scale: int) -> Tensor:
    """What a model gave for an image, if it is an image `scale` times as large.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(sr, Tensor):
        raise ValueError(f"the model gives a {type(sr).__name__} where a tensor is due")
    due = *lr.shape[:2], lr.shape[2] * scale, lr.shape[3] * scale
    if sr.shape == due:
        return sr
    if sr.ndim == 4 and sr.shape[:2] == due[:2]:
        given, wanted = (f"{shape[3]}x{shape[2]}" for shape in (sr.shape, due))
    else:
        given, wanted = (f"a tensor of shape {tuple(shape)}" for shape in (sr.shape, due))
    raise ValueError(f"the model gives {given} where {wanted} are due; its scales or channels are not what it says")


TRIALS = (((5, 7), 0.0, 1.0), ((5, 7), 0.0, 0.05), ((5, 7), 0.95, 0.05), ((20, 9), 0.0, 1.0))
"""Images that layers are tried on: rows and columns, least value and range of values."""
LARGE = 5_000_000
"""Parameters from which the largest of them is left out."""


def _agrees(layers: Layers, model: SRModel) -> bool:
    """Whether the layers give what the model gives on other images than that they were recorded with.

    In float32 at least; where that differs by more than rounding should, as it may with TF32, in float64.
    """
    weight = next((layer.weight for layer in layers if layer.weight is not None), None)
    if weight is None:
        return False  # nothing to gain
    for dtype in dict.fromkeys((torch.promote_types(weight.dtype, torch.float32), torch.float64)):
        try:
            if _agrees_in(dtype, layers, model, weight.device):
                return True
        except (RuntimeError, TypeError) as error:  # parts that cannot be copied, or stay what they are
            LOGGER.debug("the layers could not be tried in %s: %s", dtype, error)
    return False


@torch.no_grad()
def _agrees_in(dtype: torch.dtype, layers: Layers, model: SRModel, device: torch.device) -> bool:
    from srzoo.upscaling.engines.torch_engine import TorchEngine
    from srzoo.upscaling.steps import build_step

    parameters = list(model.parameters())
    if any(parameter.dtype != dtype for parameter in parameters):
        model = copy.deepcopy(model).to(dtype)
        weights = [None if layer.weight is None else layer.weight.to(dtype) for layer in layers]
        pairs = zip(layers, weights, strict=True)
        layers = replace(layers, layers=tuple(replace(layer, weight=weight) for layer, weight in pairs))
    engine, step = TorchEngine(device, "fp32"), build_step(layers, "whole")
    generator = torch.Generator().manual_seed(0)
    is_large = sum(parameter.numel() for parameter in parameters) > LARGE
    for (rows, columns), least, spread in TRIALS[: -1 if is_large else None]:
        image = torch.rand(1, model.channels, rows, columns, generator=generator, dtype=torch.float32)
        image = (least + spread * image).to(device, dtype)
        ours, _ = engine.compile(step, (1, rows, columns))(image, ())
        with torch.autocast(device.type, enabled=False):
            theirs = check_result(model(image, layers.scale), image, layers.scale)
        if not bool(((ours - theirs).abs().max() <= 1e-5 * max(1.0, float(theirs.abs().max()))).item()):
            return False
    return True


def with_half_everywhere(layers: Layers) -> Layers:
    """The network with every layer allowed to compute in half precision."""
    return replace(layers, layers=tuple(replace(layer, half=layer.kind != "image") for layer in layers))


def turned(layers: Layers, geometry: Geometry) -> Layers:
    """The network that gives for an image what this one gives for the turned image, turned back.

    Kernels are turned instead of pixels, so that rows flow through all eight networks of a self-ensemble in the same
    direction. A shuffle's channels change places as its sub-pixels do.
    """
    undo = geometry.inverse()
    out: list[Layer] = []
    for layer in layers:
        if layer.weight is not None:
            pad = layer.pad[::-1] if geometry.transpose else layer.pad
            layer = replace(layer, weight=undo(layer.weight.detach()).contiguous(), pad=pad)
        out.append(layer)
    shuffles = [position for position, layer in enumerate(out) if layer.kind == "shuffle"]
    for position in shuffles:
        _exchange_sub_pixels(out, position, undo)
    return replace(layers, layers=tuple(out))


def _exchange_sub_pixels(layers: list[Layer], position: int, undo: Geometry) -> None:
    """Reorder the channels that a shuffle reads, in the convolution that makes them."""
    factor, source = layers[position].factor, layers[position].sources[0]
    conv = layers[source]
    readers = sum(layer.sources.count(source) for layer in layers)
    if conv.kind != "conv" or conv.weight is None or conv.groups != 1 or readers != 1:
        raise CannotRecordError("a shuffle does not follow a convolution of its own")
    channels = torch.arange(conv.channels).view(-1, factor, factor)
    order = undo(channels).flatten().to(conv.weight.device)
    bias = None if conv.bias is None else conv.bias.detach()[order]
    layers[source] = replace(conv, weight=conv.weight[order].contiguous(), bias=bias)


def variants(layers: Layers, ops: Sequence[Op]) -> list[Layers] | None:
    """One network for each operation, to be run on the image as it is; None if an operation is not geometric."""
    from srzoo.upscaling.steps import plan_flow

    geometries = [op.geometry for op in ops]
    try:
        networks = [turned(layers, geometry) for geometry in geometries if geometry is not None]
    except CannotRecordError as error:
        LOGGER.debug("the ensemble is run on turned images: %s", error)
        return None
    same = {plan_flow(network) for network in networks} == {plan_flow(layers)}
    return networks if same and len(networks) == len(geometries) else None
