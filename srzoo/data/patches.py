"""Random aligned LR and HR crops with the eight flips and rotations."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.data.cache import PixelCache, Report


class PatchSource:
    """Training pairs from a folder of HR images: LR by MATLAB bicubic, crops made in memory.

    Images are drawn in proportion to their pixels, times a weight where `weights` gives one.

    Args:
        folder: HR images, searched recursively.
        scales: The scales LR images are made for.
        channels: 1 (grey), 3 (RGB) or 4 (RGBA).
        weights: File name (relative to `folder`) -> relative weight; every image must be named.
        cache: Where decoded images are kept; the user's cache if None.
        report: Told of the progress of decoding.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If no image can be read, or `weights` misses one or has a negative value.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        scales: Sequence[int],
        channels: int = 3,
        weights: Mapping[str, float] | None = None,
        cache: Path | None = None,
        report: Report | None = None,
    ) -> None:
        self.scales = tuple(scales)
        self.cache = PixelCache.build(folder, channels=channels, root=cache, report=report)
        for scale in self.scales:
            self.cache.prepare(scale, report)
        chance = np.array([e.height * e.width for e in self.cache.entries], dtype=np.float64)
        if weights is not None:
            missing = [e.name for e in self.cache.entries if e.name not in weights]
            if missing:
                raise ValueError(f"no sampling weight for {_listed(missing)}")
            chance *= [weights[e.name] for e in self.cache.entries]
            if not (min(chance) >= 0 and max(chance) > 0):
                raise ValueError("sampling weights must be 0 or more, and not all 0")
        self._chance = chance / chance.sum()
        self.fingerprint = self.cache.fingerprint
        """Equal images and sampling weights, equal fingerprint."""
        if weights is not None:
            drawn = json.dumps([self.fingerprint, *self._chance.tolist()])
            self.fingerprint = hashlib.sha256(drawn.encode()).hexdigest()

    def check(self, patch_size: int) -> None:
        """See that every image holds a patch.

        Raises:
            ValueError: If one is smaller than `patch_size` LR pixels at one of the scales.
        """
        need = patch_size * max(self.scales)
        small = [e.name for e in self.cache.entries if min(e.height, e.width) < need]
        if small:
            raise ValueError(
                f"{len(small)} of {len(self.cache.entries)} images are smaller than the {need} pixels that "
                f"a patch of {patch_size} needs at x{max(self.scales)}; take a smaller patch size or remove "
                f"{_listed(small)}"
            )

    def sample(
        self, rng: np.random.Generator, *, scale: int, batch_size: int, patch_size: int
    ) -> tuple[UInt8[Tensor, "b c h w"], UInt8[Tensor, "b c H W"]]:
        """A batch of LR and HR patches, a pure function of the state of `rng`.

        Args:
            rng: Source of the crops.
            scale: One of `scales`.
            batch_size: Patches.
            patch_size: Side of the LR patch; the HR one is `scale` times as large.
        """
        lr_patches, hr_patches = [], []
        for i in rng.choice(len(self._chance), size=batch_size, p=self._chance):
            lr, hr = self.cache.image(int(i), scale), self.cache.image(int(i))
            y = int(rng.integers(lr.shape[0] - patch_size + 1))
            x = int(rng.integers(lr.shape[1] - patch_size + 1))
            turns, mirror = int(rng.integers(4)), bool(rng.integers(2))
            for image, factor, patches in ((lr, 1, lr_patches), (hr, scale, hr_patches)):
                side = patch_size * factor
                patch = image[y * factor : y * factor + side, x * factor : x * factor + side]
                patch = np.rot90(patch, turns)
                patches.append(patch[:, ::-1] if mirror else patch)
        return _to_tensor(lr_patches), _to_tensor(hr_patches)


def _listed(names: list[str], most: int = 20) -> str:
    """Names separated by commas; past `most`, how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _to_tensor(patches: list[np.ndarray]) -> Tensor:
    """Patches h w c as one tensor b c h w that is laid out channels last."""
    return torch.from_numpy(np.stack(patches)).permute(0, 3, 1, 2)
