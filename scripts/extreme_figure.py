"""Draw docs/assets/extreme_sr.png: a picture shrunk by 8, 16, 32 and 64, and enlarged again; or measure such factors.

python scripts/extreme_figure.py [--model edsr_baseline_x4]
python scripts/extreme_figure.py --measure ../shared/data/val/Kodak24 [--scale 8] [--limit 24]

Measuring compares bicubic with networks after each other in every order; luma PSNR, a border as wide as the factor
left out.
"""

import argparse
from collections.abc import Callable, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

import srzoo
from srzoo.data import Pair, pairs_from_hr
from srzoo.metrics import Protocol, psnr
from srzoo.resize import imresize

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "examples" / "images" / "coffee.png"
SIDE = (192, 256)
"""Rows and columns of the picture that are taken: multiples of 64."""
SCALES = (8, 16, 32, 64)
LEFT, TOP, GAP = 44, 24, 6

Enlarge = Callable[[Tensor, int], Tensor]
"""c h w in [0, 1] and a factor -> c H W."""


def systems(model: str, **options: Any) -> Mapping[str, Enlarge]:
    """What is compared, by caption."""

    def bicubic(lr: Tensor, scale: int) -> Tensor:
        return imresize(lr[None], size=(lr.shape[1] * scale, lr.shape[2] * scale))[0].clamp(0, 1)

    def nearest(lr: Tensor, scale: int) -> Tensor:
        return lr.repeat_interleave(scale, 1).repeat_interleave(scale, 2)

    def network(lr: Tensor, scale: int) -> Tensor:
        return srzoo.upscale(lr, model, scale=scale, **options)

    return {"nearest": nearest, "bicubic": bicubic, model.rpartition("_x")[0] or model: network}


def load(path: Path) -> Tensor:
    """The middle of a picture, c h w in [0, 1]."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255
    top, left = ((have - want) // 2 for have, want in zip(pixels.shape[1:], SIDE, strict=True))
    return pixels[:, top : top + SIDE[0], left : left + SIDE[1]]


def shrink(hr: Tensor, scale: int) -> Tensor:
    """The picture as an 8-bit file of a fraction of its size holds it."""
    lr = imresize(hr[None], size=(hr.shape[1] // scale, hr.shape[2] // scale))[0]
    return (lr.clamp(0, 1) * 255).round() / 255


def draw(hr: Tensor, made: Mapping[str, Enlarge]) -> Image.Image:
    """A row a factor, a column a system; the original beside the first row."""
    height, width = SIDE
    size = LEFT + (len(made) + 1) * (width + GAP) - GAP, TOP + len(SCALES) * (height + GAP) - GAP
    page = Image.new("RGB", size, "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(15)

    def place(image: Tensor, row: int, column: int) -> None:
        pixels = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
        page.paste(Image.fromarray(pixels), (LEFT + column * (width + GAP), TOP + row * (height + GAP)))

    for column, caption in enumerate([*made, "original"]):
        pen.text((LEFT + column * (width + GAP) + width / 2, 3), caption, fill="black", font=font, anchor="ma")
    place(hr, 0, len(made))
    for row, scale in enumerate(SCALES):
        place_at = TOP + row * (height + GAP) + height / 2
        pen.text((LEFT / 2, place_at), f"x{scale}", fill="black", font=font, anchor="mm")
        lr = shrink(hr, scale)
        for column, (caption, enlarge) in enumerate(made.items()):
            sr = enlarge(lr, scale)
            place(sr, row, column)
            if caption != "nearest":
                print(f"x{scale} {caption}: {psnr(sr[None], hr[None], Protocol.paper(scale)).item():.2f} dB")
    return page


def measure(folder: Path, model: str, scale: int, limit: int, **options: Any) -> None:
    """Print the mean PSNR over the pictures of a folder, of bicubic and of networks in every order."""
    stages = srzoo.Upscaler(model, scale=scale, **options).settings.get("stages", [])
    names = [stage["model"] for stage in stages]
    makers: dict[str, Callable[[Tensor], Tensor]] = {}
    for order in sorted(set(permutations(names))):
        makers[", then ".join(order)] = srzoo.Upscaler(list(order), scale=scale, **options)
    makers = {"bicubic": lambda lr: systems(model)["bicubic"](lr, scale), **makers}
    found: dict[str, list[float]] = {name: [] for name in makers}
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".png")[:limit]
    for path in pictures:
        [pair] = list[Pair](pairs_from_hr(path, scale))
        lr, hr = pair.lr / 255, pair.hr[None] / 255
        for name, make in makers.items():
            found[name].append(psnr(make(lr)[None], hr, Protocol.paper(scale)).item())
        print(path.name, {name: round(values[-1], 3) for name, values in found.items()}, flush=True)
    for name, values in found.items():
        print(f"{name}: {sum(values) / len(values):.3f} dB over {len(values)} pictures")


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="edsr_baseline_x4")
    parser.add_argument("--picture", type=Path, default=PICTURE)
    parser.add_argument("--measure", type=Path, help="folder of HR pictures to measure on, instead of drawing")
    parser.add_argument("--scale", type=int, default=8, help="to measure at")
    parser.add_argument("--limit", type=int, default=24, help="pictures to measure on")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "assets" / "extreme_sr.png")
    args = parser.parse_args()
    if args.measure is not None:
        measure(args.measure, args.model, args.scale, args.limit, precision=args.precision)
        return
    page = draw(load(args.picture), systems(args.model, precision=args.precision))
    palette = page.quantize(256)  # Pillow dithers only to a palette that is given
    page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG).save(args.output, optimize=True)
    print(f"{args.output}: {args.output.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
