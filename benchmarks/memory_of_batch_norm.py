"""What batch norm costs in memory: the paper's claim that leaving it out saves about 40 % while training.

EDSR with and without a batch norm after every convolution of its residual blocks, which is SRResNet's block
(figure 2). What a step has to hold for its backward pass is counted tensor by tensor
(`torch.autograd.graph.saved_tensors_hooks`), which is the same on every device; on CUDA the peak of the allocator
over whole steps with Adam is measured as well. `fixed` are weights, gradients and Adam's moments, which both have.

    python benchmarks/memory_of_batch_norm.py --model edsr_baseline_x4
"""

import argparse
import json
import sys
from typing import Any

import torch
from machine import add_shared_options, describe_machine
from torch import Tensor, nn

import srzoo
from srzoo.benchmark.scoring import call_model
from srzoo.blocks import ResBlock
from srzoo.device import pick_device

MIB = 2**20


def add_batch_norm(model: nn.Module) -> nn.Module:
    """The model with a batch norm after both convolutions of each residual block."""
    for block in [module for module in model.modules() if isinstance(module, ResBlock)]:
        for name in ("conv1", "conv2"):
            conv = getattr(block, name)
            norm = nn.BatchNorm2d(conv.out_channels, device=conv.weight.device)
            setattr(block, name, nn.Sequential(conv, norm))
    return model


def saved_bytes(model: nn.Module, lr: Tensor, scale: int) -> int:
    """Memory that the backward pass needs, parameters and buffers not counted; a tensor saved twice counts once."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    seen: dict[int, int] = {}
    kept = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
            kept.append(tensor)  # so that no address is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        call_model(model, lr, scale).mean().backward()
    return sum(seen.values())


def peak_bytes(model: nn.Module, lr: Tensor, scale: int) -> int:
    """Peak of CUDA's allocator over a step with Adam."""
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(2):  # the first makes the moments
        torch.cuda.reset_peak_memory_stats(lr.device)
        optimizer.zero_grad(set_to_none=True)
        call_model(model, lr, scale).mean().backward()
        optimizer.step()
    return torch.cuda.max_memory_allocated(lr.device)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Memory with and without batch norm, in MiB, and the share saved."""
    device = pick_device(args.device)
    figures: dict[str, dict[str, float]] = {}
    shape: tuple[int, ...] = ()
    for kind in ("with", "without"):
        model = srzoo.create_model(args.model, **args.overrides)
        shape, scale = (args.batch_size, model.channels, args.patch_size, args.patch_size), model.scales[0]
        network: nn.Module = (add_batch_norm(model) if kind == "with" else model).to(device).train()
        lr = torch.rand(shape, device=device)
        saved = saved_bytes(network, lr, scale) / MIB
        fixed = sum(4 * p.nbytes for p in network.parameters()) / MIB
        figures[kind] = {"saved": saved, "fixed": fixed, "saved and fixed": saved + fixed}
        if device.type == "cuda":
            network.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            figures[kind]["peak"] = peak_bytes(network, lr, scale) / MIB
    with_, without = figures["with"], figures["without"]
    less = {key: 1 - without[key] / with_[key] for key in with_}
    told = {"model": args.model, "batch": list(shape), "precision": "fp32", **describe_machine(device)}
    return {**told, "with batch norm": with_, "without": without, "less": less}


def main(argv: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edsr_baseline_x4")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--patch-size", type=int, default=48, help="side of the LR patch")
    add_shared_options(parser)
    result = measure(args := parser.parse_args(argv))
    if args.json:
        print(json.dumps(result, indent=2))
        return 0
    print(f"{result['model']}, batch {result['batch']}, fp32, {result['device']}, torch {result['torch']}; MiB")
    for key, with_ in result["with batch norm"].items():
        print(f"{key:16} {with_:8.1f} with, {result['without'][key]:8.1f} without: {result['less'][key]:.1%} less")
    return 0


if __name__ == "__main__":
    sys.exit(main())
