"""The paper's claim: one network for x2, x3 and x4 is as good as one for each scale, since the tasks are related.

All are MDSR of the same size, so that an image takes the same path of the same size in either. The multi-scale one
takes a scale a step and as many steps as the three others together.

python examples/paper/multi_scale.py --data photos/ --validation Set5/HR Set14/HR
"""

from collections.abc import Sequence
from typing import Any

from study import AGREES, DISAGREES, LEAST, NOT_SEEN, Found, Rows, Study, Verdict, by_name, run_claim, signed

import srzoo
from srzoo.train import Cosine

TITLE = "Single-scale or multi-scale"
PAPER = (
    "the baselines on DIV2K validation, multi-scale against single-scale: 34.60 and 34.55 dB (x2), 30.91 and 30.90 "
    "(x3), 28.95 and 28.94 (x4), with 3.2M parameters in one network against 1.5M in each of three."
)
RULE = (
    f'"{AGREES}" if the multi-scale network is {LEAST} dB or more below the single-scale one for no seed, set, scale; '
    f'"{DISAGREES}" if for all of them; "{NOT_SEEN}" otherwise'
)
SCALES = (2, 3, 4)


def measure(study: Study) -> Found:
    """Three single-scale networks and a multi-scale one, for each seed."""

    def make(scales: Sequence[int]) -> srzoo.SRModel:
        size = dict(width=study["width"], num_blocks=study["blocks"])
        return srzoo.create_model("mdsr_baseline", scales=tuple(scales), **size)

    def schedule(steps: int) -> dict[str, Any]:
        return dict(steps=steps, schedule=Cosine(warmup=steps // 10))

    runs, steps = [], study["steps"]
    for seed in range(study["seeds"]):
        for scale in SCALES:
            name = f"x{scale} alone, seed {seed}"
            runs.append(study.train(name, lambda scale=scale: make((scale,)), seed, **schedule(steps)))
        name = f"x2 x3 x4, seed {seed}"
        runs.append(study.train(name, lambda: make(SCALES), seed, **schedule(len(SCALES) * steps)))
    return {"runs": runs}


def gains(found: Found) -> dict[str, list[float]]:
    """Multi-scale over single-scale in dB: set and scale -> a number a seed."""
    runs, told = by_name(found), {}
    for name in found["validation"]:
        for scale in (f"x{scale}" for scale in SCALES):
            told[f"{name} {scale}"] = [
                runs[f"x2 x3 x4, seed {seed}"]["psnr"][name][scale]
                - runs[f"{scale} alone, seed {seed}"]["psnr"][name][scale]
                for seed in range(found["settings"]["seeds"])
            ]
    return told


def rows(found: Found) -> Rows:
    """A row a run."""
    columns = [(name, f"x{scale}") for name in found["validation"] for scale in SCALES]
    table = [["run", "steps", "parameters", "seconds", *(f"{name} {scale}, dB" for name, scale in columns)]]
    for run in found["runs"]:
        scores = [run["psnr"][name].get(scale) for name, scale in columns]
        told = ["" if score is None else f"{score:.2f}" for score in scores]
        table.append([run["name"], str(run["steps"]), str(run["parameters"]), f"{run['seconds']:.0f}", *told])
    return table


def verdict(found: Found) -> Verdict:
    """It agrees where the multi-scale network is nowhere below the single-scale ones."""
    told = gains(found)
    every = [gain for of_set in told.values() for gain in of_set]
    word = AGREES if min(every) > -LEAST else DISAGREES if max(every) <= -LEAST else NOT_SEEN
    listed = "; ".join(f"{name} {signed(of_set)}" for name, of_set in told.items())
    runs = by_name(found)
    alone = sum(runs[f"x{scale} alone, seed 0"]["parameters"] for scale in SCALES)
    share = runs["x2 x3 x4, seed 0"]["parameters"] / alone
    return Verdict(
        word,
        f"Multi-scale over single-scale in dB, a number a seed: {listed}. It has {share:.0%} of the parameters of the "
        "three together, and took as many steps as they did together.",
    )


def draw(found: Found, figure: Any) -> None:
    """Learning curves, a panel a scale."""
    for axes, scale in zip(figure.subplots(1, len(SCALES)), SCALES, strict=True):
        for run in found["runs"]:
            curve = run["curves"].get(f"x{scale}")
            if curve:
                is_multi = run["name"].startswith("x2 x3")
                label = "multi-scale" if is_multi else "single-scale"
                updates = [step / len(run["curves"]) for step in curve["step"]]
                axes.plot(updates, curve["dB"], "C0" if is_multi else "C1", label=label, marker=".")
        axes.set(xlabel="steps at this scale", ylabel=f"{found['validation'][0]}, dB", title=f"x{scale}")
        axes.legend(fontsize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write, draw."""
    run_claim("multi_scale", argv, steps=400, seeds=1, width=32, blocks=8, batch_size=4, patch_size=48, lr=1e-3)


if __name__ == "__main__":
    main()
