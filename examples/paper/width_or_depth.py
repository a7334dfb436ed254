"""The paper's claim: of two networks that take the same memory, the one with more features beats the deeper one.

What a training step holds in memory is measured, and the depths of the narrower networks are chosen so that they hold
as much as the widest one.

python examples/paper/width_or_depth.py --data photos/ --validation Set5/HR Set14/HR
"""

from collections.abc import Sequence
from typing import Any

import torch
from study import RULE_OF_GAINS, Found, Rows, Study, Verdict, judge, mean, run_claim, saved_bytes, signed

import srzoo
from srzoo.device import fast_precision, pick_device
from srzoo.train import Constant

TITLE = "Features or depth"
PAPER = (
    '"Given a limited memory, which design is better? Empirical test show that increasing #features is better than '
    'increasing depth." No figures are given.'
)
RULE = f"the widest over each other for every seed on every set, at equal memory and steps: {RULE_OF_GAINS}"
MIB = 2**20


def make(width: int, blocks: int) -> srzoo.SRModel:
    """EDSR at x2 of that size."""
    return srzoo.create_model("edsr_baseline_x2", width=width, num_blocks=blocks)


def held(width: int, blocks: int, study: Study) -> int:
    """Bytes that a step of training holds for its backward pass."""
    device = pick_device(study.device)
    lr = torch.rand(study["batch_size"], 3, study["patch_size"], study["patch_size"], device=device)
    return saved_bytes(make(width, blocks).to(device), lr, fast_precision(device))


def depth_of_equal_memory(width: int, wanted: int, study: Study) -> int:
    """Blocks with which a network of that width holds the bytes that are wanted; the memory is linear in them."""
    one, two = (held(width, blocks, study) for blocks in (1, 2))
    return max(1, round(1 + (wanted - one) / (two - one)))


def measure(study: Study) -> Found:
    """For each seed the widest network, and those of a half and a quarter of its width at equal memory."""
    wanted = held(study["width"], study["blocks"], study)
    sizes = {study["width"]: study["blocks"]}
    sizes |= {
        width: depth_of_equal_memory(width, wanted, study) for width in (study["width"] // 2, study["width"] // 4)
    }
    runs = []
    for seed in range(study["seeds"]):
        for width, blocks in sizes.items():
            name = f"{width} features {blocks} blocks, seed {seed}"
            run = study.train(name, lambda w=width, b=blocks: make(w, b), seed, schedule=Constant(), ema_decay=0.98)
            runs.append({**run, "held MiB": held(width, blocks, study) / MIB})
    return {"runs": runs}


def at_seconds(run: Found, seconds: float) -> float:
    """PSNR after so long, between two validations by a straight line."""
    times, scores = run["curves"]["x2"]["seconds"], run["curves"]["x2"]["dB"]
    for i in range(1, len(times)):
        if seconds <= times[i]:
            share = max(0.0, (seconds - times[i - 1]) / max(times[i] - times[i - 1], 1e-9))
            return scores[i - 1] + share * (scores[i] - scores[i - 1])
    return scores[-1]


def gains(found: Found) -> tuple[list[float], list[float]]:
    """What the widest network gives over each other in dB, at equal steps on all sets, and at equal time."""
    steps, times = [], []
    for seed in range(found["settings"]["seeds"]):
        wide, *deep = [run for run in found["runs"] if run["seed"] == seed]
        for run in deep:
            steps += [wide["psnr"][name]["x2"] - run["psnr"][name]["x2"] for name in found["validation"]]
            seconds = min(one["curves"]["x2"]["seconds"][-1] for one in (wide, run))
            times.append(at_seconds(wide, seconds) - at_seconds(run, seconds))
    return steps, times


def rows(found: Found) -> Rows:
    """A row a run."""
    head = ["run", "held, MiB", "parameters", "seconds", *(f"{name} x2, dB" for name in found["validation"])]
    table = [head]
    for run in found["runs"]:
        scores = [f"{run['psnr'][name]['x2']:.2f}" for name in found["validation"]]
        table.append([run["name"], f"{run['held MiB']:.1f}", str(run["parameters"]), f"{run['seconds']:.0f}", *scores])
    return table


def verdict(found: Found) -> Verdict:
    """The widest above both others, at equal memory and steps."""
    steps, times = gains(found)
    name = found["validation"][0]
    return Verdict(
        judge(steps),
        f"The widest network over the narrower ones in dB, at equal steps: {signed(steps)} (mean {mean(steps):+.2f}); "
        f"at equal time, on {name}: {signed(times)}.",
    )


def draw(found: Found, figure: Any) -> None:
    """Learning curves by step and by time."""
    colors = {width: f"C{i}" for i, width in enumerate(dict.fromkeys(run["width"] for run in found["runs"]))}
    for axes, column in zip(figure.subplots(1, 2, sharey=True), ("step", "seconds"), strict=True):
        for run in found["runs"]:
            curve = run["curves"]["x2"]
            axes.plot(curve[column], curve["dB"], colors[run["width"]], label=run["name"], marker=".")
        axes.set(xlabel=column, ylabel=f"{found['validation'][0]} x2, dB", title=f"{TITLE}, by {column}")
    figure.axes[0].legend(fontsize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write, draw."""
    run_claim("width_or_depth", argv, steps=600, seeds=2, width=64, blocks=4, batch_size=4, patch_size=48, lr=5e-4)


if __name__ == "__main__":
    main()
