"""Compare measured means with those that weights record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from srzoo.benchmark.entries import Entry
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.rows import Mean

TOLERANCE = 0.005
"""In dB."""
SSIM_TOLERANCE = 0.0005


@dataclass(frozen=True)
class Comparison:
    """One mean beside what the weights record for it."""

    model: str
    set: str
    scale: int
    psnr: float
    recorded_psnr: float
    ssim: float
    recorded_ssim: float | None
    drifted: bool

    def __str__(self) -> str:
        word = "DRIFT" if self.drifted else "ok"
        told = f"{self.psnr:.4f} dB, recorded {self.recorded_psnr:.4f} ({_signed(self.psnr - self.recorded_psnr, 4)})"
        if self.recorded_ssim is not None:
            told += (
                f"; {self.ssim:.5f}, recorded {self.recorded_ssim:.5f} ({_signed(self.ssim - self.recorded_ssim, 5)})"
            )
        return f"{word}: {self.model} on {self.set} x{self.scale}: {told}"


def _signed(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0:+.{digits}f}"  # + 0 makes of -0 a 0


@dataclass(frozen=True)
class Check:
    """All comparisons of a result, and what stood in the way of others."""

    comparisons: tuple[Comparison, ...]
    problems: tuple[str, ...]
    """A sentence for each model of which nothing could be compared."""
    skipped: tuple[str, ...] = ()
    """A sentence for each mean that was not compared, of models of which others were."""

    @property
    def passed(self) -> bool:
        """Whether every model was compared, and nothing drifted."""
        return bool(self.comparisons) and not self.problems and not any(one.drifted for one in self.comparisons)

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {**asdict(self), "passed": self.passed}


def check_result(result: BenchmarkResult, tolerance: float = TOLERANCE) -> Check:
    """Compare each mean with the one its model's weights record for the same set, scale, protocol and number of images.

    SSIM is compared too where it is recorded, within 0.0005.

    Args:
        result: What was measured.
        tolerance: In dB.

    Raises:
        ValueError: If the tolerance is negative.
    """
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; it must be 0 dB or more")
    asked = {entry.label: entry for entry in result.entries if not entry.is_baseline}
    found: list[Comparison] = []
    problems, skipped = [], []
    for entry in asked.values():
        means = [mean for mean in result.means if mean.model == entry.label]
        reasons = [_compare(entry, mean, result, tolerance) for mean in means]
        compared = [one for one in reasons if isinstance(one, Comparison)]
        found += compared
        if compared:
            skipped += [
                f"not compared: {mean.model} on {mean.set} x{mean.scale}: {reason}"
                for mean, reason in zip(means, reasons, strict=True)
                if isinstance(reason, str)
            ]
        else:
            told = "; ".join(dict.fromkeys(str(one) for one in reasons))
            problems.append(f"nothing that {entry.label} records can be compared: {told}")
    if not asked:
        problems.append("nothing can be compared: only bicubic was run, which records nothing")
    return Check(tuple(found), tuple(problems), tuple(skipped))


def _compare(entry: Entry, mean: Mean, result: BenchmarkResult, tolerance: float) -> Comparison | str:
    """The comparison, or the reason why there is none."""
    if result.settings.tta != "none" or result.settings.path != "rgb":
        return "weights record scores of path rgb without tta"
    if result.lr is not None:
        return "LR came from a folder, and weights record scores of LR that was made from HR"
    if not entry.recorded:
        return "its weights record no scores"
    recorded: Any = entry.recorded.get(mean.set, {})
    recorded = recorded.get(f"x{mean.scale}") if isinstance(recorded, Mapping) else None
    if not isinstance(recorded, Mapping) or "psnr" not in recorded:
        return f"there is no score of {mean.set} x{mean.scale}"
    if recorded.get("protocol", mean.protocol) != mean.protocol:
        return f"{mean.set} x{mean.scale} was recorded by {recorded['protocol']}, not {mean.protocol}"
    if recorded.get("images", mean.images) != mean.images:
        return f"{mean.set} x{mean.scale} was recorded on {recorded['images']} images, not {mean.images}"
    psnr, similarity = float(recorded["psnr"]), recorded.get("ssim")
    # written so that NaN drifts
    same = abs(mean.psnr - psnr) <= tolerance and not mean.nonfinite
    if similarity is not None:
        same = same and abs(mean.ssim - similarity) <= SSIM_TOLERANCE
    return Comparison(mean.model, mean.set, mean.scale, mean.psnr, psnr, mean.ssim, similarity, not same)
