"""The "unknown" track: LR images made by a hidden kernel that is off the middle, then plain subsampling.

python examples/paper/unknown_track.py --data benchmarks

Set5, Set14 and Kodak24 are looked for in the folders of --data. The kernel is that of the preset "unknown": it is drawn
from a seed, so it is the same on each machine. It is drawn as a picture, too.
"""

import sys
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tracks import ROOT, Track, run_track, save_small

from srzoo.data.presets import PRESETS, UNKNOWN

TRACK = Track(
    name="unknown_track",
    tag="unknown",
    models=("edsr_baseline_x4",),
    inputs={"unknown": PRESETS["unknown"]},
)
CELL = 12
"""Pixels of the drawing to an HR pixel at x4."""


def draw_kernels(scales: Sequence[int] = (2, 3, 4)) -> Image.Image:
    """The kernel of each scale: dark where it weighs most; lines part LR pixels, a cross marks the middle."""
    side = 5 * 4 * CELL
    page = Image.new("RGB", (len(scales) * (side + 12) - 12, side + 20), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    for i, scale in enumerate(scales):
        kernel = UNKNOWN.kernel(scale).numpy()
        grey = (255 * (1 - kernel / kernel.max())).round().astype(np.uint8)
        left, middle = i * (side + 12), side // 2
        page.paste(Image.fromarray(grey).resize((side, side), Image.Resampling.NEAREST), (left, 20))
        pen.text((left + middle, 2), f"x{scale}", fill="black", font=font, anchor="ma")
        for line in range(6):
            at = min(line * side // 5, side - 1)
            pen.line((left + at, 20, left + at, 20 + side), fill=(150, 180, 230))
            pen.line((left, 20 + at, left + side, 20 + at), fill=(150, 180, 230))
        pen.line((left + middle - 6, 20 + middle, left + middle + 6, 20 + middle), fill=(200, 0, 0), width=2)
        pen.line((left + middle, 14 + middle, left + middle, 26 + middle), fill=(200, 0, 0), width=2)
    return page


def main(argv: Sequence[str] | None = None) -> int:
    """Tables, crops and the kernel into docs/paper/unknown_track.md."""
    args = run_track(TRACK, ROOT / "docs" / "paper" / "unknown_track.md", __doc__ or "", argv)
    save_small(draw_kernels(), args.assets / "unknown_kernel.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
