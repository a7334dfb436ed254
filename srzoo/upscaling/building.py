"""What runs a model, put together from what a user asks for: engine, precision, halo."""

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from srzoo.architecture import SRModel
from srzoo.upscaling.cascade import Cascade
from srzoo.upscaling.engines import Precision
from srzoo.upscaling.engines.choosing import EngineName, choose_engine
from srzoo.upscaling.engines.torch_engine import DTYPES
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.halo_cost import tell_halo_cost
from srzoo.upscaling.network import Network, with_half_everywhere
from srzoo.upscaling.shapes import Settings
from srzoo.upscaling.stages import Networks

SMALL = 1 << 17
"""LR pixels below which engine "auto" is PyTorch: compiling for an image's size takes others longer than they save. It
goes by size alone, so that results do not depend on what was upscaled before."""


@dataclass
class Executors:
    """What runs the networks of an upscaler, made when it is first asked for.

    Args:
        networks: The networks.
        engine: As the user asks for it; so are precision and device.
        precision: See engine.
        device: See engine.
        settings: How.
        lock: Held while something is made.
    """

    networks: Networks
    engine: EngineName
    precision: Precision
    device: torch.device
    settings: Settings
    lock: Any
    _made: dict[tuple[int, int, bool], Executor] = field(default_factory=dict)
    """By place in a cascade, scale, and whether images are small."""
    _halo_notes: dict[tuple[int, int], str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._made)

    @property
    def small(self) -> int:
        """LR pixels below which images are small."""
        return SMALL

    def clear(self) -> None:
        """Let go of all."""
        self._made.clear()

    def cascade(self, scale: int, pixels: int | None = None) -> Cascade:
        """What makes a factor, for images of so many LR pixels: one network, or several."""
        executors: list[Executor] = []
        with self.lock:
            for position, (model, factor) in enumerate(self.networks.stages(scale)):
                is_small = pixels is not None and pixels < SMALL and self.engine == "auto"
                key = position, factor, is_small
                if key not in self._made:
                    engine = "torch" if is_small else self.engine
                    self._made[key] = build_executor(model, factor, engine, self.precision, self.device, self.settings)
                executors.append(self._made[key])
                pixels = None if pixels is None else pixels * factor**2
        return Cascade(executors, self.settings.memory, self.settings.most or self.settings.memory)

    def halo_notes(self, scale: int) -> list[str]:
        """What the lowered halo costs at a factor; nothing if it is not lower than the networks'."""
        told: list[str] = []
        for position, executor in enumerate(self.cascade(scale).executors):
            halo, network = executor.settings.halo, executor.network
            if halo is None:
                continue
            key = position, network.scale
            if key not in self._halo_notes:
                self._halo_notes[key] = tell_halo_cost(Network(network.model, network.scale), halo, self.device)
            told.append(self._halo_notes[key])
        return list(dict.fromkeys(told))


def build_executor(
    model: SRModel, scale: int, engine: EngineName, precision: Precision, device: torch.device, settings: Settings
) -> Executor:
    """What runs a model at a scale.

    Raises:
        ValueError: If the engine or precision cannot be had for this model on this device.
        ImportError: If the engine's package is not installed.
    """
    network = Network(model, scale)
    if engine == "auto" and network.dtype == torch.float64:
        engine = "torch"  # the others would round
    chosen = choose_engine(engine, precision, device, recorded=network.layers is not None)
    if precision != "auto":
        network = _at_precision(network, precision, chosen.name)
    if settings.halo is not None and settings.halo >= network.halo:
        settings = replace(settings, halo=None)
    return Executor(network, chosen, settings)


def _at_precision(network: Network, precision: str, engine: str) -> Network:
    """The network such that an engine computes it in "fp32", "bf16" or "fp16".

    Raises:
        ValueError: If it cannot: PyTorch keeps to the weights of float64 models, and of those whose layers are not
            known, which is run as they are.
    """
    layers, dtype, wanted = network.layers, network.dtype, DTYPES[precision]
    if layers is None and dtype in (torch.float16, torch.bfloat16) and wanted == torch.float32:
        return Network(deepcopy(network.model).float(), network.scale)
    if layers is None and dtype != wanted:
        raise ValueError(
            f"precision {precision} cannot be had: {network.recorded}, so the model is run as it is, in "
            f"{str(dtype).removeprefix('torch.')}; leave precision out"
        )
    if dtype == torch.float64 and engine == "torch":
        raise ValueError(
            f"precision {precision} cannot be had: the model's weights are float64; leave precision out, or give "
            "model.float()"
        )
    if layers is not None and precision != "fp32" and not any(layer.half for layer in layers):
        return network.replaced(with_half_everywhere(layers))
    return network
