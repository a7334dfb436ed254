"""Several parts as one: a chain of steps around the downscaling, and one of several degradations for each patch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from srzoo.data.degradations import Degradation, Step, checked_patches, seed_hashes, uniform_draws


@dataclass(frozen=True, init=False, repr=False)
class Chain:
    """Steps before and after the downscaling, in the order given; each draws from its own stream of a patch's seed.

    Args:
        steps: One `Degradation`, which does the downscaling, and any number of `Step` objects before and after it.

    Raises:
        TypeError: If one of them is neither, or a class that was not called.
        ValueError: Unless exactly one of them downscales.

    Examples:
        >>> import torch
        >>> from srzoo.data import Blur, Downscale, Jpeg, Noise
        >>> photos = Chain(Blur((0.2, 2.0)), Downscale("box"), Noise((0.0, 8.0)), Jpeg((60, 95)))
        >>> photos.margin
        19
        >>> photos(torch.rand(2, 3, 48, 48), 2, seeds=[0, 1]).shape
        torch.Size([2, 3, 24, 24])
    """

    steps: tuple[Degradation | Step, ...]

    def __init__(self, *steps: Degradation | Step) -> None:
        for step in steps:
            if isinstance(step, type) or not isinstance(step, Degradation | Step):
                raise TypeError(f"Chain got {step!r}; give objects such as Blur(1.0), Bicubic() or Jpeg(80)")
        num = sum(isinstance(step, Degradation) for step in steps)
        if num != 1:
            raise ValueError(f"Chain got {num} parts that downscale; give exactly one, such as Bicubic()")
        object.__setattr__(self, "steps", steps)

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.steps))})"

    @property
    def margin(self) -> int:
        """LR pixels: what the steps before the downscaling reach, as LR pixels of scale 2, and all that follows."""
        before = after = 0
        downscaling = None
        for step in self.steps:
            if isinstance(step, Degradation):
                downscaling = step.margin
            elif downscaling is None:
                before += step.reach
            else:
                after += step.reach
        return -(-before // 2) + (downscaling or 0) + after

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches.

        Raises:
            ValueError: If the sides are no multiples of the scale, the seeds are not one a patch, or `Jpeg` meets
                another number of channels than 1 or 3.
        """
        checked_patches(hr, seeds, scale)
        streams = seed_hashes(seeds, len(self.steps)).T.tolist()
        x = hr
        for step, own in zip(self.steps, streams, strict=True):
            x = step(x, scale, own) if isinstance(step, Degradation) else step(x, own)
        return x


@dataclass(frozen=True, init=False, repr=False)
class Mixed:
    """One of several degradations for each patch, chosen by the patch's seed, of which the part gets one of its own.

    So what a part draws does not depend on that it was chosen, and a part may be a `Mixed` itself.

    Args:
        shares: Pairs of a degradation and its share of the patches; the shares are positive numbers, which need not
            sum to 1.

    Raises:
        TypeError: If a part is no degradation, or a class that was not called.
        ValueError: If there is none, or a share is not above 0.

    Examples:
        >>> import torch
        >>> from srzoo.data import Bicubic, Jpeg
        >>> some_clean = Mixed((Bicubic(), 0.1), (Chain(Bicubic(), Jpeg((60, 95))), 0.9))
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

    def own_seeds(self, seeds: Sequence[int]) -> list[int]:
        """The seed that the part of each patch gets: its second hash, as the first one chooses."""
        return seed_hashes(seeds, 2)[:, 1].tolist()

    def __call__(self, hr: Float[Tensor, "b c H W"], scale: int, seeds: Sequence[int]) -> Float[Tensor, "b c h w"]:
        """LR patches, each as its part alone makes it of the seed that `own_seeds` gives.

        Raises:
            ValueError: As the parts do.
        """
        checked_patches(hr, seeds, scale)
        chosen, own = self.choose(seeds), self.own_seeds(seeds)
        height, width = (side // scale for side in hr.shape[-2:])
        lr = hr.new_empty(*hr.shape[:2], height, width)
        for part in sorted(set(chosen)):
            rows = [i for i, one in enumerate(chosen) if one == part]
            lr[rows] = self.shares[part][0](hr[rows], scale, [own[i] for i in rows])
        return lr
