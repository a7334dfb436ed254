"""What a network computes, as a short list of layers: recorded by running it once on a few pixels.

Engines and strips need to know a network layer by layer. Most of super-resolution is stride-1 convolutions,
point-wise maths, sums and pixel shuffles; a network made of anything else, or one that looks at the size of its image,
has no such list (`record` says why) and is run as it is, in tiles.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from srzoo.architecture import SRModel

Kind = Literal["image", "conv", "map", "join", "concat", "shuffle"]


@dataclass(frozen=True, eq=False)
class Layer:
    """One step of a network; its result is a tensor b c rows columns.

    Fields that a kind does not use keep their defaults.
    """

    kind: Kind
    """image: the LR image. conv: stride 1, zeros around. map: element-wise with constants. join: two results,
    element by element. concat: channels of several. shuffle: sub-pixel (depth to space)."""
    sources: tuple[int, ...] = ()
    """Positions of the layers it reads."""
    name: str = ""
    """What a map or join does: add, sub, mul, div; maps also rsub, rdiv (the constant comes first), relu, leaky_relu,
    prelu, sigmoid, tanh, silu, gelu, clamp."""
    weight: Tensor | None = None
    bias: Tensor | None = None
    pad: tuple[int, int] = (0, 0)
    """Rows and columns of zeros on each side of a convolution's input, half the kernel."""
    groups: int = 1
    value: Tensor | float | tuple[float | None, float | None] | None = None
    """A map's constant: a number, a tensor 1 c 1 1 (prelu: c), or the limits of clamp."""
    factor: int = 1
    """What a shuffle magnifies by."""
    channels: int = 0
    """Channels of the result."""
    half: bool = False
    """Whether it may compute in bf16 or fp16."""


@dataclass(frozen=True, eq=False)
class Layers:
    """A network at one scale as a list of layers, each reading earlier ones; the last is the result."""

    layers: tuple[Layer, ...]
    scale: int

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)


class CannotRecordError(Exception):
    """The network does something that is not in the list of layers."""


_MAPS: dict[Any, str] = {
    F.relu: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    Tensor.relu: "relu",
    Tensor.relu_: "relu",
    F.leaky_relu: "leaky_relu",
    F.prelu: "prelu",
    torch.prelu: "prelu",
    torch.sigmoid: "sigmoid",
    Tensor.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.tanh: "tanh",
    Tensor.tanh: "tanh",
    F.tanh: "tanh",
    F.silu: "silu",
    F.gelu: "gelu",
    torch.clamp: "clamp",
    Tensor.clamp: "clamp",
}
_ARITHMETIC: dict[Any, str] = {}
for _name in ("add", "sub", "mul", "div"):
    for _spelling in (f"{_name}", f"__{_name}__", f"__i{_name}__", f"{_name}_"):
        if _function := getattr(Tensor, _spelling, None):
            _ARITHMETIC[_function] = _name
    _ARITHMETIC[getattr(torch, _name)] = _name
    _ARITHMETIC[getattr(Tensor, f"__r{_name}__", None)] = f"r{_name}" if _name in ("sub", "div") else _name
_ARITHMETIC |= {Tensor.__truediv__: "div", Tensor.__rtruediv__: "rdiv", torch.true_divide: "div"}
_SAME = {Tensor.contiguous, Tensor.clone}
_MAYBE_SAME = {Tensor.to, Tensor.type_as, Tensor.float}
"""These give the tensor itself if there is nothing to do."""
_ASKED = ("shape", "dtype", "device", "ndim", "layout", "requires_grad", "itemsize", "nbytes")
_ASKED += ("is_cuda", "is_cpu", "is_mps", "is_xpu", "is_meta", "is_sparse", "is_quantized")
_QUERIES: set[Any] = {getattr(Tensor, name).__get__ for name in _ASKED if hasattr(Tensor, name)}
_QUERIES |= {Tensor.size, Tensor.dim, Tensor.ndimension, Tensor.numel, Tensor.nelement, Tensor.stride, Tensor.__len__}
_QUERIES |= {Tensor.is_floating_point, torch.is_floating_point, Tensor.is_complex, torch.is_complex, torch.numel}
_QUERIES |= {Tensor.is_contiguous, Tensor.element_size, Tensor.get_device, Tensor.is_inference, torch.is_inference}
"""What may be asked of a tensor: all that does not tell of its values. That size plays no part is tried elsewhere."""


class _Recorder(TorchFunctionMode):
    """Notes each torch function that touches a tensor which depends on the image."""

    def __init__(self, image: Tensor) -> None:
        self.layers: list[Layer] = [Layer("image", channels=image.shape[1])]
        self.positions: dict[int, int] = {id(image): 0}
        self.norms: dict[int, torch.dtype] = {}  # where batch norm's factors are; its offsets follow
        self.alive: list[Tensor] = [image]  # so that no id is used twice
        self.path: list[str] = []
        self.half: Callable[[str], bool] = lambda _: False

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        out = func(*args, **kwargs)
        given = [a for a in (*args, *kwargs.values()) if isinstance(a, Tensor)]
        for item in (*args, *kwargs.values()):
            given += [a for a in item if isinstance(a, Tensor)] if isinstance(item, list | tuple) else []
        if not any(id(a) in self.positions for a in given):
            return out
        if not isinstance(out, Tensor):
            if func not in _QUERIES:
                raise CannotRecordError(f"it calls {_name_of(func)}")
            return out
        if func in _MAYBE_SAME and id(given[0]) not in self.positions:
            return out  # a constant made like the image
        is_same = func in _SAME or (func in _MAYBE_SAME and out is given[0])
        if is_same or (func is F.dropout and not _option(args, kwargs, 2, "training", True)):
            position = self.positions[id(given[0])]
        else:
            self.layers.append(self._layer(func, args, kwargs, out))
            position = len(self.layers) - 1
        self.positions[id(out)] = position
        self.alive.append(out)
        return out

    def _at(self, value: Any) -> int | None:
        return self.positions.get(id(value)) if isinstance(value, Tensor) else None

    def _source(self, value: Any) -> int:
        position = self._at(value)
        if position is None:
            raise CannotRecordError("a convolution or shuffle of something that does not depend on the image")
        return position

    def _layer(self, func: Any, args: Sequence[Any], kwargs: dict[str, Any], out: Any) -> Layer:
        name = _name_of(func)
        if out.ndim != 4:
            raise CannotRecordError(f"it calls {name}")
        half = any(self.half(path) for path in self.path[-1:])
        common: dict[str, Any] = {"channels": out.shape[1], "half": half}
        if func in (F.conv2d, torch.conv2d):
            return _conv(self._source(args[0] if args else kwargs["input"]), args, kwargs, common)
        if func in (F.pixel_shuffle, torch.pixel_shuffle):
            factor = args[1] if len(args) > 1 else kwargs["upscale_factor"]
            return Layer("shuffle", (self._source(args[0]),), factor=factor, **common)
        if func is torch.cat and (args[1] if len(args) > 1 else kwargs.get("dim", 0)) in (1, -3):
            return Layer("concat", tuple(self._source(part) for part in args[0]), **common)
        if func is F.batch_norm:
            return self._batch_norm(args, kwargs, common)
        if func in _MAPS:
            return Layer("map", (self._source(args[0]),), _MAPS[func], value=_constant(func, args, kwargs), **common)
        if func in _ARITHMETIC and not (set(kwargs) - {"other"}):
            return self._arithmetic(_ARITHMETIC[func], args[0], args[1] if len(args) > 1 else kwargs["other"], common)
        raise CannotRecordError(f"it calls {name}")

    def _arithmetic(self, name: str, left: Any, right: Any, common: dict[str, Any]) -> Layer:
        if name in ("rsub", "rdiv"):  # x.__rsub__(2) is 2 - x
            left, right, name = right, left, name[1:]
        a, b = self._at(left), self._at(right)
        if a is not None and b is not None:
            return Layer("join", (a, b), name, **common)
        value = right if a is not None else left
        if isinstance(value, Tensor):
            if value.numel() > 1 and (value.ndim < 3 or value.numel() != value.shape[-3]):
                raise CannotRecordError("a constant image is part of it")
            value = value.reshape(1, -1, 1, 1) if value.numel() > 1 else float(value)
        else:
            value = float(value)
        if a is None and name in ("sub", "div"):
            name = f"r{name}"
        position = a if a is not None else b
        assert position is not None
        return Layer("map", (position,), name, value=value, **common)

    def _batch_norm(self, args: Sequence[Any], kwargs: dict[str, Any], common: dict[str, Any]) -> Layer:
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
        given = dict(zip(names, args, strict=False)) | kwargs
        if given.get("training") or given["running_mean"] is None:
            raise CannotRecordError("it normalises by the batch")
        gain = (_exact(given["running_var"]) + given.get("eps", 1e-5)).rsqrt()
        gain = gain if given.get("weight") is None else gain * _exact(given["weight"])
        offset = -_exact(given["running_mean"]) * gain
        offset = offset if given.get("bias") is None else offset + _exact(given["bias"])
        self.norms[len(self.layers)] = torch.promote_types(given["running_var"].dtype, torch.float32)
        self.layers.append(
            Layer("map", (self._source(given["input"]),), "mul", value=gain.reshape(1, -1, 1, 1), **common)
        )
        return Layer("map", (len(self.layers) - 1,), "add", value=offset.reshape(1, -1, 1, 1), **common)


def _exact(constant: Tensor) -> Tensor:
    """A constant in float64 where the device has it, else in float32."""
    return constant.detach().to(torch.float32 if constant.device.type == "mps" else torch.float64)


def _fold_norms(layers: list[Layer], norms: Mapping[int, torch.dtype]) -> None:
    """Put each batch norm into the convolution before it, where nothing else reads that one's result."""
    readers = Counter(source for layer in layers for source in layer.sources)
    for position, dtype in norms.items():
        source = layers[position].sources[0]
        conv, gain, offset = layers[source], layers[position].value, layers[position + 1].value
        assert isinstance(gain, Tensor)
        assert isinstance(offset, Tensor)
        if conv.kind != "conv" or conv.weight is None or readers[source] > 1:
            layers[position] = replace(layers[position], value=gain.to(dtype))
            layers[position + 1] = replace(layers[position + 1], value=offset.to(dtype))
            continue
        weight = _exact(conv.weight) * gain.view(-1, 1, 1, 1)
        bias = offset.flatten() if conv.bias is None else _exact(conv.bias) * gain.flatten() + offset.flatten()
        layers[position + 1] = replace(conv, weight=weight.to(dtype), bias=bias.to(dtype))


def _name_of(func: Any) -> str:
    name = getattr(func, "__name__", str(func))
    return getattr(func.__self__, "__name__", name) if name == "__get__" else name


def _option(args: Sequence[Any], kwargs: Mapping[str, Any], position: int, name: str, default: Any) -> Any:
    return args[position] if len(args) > position else kwargs.get(name, default)


def _conv(source: int, args: Sequence[Any], kwargs: dict[str, Any], common: dict[str, Any]) -> Layer:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    given = dict(zip(names, args, strict=False)) | kwargs
    weight = given["weight"]
    kernel = tuple(weight.shape[-2:])
    half = tuple(side // 2 for side in kernel)
    padding = given.get("padding", 0)
    if padding == "same":
        padding = half
    padding = (padding, padding) if isinstance(padding, int) else tuple(padding)
    pair = {(1,), (1, 1), 1}
    if given.get("stride", 1) not in pair or given.get("dilation", 1) not in pair:
        raise CannotRecordError("a convolution has a stride or is dilated")
    if padding != half or not all(side % 2 for side in kernel):
        raise CannotRecordError(f"a convolution of {kernel} is padded by {padding}")
    bias, groups = given.get("bias"), given.get("groups", 1)
    return Layer("conv", (source,), weight=weight, bias=bias, pad=half, groups=groups, **common)


def _constant(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
    name = _MAPS[func]
    if name == "leaky_relu":
        return float(args[1] if len(args) > 1 else kwargs.get("negative_slope", 0.01))
    if name == "prelu":
        return args[1] if len(args) > 1 else kwargs["weight"]
    if name == "clamp":
        given = dict(zip(("min", "max"), args[1:], strict=False)) | kwargs
        limits = given.get("min"), given.get("max")
        if any(isinstance(limit, Tensor) for limit in limits):
            raise CannotRecordError("it clamps to a tensor")
        return tuple(None if limit is None else float(limit) for limit in limits)
    if name == "gelu" and kwargs.get("approximate", "none") != "none":
        raise CannotRecordError("it calls an approximate gelu")
    return None


@contextmanager
def _following(model: nn.Module, recorder: _Recorder) -> Iterator[None]:
    """Tells the recorder which submodule is running."""
    hooks = []
    mine = threading.get_ident()  # other threads may be running the model
    for path, module in model.named_modules():

        def enter(_: nn.Module, __: Any, path: str = path) -> None:
            if threading.get_ident() == mine:
                recorder.path.append(path)

        def leave(_: nn.Module, __: Any, ___: Any) -> None:
            if threading.get_ident() == mine:
                recorder.path.pop()

        hooks += [module.register_forward_pre_hook(enter), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _eagerly() -> AbstractContextManager[Any]:
    """Parts that were given to torch.compile are run as they are written, where Python can follow."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@torch.no_grad()
def record(model: SRModel, scale: int | None = None) -> Layers:
    """The layers of a model at a scale; tensors are the model's own, not copies, but where batch norm is folded in.

    Batch norm goes into the convolution before it, where that is read by nothing else; elsewhere it is two maps.

    Args:
        model: In eval mode.
        scale: Which of its scales; None if it has one.

    Raises:
        CannotRecordError: If the network does something else than the layers know; the message says what.
    """
    scale = model.check_scale(scale)
    first = next(model.parameters(), None)
    dtype, device = (first.dtype, first.device) if first is not None else (torch.float32, torch.device("cpu"))
    image = torch.zeros(1, model.channels, 3, 4, dtype=dtype, device=device)
    recorder = _Recorder(image)
    parts = model.half_modules
    recorder.half = lambda path: any(path == part or path.startswith(f"{part}.") for part in parts)
    with _following(model, recorder), torch.autocast(device.type, enabled=False), _eagerly(), recorder:
        result = model(image, scale)
    last = recorder.positions.get(id(result))
    if last is None:
        raise CannotRecordError("its result does not depend on the image")
    _fold_norms(recorder.layers, recorder.norms)
    return Layers(_reached(recorder.layers, last), scale)


def _reached(layers: Sequence[Layer], last: int) -> tuple[Layer, ...]:
    """The layers that the last one needs, numbered anew."""
    needed, stack = set(), [last]
    while stack:
        position = stack.pop()
        if position not in needed:
            needed.add(position)
            stack += layers[position].sources
    numbers = {old: new for new, old in enumerate(sorted(needed))}
    return tuple(
        replace(layers[old], sources=tuple(numbers[source] for source in layers[old].sources)) for old in sorted(needed)
    )
