"""benchmarks/upscale.py at toy size: which rows there are, and that their figures agree."""

import json
import sys
from importlib.metadata import PackageNotFoundError
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import srzoo

SMALL = ["--device=cpu", "--rounds=1", "--matmul-side=32"]
TOY = [*SMALL, "--overrides=width=8,num_blocks=1"]
X2 = "--models=edsr_baseline_x2"
TORCH = "--engines=torch"
Capture = pytest.CaptureFixture[str]


def run(module: ModuleType, capsys: Capture, *options: str) -> dict[str, Any]:
    assert module.main([*options, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_there_is_a_row_for_each_model_precision_and_tile_and_for_what_it_is_compared_with(
    module: ModuleType, capsys: Capture
) -> None:
    options = ["--models=edsr_baseline_x2,mdsr_baseline", "--precisions=fp32,bf16", "--tiles=strips,16", "--size=20x12"]
    found = run(module, capsys, *TOY, TORCH, *options)
    rows = [(row["model"], row["engine"], row["precision"][:4], row["tile"]) for row in found["rows"]]
    ours = [("fp32", "strips"), ("fp32", "bare 20x12"), ("fp32", 16)]
    ours += [(precision.replace("fp32", "bf16"), tile) for precision, tile in ours]
    assert rows == [
        ("edsr_baseline_x2", "plain", "fp32", "whole"),
        *[("edsr_baseline_x2", "torch", *row) for row in ours],
        *[("mdsr_baseline", "torch", *row) for row in ours],
        ("bicubic_x2", "torch", "fp32", "tiles"),
        ("Pillow's bicubic", "pillow", "uint", "whole"),
        ("bicubic_x4", "torch", "fp32", "tiles"),
        ("Pillow's bicubic", "pillow", "uint", "whole"),
    ]
    assert [row["scale"] for row in found["rows"]] == [2] * 7 + [4] * 6 + [2, 2, 4, 4]
    assert set(found["matmul_gflops"]) == {"fp32", "bf16"}


def test_figures_agree(module: ModuleType, capsys: Capture) -> None:
    options = ["--models=edsr_baseline_x4", "--precisions=fp32", "--size=50x40"]
    found = run(module, capsys, *TOY, TORCH, *options)
    plain, ours, bare, bicubic, pillow = found["rows"]
    for row in found["rows"]:
        assert row["megapixels_per_second"] * row["seconds"] == pytest.approx(200 * 160 / 1e6)
        assert row["images_per_second"] * row["seconds"] == pytest.approx(1)
    for row in (plain, ours, bare):
        assert row["times_plain"] == pytest.approx(plain["seconds"] / row["seconds"])
        assert row["matmul_share"] == pytest.approx(row["gflops"] / found["matmul_gflops"]["fp32"])
        assert row["gflops"] * row["seconds"] == pytest.approx(plain["gflops"] * plain["seconds"])
    assert ours["times_bare"] == pytest.approx(ours["seconds"] / bare["seconds"])
    assert [row["times_bare"] for row in (plain, bare, bicubic)] == [None] * 3
    assert (bicubic["gflops"], bicubic["times_plain"], pillow["matmul_share"]) == (None, None, None)


@pytest.mark.parametrize(("name", "scale"), [("edsr_baseline_x4", 4), ("edsr_baseline_x3", 3), ("mdsr_baseline", 4)])
def test_operations_are_those_of_the_convolutions(module: ModuleType, name: str, scale: int) -> None:
    model = srzoo.create_model(name, width=8, num_blocks=2).eval()
    image = torch.rand(3, 7, 9)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(image[None], scale)
    assert module.count_gflop(model, image) == pytest.approx(counter.get_total_flops() / 1e9)
    assert module.count_gflop(srzoo.create_model("bicubic_x2"), image) is None


def test_a_call_on_strips_that_are_not_whole_parts_of_the_image_counts_for_what_it_does(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    contender = module.Contender({}, lambda: None, 2, part=0.5)
    now = iter([1.0, 4.0])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(now))
    contender.time(torch.device("cpu"))
    assert contender.seconds == [6]


def test_shapes_gives_the_speed_by_rows_of_a_strip(module: ModuleType, capsys: Capture) -> None:
    found = run(module, capsys, *TOY, TORCH, X2, "--size=24x9", "--shapes")
    assert [row["tile"] for row in found["rows"]] == ["24x2", "24x4", "24x8"]
    assert all(row["megapixels_per_second"] > 0 for row in found["rows"])


def test_engines_that_are_not_installed_are_told_and_the_others_measured(
    module: ModuleType, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    options = [*TOY, X2, "--engines=openvino,torch", "--precisions=fp32", "--size=8x8", "--no-plain", "--no-bare"]
    missing, ours, *_ = run(module, capsys, *options)["rows"]
    assert "srzoo[openvino]" in missing["told"]
    assert (missing["seconds"], missing["megapixels_per_second"]) == (None, None)
    assert ours["told"] is None
    assert module.main(options) == 0
    told = capsys.readouterr().out
    assert "srzoo[openvino]" in told
    assert "edsr_baseline_x2   x2    torch     fp32" in told
    assert "srzoo[openvino]" in run(module, capsys, *options, "--shapes")["rows"][0]["told"]


def test_without_its_package_the_peer_is_told(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(module.importlib.metadata, "distribution", missing)
    args = module.argparse.Namespace(overrides={})
    image = torch.zeros(3, 4, 4, dtype=torch.uint8)
    _, peer = module.plain_contenders(args, "edsr_baseline_x2", image, torch.device("cpu"))
    assert (peer.row["engine"], peer.told) == ("torchsr", "not installed: pip install --no-deps torchsr")


def test_a_row_that_runs_out_of_memory_is_told_and_the_others_measured(module: ModuleType) -> None:
    def fail() -> None:
        raise torch.OutOfMemoryError("out of memory")

    row = {"model": "a", "engine": "torch", "precision": "fp32", "tile": "strips"}
    contenders = [module.Contender(row, fail, 2), module.Contender(row, lambda: None, 2)]
    ready = module.warm_up(iter(contenders), torch.device("cpu"))
    ready[1].time(torch.device("cpu"))
    failed, measured = module.compare(ready, {}, torch.zeros(3, 4, 4))
    assert (failed["told"], failed["seconds"]) == ("out of memory", None)
    assert (measured["told"], measured["seconds"] > 0) == (None, True)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--precisions=fp23", "not fp23"),
        ("--engines=tensorrt", "not tensorrt"),
        ("--size=12", "480x320"),
        ("--tiles=wide", "strips,128,256"),
    ],
)
def test_a_wrong_option_is_named(module: ModuleType, option: str, told: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as exit_:
        module.main([option])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err
