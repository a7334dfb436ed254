"""What a benchmark measures: a row an image, and the means of a set."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from srzoo.benchmark.published import Published
from srzoo.benchmark.scoring import MOST_PSNR


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model on one image."""

    model: str
    set: str
    scale: int
    image: str
    width: int
    """Of SR, in pixels."""
    height: int
    psnr: float
    """In dB; infinite where SR is HR, NaN where SR holds NaN or infinity."""
    ssim: float
    seconds: float
    """From LR to SR, both on the device; without reading, scoring and writing."""
    peak_mib: float | None
    """Peak memory meanwhile: of the GPU's allocator, or of the whole process on a processor."""
    protocol: str
    nonfinite: int = 0
    """Values of SR that are NaN or infinite."""

    @property
    def megapixels_per_second(self) -> float:
        """Megapixels of SR a second."""
        return self.width * self.height / 1e6 / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, in which what is not finite is None; `identical` tells an infinite PSNR."""
        speed = round(self.megapixels_per_second, 4)
        told = {**asdict(self), "megapixels_per_second": speed, "identical": self.psnr == math.inf}
        return {key: plain(value) for key, value in told.items()}


@dataclass(frozen=True, kw_only=True)
class Mean:
    """One model on one set at one scale."""

    model: str
    set: str
    scale: int
    protocol: str
    images: int
    psnr: float
    """Mean over the images of which SR is finite, NaN if none is; one above 100 dB counts as 100 dB."""
    ssim: float
    seconds: float
    """For an image."""
    megapixels_per_second: float
    """SR pixels of all images by the seconds of all."""
    peak_mib: float | None
    nonfinite: tuple[str, ...] = ()
    """Images of which SR holds NaN or infinity; they are left out of the means of PSNR and SSIM."""
    identical: tuple[str, ...] = ()
    """Images of which SR is HR, or so near to it that they count as 100 dB."""
    published: Published | None = None
    """What was published for this model, where it was measured in the same way."""

    @property
    def difference(self) -> float | None:
        """PSNR less the published one, in dB; None where there is none, or images are missing in the mean."""
        if self.published is None or self.nonfinite:
            return None
        return self.psnr - self.published.psnr

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values, in which what is not finite is None."""
        told = {key: plain(value) for key, value in asdict(self).items()}
        return {**told, "difference": plain(self.difference)}


def plain(value: Any) -> Any:
    """A value that JSON has: a number that is not finite becomes None, a tuple a list."""
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return list(value) if isinstance(value, tuple) else value


def mean_of(rows: Sequence[Row], published: Published | None = None) -> Mean:
    """The means of rows of one model, set and scale.

    Args:
        rows: At least one.
        published: What to put beside it.

    Raises:
        ValueError: If there are no rows.
    """
    if not rows:
        raise ValueError("there are no rows to average")
    first = rows[0]
    finite = [row for row in rows if not row.nonfinite]
    pixels, seconds = sum(row.width * row.height for row in rows), sum(row.seconds for row in rows)
    peaks = [row.peak_mib for row in rows if row.peak_mib is not None]
    return Mean(
        model=first.model,
        set=first.set,
        scale=first.scale,
        protocol=first.protocol,
        images=len(rows),
        psnr=_mean([min(row.psnr, MOST_PSNR) for row in finite]),
        ssim=_mean([row.ssim for row in finite]),
        seconds=seconds / len(rows),
        megapixels_per_second=pixels / 1e6 / max(seconds, 1e-9),
        peak_mib=max(peaks, default=None),
        nonfinite=tuple(row.image for row in rows if row.nonfinite),
        identical=tuple(row.image for row in rows if row.psnr > MOST_PSNR),
        published=published,
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan
