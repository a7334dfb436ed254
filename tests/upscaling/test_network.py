from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.tta import Op, dihedral, flips
from srzoo.tta.ops import Geometry
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.layers import CannotRecordError, Layers, record
from srzoo.upscaling.network import Network, _agrees, check_result, turned, variants, with_half_everywhere
from srzoo.upscaling.steps import build_step


def run(layers: Layers, lr: Tensor) -> Tensor:
    engine = TorchEngine(torch.device("cpu"), "fp32")
    return engine.compile(build_step(layers, "whole"), (lr.shape[0], lr.shape[2], lr.shape[3]))(lr, ())[0]


class Odd(SRModel):
    """Kernels that are not square, if asked for; shuffles of 2 and 3; a map after the first shuffle."""

    scales = (6,)
    channels = 3

    def __init__(self, kernel: tuple[int, int] = (3, 3), between: bool = False, twice: bool = False) -> None:
        super().__init__()
        self.between, self.twice = between, twice
        self.head = nn.Conv2d(3, 4, kernel, padding=(kernel[0] // 2, kernel[1] // 2))
        self.side = nn.Conv2d(4, 4, kernel[::-1], padding=(kernel[1] // 2, kernel[0] // 2))
        self.up2 = nn.Conv2d(4, 16, 3, padding=1)
        self.up3 = nn.Conv2d(4, 27, 1, bias=False)

    def halo(self, scale: int | None = None) -> int:
        return 6

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        x = self.head(lr)
        x = self.up2(x + self.side(x) if self.twice else x)
        x = F.pixel_shuffle(F.leaky_relu(x, 0.1) if self.between else x, 2)
        return F.pixel_shuffle(self.up3(F.relu(x) + 0.1), 3)


@pytest.mark.parametrize("op", dihedral(), ids=lambda op: op.name)
@pytest.mark.parametrize("kernel", [(3, 3), (1, 5), (5, 3)])
def test_a_turned_network_gives_what_the_turned_image_gives(op: Op, kernel: tuple[int, int]) -> None:
    model = Odd(kernel).double().eval()
    lr = torch.rand(1, 3, 5, 8, dtype=torch.float64)
    assert op.geometry is not None
    with torch.no_grad():
        expected = op.undo(model(op.do(lr)))
    torch.testing.assert_close(run(turned(record(model), op.geometry), lr), expected, rtol=0, atol=1e-12)


def test_turning_leaves_the_models_weights_as_they_are() -> None:
    model = Odd().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    variants(record(model), dihedral())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])


def test_variants_that_flow_alike_are_given() -> None:
    layers = record(Odd().eval())
    assert len(variants(layers, dihedral()) or ()) == 8
    assert len(variants(layers, flips()) or ()) == 4


def test_kernels_that_reach_further_down_than_aside_are_not_turned_on_their_side() -> None:
    layers = record(Odd((5, 3)).eval())
    assert variants(layers, flips()) is not None
    assert variants(layers, dihedral()) is None


def test_operations_of_ones_own_have_no_variant() -> None:
    swap = Op("swap", lambda x: x.flip(1), lambda x: x.flip(1))
    assert variants(record(Odd().eval()), (*flips(), swap)) is None


def test_a_shuffle_that_does_not_follow_its_convolution_cannot_be_turned() -> None:
    layers = record(Odd(between=True).eval())
    with pytest.raises(CannotRecordError, match="shuffle"):
        turned(layers, Geometry(transpose=True))
    assert variants(layers, flips()) is None


def test_the_ensemble_of_such_networks_is_right_all_the_same() -> None:
    for model in (Odd(between=True), Odd((5, 3), twice=True)):
        model = model.double().eval()
        lr = torch.rand(1, 3, 7, 9, dtype=torch.float64)
        with torch.no_grad():
            expected = torch.stack([op.undo(model(op.do(lr))) for op in dihedral()]).mean(0).clamp(0, 1)
        torch.testing.assert_close(srzoo.upscale(lr, model, tta="x8"), expected, rtol=0, atol=1e-12)


def test_half_everywhere_is_all_layers_but_the_image() -> None:
    assert [layer.half for layer in with_half_everywhere(record(Odd().eval()))] == [False] + [True] * 7


def test_a_model_with_nan_in_its_weights_is_not_recorded() -> None:
    model = Odd().eval()
    model.head.weight.data[0, 0, 0, 0] = float("nan")
    assert Network(model, 6).layers is None


class Sized(SRModel):
    """A model that says it magnifies by 2, and gives what it is told to."""

    scales = (2,)
    channels = 3

    def __init__(self, channels: int, factor: int, wrapped: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, channels * factor**2, 3, padding=1)
        self.factor, self.wrapped = factor, wrapped

    def halo(self, scale: int | None = None) -> int:
        return 1

    def forward(self, lr, scale=None):  # type: ignore[no-untyped-def]
        sr = F.pixel_shuffle(self.conv(lr), self.factor)
        return (sr, 1) if self.wrapped else sr


@pytest.mark.parametrize("tile", [None, 8])
@pytest.mark.parametrize(
    ("model", "text"),
    [
        (Sized(3, 1), "the model gives [0-9]+x[0-9]+ where [0-9]+x[0-9]+ are due"),
        (Sized(1, 2), r"the model gives a tensor of shape \(1, 1, .* where a tensor of shape \(1, 3, "),
        (Sized(3, 2, wrapped=True), "the model gives a tuple where a tensor is due"),
    ],
)
def test_a_model_that_does_not_give_the_image_that_is_due_is_told(model: SRModel, text: str, tile: int | None) -> None:
    with pytest.raises(ValueError, match=text):
        srzoo.Upscaler(model, engine="torch", tile=tile)(torch.rand(3, 21, 24))


def test_the_size_that_is_due_is_told_as_width_and_height() -> None:
    lr = torch.rand(1, 3, 21, 24)
    with pytest.raises(ValueError, match="the model gives 24x21 where 48x42 are due"):
        check_result(lr, lr, 2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_layers_that_are_a_little_off_are_noticed_in_half_precision_too(dtype: torch.dtype) -> None:
    model = Odd().eval().to(dtype)
    layers = record(model)
    assert _agrees(layers, model)
    changed = [replace(x, bias=x.bias * 1.01) if x.bias is not None else x for x in layers]
    assert not _agrees(replace(layers, layers=tuple(changed)), model)


def test_rounding_alone_is_no_reason_to_run_a_model_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As TF32 on a GPU: float32 is off, float64 is not."""
    convolve = F.conv2d

    def rounding(x: Tensor, weight: Tensor, *rest: object, **options: object) -> Tensor:
        weight = weight * 1.001 if weight.dtype == torch.float32 else weight
        return convolve(x, weight, *rest, **options)  # type: ignore[arg-type]

    from srzoo.upscaling.engines import torch_engine

    model = Odd().eval()
    layers = record(model)
    monkeypatch.setattr(torch_engine, "F", type("Rounding", (), {**vars(F), "conv2d": staticmethod(rounding)}))
    assert _agrees(layers, model)
