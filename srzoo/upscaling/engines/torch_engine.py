"""Steps run by PyTorch: channels last, in half precision where a network allows it, as CUDA graphs on a GPU."""

import logging
import threading
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from srzoo.device import fast_precision
from srzoo.upscaling.engines.engine import CompiledStep, Precision, States
from srzoo.upscaling.layers import Layer
from srzoo.upscaling.steps import Operation, Step

LOGGER = logging.getLogger("srzoo")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
GRAPH_AFTER = 3
"""Calls of a step of one shape after which a CUDA graph of it is worth recording."""
_RECORDING = threading.Lock()
"""Held while a graph is recorded: that begins by waiting for the device and giving back memory, which another thread's
recording does not stand."""


def _apply_map(layer: Layer, x: Tensor, value: Any) -> Tensor:
    """An element-wise function with its constant."""
    match layer.name:
        case "relu":
            return F.relu(x)
        case "leaky_relu":
            return F.leaky_relu(x, value)
        case "prelu":
            return F.prelu(x, value)
        case "sigmoid":
            return x.sigmoid()
        case "tanh":
            return x.tanh()
        case "silu":
            return F.silu(x)
        case "gelu":
            return F.gelu(x)
        case "clamp":
            return x.clamp(*value)
        case "rsub":
            return value - x
        case "rdiv":
            return value / x
    return getattr(x, layer.name)(value)  # add, sub, mul, div


_JOINS = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}


class TorchEngine:
    """PyTorch on any device.

    Args:
        device: Where to run.
        precision: See `Precision`; "auto" is bf16 on processors with AMX or AVX512-BF16 and on GPUs that have it, fp16
            on older GPUs, float32 elsewhere. Networks in float64 are run in float64.
    """

    name = "torch"
    mixed = "head and tail fp32"

    def __init__(self, device: torch.device, precision: Precision = "auto") -> None:
        self.device = device
        self.half = DTYPES[fast_precision(device) if precision == "auto" else precision]
        names = {dtype: name for name, dtype in DTYPES.items()}
        self.precision = names[self.half]
        self.half_bytes = self.half.itemsize
        self.pool: Any = torch.cuda.graph_pool_handle() if device.type == "cuda" else None
        self._weights: dict[tuple[int, torch.dtype], tuple[Layer, Tensor, Tensor | None]] = {}
        self._values: dict[tuple[int, torch.dtype], tuple[Layer, Tensor]] = {}

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        """The step, ready for strips of a shape (batch, rows, columns)."""
        eager = _Eager(step, self)
        return _Graphed(eager, self) if self.device.type == "cuda" and step.phase in ("middle", "whole") else eager

    def weights(self, layer: Layer, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """A convolution's kernels and bias on the device, in a dtype, laid out for speed; made once."""
        key = id(layer), dtype
        if key not in self._weights:
            assert layer.weight is not None
            weight = layer.weight.detach().to(self.device, dtype).contiguous(memory_format=torch.channels_last)
            bias = None if layer.bias is None else layer.bias.detach().to(self.device, dtype)
            self._weights[key] = layer, weight, bias  # the layer is kept, so that its id stays its own
        return self._weights[key][1:]

    def value(self, layer: Layer, dtype: torch.dtype) -> Any:
        """A map's constant; a tensor is brought to the device once."""
        if not isinstance(layer.value, Tensor):
            return layer.value
        key = id(layer), dtype
        if key not in self._values:
            self._values[key] = layer, layer.value.detach().to(self.device, dtype)
        return self._values[key][1]


class _Eager:
    """A step, operation by operation."""

    def __init__(self, step: Step, engine: TorchEngine) -> None:
        self.step, self.engine = step, engine
        weights = [o.layer.weight for o in step.operations if o.layer is not None and o.layer.weight is not None]
        self.full = torch.float64 if any(w.dtype == torch.float64 for w in weights) else torch.float32
        self.half = engine.half if self.full == torch.float32 else self.full
        self.free = step.last_uses()

    @torch.inference_mode()
    def __call__(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        with torch.autocast(self.engine.device.type, enabled=False):  # the caller's is for the caller's own work
            return self._run(strip.to(self.full).contiguous(memory_format=torch.channels_last), states)

    def _run(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        values: dict[int, Tensor] = {}
        kept = set(self.step.states)
        for position, operation in enumerate(self.step.operations):
            operands = [values[operand] for operand in operation.operands]
            values[position] = self._do(operation, operands, strip, states)
            if position in kept:  # copied, so that the rows they are part of can be freed
                values[position] = values[position].clone(memory_format=torch.channels_last)
            del operands
            for operand in self.free[position]:
                del values[operand]
        return values[self.step.result].to(self.full), [values[position] for position in self.step.states]

    def _do(self, operation: Operation, operands: Sequence[Tensor], strip: Tensor, states: States) -> Tensor:
        match operation.kind:
            case "image":
                return strip
            case "state":
                return states[operation.state]
            case "stack":
                return torch.cat(list(operands), 2)
            case "take":
                return operands[0][:, :, slice(*operation.rows)]
        assert operation.layer is not None
        return self._layer(operation, operation.layer, operands)

    def _layer(self, operation: Operation, layer: Layer, operands: Sequence[Tensor]) -> Tensor:
        dtype = self.half if operation.half else self.full
        first = operands[0].to(dtype)
        match layer.kind:
            case "conv":
                above, below = operation.pad_rows
                if above != below:
                    first, above = F.pad(first, (0, 0, above, below)), 0
                weight, bias = self.engine.weights(layer, dtype)
                return F.conv2d(first, weight, bias, padding=(above, layer.pad[1]), groups=layer.groups)
            case "map":
                return _apply_map(layer, first, self.engine.value(layer, dtype))
            case "join":
                return _JOINS[layer.name](first, operands[1].to(dtype))
            case "concat":
                return torch.cat([first, *(operand.to(dtype) for operand in operands[1:])], 1)
        assert layer.kind == "shuffle"
        return F.pixel_shuffle(first, layer.factor)


class _Graphed:
    """A step that becomes a CUDA graph once it has been called a few times: no time between kernels.

    What comes out is copied, so several images, or bands of one, may take turns, and all graphs of an engine share
    their memory.
    """

    def __init__(self, eager: _Eager, engine: TorchEngine) -> None:
        self.eager, self.engine = eager, engine
        self.calls = 0
        self.refused = False
        self.graph: torch.cuda.CUDAGraph | None = None
        self.held: tuple[Tensor, States, Tensor, States] | None = None
        """Strip and states that the graph reads, result and states that it writes."""

    @torch.inference_mode()
    def __call__(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        self.calls += 1
        if self.calls > GRAPH_AFTER and self.graph is None and not self.refused:
            self._record(strip, states)
        if self.graph is None or self.held is None:
            return self.eager(strip, states)
        read, read_states, result, kept = self.held
        read.copy_(strip)
        for mine, given in zip(read_states, states, strict=True):
            mine.copy_(given)
        self.graph.replay()
        return result.clone(), [state.clone(memory_format=torch.channels_last) for state in kept]

    def _record(self, strip: Tensor, states: States) -> None:
        device = self.engine.device
        read, read_states = strip.clone(), [state.clone(memory_format=torch.channels_last) for state in states]
        graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.Stream(device)
        try:
            with (
                _RECORDING,
                torch.cuda.device(device),
                torch.cuda.graph(graph, pool=self.engine.pool, stream=stream, capture_error_mode="thread_local"),
            ):
                result, kept = self.eager(read, read_states)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            LOGGER.warning("no CUDA graph could be recorded (%s); going on without", error)
            self.refused = True
            return
        self.graph, self.held = graph, (read, read_states, result, kept)
