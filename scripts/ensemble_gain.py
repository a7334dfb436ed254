"""What flips, rotations and the median give each model, as the table of docs/guides/tta.md.

python scripts/ensemble_gain.py Set14/HR

The network runs eight times an image; each row's ensembles are merged from the same eight results.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

import srzoo
from srzoo.benchmark.scoring import comparable, model_input
from srzoo.data import Pair, pairs_from_hr
from srzoo.device import to_channels_last
from srzoo.metrics import Protocol, psnr
from srzoo.tta import FLIP_HEIGHT, IDENTITY, MergeName, Op, dihedral, flips, make_merge

MODELS = ("edsr_baseline_x2", "edsr_baseline_x3", "edsr_baseline_x4", "mdsr_baseline")
COLUMNS: dict[str, tuple[Sequence[Op], MergeName]] = {
    "one run": ((IDENTITY,), "mean"),
    "2 (one flip)": ((IDENTITY, FLIP_HEIGHT), "mean"),
    "4 (`flips`)": (flips(), "mean"),
    "8 (`x8`)": (dihedral(), "mean"),
    "8, median": (dihedral(), "median"),
}


@torch.inference_mode()
def score(model: srzoo.SRModel, pair: Pair) -> list[float]:
    """Y-PSNR in dB of one image, by column."""
    lr, hr = model_input(pair, model.channels)
    results: Mapping[Op, Tensor] = {op: op.undo(model(op.do(lr), pair.scale)) for op in dihedral()}
    scores = []
    for ops, name in COLUMNS.values():
        merge = make_merge(name, len(ops))
        for op in ops:
            merge.add(results[op])
        scores.append(psnr(*comparable(merge.result(), hr), Protocol.paper(pair.scale)).item())
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: mean of one run, then the gains in dB."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="HR images")
    parser.add_argument("--models", nargs="+", default=MODELS, help="names of the zoo")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    args = parser.parse_args(argv)

    print("| model | scale |", " | ".join(COLUMNS), "|")
    print("| --- | --- |", " | ".join("---" for _ in COLUMNS), "|")
    for name in args.models:
        has_weights = srzoo.model_info(name).parameters > 0
        model = to_channels_last(srzoo.create_model(name, pretrained=has_weights), torch.device("cpu")).eval()
        for scale in model.scales:
            pairs = pairs_from_hr(args.folder, scale)[: args.limit]
            means = torch.tensor([score(model, pair) for pair in pairs], dtype=torch.float64).mean(0).tolist()
            gains = [f"{mean - means[0]:+.3f}" for mean in means[1:]]
            print(f"| `{name}` | {scale} | {means[0]:.3f} |", " | ".join(gains), "|", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
