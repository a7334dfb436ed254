"""What an engine is: something that runs steps of a network on strips."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from srzoo.upscaling.steps import Step

Precision = Literal["auto", "fp32", "bf16", "fp16"]
"""auto: the fastest the engine has on this device for the parts of a network that may have it, float32 for the rest.
bf16, fp16: the same with this half precision. fp32: float32 throughout."""
States = Sequence[Any]
"""Rows kept between two strips, in whatever form the engine likes."""


@runtime_checkable
class CompiledStep(Protocol):
    """A step made ready for one shape."""

    def __call__(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        """The rows of the result that are known now, b c rows columns, and the states for the next strip.

        Args:
            strip: LR rows, b c rows columns, float32 on the engine's device.
            states: Those of the strip before; empty for a "whole" or "first" step.
        """
        ...


@runtime_checkable
class Engine(Protocol):
    """Compiles a network's steps for a shape, and says in what precision they run."""

    name: str
    """torch, openvino or onnx."""
    device: torch.device
    """Where strips are to be and results are."""
    precision: str
    """What it computes in: fp32, bf16 or fp16."""
    mixed: str
    """What it computes more precisely, of a network that may be in half precision in part; empty for nothing."""

    half_bytes: int
    """Bytes it takes for a value that may be in half precision, for plans of memory."""

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        """The step, ready for strips of a shape (batch, rows, columns); results are float32."""
        ...
