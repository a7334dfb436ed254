"""The paper's claim: with 256 features training is unstable, and a factor of 0.1 on each residual branch prevents it.

EDSR at its full width, trained with the factors 0, 0.1 and 1, at the paper's learning rate and at ten times that, with
no clipping of gradients. With 0 the blocks do nothing: what is left is the long skip and the upsampler.

python examples/paper/residual_scaling.py --data photos/
"""

from collections.abc import Sequence
from typing import Any

import torch
from study import AGREES, DISAGREES, NOT_SEEN, Found, Rows, Study, Verdict, by_name, mean, run_claim

import srzoo
from srzoo.train import Constant, JsonLines, Row, Run

TITLE = "Residual scaling"
PAPER = (
    'with 256 features "increasing #features (up to 256) results instability during training"; "constant scaling '
    'layers after each residual path prevents such instability". EDSR scales by 0.1. No figures are given.'
)
RULE = (
    f'"{AGREES}" if at one rate or both only the network without scaling diverges, and not the one with 0.1; '
    f'"{DISAGREES}" if it is only ever the other way round; "{NOT_SEEN}" otherwise'
)
FACTORS = (0.0, 0.1, 1.0)
RATES = (1, 10)
SPIKE = 2.0
"""A step whose gradient is this many times the median of the ten before it is a jump."""


class WithGradients(JsonLines):
    """The log, with the norm of the gradient of the step that has just been made."""

    def log(self, run: Run, row: Row) -> None:
        """Write the row."""
        gradients = [parameter.grad for parameter in run.model.parameters() if parameter.grad is not None]
        super().log(run, {**row, "gradient": torch.nn.utils.get_total_norm(gradients).item()})


def measure(study: Study) -> Found:
    """A run for each factor and learning rate, of the same batches."""

    def make(factor: float) -> srzoo.SRModel:
        return srzoo.create_model("edsr_x2", width=study["width"], num_blocks=study["blocks"], res_scale=factor)

    whole: dict[str, Any] = dict(validate_every=study["steps"], checkpoint_every=study["steps"], log_every=1)
    return {
        "runs": [
            study.train(
                f"{factor:g} at lr {study['lr'] * times:g}",
                lambda factor=factor: make(factor),
                0,
                log=WithGradients,
                **{"lr": study["lr"] * times, "clip_norm": None, "ema_decay": None, "schedule": Constant(), **whole},
            )
            for times in RATES
            for factor in FACTORS
        ]
    }


def facts(run: Found) -> dict[str, Any]:
    """First, last (mean of a tenth of the steps) and worst loss; largest, median gradient, jumps, updates dropped."""
    losses = [row["loss"] for row in run["losses"] if row.get("loss") is not None]
    norms = [row["gradient"] for row in run["losses"]]
    finite = [norm for norm in norms if norm is not None]
    tenth = max(1, len(losses) // 10)
    jumps = [i for i, norm in enumerate(norms) if i >= 10 and _is_jump(norm, norms[i - 10 : i])]
    return {
        "first": losses[0] if losses else None,
        "last": mean(losses[-tenth:]) if losses else None,
        "worst": max(losses) if losses else None,
        "largest": max(finite, default=None),
        "median": _median(norms),
        "jumps": len(jumps),
        "dropped": sum(row.get("skipped", 0) for row in run["losses"]),
    }


def _is_jump(norm: float | None, before: Sequence[float | None]) -> bool:
    return norm is None or norm > SPIKE * _median(before)  # None: it was not finite


def _median(values: Sequence[float | None]) -> float:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else float("inf")


def diverged(run: Found) -> bool:
    """Whether updates had to be dropped, or the loss ends above that of the untrained network."""
    told = facts(run)
    return run.get("diverged", False) or bool(told["dropped"]) or told["last"] is None or told["last"] > told["first"]


def rows(found: Found) -> Rows:
    """A row a run."""
    head = ["factor and rate", "first loss", "loss at the end", "largest loss", "median gradient"]
    head += ["largest gradient", "jumps", "dropped updates"]
    table = [head]
    for run in found["runs"]:
        told = facts(run)
        numbers = (told[key] for key in ("first", "last", "worst", "median", "largest"))
        table.append(
            [
                run["name"],
                *("none" if number is None else f"{number:.3g}" for number in numbers),
                *(str(told[key]) for key in ("jumps", "dropped")),
            ]
        )
    return table


def verdict(found: Found) -> Verdict:
    """It agrees where the unscaled network diverges and the scaled one does not."""
    runs, rates = by_name(found), [f"{found['settings']['lr'] * times:g}" for times in RATES]
    lost = {factor: [rate for rate in rates if diverged(runs[f"{factor} at lr {rate}"])] for factor in ("0.1", "1")}
    only_unscaled = [rate for rate in lost["1"] if rate not in lost["0.1"]]
    word = AGREES if only_unscaled else DISAGREES if set(lost["0.1"]) - set(lost["1"]) else NOT_SEEN
    told = [
        f"with {factor} it diverges at lr {' and '.join(at)}" if at else f"with {factor} it diverges at neither rate"
        for factor, at in lost.items()
    ]
    ratios = [
        f"{facts(runs[f'1 at lr {rate}'])['median'] / facts(runs[f'0.1 at lr {rate}'])['median']:.1f} (lr {rate})"
        for rate in rates
    ]
    steps = found["settings"]["steps"]
    return Verdict(
        word,
        f"In {steps} steps {', '.join(told)}. To diverge is to end above the loss of the untrained network, or "
        f"to have updates dropped. The median gradient without scaling is that with 0.1 times {' and '.join(ratios)}.",
    )


def draw(found: Found, figure: Any) -> None:
    """Gradient norms and losses by step."""
    left, right = figure.subplots(1, 2)
    for i, run in enumerate(found["runs"]):
        look = dict(color=f"C{i % len(FACTORS)}", linestyle="-" if i < len(FACTORS) else ":", label=run["name"])
        steps = [row["step"] for row in run["losses"]]
        for axes, key in ((left, "gradient"), (right, "loss")):
            values = [row.get(key) for row in run["losses"]]
            axes.plot(steps, [float("nan") if value is None else value for value in values], linewidth=1, **look)
    left.set(xlabel="step", ylabel="norm of the gradient", yscale="log", title="Gradients")
    right.set(xlabel="step", ylabel="L1 loss", yscale="log", title="Training loss")
    right.legend(fontsize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Train, write, draw."""
    run_claim(
        "residual_scaling", argv, scores=False, steps=80, width=256, blocks=32, batch_size=2, patch_size=16, lr=1e-4
    )


if __name__ == "__main__":
    main()
