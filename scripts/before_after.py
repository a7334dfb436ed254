"""Draw docs/assets/before_after.png: part of a photo, its LR version by bicubic, by a model, and the original.

python scripts/before_after.py [--model edsr_baseline_x4]
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import srzoo
from srzoo.data import Pair, pairs_from_hr
from srzoo.metrics import Protocol, psnr

ROOT = Path(__file__).parent.parent
CROP = (slice(24, 152), slice(88, 248))  # rows and columns of the HR photo
ZOOM = 2  # on the page, so that single pixels can be seen
CAPTION = 22


def panels(pair: Pair, model: srzoo.SRModel) -> list[tuple[str, Tensor]]:
    """Caption and image (c h w in [0, 1]) of each panel."""
    lr, hr = pair.lr[None] / 255, pair.hr[None] / 255
    found = []
    for label, network in (("bicubic", srzoo.create_model(f"bicubic_x{pair.scale}")), (model.name, model)):
        with torch.inference_mode():
            sr = network(lr, pair.scale).clamp(0, 1)
        found.append((f"{label}, {psnr(sr, hr, Protocol.paper(pair.scale)).item():.2f} dB", sr[0]))
    return [*found, ("original", hr[0])]


def draw(images: list[tuple[str, Tensor]]) -> Image.Image:
    """The panels side by side, captions below."""
    height, width = ((axis.stop - axis.start) * ZOOM for axis in CROP)
    page = Image.new("RGB", (len(images) * (width + 8) - 8, height + CAPTION), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    for i, (caption, image) in enumerate(images):
        pixels = (image[:, *CROP].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        crop = Image.fromarray(pixels).resize((width, height), Image.Resampling.NEAREST)
        page.paste(crop, (i * (width + 8), 0))
        pen.text((i * (width + 8) + width / 2, height + 3), caption, fill="black", font=font, anchor="ma")
    return page


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edsr_baseline_x4")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "assets" / "before_after.png")
    args = parser.parse_args()
    model = srzoo.create_model(args.model, pretrained=True)
    [pair] = pairs_from_hr(ROOT / "examples" / "images" / "coffee.png", model.check_scale(None))
    draw(panels(pair, model)).save(args.output, optimize=True)
    print(args.output)


if __name__ == "__main__":
    main()
