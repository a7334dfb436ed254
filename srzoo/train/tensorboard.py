"""A run's numbers and sample images for TensorBoard."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.benchmark.scoring import as_scored
from srzoo.data.pairs import Pair
from srzoo.train.callbacks import Callback, Row, Run, written_to
from srzoo.train.samples import spread, super_resolve

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

CROP = 96
"""Largest side of the sample images, in LR pixels."""


def tag_of(key: str) -> str:
    """Name of a number in TensorBoard, which groups by what stands before the first slash.

    Examples:
        >>> tag_of("loss"), tag_of("Set5 x2 psnr")
        ('loss', 'Set5/x2/psnr')
    """
    return "/".join(key.rsplit(" ", 2))


def centre_crop(pair: Pair, size: int) -> Pair:
    """The middle of a pair, `size` LR pixels on each side or what there is."""
    top, left = (max(0, side - size) // 2 for side in pair.lr.shape[1:])
    lr = pair.lr[:, top : top + size, left : left + size]
    at = [pair.scale * offset for offset in (top, left, *lr.shape[1:])]
    return Pair(pair.name, lr, pair.hr[:, at[0] : at[0] + at[2], at[1] : at[1] + at[3]], pair.scale)


class TensorBoard(Callback):
    """Writes each number of a row as a scalar, and after each validation sample images: LR, SR and HR side by side.

    Look at it with `tensorboard --logdir FOLDER`. After a resume, what earlier processes wrote for later steps is
    hidden; a run from step 0 hides all that is in the folder.

    Args:
        folder: Where the event files go.
        num_samples: Validation pairs to show: the middle of each, up to 96x96 LR pixels, through the weights that are
            kept (`run.averaged`); 0 shows none.

    Raises:
        ImportError: If the package tensorboard is missing; it comes with `pip install "srzoo[train]"`.
        ValueError: If `num_samples` is negative.
        OSError: By its methods, if the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, *, num_samples: int = 4) -> None:
        if num_samples < 0:
            raise ValueError(f"num_samples is {num_samples}; it must be 0 or more")
        try:
            import torch.utils.tensorboard  # noqa: F401  # now, not when the images are read and the model is built
        except ImportError as error:
            raise ImportError(
                f'TensorBoard needs the package tensorboard ({error}); pip install "srzoo[train]" brings it'
            ) from error
        self._folder = Path(folder)
        self._num_samples = num_samples
        self._writer: SummaryWriter | None = None

    def start(self, run: Run) -> None:
        """Open a new event file that hides events of steps the run is going to take."""
        from torch.utils.tensorboard import SummaryWriter

        self.close(run)
        with written_to(self._folder):
            self._writer = SummaryWriter(str(self._folder), purge_step=run.step + 1 if run.step else 0)

    def log(self, run: Run, row: Row) -> None:
        """Write the row, and the samples if it has scores."""
        assert self._writer is not None, "start comes first"
        step = int(row["step"])
        has_scores = any(key.endswith(" psnr") for key in row)
        with written_to(self._folder):
            for key, value in row.items():
                if key != "step":
                    self._writer.add_scalar(tag_of(key), value if math.isfinite(value) else math.nan, step)
            if has_scores:
                for tag, image in self._samples(run).items():
                    self._writer.add_image(tag, image, step)
                self._writer.flush()

    def _samples(self, run: Run) -> dict[str, UInt8[Tensor, "3 h w"]]:
        """Tag -> LR (each pixel a square), SR and HR of the middle of a pair."""
        pairs = [(name, pair) for name, some in run.validation.items() for pair in some]
        images = {}
        for name, pair in spread(pairs, self._num_samples):
            crop = centre_crop(pair, CROP)
            lr = crop.lr.repeat_interleave(crop.scale, 1).repeat_interleave(crop.scale, 2)
            three = [as_scored(image).expand(3, -1, -1) for image in (lr, super_resolve(run.averaged, crop), crop.hr)]
            images[f"samples/{name}/{pair.name} x{pair.scale}"] = torch.cat(three, 2)
        return images

    def saving(self, run: Run) -> None:
        """Have the events in the file before the checkpoint is."""
        if self._writer is not None:
            with written_to(self._folder):
                self._writer.flush()

    def close(self, run: Run) -> None:
        """Write what is left and close the file."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            with written_to(self._folder):
                writer.close()
