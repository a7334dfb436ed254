"""What became of each image of a job, and of all of them."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["to do", "done", "skipped", "exists", "failed"]
"""Not reached; made; whole and as it would be made, so left; there and not to be replaced, so left; not made."""


@dataclass
class Outcome:
    """What became of one image.

    Args:
        input: The image; "-" for standard input.
        output: Where its result goes; "-" for standard output.
        status: What became of it.
        reason: Why it was made again, left alone or not reached.
        size: Width and height of the result.
        pixels: Pixels of the result, once it is made.
        seconds: Time it took.
        mode: What the result's channels mean: L, LA, RGB, RGBA or CMYK.
        dtype: What a sample of the result is: uint8, uint16 or float32.
        engine: What computed it: torch, openvino or onnx.
        precision: What it was computed in.
        notes: What a user should know, such as that only the first frame was taken.
        error: Why it failed.
        is_failure: Whether the user does not have what was asked for.
    """

    input: str
    output: str
    status: Status = "to do"
    reason: str | None = None
    size: tuple[int, int] | None = None
    pixels: int | None = None
    seconds: float | None = None
    mode: str | None = None
    dtype: str | None = None
    engine: str | None = None
    precision: str | None = None
    notes: tuple[str, ...] = ()
    error: str | None = None
    is_failure: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON, without what is not known."""
        kept = ("input", "output", "status", "notes")
        values = {key: value for key, value in asdict(self).items() if value is not None or key in kept}
        return {key: value for key, value in values.items() if key != "is_failure"}


@dataclass(frozen=True)
class Summary:
    """A whole job in numbers.

    Args:
        counts: Status -> number of images, for every status.
        failures: Images the user does not have as asked for.
        images: Images in all.
        pixels: Pixels of the results that were made.
        seconds: Time the job took.
    """

    counts: Mapping[Status, int]
    failures: int
    images: int
    pixels: int
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 if all went well, 1 if some images failed, 2 if all did."""
        return 0 if not self.failures else 2 if self.failures == self.images else 1

    @property
    def megapixels_per_second(self) -> float | None:
        """Megapixels of results a second; None if nothing was made."""
        return self.pixels / 1e6 / self.seconds if self.pixels and self.seconds else None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON."""
        speed = self.megapixels_per_second
        return {
            **{status.replace(" ", "_"): count for status, count in self.counts.items()},
            "pixels": self.pixels,
            "seconds": round(self.seconds, 3),
            "megapixels_per_second": None if speed is None else round(speed, 3),
            "exit_code": self.exit_code,
        }


def summarize(outcomes: Sequence[Outcome], seconds: float) -> Summary:
    """The numbers of a job.

    Args:
        outcomes: What became of each image.
        seconds: Time the job took.
    """
    statuses: tuple[Status, ...] = ("done", "skipped", "exists", "failed", "to do")
    counts: dict[Status, int] = {status: sum(one.status == status for one in outcomes) for status in statuses}
    return Summary(
        counts=counts,
        failures=sum(one.is_failure for one in outcomes),
        images=len(outcomes),
        pixels=sum(one.pixels or 0 for one in outcomes),
        seconds=seconds,
    )
