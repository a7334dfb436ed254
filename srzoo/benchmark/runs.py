"""Run a benchmark: model by model, set by set, image by image; a killed run goes on where it was."""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from math import nan
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from srzoo.architecture import SRModel
from srzoo.benchmark.journal import Journal, Line
from srzoo.benchmark.meter import metered
from srzoo.benchmark.plan import GROUPS, Job, ProtocolName, Settings, Unit, plan_benchmark
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.rows import Row, mean_of
from srzoo.benchmark.scoring import comparable, model_input
from srzoo.data.pairs import Pair
from srzoo.device import to_channels_last
from srzoo.image import Picture, write_picture
from srzoo.metrics import psnr, ssim
from srzoo.tta import SelfEnsemble
from srzoo.upscaling.tiling import DEFAULT_TILE, run_tiled
from srzoo.upscaling.upscaler import Tta
from srzoo.weights import file_sha256

WARM_UP_SIDE = 64
"""Largest side, in LR pixels, of the image that a model is run on before the clock starts."""
Progress = Callable[[int, int, Row], None]
"""Called with (images done, images in all, the last row); of this process alone."""
Kept = list[dict[str, Row]]
"""For each unit, image -> row that a killed run left."""


def benchmark(
    models: str | Path | SRModel | Iterable[str | Path | SRModel],
    sets: str | Path | Iterable[str | Path] = ("Set5", "Set14"),
    *,
    data: str | Path | None = None,
    lr: str | Path | None = None,
    scales: Iterable[int] | None = None,
    tta: Tta = "none",
    protocol: ProtocolName = "paper",
    path: Literal["rgb", "luma"] = "rgb",
    device: str | torch.device = "auto",
    tile: int = DEFAULT_TILE,
    limit: int | None = None,
    baseline: bool = True,
    fetch: bool = False,
    fresh: bool = False,
    save_images: str | Path | None = None,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Scores, time and memory of models on sets of images, beside bicubic and what was published.

    Everything is found and checked before anything runs. Rows are kept on disk while it runs: after a kill the same
    call goes on where it was. Under torchrun (`srzoo.distributed.joined_world`) the processes share the images, and
    each returns the whole result.

    Args:
        models: A model or several: names, `name.tag`, globs, variants without scale, weight files, run folders,
            `hf-hub:owner/name`, or models. A model of several scales runs at each.
        sets: A set or several: names of `srzoo.data.benchmarks.BENCHMARKS`, or folders of images.
        data: The folder that holds the sets; None takes `SRZOO_DATA`.
        lr: A folder of LR images; None makes them from HR by MATLAB's bicubic.
        scales: Only these; None runs all that a model offers.
        tta: As `Settings` takes it, and so `protocol`, `path`, `tile` and `limit`.
        protocol: See `tta`.
        path: See `tta`.
        device: "auto" (cuda, mps, xpu, cpu: the first there is), or a torch device.
        tile: See `tta`.
        limit: See `tta`.
        baseline: Add bicubic at each scale.
        fetch: Fetch a set from the Hub that is not found.
        fresh: Measure anew what a killed run has measured.
        save_images: Folder to write the scored images to, as `model/set/x4/name.png`.
        progress: Called after each image.

    Raises:
        FileNotFoundError: If a model, a set or a folder is not there.
        ValueError: If sets have problems (all are told), a model has no weights, changes while it runs or gives another
            size than it should, or a setting is not allowed.

    Examples:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp()) / "grey"
        >>> folder.mkdir()
        >>> Image.new("RGB", (32, 32), (90, 90, 90)).save(folder / "one.png")
        >>> [mean] = benchmark("bicubic_x2", folder, device="cpu").means
        >>> mean.images, mean.psnr
        (1, 100.0)
    """
    settings = Settings(tta=tta, protocol=protocol, path=path, tile=tile, limit=limit)
    job = plan_benchmark(
        models, sets, data=data, lr=lr, scales=scales, settings=settings, device=device, baseline=baseline, fetch=fetch
    )  # fmt: skip
    if fresh:
        forget(job)
    result = run_benchmark(job, save_images=save_images, progress=progress)
    forget(job)
    return result


def run_benchmark(
    job: Job,
    *,
    save_images: str | Path | None = None,
    journal: Journal | None = None,
    kept: Kept | None = None,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Run a planned benchmark, or what is left of it; its rows stay on disk until `forget(job)`.

    Args:
        job: What to do.
        save_images: As `benchmark` takes it; rows that were kept without their image are measured again.
        journal: Where rows are kept.
        kept: What `kept_rows` gave, if it was asked before.
        progress: Called after each image.

    Raises:
        ValueError: If a model has changed since the plan was made, or its output does not fit an image.
    """
    journal = journal or Journal(rank=job.world.rank)
    folder = Path(save_images) if save_images is not None else None
    if kept is None and job.world.is_main:
        kept = kept_rows(job, journal, folder)
    kept = job.world.share_object(kept or [])
    mine = deal(job, kept)
    total = sum(map(len, mine))
    rows: dict[tuple[int, str], Row] = {}
    work = ((i, unit) for i, unit in enumerate(job.units) if mine[i])
    for entry, units in groupby(work, key=lambda pair: pair[1].entry):
        plain = to_channels_last(entry.opened(), job.device).eval()
        plain.register_forward_hook(check_size)
        for i, unit in units:
            make_ops = GROUPS[unit.tta]
            model = plain if make_ops is None else SelfEnsemble(plain, make_ops())
            pairs = unit.images.pairs(unit.scale)
            for count, index in enumerate(mine[i]):
                pair = pairs[index]
                if count == 0:
                    with _named(unit, pair):
                        warm_up(model, pair, job.device)
                target = None if folder is None else image_path(folder, unit, pair.name)
                row = run_image(model, pair, unit, job, target)
                journal.append(unit.key, row, "" if target is None else file_sha256(target))
                rows[i, row.image] = row
                if progress:
                    progress(len(rows), total, row)
    everything = {(i, row.image): row for i, found in enumerate(kept) for row in found.values()}
    for part in job.world.gather(rows):
        everything |= part
    return _result(job, everything, sum(map(len, kept)))


def kept_rows(job: Job, journal: Journal, folder: Path | None = None) -> Kept:
    """For each unit the rows that a killed run left, by image; only those whose image is in `folder`, if any."""

    def fits(unit: Unit, line: Line) -> bool:
        if line.row.image not in unit.names or folder is None:
            return line.row.image in unit.names
        path = image_path(folder, unit, line.row.image)  # another model's image may have been written over it
        return path.is_file() and file_sha256(path) == line.picture

    return [{line.row.image: line.row for line in journal.read(unit.key) if fits(unit, line)} for unit in job.units]


def deal(job: Job, kept: Sequence[Collection[str]]) -> list[list[int]]:
    """For each unit the positions of the images that this process runs: every so many-th of those that are left.

    Each unit goes on dealing where the one before stopped, so that the odd images of the sets do not all fall to one.
    """
    mine: list[list[int]] = []
    dealt = 0
    for unit, done in zip(job.units, kept, strict=True):
        left = [i for i, name in enumerate(unit.names) if name not in done]
        mine.append([i for nth, i in enumerate(left, dealt) if nth % job.world.size == job.world.rank])
        dealt += len(left)
    return mine


def forget(job: Job, journal: Journal | None = None) -> None:
    """Remove the rows that a run keeps on disk, so that the next run measures anew."""
    if job.world.is_main:
        (journal or Journal()).remove({unit.key for unit in job.units})


@torch.inference_mode()
def warm_up(model: SRModel, pair: Pair, device: torch.device) -> None:
    """Run a model once on a part of an image, so that what is set up at the first call is not timed."""
    lr, _ = model_input(pair, model.channels, device)
    model(lr[..., :WARM_UP_SIDE, :WARM_UP_SIDE].contiguous(memory_format=torch.channels_last), pair.scale)


def check_size(model: nn.Module, given: tuple[Tensor, int], out: Tensor) -> None:
    """A forward hook that sees that SR has the size of LR, times the scale.

    Raises:
        ValueError: If it has not.
    """
    lr, scale = given
    made, wanted = (f"{width}x{height}" for height, width in (out.shape[-2:], [side * scale for side in lr.shape[-2:]]))
    if made != wanted:
        raise ValueError(f"the model makes {made} pixels of {lr.shape[-1]}x{lr.shape[-2]}; they must be {wanted}")


@contextmanager
def _named(unit: Unit, pair: Pair) -> Iterator[None]:
    """Name model and image in what goes wrong."""
    try:
        yield
    except ValueError as error:
        told = f"{unit.entry.label} on {unit.images.name} {pair.name} at x{pair.scale}: {error}"
        raise ValueError(told) from error


@torch.inference_mode()
def run_image(model: SRModel, pair: Pair, unit: Unit, job: Job, target: Path | None = None) -> Row:
    """The row of one image; the scored image is written to `target`.

    Raises:
        ValueError: If the model takes other channels or gives another size; it names model and image.
    """
    scale = pair.scale

    def run(window: Tensor) -> Tensor:
        return model(window.contiguous(memory_format=torch.channels_last), scale).float()

    with _named(unit, pair):
        lr, hr = model_input(pair, model.channels, job.device)
        with metered(job.device) as usage:
            sr = run_tiled(run, lr, scale=scale, tile=job.settings.tile, halo=model.halo(scale))
        nonfinite = int((~sr.isfinite()).sum())
        sr, hr = comparable(sr, hr)
        both = (nan, nan) if nonfinite else (psnr(sr, hr, unit.rule).item(), ssim(sr, hr, unit.rule).item())
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        samples = (sr.cpu().double().nan_to_num(0).clamp(0, 1) * 255).round().to(torch.uint8)  # as the protocol rounds
        pixels = samples[0].permute(1, 2, 0).numpy()
        write_picture(Picture(pixels, "L" if pixels.shape[2] == 1 else "RGB"), target)
    return Row(
        model=unit.entry.label,
        set=unit.images.name,
        scale=scale,
        image=pair.name,
        width=sr.shape[-1],
        height=sr.shape[-2],
        psnr=both[0],
        ssim=both[1],
        seconds=usage.seconds,
        peak_mib=usage.peak_mib,
        protocol=str(unit.rule),
        nonfinite=nonfinite,
    )


def image_path(folder: Path, unit: Unit, name: str) -> Path:
    """Where the scored image of a model goes: `folder/model/set/x4/name.png`."""
    return folder / _as_folder(unit.entry.label) / _as_folder(unit.images.name) / f"x{unit.scale}" / f"{name}.png"


def _as_folder(label: str) -> str:
    """A label as a folder's name; one that has to be changed gets a hash, so that no two labels share a folder."""
    name = re.sub(r"[^\w.@+-]+", "_", label).strip("_.")
    return name if name == label else f"{name}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _result(job: Job, rows: dict[tuple[int, str], Row], num_kept: int) -> BenchmarkResult:
    """Rows and means in the order of sets, scales and models."""
    places = {images.name: i for i, images in enumerate(job.sets)}
    order = sorted(range(len(job.units)), key=lambda i: (places[job.units[i].images.name], job.units[i].scale))
    units = [(job.units[i], [rows[i, name] for name in job.units[i].names]) for i in order]
    return BenchmarkResult(
        rows=tuple(row for _, found in units for row in found),
        means=tuple(mean_of(found, unit.published) for unit, found in units),
        entries=job.entries,
        sets=tuple((images.name, str(images.folder), len(images.names)) for images in job.sets),
        settings=job.settings,
        device=job.device_words,
        processes=job.world.size,
        kept=num_kept,
        lr=job.lr,
        cropped=job.cropped,
    )
