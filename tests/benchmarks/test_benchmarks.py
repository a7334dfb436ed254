"""benchmarks/: each runs at toy size, and its figures agree with one another and with independent counts."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import srzoo
from srzoo.data import PatchSource

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
TOY = ["--device=cpu", "--overrides=width=8,num_blocks=1", "--json"]


@pytest.fixture(autouse=True)
def _machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """`from machine import ...` as a script finds it."""
    monkeypatch.syspath_prepend(str(FOLDER))


def load_benchmark(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def run(module: ModuleType, capsys: pytest.CaptureFixture[str], *options: str) -> dict[str, Any]:
    assert module.main([*TOY, *options]) == 0
    return json.loads(capsys.readouterr().out)


SMALL = ["--batch-size=2", "--patch-size=8", "--steps=4", "--rounds=2", "--precision=fp32", "--matmul-side=64"]


def test_training_speed_share_and_utilisation_agree(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(load_benchmark("train"), capsys, *SMALL, f"--data={photo_folder}")
    assert found["speedup"] == pytest.approx(found["steps_per_second"] / found["plain_steps_per_second"])
    assert found["gflops"] == pytest.approx(found["steps_per_second"] * found["gflop_a_step"])
    assert found["utilisation"] == pytest.approx(found["gflops"] / found["matmul_gflops"])
    assert 0 < found["outside_share"] < 1
    assert (found["precision"], found["batch"]) == ("fp32", "2 patches of 8x8, x2")


def test_without_photos_and_peer_it_makes_pictures_and_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    options = [option for option in TOY if option != "--json"]
    assert load_benchmark("train").main([*options, *SMALL, "--steps=1", "--rounds=1", "--no-plain"]) == 0
    told = capsys.readouterr().out
    assert "steps_per_second" in told
    assert "plain" not in told


def test_a_multi_scale_model_is_measured_at_one_scale(photo_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model=mdsr_baseline", f"--data={photo_folder}", "--no-plain"]
    assert run(load_benchmark("train"), capsys, *SMALL, *options)["batch"].endswith("x2")


def test_time_outside_is_what_passes_between_the_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    module = load_benchmark("train")
    now = [0.0]

    def spend(seconds: float) -> None:
        now[0] += seconds

    trainer = SimpleNamespace(
        device=torch.device("cpu"),
        _backward=lambda: spend(3),
        optimizer=SimpleNamespace(step=lambda: spend(1)),
    )
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    inside = module.Inside(trainer)
    for _ in range(2):
        spend(0.5)  # draws a batch
        trainer._backward()
        trainer.optimizer.step()
    assert (inside.seconds(), now[0]) == (8, 9)


@pytest.mark.parametrize("name", ["edsr_baseline_x2", "mdsr_baseline"])
def test_operations_are_those_of_the_convolutions(name: str) -> None:
    model = srzoo.create_model(name, width=8, num_blocks=2)
    seen: list[int] = []

    def count(conv: nn.Module, args: tuple[Tensor], out: Tensor) -> None:
        assert isinstance(conv, nn.Conv2d)
        forward = 2 * out.numel() * conv.in_channels * conv.kernel_size[0] ** 2
        seen.append(forward * (3 if args[0].requires_grad else 2))  # of the image no gradient is made

    for conv in [module for module in model.modules() if isinstance(module, nn.Conv2d)]:
        conv.register_forward_hook(count)
    model(torch.rand(3, 3, 10, 10), 2)
    assert load_benchmark("train").count_flops(model, 3, 10) == sum(seen)


def test_the_plain_loop_is_fp32_planes_and_updates(photo_folder: Path, tmp_path: Path) -> None:
    module = load_benchmark("train")
    source = PatchSource(photo_folder, scales=(2,), cache=tmp_path / "cache")
    lr, hr = module.PlainPatches(source, 8, 10)[3]
    assert (lr.shape, hr.shape, lr.dtype) == ((3, 8, 8), (3, 16, 16), torch.float32)
    assert lr.is_contiguous()
    assert 0 <= lr.min() < lr.max() <= 1
    loader = torch.utils.data.DataLoader(module.PlainPatches(source, 8, 400), 4)
    lr, hr = next(iter(loader))
    model = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.PixelShuffle(2))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    expected = (model(lr) - hr).abs().mean()
    step = module.plain_step(model, iter(loader), 2)
    torch.testing.assert_close(step(), expected.detach())
    moved = {key: (value - before[key]).abs().max().item() for key, value in model.state_dict().items()}
    assert moved == pytest.approx(dict.fromkeys(moved, 1e-4), rel=1e-2)  # Adam's first step is its rate


@pytest.mark.parametrize(
    ("name", "option", "told"),
    [
        ("train", "--overrides=width=wide", "width=32,num_blocks=4"),
    ],
)
def test_a_wrong_option_is_named(name: str, option: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        load_benchmark(name).main([option])
    assert exit_.value.code == 2
    assert told in capsys.readouterr().err
