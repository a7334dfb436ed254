"""Upscale images of any kind with a model of the zoo."""

import logging
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.device import pick_device
from srzoo.files import Writable
from srzoo.image import (
    MAX_PIXELS,
    Header,
    Picture,
    PictureSource,
    Source,
    WriteOptions,
    check_writable,
    from_pil,
    open_sink,
    open_source,
    to_pil,
)
from srzoo.image.reading import Readable
from srzoo.resize import imresize
from srzoo.tta import Op
from srzoo.tta.merges import MergeName
from srzoo.upscaling.ahead import ahead, behind
from srzoo.upscaling.arrays import upscale_array, upscale_tensor
from srzoo.upscaling.building import Executors
from srzoo.upscaling.checks import Tta, check_options, check_own_ops, checked_ops
from srzoo.upscaling.engines import Precision
from srzoo.upscaling.engines.choosing import EngineName
from srzoo.upscaling.executor import Executor
from srzoo.upscaling.identity import identify_model, identify_op, identify_run, identify_stages
from srzoo.upscaling.memory import budget, most
from srzoo.upscaling.pipeline import Progress, Rows, collect, upscale_rows, watched
from srzoo.upscaling.result import Result, result_header
from srzoo.upscaling.shapes import Settings
from srzoo.upscaling.stages import Networks
from srzoo.upscaling.target import Sizes, Target
from srzoo.version import __version__

LOGGER = logging.getLogger("srzoo")
DEFAULT_MODEL = "edsr_baseline_x4"


class Upscaler:
    """A model ready to upscale many images of any size; may be shared by threads, pickled, used in a `with` block.

    Images are computed in strips of rows or in tiles whose results add up to that of the whole image, so memory
    depends on the image's width at most.

    Args:
        model: Model name (its weights are loaded), path of a weight file, or a model, which is itself moved to the
            device, laid out channels last and set to eval mode, not a copy. Of a model that went through
            `torch.compile` the original is taken. A list of these is run one after the other.
        scale: Which of a multi-scale model's scales; None takes a single-scale model's own, or the one that `size`
            needs. A larger one, up to 64, is made by a model that differs in its scale alone, if this one was given
            by name, or by networks after each other.
        size: Size of every result, if it is not to be `scale` times the image's.
        engine: "auto" (the fastest that is installed), "torch", "openvino" or "onnx".
        precision: "auto" (bf16 or fp16 where it is fast and costs less than 0.01 dB), "fp32", "bf16" or "fp16".
        device: "auto" (cuda, mps, xpu, cpu: the first there is), or a torch device.
        tta: "none", "flips" (mean of 4), "x8" (mean of 8: EDSR+, +0.05 to +0.08 dB on Set14 at 8 times the time), or
            operations of your own, see `srzoo.tta`.
        merge: "mean" or "median" of the operations' results.
        tile: Side of tiles in LR pixels; None lets the planner choose, strips where the model allows it. The result
            does not depend on it.
        memory: What the work may take, such as "2GB" or a number of bytes; None is 500 MB on a CPU, half of what is
            free on a GPU.
        halo: LR pixels that tiles see around them; None is the model's receptive field, with which tiles equal the
            whole image. Less is faster, and shows at the borders of tiles.

    The model's weights are read when it is first used at a scale; after changing them call `close`.

    Raises:
        ValueError: If the model is unknown, has no weights, or does not offer the scale; if an option is none of the
            allowed ones, or the model cannot be computed in the precision asked for.
        TypeError: If the model or an option is of the wrong kind.
        ImportError: If the engine's package is not installed.

    Examples:
        ```python
        with srzoo.Upscaler("edsr_baseline_x4", tta="x8") as upscaler:
            for path in upscaler.map(photos):
                print(path)
        ```
    """

    def __init__(
        self,
        model: str | Path | SRModel | Sequence[str | Path | SRModel] = DEFAULT_MODEL,
        *,
        scale: int | None = None,
        size: Target | None = None,
        engine: EngineName = "auto",
        precision: Precision = "auto",
        device: str | torch.device = "auto",
        tta: Tta | Sequence[Op] = "none",
        merge: MergeName = "mean",
        tile: int | None = None,
        memory: str | int | None = None,
        halo: int | None = None,
    ) -> None:
        check_options(
            scale=scale, size=size, tile=tile, halo=halo, device=device, engine=engine, precision=precision, merge=merge
        )  # fmt: skip
        self._arguments: dict[str, Any] = dict(
            scale=scale, size=size, engine=engine, precision=precision, device=device, tta=tta, merge=merge,
            tile=tile, memory=memory, halo=halo,
        )  # fmt: skip
        self._start(model)

    def _start(self, model: Any) -> None:
        """Set everything up for a model, as a user gives it, or the networks that a pickle holds."""
        scale, size, engine, precision, device, tta, merge, tile, memory, halo = self._arguments.values()
        ops = checked_ops(tta)
        self.device = pick_device(device)
        self.networks = Networks.of(model, self.device)
        self.model = self.networks.first
        check_own_ops(ops, self.model.channels, self.device)
        self.size: Target | None = size
        self.scale: int | None = None if size is not None and scale is None else self.networks.check_scale(scale)
        self.tta: str = tta if isinstance(tta, str) else "own"
        self.merge: MergeName = merge
        self._settings = Settings(ops, merge, tile, halo, budget(self.device, memory), most(self.device, memory))
        self._lock = threading.RLock()
        self._executors = Executors(self.networks, engine, precision, self.device, self._settings, self._lock)
        first = self._executor(self._usual_scale)
        self.engine = first.engine.name
        below = f"; torch for images below {self._executors.small / 1e6:.2f} megapixels"
        below = below if engine == "auto" and self.engine != "torch" else ""
        LOGGER.info("engine %s, %s%s", self.engine, first.precision, below)
        for note in self._executors.halo_notes(self._usual_scale):
            LOGGER.warning("%s", note)

    @property
    def _usual_scale(self) -> int:
        """The factor of results, or one of them if they are brought to a size."""
        return self.scale or self.networks.factors[0]

    @property
    def precision(self) -> str:
        """What is computed in, in words."""
        return self._executor(self._usual_scale).precision

    @property
    def settings(self) -> dict[str, Any]:
        """All that pixels depend on, as plain JSON values: the same settings and image give the same result."""
        scale = self._usual_scale
        executors = self._executors.cascade(scale).executors
        executor = next((one for one in executors if one.settings.halo is not None), executors[-1])
        small = executor if self.engine == "torch" else self._executor(scale, 1)
        own = [identify_op(op, self.model.channels, self.device) for op in self._settings.ops]
        return {
            "srzoo": __version__,
            **identify_model(self.model, self.device),
            **identify_stages(self.networks, self.scale, self.size, self.device),
            "scale": self.scale,
            "size": None if self.size is None else str(self.size),
            "tta": self.tta if self.tta != "own" else own,
            "merge": self.merge if self.tta != "none" else None,
            **identify_run(executor, small, self._executors.small, self._settings.memory),
        }

    def _executor(self, scale: int, pixels: int | None = None) -> Executor:
        """What runs the last network, which does most of the work, for images of so many LR pixels."""
        return self._executors.cascade(scale, pixels).executors[-1]

    # -- images ---------------------------------------------------------------------------------------------------

    @overload
    def __call__(
        self, image: str | Path, *, output: str | Path | None = None, progress: Progress | None = None
    ) -> Path: ...
    @overload
    def __call__(self, image: Image.Image, *, progress: Progress | None = None) -> Image.Image: ...
    @overload
    def __call__(self, image: np.ndarray, *, progress: Progress | None = None) -> np.ndarray: ...
    @overload
    def __call__(self, image: Tensor, *, progress: Progress | None = None) -> Tensor: ...

    def __call__(self, image: Any, *, output: str | Path | None = None, progress: Progress | None = None) -> Any:
        """The image upscaled, as the same kind of thing.

        A path is read, and the path of the file written is returned: `output`, or `photo_x4.png` beside
        `photo.png`. Grey goes through an RGB model as three equal channels, and back; images with alpha go through
        composed over black and over white.

        Args:
            image: Path, PIL image (taken as it stands: its EXIF orientation goes with it), numpy array (h w or h w c;
                uint8, uint16, or float in [0, 1]), or tensor (c h w or b c h w; uint8, or float in [0, 1]). Floats up
                to 1/16 outside are clipped, others refused.
            output: Where to write, for paths only.
            progress: Called with (pixels of the result done, pixels in all).

        Raises:
            FileNotFoundError: If the path, or the folder of `output`, does not exist.
            PermissionError: If the output folder is not writable.
            ValueError: If it is no readable image, or has a shape or channel count the model cannot take.
            TypeError: If it is another kind of thing, or `output` is given without a path.
        """
        if output is not None and not isinstance(image, str | Path):
            raise TypeError("output is for images given as a path; save the returned image yourself")
        if isinstance(image, str | Path):
            target = Path(output if output is not None else self.output_path(image))
            self.file(image, target, progress=progress)
            return target
        if isinstance(image, Image.Image):
            return to_pil(self.picture(from_pil(image), progress))
        if isinstance(image, np.ndarray):
            return upscale_array(image, self, progress)
        if isinstance(image, Tensor):
            return upscale_tensor(image, self, progress)
        raise TypeError(f"image is a {type(image).__name__}; give a path, PIL image, numpy array or tensor")

    def map(self, images: Iterable[Any]) -> Generator[Any]:
        """The images upscaled, in their order, one at a time as they are asked for.

        The iterable is read in a thread, one or two items ahead; closing the generator waits for the item being read.

        Args:
            images: Of any kind that a call takes; kinds may be mixed.

        Raises:
            Exception: What a call raises, at the image that raised it.
        """
        with closing(ahead(images)) as coming:
            for image in coming:
                yield self(image)

    def output_path(self, path: str | Path) -> Path:
        """Where the result of a file goes by default: `photo.jpg` -> `photo_x4.png`, lossless.

        TIFF for what PNG cannot hold (CMYK, floating point) is chosen by `srzoo upscale`; here PNG is refused then.
        """
        path = Path(path)
        return path.with_name(f"{path.stem}_{self.word}.png")

    @property
    def word(self) -> str:
        """How much larger results are, in a word, such as "x4" or "1920x1080"."""
        return f"x{self.scale}" if self.size is None else self.size.word

    def file(
        self,
        source: str | Path | Readable,
        target: str | Path | Writable,
        *,
        format: str | None = None,
        options: WriteOptions | None = None,
        size: Target | None = None,
        strip: bool = False,
        max_pixels: int = MAX_PIXELS,
        uncertainty: str | Path | None = None,
        progress: Progress | None = None,
        before_place: Callable[[Path], None] | None = None,
    ) -> Result:
        """Upscale a file to a file, in memory that does not grow with the image's height.

        Args:
            source: Path or binary stream.
            target: Path, whose suffix is the format, or binary stream.
            format: Of a stream, such as "png".
            options: How the file is written.
            size: Size of the result, if it is not that of the upscaler.
            strip: Leave metadata out, but for the colour profile and resolution.
            max_pixels: Refuse larger images before decoding them.
            uncertainty: Where to write a map of how far the passes of the ensemble lie apart.
            progress: Called with (pixels of the result done, pixels in all).
            before_place: Called with the finished file before it takes its place.

        Raises:
            FileNotFoundError, PermissionError: If the file is not there or a folder cannot be written to.
            ValueError: If it is no readable image, the model cannot take it, the target's format cannot hold it, or
                the map is asked for without an ensemble.
        """
        if uncertainty is not None and not self._settings.ops:
            raise ValueError("uncertainty is how far the passes of an ensemble differ; give tta, such as 'x8'")
        paths = [path for path in (target, uncertainty) if isinstance(path, str | Path)]
        for path in paths:
            check_writable(path)
        if len({Path(path).resolve() for path in paths}) < len(paths):
            raise ValueError(f"the result and its uncertainty are both to be written to {target}; give two names")
        notes: list[str] = []
        options = options or WriteOptions()
        with ExitStack() as stack:
            picture = stack.enter_context(open_source(source, max_pixels))
            sizes = self._sizes(picture.header, size, notes)
            header = result_header(picture.header, sizes, strip=strip)
            sink = stack.enter_context(open_sink(target, header, options, format=format, before_place=before_place))
            drawn = None
            if uncertainty is not None:
                plain = Header(header.width, header.height, "L", "uint8")
                drawn = stack.enter_context(open_sink(uncertainty, plain))

            def write(rows: Rows) -> None:
                sink.write(rows.pixels)
                if drawn is not None and rows.spread is not None:
                    drawn.write(rows.spread)

            stream = self._rows(picture, sizes, uncertainty is not None, notes, progress)
            with behind(write) as hand, closing(stream):
                for rows in stream:
                    hand(rows)
            told = (*picture.notes, *notes, *sink.notes)
            ran = self._executor(sizes.scale, picture.header.width * picture.header.height)
        kept = header.mode, header.dtype, tuple(dict.fromkeys(told))
        return Result(header.width, header.height, *kept, ran.engine.name, ran.precision)

    def picture(self, picture: Picture, progress: Progress | None = None) -> Picture:
        """A `Picture` upscaled, with its metadata."""
        sizes = self._sizes(picture.header, None, None)
        header = result_header(picture.header, sizes)
        pixels = np.empty((header.height, header.width, header.channels), header.dtype)
        done = 0
        with closing(self._rows(PictureSource(picture), sizes, False, None, progress)) as stream:
            for rows in stream:
                pixels[done : done + len(rows.pixels)] = rows.pixels
                done += len(rows.pixels)
        return Picture(pixels, header.mode, header.metadata)

    def _sizes(self, header: Header, size: Target | None, notes: list[str] | None) -> Sizes:
        """The model's scale, and the size of the result; what there is to say goes to the notes, else to the log."""
        target = size or self.size
        if target is None:
            scale = self._usual_scale
            sizes, told = Sizes(scale, header.width * scale, header.height * scale), []
        else:
            factors = self.networks.factors_for(target.factor(header.width, header.height))
            factors = factors if self.scale is None else (self.scale,)
            sizes = target.resolve(header.width, header.height, factors)
            told = list(target.notes(header.width, header.height, factors))
        told += filter(None, [self.networks.tell(sizes.scale)])
        if notes is not None:
            notes += told
        for note in told if notes is None else ():
            LOGGER.info("%s", note)
        return sizes

    def _rows(
        self, source: Source, sizes: Sizes, spread: bool, notes: list[str] | None, progress: Progress | None
    ) -> Generator[Rows]:
        """Rows of the result of a picture; other threads wait until the generator is done, or closed."""
        total = sizes.width * sizes.height
        done = 0
        size = sizes.width, sizes.height
        with self._lock, ExitStack() as stack:
            cascade = self._executors.cascade(sizes.scale, source.header.width * source.header.height)
            halo_notes = self._executors.halo_notes(sizes.scale)
            if notes is not None:
                notes += halo_notes
            stream = stack.enter_context(closing(upscale_rows(cascade, source, size, spread=spread, notes=notes)))
            for rows in stream:
                yield rows
                done += rows.pixels.shape[0] * rows.pixels.shape[1]
                if progress:
                    progress(done, total)

    @torch.no_grad()
    def _run(self, batch: Tensor, progress: Progress | None) -> Tensor:
        """Images of as many channels as the model's, in floating point: the result, not clamped."""
        height, width = batch.shape[-2:]
        sizes = self._sizes(Header(width, height, "RGB", "uint8"), None, None)
        with self._lock:
            cascade = self._executors.cascade(sizes.scale, height * width * batch.shape[0])
            blocks = cascade.stream(lambda top, bottom: batch[..., top:bottom, :], height, width, batch.shape[0])
            sr = collect(watched(blocks, sizes, height, progress))
        if self.size is not None and (sizes.height, sizes.width) != tuple(sr.shape[-2:]):
            sr = imresize(sr, size=(sizes.height, sizes.width))
        return sr

    # -- life -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of what was compiled; the upscaler can go on being used, and compiles anew then."""
        with self._lock:
            self._executors.clear()

    def __enter__(self) -> "Upscaler":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return {"model": self.networks, "arguments": self._arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._arguments = state["arguments"]
        self._start(state["model"])
