"""Steps run by ONNX Runtime (extra `onnx`), and steps as ONNX models."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from srzoo.upscaling.engines.engine import CompiledStep, Precision, States
from srzoo.upscaling.engines.static_steps import Size, measure, split_narrowing
from srzoo.upscaling.layers import Layer
from srzoo.upscaling.steps import Operation, Step

OPSET = 18
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class ONNXEngine:
    """ONNX Runtime in float32, on CPUs and CUDA devices.

    Weights in float64 or half precision are taken as float32.

    Args:
        device: Where to run.
        precision: "auto" or "fp32", which are the same here.
        threads: How many on a CPU; None takes as many as PyTorch does.

    Raises:
        ImportError: If onnx or onnxruntime is not installed.
        ValueError: If the precision is another, there are to be less than one thread, or ONNX Runtime cannot run on the
            device.
    """

    name = "onnx"
    precision = "fp32"
    mixed = ""
    half_bytes = 4

    def __init__(
        self, device: torch.device | None = None, precision: Precision = "auto", *, threads: int | None = None
    ) -> None:
        try:
            import onnx  # pyright: ignore[reportMissingImports]  # noqa: F401
            import onnxruntime  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise ImportError('engine onnx needs onnx and onnxruntime: pip install "srzoo[onnx]"') from error
        if precision not in ("auto", "fp32"):
            raise ValueError(
                f"precision {precision} is not offered by engine onnx, where it is no faster; leave it at auto"
            )
        if threads is not None and threads < 1:
            raise ValueError(f"threads is {threads}; it must be at least 1")
        self.device = device or torch.device("cpu")
        self.provider = _PROVIDERS.get(self.device.type, "")
        if self.provider not in onnxruntime.get_available_providers():
            raise ValueError(
                f"engine onnx cannot run on {self.device}: this onnxruntime has "
                f"{', '.join(onnxruntime.get_available_providers())}; use --device cpu or another engine"
            )
        self.threads = threads or torch.get_num_threads()

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        """The step, ready for strips of a shape (batch, rows, columns)."""
        return _Compiled(self, step, shape)

    def open_session(self, model: bytes) -> Any:
        """An `onnxruntime.InferenceSession` of a model, with the engine's settings."""
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        provider = self.provider, {"device_id": self.device.index or 0} if self.device.type == "cuda" else {}
        return onnxruntime.InferenceSession(model, options, providers=[provider])


class _Compiled:
    """A step compiled for one shape; strips, results and kept rows are never copied."""

    def __init__(self, engine: ONNXEngine, step: Step, shape: tuple[int, int, int]) -> None:
        self.device = engine.device
        step = split_narrowing(step, *shape[1:])
        self.session = engine.open_session(step_to_onnx(step, shape).SerializeToString())
        self.num_states = len(step.states)
        self.result_shape = shape[0], step.operations[step.result].channels, *measure(step, *shape[1:])[step.result]

    def __call__(self, strip: Tensor, states: States) -> tuple[Tensor, States]:
        strip = strip.detach().to(self.device, torch.float32).contiguous()
        result = torch.empty(self.result_shape, dtype=torch.float32, device=self.device)
        binding = self.session.io_binding()
        place = self.device.type, self.device.index or 0
        binding.bind_input("lr", *place, np.float32, tuple(strip.shape), strip.data_ptr())
        for number, state in enumerate(states):
            binding.bind_ortvalue_input(f"state{number}", state)
        binding.bind_output("sr", *place, np.float32, tuple(result.shape), result.data_ptr())
        for number in range(self.num_states):
            binding.bind_output(f"new_state{number}", *place)
        if self.device.type == "cuda":
            torch.cuda.current_stream(self.device).synchronize()
        self.session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return result, tuple(binding.get_outputs()[1:])


def step_to_onnx(step: Step, shape: tuple[int, int, int] | None = None) -> Any:
    """An `onnx.ModelProto` of a step, of opset 18 and in float32.

    Inputs are `lr` and, for middle and last steps, `state0`, `state1` and so on; outputs are `sr` and `new_state0` and
    so on.

    Args:
        step: The step; build_step(layers, "whole") is the whole network.
        shape: Batch, rows and columns of the strip; None leaves them open.

    Raises:
        ImportError: If onnx is not installed.

    Examples:
        >>> import srzoo
        >>> from srzoo.upscaling.layers import record
        >>> from srzoo.upscaling.steps import build_step
        >>> model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval()
        >>> [output.name for output in step_to_onnx(build_step(record(model), "whole")).graph.output]
        ['sr']
    """
    try:
        import onnx  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError('ONNX models need onnx: pip install "srzoo[onnx]"') from error
    builder = _Builder(step, shape)
    builder.build()
    graph = onnx.helper.make_graph(builder.nodes, "step", builder.inputs, builder.outputs, builder.constants)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="srzoo")


class _Builder:
    """Makes the nodes of an ONNX graph, one or a few for each operation of a step."""

    def __init__(self, step: Step, shape: tuple[int, int, int] | None) -> None:
        import onnx  # pyright: ignore[reportMissingImports]

        self.onnx = onnx
        self.step, self.batch = step, shape[0] if shape else None
        self.sizes: list[Size] | None = measure(step, *shape[1:]) if shape else None
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self.outputs: list[Any] = []
        self.constants: list[Any] = []
        self.values: list[str] = []

    def build(self) -> None:
        """Fill nodes, inputs, outputs and constants."""
        for position, operation in enumerate(self.step.operations):
            given = [self.values[operand] for operand in operation.operands]
            match operation.kind:
                case "image" | "state":
                    value = "lr" if operation.kind == "image" else f"state{operation.state}"
                    self.inputs.append(self._info(value, position))
                case "stack":
                    value = self._node("Concat", given, axis=2)
                case "take":
                    value = self._take(given[0], operation.rows)
                case "layer":
                    value = self._layer(operation, given)
            self.values.append(value)
        names = ["sr", *(f"new_state{i}" for i in range(len(self.step.states)))]
        for name, position in zip(names, (self.step.result, *self.step.states), strict=True):
            self.nodes.append(self.onnx.helper.make_node("Identity", [self.values[position]], [name]))
            self.outputs.append(self._info(name, position))

    def _info(self, name: str, position: int) -> Any:
        channels = self.step.operations[position].channels
        if self.sizes is None:
            shape: list[int | str | None] = ["batch", channels, f"{name}_rows", f"{name}_columns"]
        else:
            shape = [self.batch, channels, *self.sizes[position]]
        return self.onnx.helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, shape)

    def _node(self, kind: str, given: Sequence[str], **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(given), [name], **attributes))
        return name

    def _constant(self, value: Any, dtype: Any = np.float32) -> str:
        array = value.detach().to("cpu", torch.float32).numpy() if isinstance(value, Tensor) else value
        name = f"constant{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(array, dtype), name))
        return name

    def _take(self, value: str, rows: tuple[int, int | None]) -> str:
        stop = np.iinfo(np.int64).max if rows[1] is None else rows[1]
        return self._node("Slice", [value, *(self._constant([number], np.int64) for number in (rows[0], stop, 2))])

    def _layer(self, operation: Operation, given: Sequence[str]) -> str:
        layer = operation.layer
        assert layer is not None
        match layer.kind:
            case "conv":
                weights = [self._constant(x) for x in (layer.weight, layer.bias) if x is not None]
                (above, below), columns = operation.pad_rows, layer.pad[1]
                pads = [above, columns, below, columns]
                return self._node("Conv", [given[0], *weights], pads=pads, group=layer.groups)
            case "map":
                return self._map(layer, given[0])
            case "join":
                return self._node(layer.name.capitalize(), given)
            case "concat":
                return self._node("Concat", given, axis=1)
        assert layer.kind == "shuffle"
        return self._node("DepthToSpace", given, blocksize=layer.factor, mode="CRD")

    def _map(self, layer: Layer, x: str) -> str:
        name, value = layer.name, layer.value
        if name in ("relu", "sigmoid", "tanh"):
            return self._node(name.capitalize(), [x])
        if name == "silu":
            return self._node("Mul", [x, self._node("Sigmoid", [x])])
        if name == "gelu":
            erf = self._node("Erf", [self._node("Mul", [x, self._constant(np.sqrt(0.5))])])
            gate = self._node("Mul", [self._node("Add", [erf, self._constant(1)]), self._constant(0.5)])
            return self._node("Mul", [x, gate])
        if name == "clamp":
            assert isinstance(value, tuple)
            return self._node("Clip", [x, *("" if limit is None else self._constant(limit) for limit in value)])
        if name == "leaky_relu":
            return self._node("LeakyRelu", [x], alpha=value)
        if name == "prelu":
            assert isinstance(value, Tensor)
            return self._node("PRelu", [x, self._constant(value.reshape(-1, 1, 1))])
        constant = self._constant(value)
        given = [constant, x] if name in ("rsub", "rdiv") else [x, constant]
        return self._node(name.removeprefix("r").capitalize(), given)
