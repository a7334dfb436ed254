"""The paper's claim: averaging the results of 2, 4 and 8 flips and rotations gains more each time, with no training.

python examples/paper/self_ensemble.py --validation Set5/HR Set14/HR
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from study import AGREES, DISAGREES, LEAST, NOT_SEEN, Found, Rows, Study, Verdict, mean, run_claim, set_name

import srzoo
from srzoo.benchmark.scoring import comparable, model_input
from srzoo.data import Pair
from srzoo.device import pick_device, to_channels_last
from srzoo.metrics import Protocol, psnr
from srzoo.tta import FLIP_HEIGHT, IDENTITY, Op, dihedral, flips, make_merge

TITLE = "Geometric self-ensemble"
PAPER = (
    "EDSR-baseline x2 on ten DIV2K images: 35.55 dB, +0.06 with the vertical flip (x2), +0.10 with both flips (x4), "
    "+0.12 with flips and rotations (x8)."
)
RULE = (
    f'"{AGREES}" if for each model and set each doubling gains and eight results gain {LEAST} dB or more; otherwise '
    f'"{NOT_SEEN}" if eight gain anywhere, "{DISAGREES}" if nowhere'
)
PUBLISHED = (0.06, 0.10, 0.12)
GROUPS: Mapping[str, Sequence[Op]] = {
    "1": (IDENTITY,),
    "2": (IDENTITY, FLIP_HEIGHT),
    "4": tuple(flips()),
    "8": tuple(dihedral()),
}


def measure(study: Study) -> Found:
    """Mean PSNR of each group, for each model on each set; the network runs eight times an image."""
    names = ["edsr_baseline_x2", "edsr_baseline_x4"][: study["models"]]
    weights = {name: srzoo.model_info(name).weights[0] for name in names}

    def work(name: str, group: str) -> dict[str, Any]:
        model = to_channels_last(srzoo.create_model(name, pretrained=True), pick_device(study.device)).eval()
        pairs = study.pairs(model.scales)[group][: study["images"]]
        scores = [score(model, pair) for pair in pairs]
        means = {size: mean([one[size] for one in scores]) for size in GROUPS}
        return {
            "model": f"{name}.{weights[name].tag}",
            "set": group,
            "images": len(pairs),
            "psnr": means,
            "precision": "fp32",
        }

    return {
        "runs": [
            study.once(f"{name} {weights[name].sha256[:12]} {group}", lambda n=name, g=group: work(n, g))
            for name in names
            for group in map(set_name, study.validation)
        ]
    }


@torch.inference_mode()
def score(model: srzoo.SRModel, pair: Pair) -> dict[str, float]:
    """Y-PSNR in dB of one image, for each group: `srzoo.evaluate(SelfEnsemble(model, ops), [pair])` in one go."""
    lr, hr = model_input(pair, model.channels, next(model.parameters()).device)
    results = {op: op.undo(model(op.do(lr))) for op in dihedral()}
    scores = {}
    for size, ops in GROUPS.items():
        merge = make_merge("mean", len(ops))
        for op in ops:
            merge.add(results[op])
        scores[size] = psnr(*comparable(merge.result(), hr), Protocol.paper(pair.scale)).item()
    return scores


def gains(run: Found) -> list[float]:
    """What 2, 4 and 8 give over one run, in dB."""
    return [run["psnr"][size] - run["psnr"]["1"] for size in ("2", "4", "8")]


def rows(found: Found) -> Rows:
    """A row a model and set, and the paper's."""
    table = [["model", "set", "one run, dB", "2 (one flip)", "4 (flips)", "8 (flips, rotations)"]]
    for run in found["runs"]:
        told = [f"{gain:+.3f}" for gain in gains(run)]
        table.append([f"`{run['model']}`", run["set"], f"{run['psnr']['1']:.3f}", *told])
    paper = [f"{gain:+.2f}" for gain in PUBLISHED]
    return [*table, ["the paper's EDSR-baseline x2", "ten of DIV2K", "35.55", *paper]]


def verdict(found: Found) -> Verdict:
    """It agrees where each doubling gains, and all eight by more than nothing."""
    each = [gains(run) for run in found["runs"]]
    rising = [0 < two < four < eight and eight >= LEAST for two, four, eight in each]
    word = AGREES if all(rising) else NOT_SEEN if any(eight > 0 for *_, eight in each) else DISAGREES
    means = [mean([gain[i] for gain in each]) for i in range(3)]
    return Verdict(
        word,
        f"Each doubling gains in {sum(rising)} of {len(rising)} cases; means of the gains in dB: "
        + ", ".join(f"{gain:+.3f} ({size})" for gain, size in zip(means, (2, 4, 8), strict=True))
        + ".",
    )


def draw(found: Found, figure: Any) -> None:
    """Gain by the number of runs."""
    axes = figure.subplots()
    for run in found["runs"]:
        axes.plot(["1", "2", "4", "8"], [0, *gains(run)], marker="o", label=f"{run['model']}, {run['set']}")
    axes.plot(["1", "2", "4", "8"], [0, *PUBLISHED], "k--", label="the paper, DIV2K")
    axes.set(xlabel="results averaged", ylabel="gain, dB", title=TITLE)
    axes.legend(fontsize=8)


def main(argv: Sequence[str] | None = None) -> None:
    """Score, write, draw."""
    run_claim("self_ensemble", argv, trains=False, models=2, images=100)


if __name__ == "__main__":
    main()
