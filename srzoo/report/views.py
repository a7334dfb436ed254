"""What one image of a comparison looks like, before it is drawn on a page or a figure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from srzoo.report.crops import Crop, error_map

PEAKS = (4, 8, 16, 32, 64, 128, 255)
RAMP = ("#04050f", "#2b1a66", "#7a2a86", "#c9416c", "#f5854f", "#fbc96b", "#fdfbe8")
"""Colours of an error map from no error to its largest, evenly spaced; each is lighter than the one before."""
_STOPS = np.linspace(0, 255, len(RAMP))
_COLORS = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in RAMP], np.float64)
PALETTE = np.stack([np.interp(np.arange(256), _STOPS, _COLORS[:, i]) for i in range(3)], 1).round().astype(np.uint8)


@dataclass(frozen=True)
class Entry:
    """PSNR in dB and SSIM."""

    psnr: int | float
    ssim: int | float

    def __str__(self) -> str:
        return f"{self.psnr_text} dB / {self.ssim:.4f}"

    @property
    def psnr_text(self) -> str:
        """PSNR to two decimals; ∞ where the image is equal to HR."""
        return f"{self.psnr:.2f}" if math.isfinite(self.psnr) else "∞"


@dataclass(frozen=True)
class ImageResult:
    """What a comparison found for one image."""

    name: str
    size: tuple[int, int] | None = None
    """Width and height of the upscaled image."""
    scores: Mapping[str, Entry] = field(default_factory=dict)
    """Label -> PSNR and SSIM by `Protocol.paper`; empty without an HR image, or where it is too small."""
    crops: tuple[Crop, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Label -> seconds it took to upscale."""
    notes: tuple[str, ...] = ()
    """What was done to the image that a reader should know, such as that HR was cropped."""
    error: str | None = None
    """Why the image could not be compared."""


@dataclass(frozen=True)
class Views:
    """All versions of one image."""

    name: str
    scale: int
    lr: UInt8[Tensor, "c h w"]
    images: Mapping[str, UInt8[Tensor, "c H W"]]
    """Label -> SR."""
    hr: UInt8[Tensor, "c H W"] | None
    crops: Sequence[Crop]
    scores: Mapping[str, Entry]
    notes: tuple[str, ...]

    @property
    def width(self) -> int:
        """Width of SR and HR."""
        return self.lr.shape[2] * self.scale

    @property
    def height(self) -> int:
        """Height of SR and HR."""
        return self.lr.shape[1] * self.scale

    @property
    def reference(self) -> str:
        """What errors are differences from: HR, or else the model that was named first."""
        labels = list(self.images)
        return "HR" if self.hr is not None else next((label for label in labels if label != "bicubic"), labels[0])

    def errors(self) -> dict[str, np.ndarray]:
        """Label -> absolute difference from the reference, h w in 8-bit levels, of each other image."""
        reference = self.hr if self.hr is not None else self.images[self.reference]
        return {label: error_map(image, reference) for label, image in self.images.items() if image is not reference}


def best(scores: Mapping[str, Entry]) -> set[str]:
    """Labels of the highest PSNR, as printed; none where there is nothing to compare."""
    if len(scores) < 2:
        return set()
    top = max(entry.psnr for entry in scores.values())
    text = Entry(top, 0).psnr_text
    return {label for label, entry in scores.items() if entry.psnr_text == text}


def error_peak(errors: Mapping[str, np.ndarray]) -> int:
    """The error that gets the last colour, in 8-bit levels: a round number that 99.5 % of the pixels do not exceed."""
    if not errors:
        return PEAKS[0]
    reached = max(float(np.quantile(error[::2, ::2], 0.995)) for error in errors.values())
    return next((peak for peak in PEAKS if peak >= reached), PEAKS[-1])


def draw_errors(error: np.ndarray, peak: int) -> Image.Image:
    """An error map in the colours of `RAMP`: 0 is the first, `peak` and more the last."""
    index = np.minimum(np.rint(error * (255 / peak)), 255).astype(np.uint8)
    return Image.fromarray(PALETTE[index])


def as_picture(image: UInt8[Tensor, "c h w"]) -> Image.Image:
    """RGB picture of an image; of more than three channels the first three."""
    return Image.fromarray(np.ascontiguousarray(image[:3].expand(3, -1, -1).permute(1, 2, 0).numpy()))
