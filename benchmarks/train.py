"""Training speed: steps a second, time outside forward, backward and optimizer, and use of the machine.

Everything is measured in one run, in turns, so that the ratios hold whatever else the machine does:

- srzoo: `Trainer` as it comes: patches from the cache, channels last, the fastest precision, the average;
- plain: the same network, batch and optimizer in fp32 with planes (NCHW), patches through a torch DataLoader;
- matmul: a square matrix product in srzoo's precision, the most the machine does.

    python benchmarks/train.py --model edsr_baseline_x2 --steps 20

On CUDA, time inside is what passes on the device between the first and the last kernel of each part, and two
figures say whether the host holds the device up: `host_share`, the time the host needs to give out the steps, in parts
of the whole, and `host_waits_a_step`, calls that wait for the device.
"""

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import add_shared_options, describe_machine, matmul_flops, matmul_side, time_calls
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode

import srzoo
from srzoo.benchmark.scoring import call_model
from srzoo.data import PatchSource
from srzoo.train import TrainConfig, Trainer
from srzoo.train.update import DTYPES

WARM_UP = 3
"""Steps before any is timed: kernels are chosen, graphs recorded."""


def make_photos(folder: Path, side: int, count: int = 8) -> None:
    """Pictures with structure at all sizes, for a machine without photographs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side] / 40
    for i in range(count):
        a, b, c = rng.uniform(0.3, 4, (3, 3))
        image = np.stack(
            [np.sin(a[k] * x + c[k]) * np.cos(b[k] * y) + (np.sin(a[k] * x * y) > 0) for k in range(3)], -1
        )
        image = (image - image.min()) / (image.max() - image.min()) * 255
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{i:02d}.png", compress_level=1)


class PlainPatches(Dataset[tuple[Tensor, Tensor]]):
    """Crops of decoded images, one at a time, as a torch Dataset: what most training code does."""

    def __init__(self, source: PatchSource, patch_size: int, length: int) -> None:
        self._source, self._patch_size, self._length = source, patch_size, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        rng, scale = np.random.default_rng(index), self._source.scales[0]
        lr, hr = self._source.sample(rng, scale=scale, batch_size=1, patch_size=self._patch_size)
        return lr[0].contiguous().float() / 255, hr[0].contiguous().float() / 255


def plain_step(model: nn.Module, batches: Iterator[list[Tensor]], scale: int) -> Callable[[], Tensor]:
    """One step of the plain loop, as a function; the host does not wait for its loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    device = next(model.parameters()).device

    def step() -> Tensor:
        lr, hr = (x.to(device, non_blocking=True) for x in next(batches))
        optimizer.zero_grad(set_to_none=True)
        loss = nn.functional.l1_loss(call_model(model, lr, scale), hr)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def count_flops(model: srzoo.SRModel, batch_size: int, patch_size: int) -> int:
    """Floating-point operations of forward and backward of one step; nothing is computed."""
    with torch.device("meta"):
        twin = srzoo.create_model(model.name, **model.arguments)
        lr = torch.empty(batch_size, model.channels, patch_size, patch_size)
    with FlopCounterMode(display=False) as counter:
        twin(lr, model.scales[0]).sum().backward()
    return counter.get_total_flops()


class Inside:
    """Time spent in forward, backward and optimizer, measured where the Trainer calls them."""

    def __init__(self, trainer: Trainer) -> None:
        self._on_cuda = trainer.device.type == "cuda"
        self._spans: list[tuple[Any, Any]] = []
        trainer._backward = self._timed(trainer._backward)  # pyright: ignore[reportAttributeAccessIssue] - timed
        trainer.optimizer.step = self._timed(trainer.optimizer.step)

    def _now(self) -> Any:
        if not self._on_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            start = self._now()
            result = call(*args, **kwargs)
            self._spans.append((start, self._now()))
            return result

        return timed

    def seconds(self) -> float:
        """Sum of all calls, the device being done."""
        if self._on_cuda:
            return sum(start.elapsed_time(end) for start, end in self._spans) / 1000
        return sum(end - start for start, end in self._spans)


def count_host_waits(call: Callable[[], object], count: int) -> float:
    """Calls of CUDA that wait for the device, a step."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(count):
                call()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(warning.message) for warning in caught) / count


def make_plain_step(args: argparse.Namespace, source: PatchSource, device: torch.device) -> Callable[[], Tensor]:
    """The peer: what most training code does."""
    workers = args.workers
    if workers is None:
        workers = min(8, os.cpu_count() or 1) if device.type == "cuda" else 0
    patches = PlainPatches(source, args.patch_size, 10**6 * args.batch_size)
    loader = DataLoader(patches, args.batch_size, num_workers=workers, pin_memory=device.type == "cuda")
    model = srzoo.create_model(args.model, **args.overrides).to(device).train()
    return plain_step(model, iter(loader), source.scales[0])


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures."""
    model = srzoo.create_model(args.model, **args.overrides)
    source, theirs = (
        PatchSource(args.data or folder, scales=model.scales[:1], channels=model.channels, cache=folder / "cache")
        for _ in range(2)  # the trainer may put its own on the device
    )
    config = TrainConfig(
        batch_size=args.batch_size, patch_size=args.patch_size, precision=args.precision, device=args.device,
        capture=args.capture,
    )  # fmt: skip
    trainer = Trainer(model, source, config)
    device, on_cuda = trainer.device, trainer.device.type == "cuda"
    torch.backends.cudnn.benchmark = True  # as `Trainer.fit` does; for the peer, too

    def step() -> Tensor:
        return trainer.train_step(trainer.batches.next(trainer.step))

    more: dict[str, Any] = {}
    with closing(trainer.batches):
        for _ in range(WARM_UP):
            step()
        if on_cuda:
            more["peak_memory_mib"] = torch.cuda.max_memory_allocated(device) / 2**20
            more["host_waits_a_step"] = count_host_waits(step, 10)
        peer = None if args.no_plain else make_plain_step(args, theirs, device)
        if peer:
            time_calls(peer, 1 if not on_cuda else WARM_UP, device)
        more |= _in_turns(args, trainer, step, peer)
    flops = count_flops(model, args.batch_size, args.patch_size)
    return {
        "model": args.model,
        "batch": f"{args.batch_size} patches of {args.patch_size}x{args.patch_size}, x{source.scales[0]}",
        "precision": trainer.precision,
        **describe_machine(device),
        **more,
        "gflop_a_step": flops / 1e9,
        "gflops": flops * more["steps_per_second"] / 1e9,
        "utilisation": flops * more["steps_per_second"] / 1e9 / more["matmul_gflops"],
    }


def _in_turns(
    args: argparse.Namespace, trainer: Trainer, step: Callable[[], object], peer: Callable[[], object] | None
) -> dict[str, float]:
    """Speeds of srzoo, the peer and a matrix product, a round after the other; the best round of each counts."""
    device = trainer.device
    side = args.matmul_side or matmul_side(device)
    inside = Inside(trainer)
    ours, theirs, matmul = [], [], []
    for _ in range(args.rounds):
        ours.append(time_calls(step, args.steps, device))
        if peer:
            theirs.append(time_calls(peer, max(1, args.steps // 4), device)[0])
        matmul.append(matmul_flops(DTYPES[trainer.precision], device, side))
    whole = sum(seconds for seconds, _ in ours) * args.steps
    best = min(seconds for seconds, _ in ours)
    found = {
        "steps_per_second": 1 / best,
        "outside_share": 1 - inside.seconds() / whole,
        "matmul_gflops": max(matmul) / 1e9,
    }
    if device.type == "cuda":
        found["host_share"] = sum(given for _, given in ours) / sum(seconds for seconds, _ in ours)
    if peer:
        found |= {"plain_steps_per_second": 1 / min(theirs), "speedup": min(theirs) / best}
    return found


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edsr_baseline_x2")
    parser.add_argument("--data", help="folder of images (default: made up)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--patch-size", type=int, default=48, help="side of the LR patch")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16", "fp16"), default="auto")
    parser.add_argument("--capture", choices=("auto", "none", "graph", "compile"), default="auto")
    parser.add_argument("--steps", type=int, default=8, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, help="of the plain loop's DataLoader (default: 8 on CUDA, else 0)")
    parser.add_argument("--no-plain", action="store_true", help="leave the plain loop out")
    parser.add_argument("--matmul-side", type=int, help="rows of the matrices (default: 8192 on CUDA, else 2048)")
    add_shared_options(parser)
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        if args.data is None:
            make_photos(Path(folder), side=8 * args.patch_size)  # x4, with room for crops
        result = measure(args, Path(folder))
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    for key, value in result.items():
        print(f"{key:24} {value:.3f}" if isinstance(value, float) else f"{key:24} {value}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
