"""Fine-tune pretrained weights on a folder of images, then upscale one of the held-out images with what came of it.

python examples/make_pictures.py pictures/ --count 100
python examples/fine_tune.py pictures/ runs/pictures
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

import srzoo
from srzoo.data import PatchSource, held_out_pairs
from srzoo.train import TrainConfig, fine_tune


def main(argv: Sequence[str] | None = None) -> None:
    """Fine-tune, print the scores, upscale."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", help="folder of HR images")
    parser.add_argument("run", type=Path, help="folder to write to")
    parser.add_argument("--model", default="edsr_baseline_x4", help="single-scale model with pretrained weights")
    parser.add_argument("--toy", action="store_true", help="two steps of one small patch, to see the parts in seconds")
    args = parser.parse_args(argv)

    model = srzoo.create_model(args.model, pretrained=True)
    config = TrainConfig(steps=2, batch_size=1, patch_size=12) if args.toy else None  # None: chosen by the number
    result = fine_tune(model, args.images, args.run, config)
    for name, scales in result.after.items():
        for scale, score in scales.items():
            print(f"{name} {scale}: {result.before[name][scale]['psnr']:.2f} -> {score['psnr']:.2f} dB")

    source = PatchSource(args.images, scales=model.scales)
    held = source.hold_out()[:1]  # as fine_tune chose them
    pair = held_out_pairs(source, held, model.check_scale(None))[0]
    sr = srzoo.Upscaler(args.run)(pair.lr)  # the folder is a model now
    path = args.run / "upscaled.png"
    Image.fromarray(sr.permute(1, 2, 0).numpy()).save(path)
    print(f"wrote {path}, {held[0]} upscaled")


if __name__ == "__main__":
    main()
