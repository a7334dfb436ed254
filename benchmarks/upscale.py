"""Upscaling speed: megapixels a second by model, engine, precision and tile, beside the plain model and a peer.

Megapixels are those of the result. A row is one image as users call it: uint8 pixels in the host's memory go in,
and come out. In the same run, to compare with:

- "plain": the model called on the whole image in float32, as its `forward` is, without gradients;
- "torchsr": torchSR's `edsr_baseline` called as its README does, but without gradients, if that package is there
  (`pip install --no-deps torchsr`; random weights, which changes nothing in time);
- "bare": the engine on strips of the planned size alone, without states, halo, reading and rounding: what exact results
  cost over it is the overhead;
- matmul: a square matrix product in each precision. `matmul_share` is what a row makes of that rate, if only the
  convolutions of the network on the whole image are counted, each once;
- bicubic: the zoo's on the same device, and Pillow's on one processor core.

The best of `--rounds` counts; rounds of all rows take turns.

    python benchmarks/upscale.py --models edsr_baseline_x4 --size 1024x768
    python benchmarks/upscale.py --models edsr_baseline_x4 --size 1024x256 --shapes    # speed by rows of a strip
    python benchmarks/upscale.py --models edsr_x4 --size 480x270 --device cuda --rounds 10

Peak memory is that of CUDA's allocator for this row alone, weights included; for the memory of the host see
upscale_memory.py.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from machine import (
    add_shared_options,
    describe_machine,
    matmul_flops,
    matmul_side,
    parse_names,
    parse_size,
    synchronize,
)
from PIL import Image
from torch import Tensor, nn

import srzoo
from srzoo.device import pick_device
from srzoo.upscaling.engines.torch_engine import DTYPES
from srzoo.upscaling.layers import CannotRecordError, record
from srzoo.upscaling.memory import is_out_of_memory
from srzoo.upscaling.steps import plan_flow
from srzoo.upscaling.strips import Compiled

MODELS = "edsr_baseline_x2,edsr_baseline_x4"
ENGINES = {"openvino": "openvino", "onnx": "onnxruntime"}
"""Engine -> the package it needs, besides torch."""
MIB = 2**20
SHAPE_ROWS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
WARM_UP = {"cuda": 6}
"""Calls before any is timed: kernels are chosen, on CUDA graphs recorded."""


@dataclass
class Contender:
    """Something that upscales the image, and the times it took."""

    row: dict[str, Any]
    call: Callable[[], object]
    scale: int
    gflop: float | None = None
    """Of the network's convolutions on the image, 10^9 operations."""
    part: float = 1.0
    """Images that a call does."""
    told: str | None = None
    bare: Any = None
    """The `Contender` of the same engine on strips alone."""
    seconds: list[float] = field(default_factory=list)
    memory: float | None = None

    def time(self, device: torch.device) -> None:
        """Run once."""
        if self.told is not None:
            return
        try:
            synchronize(device)
            start = time.perf_counter()
            self.call()
            synchronize(device)
            self.seconds.append((time.perf_counter() - start) / self.part)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            self.told = "out of memory"


def parse_tiles(text: str) -> list[int | None]:
    """`strips,256` as a list of sides, None for strips."""
    try:
        return [None if part == "strips" else int(part) for part in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form strips,128,256") from error


def installed_engines(device: torch.device) -> list[Any]:
    """Engines that can run here."""
    others = [name for name, package in ENGINES.items() if importlib.util.find_spec(package)]
    return ["torch", *(others if device.type == "cpu" else [])]


def make_model(args: argparse.Namespace, name: str) -> srzoo.SRModel:
    """A model with random weights, of its own, so that what it takes can be counted."""
    overrides = {} if name.startswith("bicubic") else args.overrides
    return srzoo.create_model(name, **overrides).eval()


def count_gflop(model: srzoo.SRModel, image: Tensor) -> float | None:
    """10^9 operations of a network's convolutions on a whole image; None if its layers cannot be recorded.

    A product and the sum it goes into are two operations; zeros around the image count.
    """
    try:
        layers = record(model, model.scales[-1])
    except CannotRecordError:
        return None
    pairs = zip(layers, plan_flow(layers).factors, strict=True)
    one = sum(2 * layer.weight.numel() * factor**2 for layer, factor in pairs if layer.weight is not None)
    return one * image.shape[-1] * image.shape[-2] / 1e9 or None


def find_torchsr(scale: int) -> nn.Module | None:
    """The peer's model; its package cannot be imported whole without torchvision."""
    try:
        path = importlib.metadata.distribution("torchsr").locate_file("torchsr/models/edsr.py")
    except importlib.metadata.PackageNotFoundError:
        return None
    spec = importlib.util.spec_from_file_location("torchsr_edsr", str(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.edsr_baseline(scale)


def call_whole(model: nn.Module, image: Tensor, device: torch.device) -> Callable[[], Tensor]:
    """The plain way: the whole image in float32."""
    model = model.to(device).eval()

    @torch.no_grad()
    def call() -> Tensor:
        lr = (image.float() / 255)[None].to(device)
        return (model(lr).clamp(0, 1)[0] * 255).round().byte().cpu()

    return call


def plain_contenders(args: argparse.Namespace, name: str, image: Tensor, device: torch.device) -> Iterator[Contender]:
    """The model as it is, and the peer's, if it is the same network."""
    model = make_model(args, name)
    if len(model.scales) != 1:
        return
    scale, gflop = model.scales[-1], count_gflop(model, image)
    row = {"model": name, "engine": "plain", "precision": "fp32", "tile": "whole"}
    yield Contender(row, call_whole(model, image, device), scale, gflop)
    if name.startswith("edsr_baseline") and not args.overrides:
        row = {"model": "edsr_baseline", "engine": "torchsr", "precision": "fp32", "tile": "whole"}
        peer = find_torchsr(scale)
        if peer is None:
            yield Contender(row, lambda: None, scale, told="not installed: pip install --no-deps torchsr")
        else:
            yield Contender(row, call_whole(peer, image, device), scale, gflop)


def upscaler_contenders(
    args: argparse.Namespace, name: str, image: Tensor, device: torch.device
) -> Iterator[Contender]:
    """One for each engine, precision and tile."""
    for engine in args.engines or installed_engines(device):
        if name.startswith("bicubic") and engine != "torch":
            continue
        seen = set()
        for precision in args.precisions or ("fp32", "auto"):
            for tile in args.tiles:
                model = make_model(args, name)
                gflop, scale = count_gflop(model, image), model.scales[-1]
                row = {"model": name, "engine": engine, "precision": precision, "tile": tile or "strips"}
                try:
                    upscaler = srzoo.Upscaler(
                        model, scale=scale, device=device, engine=engine, precision=precision, tile=tile,
                        memory=args.memory,
                    )  # fmt: skip
                except (ImportError, ValueError) as error:
                    yield Contender(row, lambda: None, scale, told=str(error))
                    continue
                row["precision"] = upscaler.precision
                if (upscaler.precision, tile) in seen:
                    continue  # auto is fp32 here
                seen.add((upscaler.precision, tile))
                ours = Contender(row, lambda upscaler=upscaler: upscaler(image), scale, gflop)
                yield ours
                if tile is None and args.bare and (bare := bare_contender(upscaler, ours, image)):
                    ours.bare = bare
                    yield bare


def bare_contender(upscaler: srzoo.Upscaler, ours: Contender, image: Tensor) -> Contender | None:
    """The engine alone on strips of the planned size, about as many as the image has; None if it goes in tiles."""
    channels, height, width = image.shape
    executor = upscaler._executor(ours.scale)  # pyright: ignore[reportPrivateUsage]
    plan = executor.shapes.strips(width)
    if plan is None or executor.networks is None:
        return None
    left, right = plan.bands[0].window
    rows, columns = min(plan.rows, height), right - left
    step = Compiled(executor.engine, executor.networks).step(0, "whole", (1, rows, columns))
    strip = torch.rand(1, channels, rows, columns, device=upscaler.device)
    number = max(1, round(height * width / (rows * columns)))

    def call() -> None:
        for _ in range(number):
            step(strip, ())

    row = {**ours.row, "tile": f"bare {columns}x{rows}"}
    return Contender(row, call, ours.scale, ours.gflop, part=number * rows * columns / (height * width))


def shape_contenders(args: argparse.Namespace, name: str, image: Tensor, device: torch.device) -> Iterator[Contender]:
    """Middle strips of different heights, with their states: what the planner's table comes from."""
    channels, height, width = image.shape
    for engine in args.engines or installed_engines(device):
        for precision in args.precisions or ("auto",):
            model = make_model(args, name)
            scale, gflop = model.scales[-1], count_gflop(model, image)
            row = {"model": name, "engine": engine, "precision": precision, "tile": "strips"}
            try:
                upscaler = srzoo.Upscaler(model, scale=scale, device=device, engine=engine, precision=precision)
                executor = upscaler._executor(scale)  # pyright: ignore[reportPrivateUsage]
            except (ImportError, ValueError) as error:
                yield Contender(row, lambda: None, scale, told=str(error))
                continue
            if executor.networks is None:
                yield Contender(row, lambda: None, scale, told="its layers cannot be recorded")
                continue
            compiled, flow = Compiled(executor.engine, executor.networks), plan_flow(executor.networks[0])
            first = torch.rand(1, channels, flow.min_first, width, device=device)
            for rows in [rows for rows in SHAPE_ROWS if rows <= max(height, SHAPE_ROWS[0])]:
                states = compiled.step(0, "first", (1, flow.min_first, width))(first, ())[1]
                step = compiled.step(0, "middle", (1, rows, width))
                strip, number = torch.rand(1, channels, rows, width, device=device), max(1, height // rows)
                kept = [states]  # each call goes on from the one before

                def call(step: Any = step, strip: Tensor = strip, kept: list[Any] = kept, n: int = number) -> None:
                    for _ in range(n):
                        kept[0] = step(strip, kept[0])[1]

                row = {"model": name, "engine": engine, "precision": upscaler.precision, "tile": f"{width}x{rows}"}
                yield Contender(row, call, scale, gflop, part=number * rows / height)


def bicubic_contenders(scale: int, image: Tensor, device: torch.device) -> Iterator[Contender]:
    """The zoo's bicubic and Pillow's."""
    bicubic = srzoo.Upscaler(f"bicubic_x{scale}", device=device)
    row = {"model": f"bicubic_x{scale}", "engine": "torch", "precision": "fp32", "tile": "tiles"}
    yield Contender(row, lambda: bicubic(image), scale)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    size = picture.width * scale, picture.height * scale
    row = {"model": "Pillow's bicubic", "engine": "pillow", "precision": "uint8", "tile": "whole"}
    yield Contender(row, lambda: picture.resize(size, Image.Resampling.BICUBIC), scale)


def all_contenders(args: argparse.Namespace, image: Tensor, device: torch.device) -> Iterator[Contender]:
    """Everything that is to be timed, made when its turn comes."""
    scales: dict[int, None] = {}
    for name in args.models:
        scales[make_model(args, name).scales[-1]] = None
        if args.shapes:
            yield from shape_contenders(args, name, image, device)
            continue
        if args.plain:
            yield from plain_contenders(args, name, image, device)
        yield from upscaler_contenders(args, name, image, device)
    for scale in scales if not args.shapes else ():
        yield from bicubic_contenders(scale, image, device)


def warm_up(contenders: Iterator[Contender], device: torch.device) -> list[Contender]:
    """All contenders, called a few times; on CUDA with the memory that each takes."""
    ready = []
    while True:
        before = 0
        if device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)
            before = torch.cuda.memory_allocated(device)
        contender = next(contenders, None)
        if contender is None:
            return ready
        for _ in range(WARM_UP.get(device.type, 1)):
            contender.time(device)
        contender.seconds.clear()
        if device.type == "cuda" and contender.told is None and not str(contender.row["tile"]).startswith("bare"):
            contender.memory = (torch.cuda.max_memory_allocated(device) - before) / MIB
        ready.append(contender)


def compare(contenders: list[Contender], rates: dict[str, float], image: Tensor) -> list[dict[str, Any]]:
    """A row for each contender: its best time, and what that is beside the others'."""
    best = {id(c): min(c.seconds) for c in contenders if c.seconds}
    rows = []
    for contender in contenders:
        seconds = best.get(id(contender))
        row: dict[str, Any] = {**contender.row, "scale": contender.scale, "seconds": seconds}
        pixels = image.shape[-1] * image.shape[-2] * contender.scale**2
        row["megapixels_per_second"] = None if seconds is None else pixels / 1e6 / seconds
        row["images_per_second"] = None if seconds is None else 1 / seconds
        gflops = None if contender.gflop is None or seconds is None else contender.gflop / seconds
        rate = rates.get(contender.row["precision"].partition(" ")[0])
        row |= {"gflops": gflops, "matmul_share": None if gflops is None or rate is None else gflops / rate}
        for base in ("plain", "torchsr"):
            same = (c for c in contenders if c.row["engine"] == base and is_same_network(c, contender))
            other = best.get(id(next(same, None)))
            row[f"times_{base}"] = None if other is None or seconds is None else other / seconds
        bare = best.get(id(contender.bare))
        row["times_bare"] = None if bare is None or seconds is None else seconds / bare
        rows.append({**row, "peak_memory_mib": contender.memory, "told": contender.told})
    return rows


def is_same_network(one: Contender, other: Contender) -> bool:
    """Whether two contenders do the same work."""
    return (one.scale, one.gflop) == (other.scale, other.gflop)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rows."""
    device = pick_device(args.device)
    width, height = args.size
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8)
    contenders = warm_up(all_contenders(args, image, device), device)
    words = {contender.row["precision"].partition(" ")[0] for contender in contenders if contender.gflop}
    rates = dict.fromkeys(sorted(words & DTYPES.keys()), 0.0)
    side = args.matmul_side or matmul_side(device)
    for _ in range(args.rounds):
        for contender in contenders:
            contender.time(device)
        for name in rates:
            rates[name] = max(rates[name], matmul_flops(DTYPES[name], device, side) / 1e9)
    rows = compare(contenders, rates, image)
    return {"image": f"{width}x{height}", **describe_machine(device), "matmul_gflops": rates, "rows": rows}


def show(result: dict[str, Any]) -> None:
    """The rows as a table."""
    print(f"LR image {result['image']}, {result['device']}, torch {result['torch']}")
    print("matmul: " + ", ".join(f"{name} {rate:.0f} GFLOP/s" for name, rate in result["matmul_gflops"].items()))
    head = f"{'model':18} {'scale':5} {'engine':9} {'precision':26} {'tile':14}"
    print(f"{head} seconds    MP/s images/s GFLOP/s matmul  /plain /torchsr /bare peak MiB")
    for row in result["rows"]:
        start = f"{row['model']:18} x{row['scale']:<4} {row['engine']:9} {row['precision']:26} {row['tile']!s:14}"
        if row["told"] is not None:
            print(start, row["told"])
            continue
        keys = ("seconds", "megapixels_per_second", "images_per_second", "gflops", "matmul_share")
        forms = ("7.3f", "7.2f", "8.2f", "7.0f", "6.2f", "7.2f", "8.2f", "5.2f", "8.0f")
        figures = [row[key] for key in (*keys, "times_plain", "times_torchsr", "times_bare", "peak_memory_mib")]
        cells = [" " * int(form[0]) if x is None else f"{x:{form}}" for x, form in zip(figures, forms, strict=True)]
        print(start, " ".join(cells).rstrip())


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=parse_names, default=MODELS, help=f"default: {MODELS}")
    parser.add_argument("--engines", type=parse_names, help="default: all that are installed")
    parser.add_argument("--precisions", type=parse_names, help="auto, fp32, bf16, fp16 (default: fp32,auto)")
    tiles = "strips, or sides of a tile in LR pixels (default: strips)"
    parser.add_argument("--tiles", type=parse_tiles, default="strips", help=tiles)
    parser.add_argument("--size", type=parse_size, default="1024x768", help="of the LR image (default: 1024x768)")
    parser.add_argument("--memory", help="the upscaler's budget, such as 2GB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-plain", dest="plain", action="store_false", help="leave out the plain model and the peer")
    parser.add_argument("--no-bare", dest="bare", action="store_false", help="leave out the engines on bare strips")
    parser.add_argument("--shapes", action="store_true", help="speed by rows of a strip, instead")
    parser.add_argument("--matmul-side", type=int, help="rows of the matrices (default: 8192 on CUDA, else 2048)")
    add_shared_options(parser)
    args = parser.parse_args(argv)
    if wrong := set(args.precisions or ()) - {"auto", *DTYPES}:
        parser.error(f"--precisions knows auto, {', '.join(DTYPES)}, not {', '.join(sorted(wrong))}")
    if wrong := set(args.engines or ()) - {"torch", *ENGINES}:
        parser.error(f"--engines knows torch, {', '.join(ENGINES)}, not {', '.join(sorted(wrong))}")
    result = measure(args)
    print(json.dumps(result, indent=2)) if args.json else show(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
