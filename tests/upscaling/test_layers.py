from collections.abc import Callable
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import CannotRecordError, Layers, record
from srzoo.upscaling.network import Network
from srzoo.upscaling.steps import build_step

Body = Callable[["Net", Tensor], Tensor]


class Net(SRModel):
    """Two convolutions, a body given from outside between them, and a shuffle."""

    scales = (2,)
    half_modules = ("head",)

    def __init__(self, body: Body) -> None:
        super().__init__()
        self.channels = 3
        self.head = nn.Conv2d(3, 8, 3, padding=1)
        self.tail = nn.Conv2d(8, 12, 3, padding=1)
        self.prelu = nn.PReLU(8)
        self.norm = nn.BatchNorm2d(8)
        self.register_buffer("gain", torch.rand(1, 8, 1, 1))
        self.bias = nn.Parameter(torch.rand(8, 1, 1))
        self.number = nn.Parameter(torch.tensor(0.5))
        self.wide = nn.Conv2d(8, 8, (1, 5), padding=(0, 2), groups=2)
        self.plain = nn.Parameter(torch.rand(8, 8, 1, 1))
        nn.init.uniform_(self.norm.running_var, 0.5, 2)
        nn.init.uniform_(self.norm.weight, 0.5, 2)
        nn.init.normal_(self.norm.bias)
        nn.init.normal_(self.norm.running_mean)
        self.body = body

    def halo(self, scale: int | None = None) -> int:
        return 8

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return F.pixel_shuffle(self.tail(self.body(self, self.head(lr))), 2)


def run(layers: Layers, lr: Tensor) -> Tensor:
    engine = TorchEngine(torch.device("cpu"), "fp32")
    return engine.compile(build_step(layers, "whole"), (lr.shape[0], lr.shape[2], lr.shape[3]))(lr, ())[0]


def in_place(net: Net, x: Tensor) -> Tensor:
    y = F.relu(net.wide(x), inplace=True)
    y += x
    y *= 0.5
    return y.add_(y).sub_(x)


def twice(net: Net, x: Tensor) -> Tensor:
    y = net.wide(x)
    return net.norm(y) - y


def one_object_with_two_names(net: Net, x: Tensor) -> Tensor:
    y = net.wide(x)
    z = y
    y += 1
    return y * z


def ask(x: Tensor) -> bool:
    asked = x.shape[0] == x.size(0) == len(x) and x.dim() == x.ndim == 4 and x.numel() > 1 and not x.requires_grad
    return asked and x.is_floating_point() and x.is_contiguous() and x.stride(-1) == 1 and not x.is_cuda


RECORDED: dict[str, Body] = {
    "relu": lambda net, x: F.relu(x),
    "relu method": lambda net, x: x.relu(),
    "leaky relu": lambda net, x: F.leaky_relu(x, 0.2),
    "leaky relu by keyword": lambda net, x: F.leaky_relu(x, negative_slope=0.2, inplace=True),
    "prelu": lambda net, x: net.prelu(x),
    "sigmoid, tanh, silu, gelu": lambda net, x: x.sigmoid() * torch.tanh(x) + F.silu(x) * F.gelu(x),
    "clamp": lambda net, x: x.clamp(-0.1, 0.2) + torch.clamp(x, min=0) + x.clamp(max=0.1),
    "batch norm": lambda net, x: net.norm(x),
    "batch norm without gain": lambda net, x: F.batch_norm(x, net.norm.running_mean, net.norm.running_var),
    "batch norm after a convolution": lambda net, x: net.norm(net.wide(x)) + x,
    "batch norm after a convolution without a bias": lambda net, x: net.norm(F.conv2d(x, net.plain)),
    "batch norm after a convolution that something else reads": twice,
    "batch norm after an activation": lambda net, x: net.norm(F.relu(x)),
    "batch norm twice": lambda net, x: net.norm(net.norm(net.wide(x))),
    "numbers on the right": lambda net, x: ((x + 1) * 2 - 0.5) / 3,
    "numbers on the left": lambda net, x: 1 + 2 * (0.5 - x) + 3 / (x + 9),
    "buffers and parameters": lambda net, x: (x * net.gain + net.bias) / (net.number + 1) - net.number,
    "a buffer on the left": lambda net, x: net.gain - net.bias / (x + 9),
    "residual with scale": lambda net, x: x + net.wide(F.relu(x)) * 0.1,
    "products of results": lambda net, x: x * net.wide(x).sigmoid() - x / (2 + x.sigmoid()),
    "one channel times many": lambda net, x: x * F.conv2d(x, net.wide.weight[:1].mean().expand(1, 8, 1, 1)),
    "channels of several": lambda net, x: net.wide(
        F.conv2d(torch.cat([x, net.wide(x)], 1), net.wide.weight.new_ones(8, 16, 1, 1))
    ),
    "same padding": lambda net, x: F.conv2d(x, net.wide.weight, net.wide.bias, padding="same", groups=2),
    "dropout at rest": lambda net, x: F.dropout(x, 0.5, training=net.training),
    "contiguous, clone, to": lambda net, x: x.contiguous().clone().to(torch.float64),
    "constants made like the image": lambda net, x: x + net.gain.type_as(x) - net.gain.to(x),
    "questions": lambda net, x: x + net.gain.new_zeros(()) if ask(x) else x * 2,
    "in place": in_place,
    "one object with two names": one_object_with_two_names,
    "what is not needed": lambda net, x: (net.wide(x).sigmoid(), x)[1],
}


@pytest.mark.parametrize("body", RECORDED.values(), ids=RECORDED.keys())
def test_layers_do_what_the_model_does(body: Body) -> None:
    net = Net(body).double().eval()
    layers = record(net)
    lr = torch.rand(2, 3, 6, 9, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(run(layers, lr), net(lr), rtol=0, atol=1e-12)
    assert isinstance(Network(net, 2).recorded, Layers)


def test_what_the_result_does_not_need_is_left_out() -> None:
    kinds = [layer.kind for layer in record(Net(RECORDED["what is not needed"]).eval())]
    assert kinds == ["image", "conv", "conv", "shuffle"]


def test_a_half_module_is_marked() -> None:
    layers = list(record(Net(lambda net, x: F.relu(x)).eval()))
    assert [layer.half for layer in layers] == [False, True, False, False, False]


def test_weights_are_the_models_own() -> None:
    net = Net(lambda net, x: x).eval()
    assert next(layer for layer in record(net) if layer.kind == "conv").weight is net.head.weight


@pytest.mark.parametrize(
    ("name", "maps"),
    [("batch norm after a convolution", 0), ("batch norm after a convolution that something else reads", 2),
     ("batch norm twice", 0), ("batch norm", 0), ("batch norm after an activation", 3)],
)  # fmt: skip
def test_batch_norm_goes_into_a_convolution_of_its_own(name: str, maps: int) -> None:
    net = Net(RECORDED[name]).eval()
    kept = net.wide.weight.detach().clone()
    assert sum(layer.kind == "map" for layer in record(net)) == maps
    assert torch.equal(net.wide.weight, kept)


def with_kernel(**options: object) -> Body:
    side = options.pop("side", 3)
    return lambda net, x: F.conv2d(x, torch.ones(8, 8, side, side), **options)  # pyright: ignore[reportArgumentType, reportCallIssue]


def assign(net: "Net", x: Tensor) -> Tensor:
    x[:, :, :1] = 0
    return x


NOT_RECORDED: dict[str, tuple[Body, str]] = {
    "stride": (lambda net, x: F.interpolate(with_kernel(stride=2, padding=1)(net, x), x.shape[-2:]), "stride"),
    "dilation": (with_kernel(dilation=2, padding=2), "dilated"),
    "an even kernel": (lambda net, x: with_kernel(side=2, padding=1)(net, x)[..., 1:, 1:], "padded"),
    "another pad": (lambda net, x: with_kernel(side=5, padding=1)(net, F.pad(x, (1, 1, 1, 1))), "calls pad"),
    "replicated edges": (lambda net, x: with_kernel()(net, F.pad(x, (1, 1, 1, 1), "replicate")), "calls pad"),
    "interpolate": (lambda net, x: F.interpolate(x, scale_factor=1.0, mode="bilinear"), "calls interpolate"),
    "global mean": (lambda net, x: x * x.mean((2, 3), keepdim=True), "calls mean"),
    "global maximum by tuples": (lambda net, x: x + x.max(3, True)[0].max(2, True)[0], "calls max"),
    "chunks": (lambda net, x: torch.cat(x.chunk(2, 1)[::-1], 1), "calls chunk"),
    "indexing": (lambda net, x: x + x[:, :1], "calls __getitem__"),
    "coordinates": (lambda net, x: x + torch.linspace(0, 1, x.shape[3]).expand(1, 8, x.shape[2], -1), "constant image"),
    "coordinates of a column": (lambda net, x: x + torch.linspace(0, 1, x.shape[2]).view(1, 1, -1, 1), "constant"),
    "batch statistics": (lambda net, x: F.batch_norm(x, None, None, training=True), "normalises by the batch"),
    "a tensor as limit": (lambda net, x: torch.clamp(x, torch.zeros(1)), "clamps to a tensor"),
    "tanh gelu": (lambda net, x: F.gelu(x, approximate="tanh"), "approximate gelu"),
    "a scaled sum": (lambda net, x: torch.add(x, x, alpha=2), "calls add"),
    "dropout at work": (lambda net, x: F.dropout(x, 1e-3), "calls dropout"),
    "dropout always": (lambda net, x: F.dropout(x, 1e-3, True), "calls dropout"),
    "assigned pixels": (assign, "calls __setitem__"),
    "numbers of the image": (lambda net, x: x * 0 if float(x.numpy().mean()) > 0.7 else x, "calls numpy"),
    "a list of numbers": (lambda net, x: x * 0 if x.tolist()[0][0][0][0] > 0.7 else x, "calls tolist"),
    "compared images": (lambda net, x: x if torch.equal(x, x * 1) else x * 0, "calls equal"),
    "an attribute": (lambda net, x: x.mT.mT, "calls mT"),
    "a sum of channels": (lambda net, x: torch.cat([x.sum(1, keepdim=True)] * 8, 1), "calls sum"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "reason"), NOT_RECORDED.values(), ids=NOT_RECORDED.keys())
def test_what_has_no_layers_says_why_and_is_run_as_it_is(body: Body, reason: str) -> None:
    net = Net(body).eval()
    with pytest.raises(CannotRecordError, match=reason):
        record(net)
    assert Network(net, 2).layers is None
    upscaler = srzoo.Upscaler(net, tile=64, device="cpu")
    assert (upscaler.engine, upscaler.precision) == ("torch", "fp32")
    lr = torch.rand(3, 6, 9)
    with torch.no_grad():
        torch.testing.assert_close(upscaler(lr), net(lr[None])[0].clamp(0, 1))


DEPENDS_ON_SIZE: dict[str, Body] = {
    "a number from the size": lambda net, x: x / x.shape[-1],
    "one way for small images": lambda net, x: F.relu(x) if x.shape[-1] < 6 else x,
    "one way for wider images": lambda net, x: F.relu(x) if x.shape[-2] > 16 else x,
    "a random number": lambda net, x: x + torch.rand(1, 8, 1, 1) * 1e-3,
}


@pytest.mark.parametrize("body", DEPENDS_ON_SIZE.values(), ids=DEPENDS_ON_SIZE.keys())
def test_layers_that_do_not_hold_at_another_size_are_noticed(body: Body) -> None:
    net = Net(body).eval()
    assert isinstance(record(net), Layers)
    assert Network(net, 2).recorded == "what it does depends on the size of the image"


def test_a_result_that_is_no_function_of_the_image_is_refused() -> None:
    class Constant(Net):
        def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
            return torch.zeros(1, 3, 2 * lr.shape[2], 2 * lr.shape[3])

    with pytest.raises(CannotRecordError, match="does not depend on the image"):
        record(Constant(lambda net, x: x).eval())


def test_no_hooks_are_left_behind_even_by_a_failure() -> None:
    def fail(net: Net, x: Tensor) -> Tensor:
        raise RuntimeError("no")

    for body in (RECORDED["relu"], fail):
        net = Net(body).eval()
        with suppress(RuntimeError):
            record(net)
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize("body", ["residual with scale", "batch norm after a convolution", "batch norm twice"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_model_in_half_precision_is_recorded_and_run_in_float32(dtype: torch.dtype, body: str) -> None:
    net = Net(RECORDED[body]).eval().to(dtype)
    network = Network(net, 2)
    assert network.layers is not None
    lr = torch.rand(1, 3, 6, 9)
    with torch.no_grad():
        torch.testing.assert_close(run(network.layers, lr), net.float()(lr))


@pytest.mark.parametrize("name", ["edsr_baseline_x2", "edsr_baseline_x3", "edsr_baseline_x8", "mdsr_baseline"])
def test_the_zoos_convolutional_models_are_recorded(name: str) -> None:
    model = srzoo.create_model(name, width=4, num_blocks=1).eval()
    for scale in model.scales:
        assert Network(model, scale).layers is not None


@pytest.mark.parametrize("name", ["bicubic_x2", "srcnn_x2", "vdsr"])
def test_models_that_upscale_first_are_not(name: str) -> None:
    model = srzoo.create_model(name).eval()
    assert isinstance(Network(model, model.scales[0]).recorded, str)


def test_parts_given_to_torch_compile_are_recorded_as_they_are_written() -> None:
    net = Net(RECORDED["relu"]).eval()
    expected = [layer.kind for layer in record(net)]
    net.head = torch.compile(net.head, backend=refuse)  # pyright: ignore[reportAttributeAccessIssue]
    assert [layer.kind for layer in record(net)] == expected


def refuse(graph: object, inputs: object) -> object:
    raise AssertionError("nothing is to be compiled")
