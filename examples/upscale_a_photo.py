"""Upscale an image file, then the same image as an array.

python examples/upscale_a_photo.py examples/images/coffee.png --model edsr_baseline_x4
"""

import argparse
from collections.abc import Sequence

import numpy as np
from PIL import Image

import srzoo


def main(argv: Sequence[str] | None = None) -> None:
    """Upscale the file, then its pixels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("image")
    parser.add_argument("--model", default="edsr_baseline_x4")
    args = parser.parse_args(argv)

    upscaler = srzoo.Upscaler(args.model)  # loads the weights once, for many images
    print("wrote", upscaler(args.image))  # a path gives the path of the file written beside it

    with Image.open(args.image) as image:
        pixels = np.asarray(image.convert("RGB"))
    print(pixels.shape, "->", upscaler(pixels).shape)  # an array gives an array


if __name__ == "__main__":
    main()
