"""The paper's claim: without batch norm the residual blocks save about 40 % of the memory of training.

SRResNet with batch norm, the same network without it, and EDSR-baseline, which is what the paper makes of it. What a
training step holds for its backward pass is counted tensor by tensor, which is the same on every device; on CUDA
the peak of the allocator is measured too. Times are medians of rounds in which the networks take turns.

python examples/paper/batch_norm.py
"""

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
from study import AGREES, DISAGREES, PARTLY, Found, Rows, Study, Verdict, autocast, by_name, run_claim, saved_bytes

import srzoo
from srzoo.device import fast_precision, pick_device, to_channels_last

TITLE = "Memory and speed without batch norm"
PAPER = 'removing batch norm from SRResNet\'s residual blocks "can also save ~40% of memory". Speed is not given.'
SAID, NEAR = 0.40, 0.10
RULE = (
    f'"{AGREES}" if SRResNet without batch norm saves {SAID - NEAR:.0%} or more of what it holds, in each precision; '
    f'"{PARTLY}" if only EDSR-baseline does and it saves something; "{DISAGREES}" otherwise'
)
MIB = 2**20


def make_networks(study: Study) -> dict[str, srzoo.SRModel]:
    """What is compared; the first has batch norm."""
    size = dict(width=study["width"], num_blocks=study["blocks"])
    return {
        "SRResNet": srzoo.create_model("srresnet_x4", **size),
        "SRResNet without batch norm": srzoo.create_model("srresnet_x4", batch_norm=False, **size),
        "EDSR-baseline": srzoo.create_model("edsr_baseline_x4", **size),
    }


def training_step(model: srzoo.SRModel, lr: torch.Tensor, precision: str) -> Callable[[], object]:
    """A step of training with Adam."""
    optimizer = torch.optim.Adam(model.parameters())

    def step() -> None:
        model.train()
        optimizer.zero_grad(set_to_none=True)
        with autocast(lr.device, precision):
            sr = model(lr)
        sr.float().abs().mean().backward()
        optimizer.step()

    return step


def upscaling(model: srzoo.SRModel, lr: torch.Tensor, precision: str) -> Callable[[], object]:
    """The network alone."""

    def run() -> None:
        with torch.inference_mode(), autocast(lr.device, precision):
            model.eval()(lr)

    return run


def seconds_of(calls: dict[str, Callable[[], object]], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each call in each round; they take turns, so that what slows the machine slows all of them."""
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:  # the first sets up
                found[name].append(time.perf_counter() - start)
    return found


def measure(study: Study) -> Found:
    """Memory and times of each network, and their ratios to the one with batch norm."""

    def work() -> dict[str, Any]:
        device = pick_device(study.device)
        precision = fast_precision(device)
        torch.manual_seed(0)
        networks = {name: to_channels_last(model, device) for name, model in make_networks(study).items()}
        side = study["side"]
        lr = torch.rand(study["batch_size"], 3, side, side, device=device)
        photo = torch.rand(1, 3, 2 * side, 2 * side, device=device)
        held = {
            kind: {name: saved_bytes(model, lr, kind) / MIB for name, model in networks.items()}
            for kind in dict.fromkeys(("fp32", precision))
        }
        steps = {name: training_step(model, lr, precision) for name, model in networks.items()}
        runs = {name: upscaling(model, photo, precision) for name, model in networks.items()}
        peaks = {name: peak_mib(step, device) for name, step in steps.items()} if device.type == "cuda" else {}
        times = {
            "step": seconds_of(steps, study["rounds"], device),
            "upscale": seconds_of(runs, study["rounds"], device),
        }
        first = next(iter(networks))
        return {
            "networks": [
                {
                    "name": name,
                    "parameters": sum(parameter.numel() for parameter in model.parameters()),
                    "held": {kind: found[name] for kind, found in held.items()},
                    "peak": peaks.get(name),
                    **{kind: median(found[name]) for kind, found in times.items()},
                    **{f"{kind} ratio": ratio(found[name], found[first]) for kind, found in times.items()},
                }
                for name, model in networks.items()
            ]
        }

    return {"runs": study.once("networks", work)["networks"]}


def ratio(seconds: Sequence[float], first: Sequence[float]) -> float:
    """The median over rounds of one network's time divided by the first one's in the same round."""
    return median(one / other for one, other in zip(seconds, first, strict=True))


def peak_mib(step: Callable[[], object], device: torch.device) -> float:
    """Peak of CUDA's allocator over a step; the first one makes Adam's moments."""
    step()
    torch.cuda.reset_peak_memory_stats(device)
    step()
    return torch.cuda.max_memory_allocated(device) / MIB


def saved_share(found: Found, name: str) -> dict[str, float]:
    """The share of memory that a network saves against SRResNet, by precision."""
    runs = by_name(found)
    return {kind: 1 - runs[name]["held"][kind] / mib for kind, mib in runs["SRResNet"]["held"].items()}


def rows(found: Found) -> Rows:
    """A row a network."""
    kinds = list(found["runs"][0]["held"])
    has_peak = found["runs"][0]["peak"] is not None
    table = [
        ["network", "parameters", *(f"held for backward, {kind}, MiB" for kind in kinds)]
        + (["peak, MiB"] if has_peak else [])
        + ["step, s", "step, ratio", "upscaling, s", "upscaling, ratio"]
    ]
    for run in found["runs"]:
        table.append(
            [run["name"], str(run["parameters"]), *(f"{run['held'][kind]:.1f}" for kind in kinds)]
            + ([f"{run['peak']:.1f}"] if has_peak else [])
            + [f"{run[key]:.3g}" for key in ("step", "step ratio", "upscale", "upscale ratio")]
        )
    return table


def verdict(found: Found) -> Verdict:
    """It agrees where batch norm alone makes up the paper's share, to ten points; in part where EDSR-baseline does."""
    alone, whole = (saved_share(found, name) for name in ("SRResNet without batch norm", "EDSR-baseline"))
    enough = [min(share.values()) >= SAID - NEAR for share in (alone, whole)]
    word = AGREES if enough[0] else PARTLY if enough[1] and min(alone.values()) > 0 else DISAGREES
    told = [" and ".join(f"{saved:.0%} ({kind})" for kind, saved in share.items()) for share in (alone, whole)]
    plain = by_name(found)["SRResNet without batch norm"]
    return Verdict(
        word,
        f"For its backward pass a step of SRResNet at x4 holds {told[0]} less without batch norm, and one of "
        f"EDSR-baseline, which also has ReLU for PReLU and smaller kernels at both ends, {told[1]} less. Without batch "
        f"norm a step takes {plain['step ratio']:.2f} of the time, and upscaling {plain['upscale ratio']:.2f}, where "
        "batch norm is not folded into the convolutions.",
    )


def draw(found: Found, figure: Any) -> None:
    """Memory and time, as bars."""
    left, right = figure.subplots(1, 2)
    names = [run["name"].replace(" without", "\nwithout") for run in found["runs"]]
    for i, kind in enumerate(found["runs"][0]["held"]):
        left.bar(
            [j + 0.4 * i for j in range(len(names))], [run["held"][kind] for run in found["runs"]], 0.38, label=kind
        )
    for i, (key, label) in enumerate((("step ratio", "training step"), ("upscale ratio", "upscaling"))):
        right.bar([j + 0.4 * i for j in range(len(names))], [run[key] for run in found["runs"]], 0.38, label=label)
    for axes, label in ((left, "held for the backward pass, MiB"), (right, "time, SRResNet = 1")):
        axes.set_xticks([j + 0.2 for j in range(len(names))], names, fontsize=8)
        axes.set(ylabel=label)
        axes.legend(fontsize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, write, draw."""
    run_claim("batch_norm", argv, trains=False, scores=False, rounds=15, width=64, blocks=16, batch_size=4, side=48)


if __name__ == "__main__":
    main()
