"""Average a model over flips and rotations, and see what each group of operations gives.

python examples/self_ensemble.py Set5/HR --model edsr_baseline_x4
"""

import argparse
from collections.abc import Sequence

import srzoo
from srzoo.benchmark import mean_psnr
from srzoo.data import pairs_from_hr
from srzoo.tta import FLIP_WIDTH, IDENTITY, TRANSPOSE, SelfEnsemble, compose, dihedral, flips


def main(argv: Sequence[str] | None = None) -> None:
    """Print the mean PSNR of each group."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="HR images")
    parser.add_argument("--model", default="edsr_baseline_x4", help="a single-scale model")
    args = parser.parse_args(argv)

    has_weights = srzoo.model_info(args.model).parameters > 0
    model = srzoo.create_model(args.model, pretrained=has_weights)
    pairs = pairs_from_hr(args.folder, model.check_scale(None))
    groups = {
        "none": (IDENTITY,),
        "flips": flips(),
        "x8": dihedral(),
        "own": compose((IDENTITY, FLIP_WIDTH), (IDENTITY, TRANSPOSE)),  # any product of groups
    }
    for name, ops in groups.items():
        scores = srzoo.evaluate(SelfEnsemble(model, ops), pairs)
        print(f"{name:6} {len(ops)} ops  {mean_psnr(scores):.3f} dB")


if __name__ == "__main__":
    main()
