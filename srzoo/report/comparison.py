"""Compare models on images: scores, a page with sliders, a figure."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from srzoo.metrics import Protocol, psnr, ssim
from srzoo.metrics.ssim import WINDOW
from srzoo.report.crops import Crop, disagreement, find_crops
from srzoo.report.embed import EMBED_PIXELS
from srzoo.report.figure import Figure
from srzoo.report.inputs import Source, find_sources, load
from srzoo.report.methods import BICUBIC, Method, Models, open_methods
from srzoo.report.outputs import check_figure, check_page
from srzoo.report.page import Page
from srzoo.report.views import Entry, ImageResult, Views
from srzoo.upscaling.tiling import DEFAULT_TILE
from srzoo.upscaling.upscaler import Tta

NUM_CROPS = 3


@dataclass(frozen=True)
class Comparison:
    """What a comparison found."""

    scale: int
    methods: tuple[str, ...]
    """Labels of what was compared, bicubic among them."""
    protocol: str
    """How the images were scored; empty where there was no HR image."""
    images: tuple[ImageResult, ...]
    page: Path | None = None
    """The page written; None if none was asked for, or every image failed."""
    grid: Path | None = None
    """The figure written."""

    @property
    def failed(self) -> tuple[ImageResult, ...]:
        """Images that could not be compared, each with its `error`."""
        return tuple(image for image in self.images if image.error is not None)

    def means(self) -> dict[str, Entry]:
        """Label -> mean PSNR and SSIM over the images that were scored; empty if none was."""
        scored = [image for image in self.images if image.scores]
        if not scored:
            return {}
        return {
            label: Entry(
                float(np.mean([image.scores[label].psnr for image in scored])),
                float(np.mean([image.scores[label].ssim for image in scored])),
            )
            for label in self.methods
        }


Progress = Callable[[ImageResult, int, int], None]
"""Called with (what an image gave, images done, images in all)."""


def compare(
    images: str | Path | None,
    models: Models,
    *,
    hr: str | Path | None = None,
    from_hr: bool = False,
    scale: int | None = None,
    page: str | Path | None = None,
    grid: str | Path | None = None,
    crops: int | Sequence[Crop] = NUM_CROPS,
    limit: int | None = None,
    device: str | torch.device = "auto",
    tta: Tta = "none",
    tile: int = DEFAULT_TILE,
    embed_pixels: int = EMBED_PIXELS,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """What models make of images, side by side: scores, and a page and a figure if they are asked for.

    One image is in memory at a time, and the figure as it grows. A bad image does not stop the others: its result has
    an `error`. Files are written whole or not at all, and not if every image failed.

    Args:
        images: LR image or folder of them; HR images with `from_hr`; None to take those of `hr`.
        models: Names, weight files, folders of runs or models; a mapping gives them labels. "bicubic" is bicubic at
            the scale, and is added where it is missing.
        hr: HR image or folder, to score with. The HR image of `a.png`, or `ax2.png` at scale 2, is `a` with any suffix.
        from_hr: `images` are HR images, from which LR is made by `imresize`.
        scale: Upscaling factor; None takes that of the models.
        page: HTML file to write: one file that holds its images and loads nothing.
        grid: Image file to write the figure to, not in a folder of images that is read.
        crops: How many parts to choose where the methods differ most, or the parts themselves, in HR pixels.
        limit: Most images to take.
        device: As `Upscaler` takes it.
        tta: As `Upscaler` takes it; for the models, not for bicubic.
        tile: As `Upscaler` takes it.
        embed_pixels: Larger images are shown reduced to about so many pixels on the page; crops never are.
        overwrite: Replace a page and a figure that exist; the images that are read are never replaced.
        progress: Called after each image.

    Raises:
        FileNotFoundError: If an input, or the folder of an output, does not exist.
        FileExistsError: If an output exists, and `overwrite` was not given.
        ValueError: If a model is unknown, the models do not share a scale, an option is out of range, an output is one
            of the images, or the figure gets larger than its format holds.

    Examples:
        >>> import tempfile, numpy
        >>> from PIL import Image
        >>> photo = Path(tempfile.mkdtemp()) / "photo.png"
        >>> Image.fromarray(numpy.arange(3072, dtype=numpy.uint8).reshape(32, 32, 3)).save(photo)
        >>> found = compare(photo, "bicubic_x2", from_hr=True, page=photo.with_suffix(".html"))
        >>> found.methods, found.page.name, round(found.images[0].scores["bicubic"].ssim) in (0, 1)
        (('bicubic', 'bicubic_x2'), 'photo.html', True)
    """
    inputs = [given for given in (images, hr) if given is not None]
    page = None if page is None else check_page(page, inputs, overwrite=overwrite)
    grid = None if grid is None else check_figure(grid, inputs, overwrite=overwrite)
    if limit is not None and limit < 1:
        raise ValueError(f"limit is {limit}; it must be at least 1")
    if embed_pixels < 1:
        raise ValueError(f"embed_pixels is {embed_pixels}; it must be at least 1")
    if (isinstance(crops, int) and crops < 1) or not crops:
        raise ValueError(f"crops is {crops!r}; give at least 1, or the parts themselves")
    scale, methods = open_methods(models, scale, device=device, tta=tta, tile=tile)
    sources = find_sources(images, hr, scale, from_hr=from_hr)[:limit]
    labels = tuple(method.label for method in methods)
    protocol = str(Protocol.paper(scale)) if any(source.hr for source in sources) else ""
    results: list[ImageResult] = []
    with ExitStack() as stack:
        sheet = stack.enter_context(Page(embed_pixels)) if page is not None else None
        figure = Figure() if grid is not None else None
        for source in sources:
            result = _compare_one(source, methods, scale, crops, [x for x in (sheet, figure) if x is not None])
            results.append(result)
            if figure is not None and grid is not None:
                figure.check_fits(grid)
            if progress is not None:
                progress(result, len(results), len(sources))
        found = Comparison(scale, labels, protocol, tuple(results), page, grid)
        if len(found.failed) == len(results):
            return Comparison(scale, labels, protocol, tuple(results))
        if sheet is not None and page is not None:
            failed = [(image.name, image.error or "") for image in found.failed]
            sheet.write(page, scale, protocol, labels, found.means(), failed)
        if figure is not None and grid is not None:
            figure.write(grid)
    return found


def _compare_one(
    source: Source, methods: Sequence[Method], scale: int, crops: int | Sequence[Crop], pages: Sequence[Page | Figure]
) -> ImageResult:
    """What the methods make of one image, added to the pages; an error where it could not be done."""
    try:
        views, seconds = _make_views(source, methods, scale, crops)
        for page in pages:
            page.add(views)
    except (ValueError, OSError, MemoryError) as error:
        return ImageResult(source.name, error=str(error) or type(error).__name__)
    size = (views.width, views.height)
    return ImageResult(source.name, size, views.scores, tuple(views.crops), seconds, views.notes)


def _make_views(
    source: Source, methods: Sequence[Method], scale: int, crops: int | Sequence[Crop]
) -> tuple[Views, dict[str, float]]:
    loaded = load(source, scale)
    images: dict[str, Tensor] = {}
    seconds: dict[str, float] = {}
    for method in methods:
        start = time.perf_counter()
        images[method.label] = method(loaded.lr)
        seconds[method.label] = round(time.perf_counter() - start, 3)
    height, width = (side * scale for side in loaded.lr.shape[1:])
    if isinstance(crops, int):
        telling = [image for label, image in images.items() if label != BICUBIC]
        telling = telling if len(telling) > 1 else list(images.values())  # bicubic would decide alone
        chosen = find_crops(disagreement(telling, loaded.hr), crops)
    else:
        chosen = [crop.check_inside(width, height) for crop in crops]
    scores, notes = {}, loaded.notes
    if loaded.hr is not None:
        rule = Protocol.paper(scale)
        if min(height, width) - 2 * rule.border >= WINDOW:
            scores = {label: _score(image, loaded.hr, rule) for label, image in images.items()}
        else:
            notes = (*notes, f"too small to be scored: a border of {rule.border} leaves less than {WINDOW} pixels")
    return Views(source.name, scale, loaded.lr, images, loaded.hr, chosen, scores, notes), seconds


def _score(sr: Tensor, hr: Tensor, rule: Protocol) -> Entry:
    one, other = (image[None].float() / 255 for image in (sr, hr))
    return Entry(psnr(one, other, rule).item(), ssim(one, other, rule).item())
