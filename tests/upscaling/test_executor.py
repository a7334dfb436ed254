import gc
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import srzoo
from srzoo.architecture import SRModel
from srzoo.tta import IDENTITY, Op, dihedral
from srzoo.tta.merges import MeanAndSpread
from srzoo.upscaling.engines import CompiledStep, States
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.executor import Block, Executor
from srzoo.upscaling.network import Network
from srzoo.upscaling.passes import is_finite
from srzoo.upscaling.pipeline import collect
from srzoo.upscaling.planner import TilePlan
from srzoo.upscaling.shapes import Settings, Shapes
from srzoo.upscaling.steps import Step

CPU = torch.device("cpu")
SWAP = Op("swap", lambda x: x.flip(1), lambda x: x.flip(1))
Fault = Callable[[int, Step, Tensor], Tensor | None]
"""Called with the number of the call, the step and its result: raises, or gives another result."""


class Faulty(TorchEngine):
    """The PyTorch engine, with faults at some calls."""

    def __init__(self, fault: Fault, precision: Any = "fp32") -> None:
        super().__init__(CPU, precision)
        self.fault, self.calls = fault, 0
        self.lr_rows: list[tuple[str, int]] = []

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        inner = super().compile(step, shape)

        def call(strip: Tensor, states: States) -> tuple[Tensor, States]:
            self.calls += 1
            self.lr_rows.append((step.phase, strip.shape[2]))
            sr, kept = inner(strip, states)
            changed = self.fault(self.calls, step, sr)
            return (sr if changed is None else changed), kept

        return call  # pyright: ignore[reportReturnType]


def tiny(name: str = "edsr_baseline_x2", dtype: torch.dtype = torch.float64) -> SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1).to(dtype).eval()


def start(model: SRModel, fault: Fault = lambda *_: None, precision: Any = "fp32", **options: Any) -> Executor:
    return Executor(Network(model, model.scales[0]), Faulty(fault, precision), Settings(**options))


def blocks(executor: Executor, lr: Tensor, notes: list[str] | None = None, **options: Any) -> list[Block]:
    """All blocks of an image, which must lie one below the other."""
    read = lambda top, bottom: lr[:, :, top:bottom]  # noqa: E731
    found = list(executor.stream(read, lr.shape[2], lr.shape[3], lr.shape[0], notes=notes, **options))
    assert [block.top for block in found] == [0, *(block.bottom for block in found[:-1])]
    assert found[-1].bottom == lr.shape[2]
    for block in found:
        assert block.sr.shape[2] == (block.bottom - block.top) * executor.network.scale
    return found


def joined(found: list[Block]) -> Tensor:
    return torch.cat([block.sr for block in found], 2)


@torch.no_grad()
def whole(model: SRModel, lr: Tensor) -> Tensor:
    return model(lr)


def small_strips(monkeypatch: pytest.MonkeyPatch, pixels: int) -> None:
    for name in ("torch", "cuda"):
        monkeypatch.setitem(__import__("srzoo.upscaling.planner", fromlist=["x"]).STRIP_PIXELS, name, pixels)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to allocate"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at", [1, 2, 4, 7])
def test_out_of_memory_goes_on_with_the_rows_that_are_left(
    error: Exception, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        if call == at:
            raise error

    small_strips(monkeypatch, 40)
    model, lr, notes = tiny(), torch.rand(1, 3, 40, 10, dtype=torch.float64), []
    executor = start(model, fault)
    found = blocks(executor, lr, notes)
    assert (joined(found) - whole(model, lr)).abs().max() < 1e-12
    assert len(notes) == 1
    assert notes[0].startswith("memory ran out at row")
    row = int(notes[0].split("row ")[1].split(";")[0])
    assert row == (0 if at == 1 else next(block.top for block in found if block.top >= row))
    engine = executor.engine
    assert isinstance(engine, Faulty)
    tiles = [rows for phase, rows in engine.lr_rows if phase == "whole"]
    assert sum(tiles) <= (40 - row) + 2 * executor.shapes.halo * len(tiles)  # nothing that was given already


def test_tiles_shrink_where_memory_runs_out_and_those_done_stay_done() -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        if call > 2 and sr.shape[2] > 2 * 40:
            raise MemoryError

    model, lr, notes = tiny(), torch.rand(1, 3, 64, 40, dtype=torch.float64), []
    found = blocks(start(model, fault, tile=32), lr, notes)
    assert [(block.top, block.bottom) for block in found] == [(0, 32), (32, 48), (48, 64)]
    assert notes == ["memory ran out; tiles are 16 pixels from row 32 on"]
    assert (joined(found) - whole(model, lr)).abs().max() < 1e-12


@pytest.mark.parametrize("largest", [50, 30, 24])
def test_tiles_shrink_until_they_fit(largest: int) -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        if sr.shape[2] > 2 * largest:
            raise MemoryError

    model, lr, notes = tiny(), torch.rand(1, 3, 64, 40, dtype=torch.float64), []
    found = blocks(start(model, fault, tile=32), lr, notes)
    assert (joined(found) - whole(model, lr)).abs().max() < 1e-12
    assert len(notes) == {50: 0, 30: 1, 24: 2}[largest]
    assert all("tiles are" in note for note in notes)


def test_no_memory_for_the_smallest_tile_is_told() -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        raise MemoryError

    executor = start(tiny(), fault)
    with pytest.raises(MemoryError, match="not enough memory for even a small tile"):
        blocks(executor, torch.rand(1, 3, 40, 20, dtype=torch.float64))
    assert executor.engine.calls < 10  # pyright: ignore[reportAttributeAccessIssue]


def test_another_error_is_not_taken_for_a_lack_of_memory() -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        raise RuntimeError("expected scalar type Half")

    with pytest.raises(RuntimeError, match="expected scalar type"):
        blocks(start(tiny(), fault), torch.rand(1, 3, 8, 8, dtype=torch.float64))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("tile", [None, 9])
@pytest.mark.parametrize("ops", [(), dihedral(), (IDENTITY, SWAP)], ids=["one", "x8", "own"])
def test_rows_that_are_not_finite_are_done_again_in_float32(
    value: float, tile: int | None, ops: tuple[Op, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(call: int, step: Step, sr: Tensor) -> Tensor | None:
        return torch.full_like(sr, value) if call in (2, 3) else None

    small_strips(monkeypatch, 80)
    model, lr, notes = tiny(dtype=torch.float32), torch.rand(1, 3, 40, 10), []
    expected = joined(blocks(start(model, ops=ops, tile=tile), lr))
    found = joined(blocks(start(model, fault, "bf16", ops=ops, tile=tile), lr, notes))
    assert found.isfinite().all()
    assert notes == ["some values were not finite in bf16 (head and tail fp32); those rows were done again in float32"]
    assert (found - expected).abs().max() < 0.05  # bf16 elsewhere
    equal = ((found - expected).abs() < 1e-5).flatten(2).all(1).view(80, -1).all(1)
    assert equal.any()  # the rows done again


@pytest.mark.parametrize("name", ["edsr_baseline_x2", "srcnn_x2"])
def test_a_broken_model_is_told(name: str) -> None:
    model = srzoo.create_model(name, width=4).eval()
    next(model.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite, in float32 too; its weights, or the image, are broken"):
        blocks(start(model), torch.rand(1, 3, 8, 8))


class Overflowing(SRModel):
    """Is run as it is, and overflows in half precision."""

    scales = (1,)
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        nn.init.constant_(self.conv.weight, 1)

    def halo(self, scale: int | None = None) -> int:
        return 1

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return self.conv(F.pad(lr, (1, 1, 1, 1), "replicate") * 60_000) / 60_000


def test_a_model_in_half_precision_that_has_no_layers_is_done_again_in_float32_too() -> None:
    model, notes = Overflowing().half().eval(), []
    lr = torch.full((1, 3, 6, 7), 0.5)
    executor = start(model)
    assert executor.precision == "fp16"
    found = joined(blocks(executor, lr, notes))
    assert notes == ["some values were not finite in fp16; those rows were done again in float32"]
    torch.testing.assert_close(found, whole(Overflowing().eval(), lr).detach(), rtol=1e-2, atol=1e-2)
    assert next(model.parameters()).dtype == torch.float16


def test_precision_in_words() -> None:
    words = {
        "fp64": start(tiny()),
        "fp32": start(tiny(dtype=torch.float32)),
        "bf16 (head and tail fp32)": start(tiny(dtype=torch.float32), precision="bf16"),
        "fp16 (head and tail fp32)": start(tiny(dtype=torch.bfloat16), precision="fp16"),
    }
    assert [executor.precision for executor in words.values()] == list(words)
    assert start(srzoo.create_model("bicubic_x2"), precision="bf16").precision == "fp32"


@pytest.mark.parametrize("tile", [None, 7])
@pytest.mark.parametrize("ops", [dihedral(), (IDENTITY, SWAP), (IDENTITY,)], ids=["x8", "own", "one"])
def test_the_spread_is_that_of_the_passes(tile: int | None, ops: tuple[Op, ...]) -> None:
    model, lr = tiny(), torch.rand(1, 3, 30, 12, dtype=torch.float64)
    both = MeanAndSpread()
    for op in ops:
        both.add(op.undo(whole(model, op.do(lr))))
    found = blocks(start(model, ops=ops, tile=tile), lr, spread=True)
    spreads = [block.spread for block in found if block.spread is not None]
    assert len(spreads) == len(found)
    assert (torch.cat(spreads, 2) - both.spread()).abs().max() < 1e-9
    assert (joined(found) - both.result()).abs().max() < 1e-12


def test_less_halo_is_less_work() -> None:
    model, lr = tiny(), torch.rand(1, 3, 40, 40, dtype=torch.float64)
    pixels = []
    for halo in (None, 1):
        executor = start(model, tile=8, halo=halo)
        blocks(executor, lr)
        pixels.append(sum(rows for _, rows in executor.engine.lr_rows))  # pyright: ignore[reportAttributeAccessIssue]
    assert pixels[1] < 0.6 * pixels[0]


def test_a_batch_flows_together() -> None:
    model, lr = tiny(), torch.rand(3, 3, 30, 8, dtype=torch.float64)
    assert (joined(blocks(start(model), lr)) - whole(model, lr)).abs().max() < 1e-12


def test_a_small_budget_ends_in_tiles_and_default_may_take_more_for_a_large_model() -> None:
    model = srzoo.create_model("edsr_baseline_x4", width=64, num_blocks=16).eval()
    assert start(model, memory=10**6).shapes.strips(1000) is None
    plan = start(model, memory=10**6, most=10**9).shapes.strips(1000)
    assert plan is not None
    assert plan.bytes <= 10**9
    bands = start(model, memory=100 * 10**6, most=100 * 10**6).shapes.strips(1000)
    assert bands is not None
    assert bands.overhead(1000) > 1.25
    plan = start(model, memory=100 * 10**6, most=10**9).shapes.strips(1000)
    assert plan is not None
    assert plan.overhead(1000) == 1


def exact() -> tuple[SRModel, Tensor]:
    """A model and an image of small dyadic numbers, whose sums are exact in any order."""
    model = tiny()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape, generator=generator).double() / 4
    model.shift.mean.fill_(0.5)  # pyright: ignore[reportCallIssue, reportAttributeAccessIssue]
    return model, torch.randint(0, 3, (1, 3, 150, 170), generator=generator).double() / 2


@pytest.mark.parametrize("ops", [(), dihedral(), (IDENTITY, SWAP)], ids=["one", "x8", "own"])
def test_tiles_in_strips_equal_the_whole(ops: tuple[Op, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Shapes, "strips", lambda *_: None)
    model, lr = exact()
    executor = start(model, ops=ops, memory=10**6)
    plan = executor.shapes.tiles(170, 150)
    assert plan.strip is not None
    assert plan.columns < 170
    notes: list[str] = []
    expected = torch.stack([op.undo(whole(model, op.do(lr))) for op in ops or (IDENTITY,)]).mean(0)
    assert torch.equal(joined(blocks(executor, lr, notes)), expected)
    phases = {phase for phase, _ in executor.engine.lr_rows}  # pyright: ignore[reportAttributeAccessIssue]
    assert {"first", "middle", "last"} <= phases


def test_tiles_in_strips_shrink_where_memory_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def fault(call: int, step: Step, sr: Tensor) -> None:
        if call > 10 and sr.shape[3] > 2 * 40:
            raise MemoryError

    monkeypatch.setattr(Shapes, "strips", lambda *_: None)
    model, lr = exact()
    notes: list[str] = []
    executor = start(model, fault, memory=2 * 10**6)
    monkeypatch.setattr(Shapes, "tiles", lambda *_: TilePlan(60, 80, 8, 0))
    assert torch.equal(joined(blocks(executor, lr, notes)), whole(model, lr))
    assert [note.split(" from")[0] for note in notes] == [
        "memory ran out; tiles are 40x30 pixels",
        "memory ran out; tiles are 20x15 pixels",
    ]


def test_tiles_that_take_more_than_there_is_or_many_times_the_work_are_told() -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=32, num_blocks=16).eval()
    executor = start(model, memory=10**6)
    plan = executor.shapes.tiles(150, 150)
    assert min(plan.columns, plan.rows) >= 32
    assert plan.bytes > 10**6
    notes: list[str] = []
    lr = torch.rand(1, 3, 150, 150)
    next(executor.stream(lambda top, bottom: lr[:, :, top:bottom], 150, 150, notes=notes))
    assert len(notes) == 2
    assert notes[0].startswith("1 MB of memory are too little for this model: its smallest good tiles are expected to")
    assert "times the work of the whole image; more memory makes it less" in notes[1]
    quiet: list[str] = []
    chosen = start(model, memory=10**6, tile=32)
    next(chosen.stream(lambda top, bottom: lr[:, :, top:bottom], 150, 150, notes=quiet))
    assert quiet == []


def test_variants_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from srzoo.upscaling import executor as module

    calls = []
    monkeypatch.setattr(module, "variants", lambda *_: calls.append(1))
    blocks(start(tiny(), ops=(IDENTITY, SWAP), tile=4), torch.rand(1, 3, 20, 20, dtype=torch.float64))
    assert calls == [1]


def alive_bytes() -> int:
    return sum(thing.numel() * thing.element_size() for thing in gc.get_objects() if type(thing) is Tensor)


@pytest.mark.parametrize("tile", [None, 24])
def test_memory_does_not_grow_with_the_height(tile: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of all tensors that are alive, each time rows of the result are there."""
    small_strips(monkeypatch, 64 * 8)
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).eval()
    peaks = []
    for height in (120, 360):
        row = torch.rand(1, 3, 1, 64)
        gc.collect()
        peak = 0
        executor = start(model, tile=tile)
        stream = executor.stream(lambda top, bottom: row.expand(-1, -1, bottom - top, -1).clone(), height, 64)  # noqa: B023
        for number, _ in enumerate(stream):
            if number % 8 == 7 or (tile and number % 4 == 3):
                peak = max(peak, alive_bytes())
        peaks.append(peak)
    assert peaks[1] < 1.1 * peaks[0]


def test_a_stream_that_is_closed_early_leaves_no_thread() -> None:
    import threading

    before = threading.active_count()
    lr = torch.rand(1, 3, 200, 8, dtype=torch.float64)
    stream = start(tiny()).stream(lambda top, bottom: lr[:, :, top:bottom], 200, 8)
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_an_error_of_reading_is_raised() -> None:
    def read(top: int, bottom: int) -> Tensor:
        raise ValueError("the file is damaged")

    for tile in (None, 8):
        with pytest.raises(ValueError, match="the file is damaged"):
            collect(start(tiny(), tile=tile).stream(read, 20, 8))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_finite(value: float) -> None:
    sr = torch.rand(1, 3, 4, 5)
    assert is_finite(sr)
    assert is_finite(torch.full((1, 1, 2, 2), 3e38))  # the sum overflows, the values do not
    sr[0, 1, 2, 3] = value
    assert not is_finite(sr)


class Plain(SRModel):
    """A convolution and a mean of all pixels: cannot be recorded."""

    scales = (2,)
    channels = 3

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, padding=1)

    def halo(self, scale: int | None = None) -> int:
        return 1

    def forward(self, lr: Tensor, scale: int | None = None) -> Tensor:
        return F.pixel_shuffle(self.conv(lr + lr.mean()), 2)


@pytest.mark.parametrize("name", ["recorded", "plain"])
def test_the_callers_autocast_changes_nothing(name: str) -> None:
    model = Plain().eval() if name == "plain" else tiny(dtype=torch.float32)
    lr = torch.rand(1, 3, 30, 12)
    expected = joined(blocks(start(model), lr))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        executor = start(model)
        assert (executor.networks is None) == (name == "plain")
        assert torch.equal(joined(blocks(executor, lr)), expected)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("op", "text"),
    [
        (Op("turn", lambda x: x.transpose(-1, -2), lambda x: x), "'turn' gives 40x24 pixels where 24x40 are due"),
        (Op("array", lambda x: x.numpy(), lambda x: x), "op 'array' gives a ndarray where a tensor is due"),  # pyright: ignore[reportArgumentType]
        (Op("none", lambda x: x, lambda x: None), "the undo of op 'none' gives a NoneType where a tensor is due"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_an_operation_that_is_not_undone_is_told(op: Op, text: str) -> None:
    executor = start(tiny(), ops=(IDENTITY, op))
    with pytest.raises(ValueError, match=text):
        blocks(executor, torch.rand(1, 3, 20, 12, dtype=torch.float64))


def test_an_engine_that_rounds_float64_is_told(caplog: pytest.LogCaptureFixture) -> None:
    engine = TorchEngine(CPU, "fp32")
    engine.name, engine.mixed = "other", ""
    assert Executor(Network(tiny(dtype=torch.float32), 2), engine, Settings()).precision == "fp32"
    assert not caplog.records
    Executor(Network(tiny(), 2), engine, Settings())
    assert "engine other rounds the model's float64 to float32" in caplog.text


def test_an_engine_of_ones_own_says_what_it_computes_more_precisely() -> None:
    engine = TorchEngine(CPU, "bf16")
    engine.name = "other"
    for words, expected in {"": "bf16", "tail exact": "bf16 (tail exact)"}.items():
        engine.mixed = words
        assert Executor(Network(tiny(dtype=torch.float32), 2), engine, Settings()).precision == expected
