"""Degradations by name, and one of several for each patch: what `srzoo train --degradation NAME` knows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from srzoo.data.degradations import (
    Bicubic,
    Blur,
    Chain,
    Degradation,
    Jpeg,
    Noise,
    Unknown,
    checked_patches,
    uniform_draws,
)


@dataclass(frozen=True, init=False, repr=False)
class Mixed:
    """One of several degradations for each patch, chosen by the patch's seed.

    Args:
        shares: Pairs of a degradation and its share of the patches; the shares are positive numbers, which need not
            sum to 1.

    Raises:
        TypeError: If a part is no degradation, or a class that was not called.
        ValueError: If there is none, or a share is not above 0.

    Examples:
        >>> some_clean = Mixed((Bicubic(), 0.1), (Chain(Bicubic(), Jpeg((60, 95))), 0.9))
        >>> import torch
        >>> some_clean(torch.rand(4, 3, 48, 48), 2, seeds=[0, 1, 2, 3]).shape
        torch.Size([4, 3, 24, 24])
    """

    shares: tuple[tuple[Degradation, int | float], ...]

    def __init__(self, *shares: tuple[Degradation, int | float]) -> None:
        if not shares:
            raise ValueError("Mixed got nothing; give pairs such as (Bicubic(), 0.1)")
        for degradation, share in shares:
            if isinstance(degradation, type) or not isinstance(degradation, Degradation):
                raise TypeError(f"Mixed got {degradation!r}; give degradations such as Bicubic() or a Chain")
            if not 0 < share < float("inf"):
                raise ValueError(f"the share of {degradation!r} is {share}; give a number above 0")
        object.__setattr__(self, "shares", tuple((degradation, share) for degradation, share in shares))

    def __repr__(self) -> str:
        return f"Mixed({', '.join(f'({degradation!r}, {share!r})' for degradation, share in self.shares)})"

    @property
    def margin(self) -> int:
        """LR pixels: the widest of all parts."""
        return max(degradation.margin for degradation, _ in self.shares)

    def choose(self, seeds: Sequence[int]) -> list[int]:
        """Which part each patch gets."""
        ends = np.cumsum([float(share) for _, share in self.shares])
        [at] = uniform_draws(seeds, (0.0, float(ends[-1])))
        return np.minimum(np.searchsorted(ends, at, side="right"), len(ends) - 1).tolist()

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches, each as its part alone makes it of the same seed.

        Raises:
            ValueError: As the parts do.
        """
        checked_patches(hr, seeds, scale)
        chosen = self.choose(seeds)
        height, width = (side // scale for side in hr.shape[-2:])
        lr = hr.new_empty(*hr.shape[:2], height, width)
        for part in sorted(set(chosen)):
            rows = [i for i, one in enumerate(chosen) if one == part]
            lr[rows] = self.shares[part][0](hr[rows], scale, [seeds[i] for i in rows])
        return lr


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
