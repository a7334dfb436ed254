"""Steps run by OpenVINO on CPUs (extra `openvino`)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srzoo.device import fast_precision
from srzoo.upscaling.engines.engine import CompiledStep, Precision, States
from srzoo.upscaling.engines.static_steps import Size, measure, split_narrowing
from srzoo.upscaling.layers import Layer
from srzoo.upscaling.steps import Operation, Step

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_DEVICE_WORDS = {"bf16": "AMX or AVX512-BF16", "fp16": "half-precision arithmetic"}


@cache
def _core(openvino: Any) -> Any:
    """The one core of this process. It is never let go: with it would go the stack for signals that it has set up."""
    return openvino.Core()


class OpenVINOEngine:
    """OpenVINO on the CPU: a graph of its own for each shape of a strip.

    OpenVINO has one precision for a graph, so a network of which parts may be in half precision is computed in it as a
    whole, with two exceptions: sums inside convolutions and what follows the last convolution are float32, and a
    convolution to few channels that is to be exact has its weights split into a half-precision number and a rest, which
    is the part of a network where rounding is seen. Networks without such parts, and others at "fp32", are float32
    throughout. Weights in float64 or half precision are taken as float32.

    Args:
        precision: See `Precision`; "auto" is bf16 on processors with AMX or AVX512-BF16, float32 elsewhere.
        threads: How many; None takes as many as PyTorch does.

    Raises:
        ImportError: If openvino is not installed.
        ValueError: If the processor has no such precision, or there are to be less than one thread.
    """

    name = "openvino"
    mixed = "last weights exact"
    half_bytes = 4  # its strips are float32 in part

    def __init__(self, precision: Precision = "auto", *, threads: int | None = None) -> None:
        try:
            import openvino  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError('engine openvino needs openvino: pip install "srzoo[openvino]"') from error
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        self.device = torch.device("cpu")
        self.core = _core(openvino)  # pyright: ignore[reportArgumentType]
        offered = _offered(self.core)
        if precision == "auto":
            precision = "bf16" if "bf16" in offered else "fp32"
        if precision not in offered:
            needs = _DEVICE_WORDS[precision]
            raise ValueError(f"precision {precision} needs a CPU with {needs} in engine openvino; leave it at auto")
        self.precision = precision
        self.threads = threads or torch.get_num_threads()

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        """The step, ready for strips of a shape (batch, rows, columns)."""
        return _Compiled(self, step, shape)

    def half(self, step: Step) -> torch.dtype | None:
        """The half precision that a step is computed in, if it is."""
        return DTYPES.get(self.precision) if any(operation.half for operation in step.operations) else None

    def compile_graph(self, graph: Any, half: torch.dtype | None) -> Any:
        """A graph compiled with the engine's settings, in half precision or float32."""
        settings = {
            "INFERENCE_PRECISION_HINT": {torch.bfloat16: "bf16", torch.float16: "f16", None: "f32"}[half],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.threads,
        }
        return self.core.compile_model(graph, "CPU", settings)


def _offered(core: Any) -> set[str]:
    """Precisions that the CPU computes in fast; OpenVINO alone also counts bf16 that it would have to emulate."""
    capabilities = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    offered = {"fp32"}
    if "BF16" in capabilities and fast_precision(torch.device("cpu")) == "bf16":
        offered.add("bf16")
    if "FP16" in capabilities:
        offered.add("fp16")
    return offered


@dataclass
class _Kept:
    """Rows kept between two strips: arrays, or in the request that made them, where the next middle step wants them."""

    arrays: Sequence[np.ndarray] = ()
    owner: "_Compiled | None" = None
    request: Any = None

    def take_request(self) -> Any:
        """The request, which is the caller's from now on."""
        request, self.request = self.request, None
        if request is None:
            raise RuntimeError("states of a strip were used twice")
        return request

    def take_arrays(self) -> Sequence[np.ndarray]:
        """The rows themselves; the request goes back to where it came from."""
        if self.owner is None:
            return self.arrays
        request = self.take_request()
        states = {state.name: state for state in request.query_state()}
        arrays = [np.array(states[_state_name(i)].state.data) for i in range(len(states))]
        self.owner.idle.append(request)
        return arrays


@dataclass
class _Compiled:
    """A step compiled for one shape; several images may take turns, and threads share it."""

    engine: OpenVINOEngine
    step: Step
    shape: tuple[int, int, int]
    idle: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        import openvino  # pyright: ignore[reportMissingImports]

        self.openvino = openvino
        half = self.engine.half(self.step)
        graph, result = step_to_graph(self.step, self.shape, half)
        self.compiled = self.engine.compile_graph(graph, half)
        self.result_shape: tuple[int, ...] = result

    def __call__(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        kept: _Kept | None = states[0] if states else None
        if kept is not None and kept.owner is self:
            request = kept.take_request()
        else:
            request = self._idle_request()
            arrays = kept.take_arrays() if kept is not None else ()  # to be held until the request is done
            self._give(request, arrays)
        tensor = self.openvino.Tensor
        image = strip.detach().to("cpu", torch.float32).contiguous().numpy()
        request.set_input_tensor(0, tensor(image, shared_memory=True))
        result = torch.empty(self.result_shape, dtype=torch.float32, device="cpu")
        outputs = [np.empty(tuple(port.shape), np.float32) for port in self.compiled.outputs[:-1]]
        for number, array in enumerate([*outputs, result.numpy()]):
            request.set_output_tensor(number, tensor(array, shared_memory=True))
        request.infer()
        if self.step.phase == "middle" and self.step.states:
            return result, (_Kept(owner=self, request=request),)
        self.idle.append(request)
        return result, (_Kept(outputs),) if outputs else ()

    def _idle_request(self) -> Any:
        try:
            return self.idle.pop()
        except IndexError:
            return self.compiled.create_infer_request()

    def _give(self, request: Any, arrays: Sequence[np.ndarray]) -> None:
        """Put the rows of the strip before where the step reads them."""
        if self.step.phase == "middle":
            for state in request.query_state():
                state.state = self.openvino.Tensor(arrays[int(state.name.removeprefix(_state_name("")))])
            return
        for number, array in enumerate(arrays):
            request.set_input_tensor(number + 1, self.openvino.Tensor(array, shared_memory=True))


def _state_name(number: int | str) -> str:
    return f"state{number}"


def step_to_graph(
    step: Step, shape: tuple[int, int, int], half: torch.dtype | None = None
) -> tuple[Any, tuple[int, ...]]:
    """An `openvino.Model` of a step for strips of a shape, and the shape of its result.

    Rows kept between middle steps are variables of the graph, which stay in the layout that convolutions want; a first
    step gives them as outputs, a last one takes them as inputs.

    Args:
        step: The step.
        shape: Batch, rows and columns.
        half: What it is going to be computed in, if it is not float32.
    """
    import openvino  # pyright: ignore[reportMissingImports]

    builder = _Builder(split_narrowing(step, *shape[1:]), shape, half)
    builder.build()
    step = builder.step
    kept = [builder.values[state] for state in step.states]
    results, sinks = [], []
    if step.phase == "middle":
        sinks = [openvino.opset6.assign(rows, _state_name(i)) for i, rows in enumerate(kept)]
    else:
        results += kept
    # the result comes last: what stands before it is taken as soon as it can be, and frees the strip it is part of
    results.append(builder.values[step.result])
    ops = builder.ops
    make_graph: Any = openvino.Model
    graph = make_graph([ops.result(result) for result in results], sinks, builder.inputs)
    return graph, (shape[0], step.operations[step.result].channels, *builder.sizes[step.result])


class _Builder:
    """Makes the nodes of a graph, one or a few for each operation of a step."""

    def __init__(self, step: Step, shape: tuple[int, int, int], half: torch.dtype | None) -> None:
        import openvino  # pyright: ignore[reportMissingImports]
        from openvino import opset13  # pyright: ignore[reportMissingImports]

        self.openvino = openvino
        self.ops: ModuleType = opset13
        self.step, self.shape, self.half = step, shape, half
        self.sizes: list[Size] = measure(step, *shape[1:])
        self.values: list[Any] = []
        self.inputs: list[Any] = []
        self.orders = self._channel_orders()

    def _channel_orders(self) -> dict[int, np.ndarray]:
        """For convolutions that only a shuffle reads: the order of channels in which it copies whole pixels."""
        operations = self.step.operations
        readers: dict[int, int] = {}
        for operation in operations:
            for operand in operation.operands:
                readers[operand] = readers.get(operand, 0) + 1
        orders = {}
        for operation in operations:
            if operation.layer is None or operation.layer.kind != "shuffle":
                continue
            source = operation.operands[0]
            layer, factor = operations[source].layer, operation.layer.factor
            if layer is not None and layer.kind == "conv" and layer.groups == 1 and readers[source] == 1:
                orders[source] = np.arange(layer.channels).reshape(-1, factor * factor).T.reshape(-1)
        return orders

    def build(self) -> None:
        """Fill `values`, a node for each operation."""
        for position, operation in enumerate(self.step.operations):
            given = [self.values[operand] for operand in operation.operands]
            match operation.kind:
                case "image" | "state":
                    value = self._input(position, operation)
                case "stack":
                    value = self.ops.concat(given, 2)
                case "take":
                    value = self._take(given[0], operation.rows)
                case "layer":
                    value = self._layer(position, operation, given)
            self.values.append(value)

    def _input(self, position: int, operation: Operation) -> Any:
        shape = [self.shape[0], operation.channels, *self.sizes[position]]
        kind = self.openvino.Type.f32
        if operation.kind == "state" and self.step.phase == "middle":
            zeros = self.ops.constant(np.zeros(shape, np.float32))
            return self.openvino.opset6.read_value(zeros, _state_name(operation.state), kind, shape)
        self.inputs.append(self.ops.parameter(shape, kind))
        return self.inputs[-1]

    def _take(self, value: Any, rows: tuple[int, int | None]) -> Any:
        start, stop = rows[0], np.iinfo(np.int64).max if rows[1] is None else rows[1]
        return self.ops.slice(value, *(np.array([number]) for number in (start, stop, 1, 2)))

    def _layer(self, position: int, operation: Operation, given: Sequence[Any]) -> Any:
        layer = operation.layer
        assert layer is not None
        match layer.kind:
            case "conv":
                return self._conv(layer, operation.pad_rows, given[0], self.orders.get(position))
            case "map":
                return self._map(layer, given[0])
            case "join":
                return self._arithmetic(layer.name, *given)
            case "concat":
                return self.ops.concat(list(given), 1)
        assert layer.kind == "shuffle"
        mode = "blocks_first" if operation.operands[0] in self.orders else "depth_first"
        return self.ops.depth_to_space(given[0], mode, layer.factor)

    def _conv(self, layer: Layer, pad_rows: tuple[int, int], x: Any, order: np.ndarray | None) -> Any:
        assert layer.weight is not None
        weight = _to_array(layer.weight)
        bias = None if layer.bias is None else _to_array(layer.bias)
        if order is not None:
            weight, bias = weight[order], None if bias is None else bias[order]
        pads = [[rows, layer.pad[1]] for rows in pad_rows]
        if layer.groups > 1:
            weight = weight.reshape(layer.groups, -1, *weight.shape[1:])
            out = self.ops.group_convolution(x, self._constant(weight), [1, 1], *pads, [1, 1])
        elif self.half is not None and not layer.half and 2 * layer.channels <= weight.shape[1]:
            rounded = _to_array(torch.from_numpy(weight).to(self.half))
            both = self._constant(np.concatenate([rounded, weight - rounded]))
            parts = self.ops.convolution(x, both, [1, 1], *pads, [1, 1])  # as fast as one: channels come in sixteens
            out = self.ops.add(*self.ops.split(parts, np.int64(1), 2).outputs())
        else:
            out = self.ops.convolution(x, self._constant(weight), [1, 1], *pads, [1, 1])
        return out if bias is None else self.ops.add(out, self._constant(bias.reshape(1, -1, 1, 1)))

    def _constant(self, value: Any) -> Any:
        return self.ops.constant(np.ascontiguousarray(value, np.float32))

    def _arithmetic(self, name: str, left: Any, right: Any) -> Any:
        ops = self.ops
        functions = {"add": ops.add, "sub": ops.subtract, "mul": ops.multiply, "div": ops.divide}
        return functions[name](left, right)

    def _map(self, layer: Layer, x: Any) -> Any:
        ops, value = self.ops, layer.value
        if layer.name == "clamp":
            assert isinstance(value, tuple)
            for limit, function in zip(value, (ops.maximum, ops.minimum), strict=True):
                x = x if limit is None else function(x, self._constant(limit))
            return x
        if value is None:
            functions = {"relu": ops.relu, "sigmoid": ops.sigmoid, "tanh": ops.tanh, "silu": ops.swish}
            return ops.gelu(x, "erf") if layer.name == "gelu" else functions[layer.name](x)
        assert not isinstance(value, tuple)
        array = _to_array(value) if isinstance(value, Tensor) else np.float32(value)
        if layer.name in ("leaky_relu", "prelu"):
            return ops.prelu(x, self._constant(np.reshape(array, -1)))
        constant = self._constant(array)
        if layer.name in ("rsub", "rdiv"):
            return self._arithmetic(layer.name[1:], constant, x)
        return self._arithmetic(layer.name, x, constant)


def _to_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float32).numpy()
