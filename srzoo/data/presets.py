"""Degradations by name: what `srzoo train --degradation NAME` knows."""

from srzoo.data.degradations import Bicubic, Degradation, Unknown
from srzoo.data.mixtures import Chain, Mixed
from srzoo.data.steps import Blur, Jpeg, Noise

PHOTO = Chain(Bicubic(), Blur((0.0, 0.8)), Noise((0.0, 4.0)), Jpeg((60, 95)))
"""A photograph as it is found: a little soft, a little noise, saved as JPEG. Blur and noise are of the LR image."""
UNKNOWN = Unknown(seed=0, sigma=(0.2, 0.6), shift=(0.75, 1.0))
"""The hidden kernel of the "unknown" track: anisotropic, and off the middle of the LR pixel."""
PRESETS: dict[str, Degradation] = {
    "bicubic": Bicubic(),
    "blur": Chain(Blur((0.2, 2.0)), Bicubic()),
    "noise": Chain(Bicubic(), Noise((0.0, 10.0))),
    "jpeg": Chain(Bicubic(), Jpeg((40, 95))),
    "photo": PHOTO,
    "photo+clean": Mixed((Bicubic(), 0.1), (PHOTO, 0.9)),
    "unknown": UNKNOWN,
}
"""Name -> degradation. "photo+clean" is "photo" with a tenth of the patches left as they are, to train on."""


def find_preset(name: str) -> Degradation:
    """A degradation by name.

    Raises:
        ValueError: If there is none of that name.

    Examples:
        >>> find_preset("jpeg")
        Chain(Bicubic(), Jpeg(quality=(40, 95), chroma='4:2:0'))
    """
    if name not in PRESETS:
        raise ValueError(f"there is no degradation {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]
