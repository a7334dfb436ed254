"""Score a model on a folder of HR images: Y-PSNR and SSIM as the papers compute them, a row an image.

python examples/score_a_model.py Set5/HR --model edsr_baseline_x4
"""

import argparse
from collections.abc import Sequence

import srzoo
from srzoo.benchmark import mean_psnr, mean_ssim
from srzoo.data import pairs_from_hr
from srzoo.metrics import Protocol


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row an image, then the mean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", help="HR images; the LR ones are made by MATLAB's bicubic")
    parser.add_argument("--model", default="edsr_baseline_x4")
    args = parser.parse_args(argv)

    has_weights = srzoo.model_info(args.model).parameters > 0  # bicubic has none to load
    model = srzoo.create_model(args.model, pretrained=has_weights)
    for scale in model.scales:
        scores = srzoo.evaluate(model, pairs_from_hr(args.folder, scale), Protocol.paper)
        print(f"{args.model} at x{scale} ({Protocol.paper(scale)})")
        for score in scores:
            print(f"  {score.name:20} {score.psnr:7.3f} dB  {score.ssim:.4f}")
        print(f"  {'mean':20} {mean_psnr(scores):7.3f} dB  {mean_ssim(scores):.4f}")


if __name__ == "__main__":
    main()
