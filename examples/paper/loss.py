"""The paper's claim: a network trained on the absolute error (L1) scores higher than one trained on the squared (L2).

python examples/paper/loss.py --data photos/ --validation Set5/HR Set14/HR
"""

from collections.abc import Sequence
from typing import Any

from study import RULE_OF_GAINS, Found, Rows, Study, Verdict, by_name, judge, mean, run_claim, signed

import srzoo
from srzoo.train import L1, MSE, Cosine

TITLE = "L1 or L2 loss"
PAPER = (
    "EDSR-baseline x2 on ten DIV2K images, 35.55 dB with L1 and 35.46 dB with L2, 0.09 dB apart. SRResNet on DIV2K "
    "validation, L1 against L2: 34.44 and 34.40 dB (x2), 30.85 and 30.82 (x3), 28.92 and 28.92 (x4)."
)
RULE = f"L1 over L2 for every seed on every set: {RULE_OF_GAINS}"
LOSSES = {"L1": L1(), "L2": MSE()}


def measure(study: Study) -> Found:
    """The same network, weights at the start and batches, with either loss."""

    def make() -> srzoo.SRModel:
        return srzoo.create_model("edsr_baseline_x2", width=study["width"], num_blocks=study["blocks"])

    return {
        "runs": [
            study.train(f"{name}, seed {seed}", make, seed, loss=loss, schedule=Cosine(warmup=study["steps"] // 10))
            for seed in range(study["seeds"])
            for name, loss in LOSSES.items()
        ]
    }


def gains(found: Found) -> dict[str, list[float]]:
    """What L1 gives over L2 in dB: set -> one number a seed."""
    runs = by_name(found)
    return {
        name: [
            runs[f"L1, seed {seed}"]["psnr"][name]["x2"] - runs[f"L2, seed {seed}"]["psnr"][name]["x2"]
            for seed in range(found["settings"]["seeds"])
        ]
        for name in found["validation"]
    }


def rows(found: Found) -> Rows:
    """A row a run."""
    head = ["run", *(f"{name} x2, dB" for name in found["validation"]), "seconds"]
    return [
        head,
        *(
            [run["name"], *(f"{run['psnr'][name]['x2']:.2f}" for name in found["validation"]), f"{run['seconds']:.0f}"]
            for run in found["runs"]
        ),
    ]


def verdict(found: Found) -> Verdict:
    """L1 above L2 for every seed, on every set."""
    told = "; ".join(f"{name} {signed(of_set)}" for name, of_set in gains(found).items())
    every = [gain for of_set in gains(found).values() for gain in of_set]
    return Verdict(judge(every), f"L1 over L2 in dB, a number a seed: {told} (mean {mean(every):+.3f}).")


def draw(found: Found, figure: Any) -> None:
    """Learning curves, and where they end."""
    axes = figure.subplots()
    for run in found["runs"]:
        color = "C0" if run["name"].startswith("L1") else "C1"
        axes.plot(run["curves"]["x2"]["step"], run["curves"]["x2"]["dB"], color, label=run["name"], marker=".")
    axes.set(xlabel="step", ylabel=f"{found['validation'][0]} x2, dB", title=TITLE)
    axes.legend()


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write, draw."""
    run_claim("loss", argv, steps=1000, seeds=2, width=32, blocks=8, batch_size=4, patch_size=48, lr=1e-3)


if __name__ == "__main__":
    main()
