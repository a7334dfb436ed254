"""Average a model over flips and rotations, and see what each group of operations gives.

python examples/self_ensemble.py Set5/HR --model edsr_baseline_x4
python examples/self_ensemble.py Set5/HR --model mdsr_baseline --scale 2 --merge median --spread spread.png
"""

import argparse
from collections.abc import Sequence

import torch
from PIL import Image

import srzoo
from srzoo.benchmark import mean_psnr
from srzoo.data import pairs_from_hr
from srzoo.tta import FLIP_WIDTH, IDENTITY, Op, SelfEnsemble, compose, dihedral, flips, spread_to_image


def reverse_channels(x: torch.Tensor) -> torch.Tensor:
    """RGB as BGR, and back: it undoes itself."""
    return x.flip(1)


def main(argv: Sequence[str] | None = None) -> None:
    """Print the mean PSNR of each group."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="HR images")
    parser.add_argument("--model", default="edsr_baseline_x4")
    parser.add_argument("--scale", type=int, help="for a multi-scale model")
    parser.add_argument("--merge", choices=("mean", "median"), default="mean")
    parser.add_argument("--spread", metavar="PNG", help="draw where the eight results of the first image differ")
    args = parser.parse_args(argv)

    has_weights = srzoo.model_info(args.model).parameters > 0
    model = srzoo.create_model(args.model, pretrained=has_weights).eval()
    scale = model.check_scale(args.scale)
    pairs = pairs_from_hr(args.folder, scale)
    swap = Op("swap red and blue", reverse_channels, reverse_channels)
    groups = {
        "none": (IDENTITY,),
        "flips": flips(),
        "x8": dihedral(),
        "own": compose((IDENTITY, FLIP_WIDTH), (IDENTITY, swap)),  # any product of groups
    }
    for name, ops in groups.items():
        scores = srzoo.evaluate(SelfEnsemble(model, ops, args.merge), pairs)
        print(f"{name:6} {len(ops)} ops  {mean_psnr(scores):.3f} dB")
    if args.spread:
        with torch.inference_mode():
            _, spread = SelfEnsemble(model).with_spread(pairs[0].lr_float[None], scale)
        Image.fromarray(spread_to_image(spread)[0, 0].numpy()).save(args.spread)


if __name__ == "__main__":
    main()
