"""Weights for real photographs: a little soft, a little noise, saved as JPEG of quality 60 to 95.

python examples/paper/jpeg_track.py --data benchmarks

Set5, Set14 and Kodak24 are looked for in the folders of --data. The LR images are made by the preset "photo", whose
draws depend on the images' names: the same LR images come out on each machine. The clean ones show what is lost there.
"""

import sys
from collections.abc import Sequence

from tracks import ROOT, Track, run_track

from srzoo.data.presets import PRESETS

TRACK = Track(
    name="jpeg_track",
    tag="jpeg",
    models=("edsr_baseline_x2", "edsr_baseline_x4"),
    inputs={"photo": PRESETS["photo"], "clean": None},
)


def main(argv: Sequence[str] | None = None) -> int:
    """Tables and crops into docs/guides/real_photos.md."""
    run_track(TRACK, ROOT / "docs" / "guides" / "real_photos.md", __doc__ or "", argv)
    return 0


if __name__ == "__main__":
    sys.exit(main())
