import json
import pickle
import threading
from collections.abc import Generator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import srzoo
from srzoo.upscaling import Target
from srzoo.upscaling.cascade import LAST_ONLY, Cascade, RowFeed
from srzoo.upscaling.engines import CompiledStep
from srzoo.upscaling.engines.torch_engine import TorchEngine
from srzoo.upscaling.executor import Block, Executor
from srzoo.upscaling.network import Network
from srzoo.upscaling.pipeline import collect
from srzoo.upscaling.planner import STRIP_PIXELS
from srzoo.upscaling.shapes import Settings
from srzoo.upscaling.steps import Step

CPU = torch.device("cpu")
EXACT: dict[str, Any] = dict(engine="torch", precision="fp32", device="cpu")
MEMORY = 500 * 10**6


@cache
def tiny(name: str = "edsr_baseline_x2", dtype: torch.dtype = torch.float64) -> srzoo.SRModel:
    torch.manual_seed(0)
    options: dict[str, Any] = {} if name.startswith("bicubic") else {"width": 4, "num_blocks": 1}
    return srzoo.create_model(name, **options).to(dtype).eval()


def executor(model: srzoo.SRModel, scale: int, engine: TorchEngine | None = None, **options: Any) -> Executor:
    return Executor(Network(model, scale), engine or TorchEngine(CPU, "fp32"), Settings(**options))


def by_hand(stages: list[tuple[srzoo.SRModel, int]], lr: Tensor) -> Tensor:
    """Each network on the whole image, clamped between."""
    with torch.inference_mode():
        for model, scale in stages:
            lr = model(lr.clamp(0, 1), scale)
    return lr


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


CHAINS = {
    "strips": [("edsr_baseline_x2", 2), ("edsr_baseline_x4", 4)],
    "three": [("edsr_baseline_x2", 2), ("edsr_baseline_x2", 2), ("edsr_baseline_x2", 2)],
    "multi-scale": [("mdsr_baseline", 3), ("mdsr_baseline", 2)],
    "tiles first": [("bicubic_x3", 3), ("edsr_baseline_x2", 2)],
    "tiles last": [("edsr_baseline_x2", 2), ("bicubic_x3", 3)],
}


@pytest.mark.parametrize("names", CHAINS.values(), ids=CHAINS)
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 7), (43, 11)])
@pytest.mark.parametrize("options", [{}, {"tile": 7}])
def test_a_cascade_is_each_network_on_the_whole_image(
    names: list[tuple[str, int]], size: tuple[int, int], options: dict[str, Any]
) -> None:
    stages = [(tiny(name), scale) for name, scale in names]
    lr = torch.rand(2, 3, *size, dtype=torch.float64)
    cascade = Cascade([executor(*stage, **options) for stage in stages], MEMORY, MEMORY)
    found = list(cascade.stream(lambda top, bottom: lr[..., top:bottom, :], *size, 2))
    assert [block.top for block in found] == [0, *(block.bottom for block in found[:-1])]
    assert found[-1].bottom == size[0]
    for block in found:
        assert block.sr.shape[2] == (block.bottom - block.top) * cascade.scale
    torch.testing.assert_close(torch.cat([block.sr for block in found], -2), by_hand(stages, lr), rtol=0, atol=1e-9)


class Counted(RowFeed):
    """A feed that knows the most rows that it held at a time."""

    def __init__(self, among: "list[Counted]", blocks: Generator[Block]) -> None:
        super().__init__(blocks)
        self.most_held = 0
        among.append(self)

    def _take(self) -> None:
        super()._take()
        self.most_held = max(self.most_held, self._bottom - self._top)


@pytest.mark.parametrize("options", [{}, {"tile": 16}])
def test_rows_between_networks_do_not_grow_with_the_height(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds: list[Counted] = []
    monkeypatch.setattr("srzoo.upscaling.cascade.RowFeed", partial(Counted, feeds))
    most: dict[int, list[int]] = {}
    read: list[tuple[int, int]] = []
    for height in (300, 1200):
        feeds.clear()
        lr = torch.rand(1, 3, height, 40)
        model = tiny(dtype=torch.float32)
        cascade = Cascade([executor(model, 2, **options) for _ in range(3)], MEMORY, MEMORY)

        def rows(top: int, bottom: int, lr: Tensor = lr) -> Tensor:
            read.append((top, bottom))
            return lr[..., top:bottom, :]

        for _ in cascade.stream(rows, height, 40):
            pass
        most[height] = [feed.most_held for feed in feeds]
    assert len(most[300]) == 2
    assert all(high <= low + 8 for low, high in zip(most[300], most[1200], strict=True))
    assert most[1200][1] < 1200
    if not options:  # strips: the source's rows are read once
        last = read[-len(read) // 2 :]
        assert all(one[0] >= other[0] for other, one in pairwise(last))


def test_values_between_networks_are_clamped_and_not_rounded() -> None:
    blocks = (Block(0, 1, torch.tensor([[[[-0.5, 0.12345, 1.5]]]])) for _ in range(1))
    assert torch.equal(RowFeed(blocks).read(0, 1), torch.tensor([[[[0, 0.12345, 1]]]]))


def made_of(*heights: int) -> Generator[Block]:
    top = 0
    for height in heights:
        yield Block(top, top + height, (torch.arange(top, top + height) / 100).view(1, 1, -1, 1))
        top += height


def test_a_feed_gives_any_rows_that_are_not_released() -> None:
    feed = Counted([], made_of(3, 1, 4, 2))
    assert feed.read(2, 5).flatten().tolist() == pytest.approx([0.02, 0.03, 0.04])
    assert feed.read(0, 1).flatten().tolist() == [0]
    feed.release(4)
    assert feed.read(4, 10).flatten().tolist() == pytest.approx([0.04, 0.05, 0.06, 0.07, 0.08, 0.09])
    with pytest.raises(AssertionError, match="row 3 is gone"):
        feed.read(3, 5)
    assert feed.most_held == 8 + 2 - 4 + 2


def test_a_feed_that_failed_fails_again() -> None:
    def broken() -> Generator[Block]:
        yield from made_of(2)
        raise OSError("the disk is gone")

    feed = RowFeed(broken())
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            feed.read(1, 4)
    assert feed.read(0, 2).shape[2] == 2


class Faulty(TorchEngine):
    """The PyTorch engine, which runs out of memory, or gives a NaN, at one call."""

    def __init__(self, call: int, kind: str) -> None:
        super().__init__(CPU, "fp32")
        self.left, self.kind = call, kind

    def compile(self, step: Step, shape: tuple[int, int, int]) -> CompiledStep:
        inner = super().compile(step, shape)

        def call(strip: Tensor, states: Any) -> Any:
            self.left -= 1
            if not self.left and self.kind == "memory":
                raise MemoryError
            sr, kept = inner(strip, states)
            return (sr * float("nan") if not self.left else sr), kept

        return call  # pyright: ignore[reportReturnType]


@pytest.mark.parametrize("kind", ["memory", "nan"])
@pytest.mark.parametrize("at", [1, 3, 9])
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"tile": 9}])
def test_a_fault_in_any_network_changes_no_pixel(
    kind: str, at: int, position: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRIP_PIXELS, "torch", 256)  # low strips, of which even the first network has many
    model, height = tiny(), 150
    lr = torch.rand(1, 3, height, 30, dtype=torch.float64)
    faulty = Faulty(at, kind)
    engines = [faulty if number == position else None for number in range(3)]
    cascade = Cascade([executor(model, 2, engine, **options) for engine in engines], MEMORY, MEMORY)
    notes: list[str] = []
    sr = collect(cascade.stream(lambda top, bottom: lr[..., top:bottom, :], height, 30, notes=notes))
    assert faulty.left <= 0
    assert len(notes) == 1
    torch.testing.assert_close(sr, by_hand([(model, 2)] * 3, lr), rtol=0, atol=1e-9)


def test_an_error_of_the_source_comes_through_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())

    def read(top: int, bottom: int) -> Tensor:
        if top > 50:
            raise OSError("the file is cut short")
        return torch.rand(1, 3, bottom - top, 30, dtype=torch.float64)

    cascade = Cascade([executor(tiny(), 2) for _ in range(3)], MEMORY, MEMORY)
    with pytest.raises(OSError, match="cut short"):
        collect(cascade.stream(read, 200, 30))
    stream = cascade.stream(lambda top, bottom: torch.rand(1, 3, bottom - top, 30, dtype=torch.float64), 200, 30)
    next(stream)
    stream.close()
    assert set(threading.enumerate()) <= before


def test_networks_share_the_memory() -> None:
    cascade = Cascade([executor(tiny(), 2) for _ in range(3)], 30 * 10**6, 60 * 10**6)
    cascade.share_memory(400, 400)
    plans = [
        one.shapes.plan(400 * 2**position, 400 * 2**position).bytes for position, one in enumerate(cascade.executors)
    ]
    assert sum(plans) <= 60 * 10**6
    given = [one.settings.memory for one in cascade.executors]
    assert given[0] == 10 * 10**6
    assert given[2] > given[1] > given[0]  # what the first do not need is the last one's
    alone = Cascade([executor(tiny(), 2)], 30 * 10**6, 60 * 10**6)
    alone.share_memory(400, 400)
    assert (alone.executors[0].settings.memory, alone.executors[0].settings.most) == (30 * 10**6, 60 * 10**6)


@pytest.mark.parametrize(("name", "width"), [("edsr_baseline_x4", 1000), ("bicubic_x4", 1000), ("bicubic_x4", 4000)])
def test_all_that_is_held_is_in_the_budget(name: str, width: int) -> None:
    """Plans only, of the real networks: no pixel is computed."""
    model = srzoo.create_model(name, pretrained=False).eval()
    cascade = Cascade([executor(model, 4) for _ in range(3)], MEMORY, 4 * MEMORY)
    assert MEMORY < cascade.share_memory(width, width) <= 4 * MEMORY
    given = [one.settings.most for one in cascade.executors]
    assert given[0] == 4 * MEMORY // 3
    assert sum(one.shapes.plan(width * 4**i, width * 4**i).bytes for i, one in enumerate(cascade.executors)) < (
        cascade.share_memory(width, width)
    )


@pytest.mark.parametrize("options", [{}, {"tile": 9}])
@pytest.mark.parametrize("names", [CHAINS["three"], CHAINS["multi-scale"], CHAINS["tiles last"]])
def test_no_more_rows_are_held_than_planned(
    names: list[tuple[str, int]], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(STRIP_PIXELS, "torch", 256)
    feeds: list[Counted] = []
    monkeypatch.setattr("srzoo.upscaling.cascade.RowFeed", partial(Counted, feeds))
    cascade = Cascade([executor(tiny(name), scale, **options) for name, scale in names], MEMORY, MEMORY)
    height, width, block = 400, 30, 0
    for _ in cascade.stream(lambda top, bottom: torch.rand(1, 3, bottom - top, 30).double(), height, width):
        pass
    counts = iter(feeds)
    for one in cascade.executors:
        plan = one.shapes.plan(height, width)
        if block:
            row = 3 * 8 * width
            copied = one.shapes.rows_at_once(plan, height) + 2 * one.shapes.halo
            planned = one.shapes.feed_bytes(plan, (height, width), 1, block) / row - copied
            held = next(counts).most_held
            assert planned / 4 < held <= planned
        block = one.shapes.rows_at_once(plan, height) * one.network.scale
        height, width = height * one.network.scale, width * one.network.scale


def test_memory_that_cannot_be_enough_is_told() -> None:
    for memory, number in ((10**6, 1), (MEMORY, 0)):
        notes: list[str] = []
        cascade = Cascade([executor(tiny(), 2) for _ in range(2)], memory, memory)
        for _ in cascade.stream(lambda top, bottom: torch.rand(1, 3, bottom - top, 900).double(), 9, 900, notes=notes):
            pass
        assert sum("too little for networks after each other" in note for note in notes) == number


# -- by the upscaler --------------------------------------------------------------------------------------------------


def upscaler(model: Any, **options: Any) -> srzoo.Upscaler:
    return srzoo.Upscaler(model, **{**EXACT, **options})


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_kind_of_picture_goes_through(mode: str, dtype: Any) -> None:
    image = noise(5, 7, len(mode)) if dtype is np.uint8 else noise(5, 7, len(mode)).astype(np.uint16) * 257
    if mode.endswith("A"):
        image[:3, :, -1] = 0
    out = upscaler(tiny(dtype=torch.float32), scale=8)(image)
    assert out.shape == (40, 56, len(mode))
    assert out.dtype == dtype
    if mode.endswith("A"):
        assert not out[:8].any()


def test_tensors_and_files_are_the_same(tmp_path: Path) -> None:
    image, model = noise(9, 7, 3), tiny(dtype=torch.float32)
    lr = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
    expected = (by_hand([(model, 2)] * 3, lr).clamp(0, 1) * 255).round()[0].permute(1, 2, 0).numpy()
    Image.fromarray(image).save(tmp_path / "a.png")
    up = upscaler(model, scale=8)
    seen: list[tuple[int, int]] = []
    result = up.file(tmp_path / "a.png", tmp_path / "b.png", progress=lambda done, of: seen.append((done, of)))
    assert result.notes == ("x8 by edsr_baseline_x2, then edsr_baseline_x2, then edsr_baseline_x2",)
    assert seen[-1] == (72 * 56, 72 * 56)
    for found in (
        up(image),
        srzoo.image.read_picture(tmp_path / "b.png").pixels,
        srzoo.upscale(image, model, scale=8, **EXACT),
    ):
        assert np.abs(found - expected).max() <= 1
        assert (found != expected).mean() < 0.01
    assert up.output_path("a.png").name == "a_x8.png"


def test_the_ensemble_is_of_each_network(tmp_path: Path) -> None:
    model, image = tiny(dtype=torch.float32), torch.rand(3, 6, 5)
    one = upscaler(model, tta="x8")
    torch.testing.assert_close(upscaler(model, scale=4, tta="x8")(image), one(one(image)), rtol=0, atol=1e-5)
    Image.fromarray(noise(6, 5, 3)).save(tmp_path / "a.png")
    up = upscaler(model, scale=4, tta="x8")
    result = up.file(tmp_path / "a.png", tmp_path / "b.png", uncertainty=tmp_path / "map.png")
    assert LAST_ONLY in result.notes
    with Image.open(tmp_path / "map.png") as drawn:
        assert drawn.size == (20, 24)


@pytest.mark.parametrize(
    ("target", "shape", "made"),
    [
        (Target(scale=5), (35, 25), "x6"),
        (Target(scale=7.5), (53, 38), "x8"),
        (Target(long_edge=63), (63, 45), "x9"),
        (Target(size=(50, 112)), (112, 50), "x16"),
        (Target(scale=2.5), (18, 13), None),
    ],
)
def test_a_size_takes_the_smallest_cascade_that_is_enough(
    target: Target, shape: tuple[int, int], made: str | None, tmp_path: Path
) -> None:
    Image.fromarray(noise(7, 5, 3)).save(tmp_path / "a.png")
    up = upscaler(tiny("mdsr_baseline", torch.float32), size=target)
    result = up.file(tmp_path / "a.png", tmp_path / "b.png")
    assert (result.height, result.width) == shape
    assert [note.split(" ")[0] for note in result.notes if " by " in note] == ([made] if made else [])


def test_settings_name_all_networks() -> None:
    model = tiny(dtype=torch.float32)
    torch.manual_seed(1)
    other = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1).eval()
    makers: list[dict[str, Any]] = [
        {"model": model}, {"model": model, "scale": 4}, {"model": [model, model]}, {"model": [model, other]},
        {"model": [other, model]}, {"model": model, "scale": 8}, {"model": model, "size": Target(scale=8)},
    ]  # fmt: skip
    found = [json.dumps(upscaler(**options).settings, sort_keys=True) for options in makers]
    assert found[1] == found[2].replace('"scale": null', '"scale": 4')
    assert len(set(found)) == len(found) - 1
    assert "stages" not in json.loads(found[0])
    assert len(json.loads(found[5])["stages"]) == 3
    for options in makers[:2]:
        used = upscaler(**options)
        before = used.settings
        used(noise(5, 5, 3))
        assert used.settings == before


def test_settings_of_a_size_name_the_sisters_it_may_take() -> None:
    assert "sisters" not in upscaler("edsr_baseline_x4", size=Target(scale=3.5)).settings
    told = upscaler("edsr_baseline_x4", size=Target(long_edge=900)).settings["sisters"]
    assert [name.split()[0] for name in told] == [f"edsr_baseline_x{scale}.photos" for scale in (2, 3, 4)]
    assert all(len(name.split()[1]) == 64 for name in told)


@pytest.mark.parametrize("options", [{"scale": 6}, {"size": Target(scale=5)}])
def test_a_pickled_cascade_does_the_same(options: dict[str, Any]) -> None:
    up, image = (
        upscaler("bicubic_x3", **options)
        if "size" in options
        else upscaler([tiny(dtype=torch.float32), tiny("edsr_baseline_x3", torch.float32)], **options),
        noise(5, 6, 3),
    )
    again = pickle.loads(pickle.dumps(up))
    assert again.settings == up.settings
    np.testing.assert_array_equal(again(image), up(image))


def test_a_lowered_halo_is_told_of_each_network(tmp_path: Path) -> None:
    models = [tiny(dtype=torch.float32), tiny("edsr_baseline_x3", torch.float32)]
    Image.fromarray(noise(7, 5, 3)).save(tmp_path / "a.png")
    result = upscaler(models, halo=1, tile=4).file(tmp_path / "a.png", tmp_path / "b.png")
    assert sum("halo is 1" in note for note in result.notes) == 2
