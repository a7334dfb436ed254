"""Upscaling Ray datasets: for pictures that outgrow one machine."""

import inspect
import logging
from collections.abc import Mapping, Sequence
from copy import deepcopy
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from srzoo.architecture import SRModel
from srzoo.image.formats import named_format
from srzoo.upscaling import Upscaler
from srzoo.upscaling.checks import check_options
from srzoo.upscaling.jobs.running import STOPS_ALL
from srzoo.upscaling.stages import Networks
from srzoo.upscaling.upscaler import DEFAULT_MODEL

if TYPE_CHECKING:
    from ray.data import Dataset  # pyright: ignore[reportMissingImports]

LOGGER = logging.getLogger("srzoo")
Models = str | Path | SRModel | Sequence[str | Path | SRModel]
"""What `srzoo.Upscaler` takes."""
OF_THE_WORKER = ("device", "engine", "precision")
"""Options that only a worker can check: its machine may be another than the one that starts the job."""


class UpscaleImages:
    """Upscales the image in a row; for `Dataset.map`, whose workers make one of these each and keep it.

    What is in the column decides what is put into the output column:

    - a numpy array (h w or h w c; uint8, uint16, or float in [0, 1]): an array of the same kind;
    - bytes, an image file as `ray.data.read_binary_files` reads it: the bytes of a file in `format`, with the depth,
      alpha and metadata of the image;
    - a text, the path of an image file on storage that every worker sees: the path of the file that was written. That
      is where the row's output column says, if there is one, or `photo_x4.png` beside `photo.png`.

    An image that fails is logged and leaves an empty value of the same kind (no pixels, no bytes, no text), and its row
    says why in the column `error`, which is empty for all others.

    Args:
        model: As `srzoo.Upscaler` takes it. A name or path is opened by each worker, a model travels to it.
        column: The column with the images.
        output_column: The column for the results; the same as `column` puts them in place of the images.
        format: Of results made of bytes, such as "png" or "tiff".
        **options: As `srzoo.Upscaler` takes them.

    Raises:
        ValueError: As `srzoo.Upscaler` does; or if a column is called `error` or the format is not known.
        KeyError: By a call, if the row has no such column.
        OSError: By a call, if the next image would fail as well: the disk is full, or gone.

    Examples:
        >>> upscale_image = UpscaleImages("bicubic_x2")
        >>> row = upscale_image({"name": "a", "image": np.zeros((4, 6, 3), np.uint8)})
        >>> row["sr"].shape, row["error"]
        ((8, 12, 3), '')
    """

    def __init__(
        self,
        model: Models = DEFAULT_MODEL,
        *,
        column: str = "image",
        output_column: str = "sr",
        format: str = "png",
        **options: Any,
    ) -> None:
        _check(column, output_column, format)
        self.column, self.output_column, self.format = column, output_column, format
        self.upscaler = Upscaler(model, **options)

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The row with its image upscaled, and a column `error`."""
        if self.column not in row:
            raise KeyError(f"no column {self.column!r}; there are: {', '.join(row)}")
        image, error = row[self.column], ""
        try:
            sr = self._upscaled(image, row)
        except Exception as failure:  # of any kind: what one image brings about must not end the job of the others
            if isinstance(failure, OSError) and failure.errno in STOPS_ALL:
                raise
            sr, error = _nothing(image), str(failure) or type(failure).__name__
            LOGGER.warning("an image failed: %s", error)
        return {**row, self.output_column: sr, "error": error}

    def _upscaled(self, image: Any, row: Mapping[str, Any]) -> Any:
        if isinstance(image, np.ndarray):
            return self.upscaler(image)
        if isinstance(image, bytes):
            with BytesIO(image) as source, BytesIO() as target:
                self.upscaler.file(source, target, format=self.format)
                return target.getvalue()
        if isinstance(image, str):
            output = row.get(self.output_column) if self.output_column != self.column else None
            return str(self.upscaler(image, output=output or None))
        raise TypeError(f"the image is a {type(image).__name__}; give an array, the bytes of a file or a path")


class _UpscaleWorker(UpscaleImages):
    """One whose model waits in Ray's object store: once, however many workers there are."""

    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(import_module("ray").get(model), **settings)


def upscale_dataset(
    dataset: "Dataset",
    model: Models = DEFAULT_MODEL,
    *,
    column: str = "image",
    output_column: str = "sr",
    format: str = "png",
    num_workers: int | tuple[int, int] | None = None,
    num_cpus_per_worker: float | int | None = None,
    num_gpus_per_worker: float | int | None = None,
    **options: Any,
) -> "Dataset":
    """The dataset with its images upscaled by the workers of a Ray cluster, when it is consumed.

    The model is opened here and put into Ray's object store for the workers, which need not have its weights; each
    holds it once.

    Args:
        dataset: With a column of arrays, bytes of image files or paths; see `UpscaleImages`.
        model: As `srzoo.Upscaler` takes it.
        column: The column with the images.
        output_column: The column for the results.
        format: Of results made of bytes, such as "png" or "tiff".
        num_workers: How many, or the least and the most; None takes as many as there is room for. If they take all the
            cores of the cluster, steps before and after may wait for ever.
        num_cpus_per_worker: Processor cores of each, which is how many threads it computes with; None is one for a
            worker without a GPU, and none of its own for one with.
        num_gpus_per_worker: GPUs of each; None is one where the cluster has any, and 0 means to compute on the CPU.
        **options: As `srzoo.Upscaler` takes them.

    Raises:
        ValueError, TypeError, FileNotFoundError, OSError: As `srzoo.Upscaler` does, at once and not on a worker, but
            for what only a worker can know: whether its machine has the device, engine and precision. Also if a column
            is called `error`, the format is not known or there are to be fewer workers than one.
        ImportError: If Ray is not installed.

    Examples:
        ```python
        photos = ray.data.read_images("s3://bucket/photos")
        large = upscale_dataset(photos, "edsr_baseline_x4", num_gpus_per_worker=1)
        large.write_parquet("s3://bucket/large")
        ```
    """
    try:
        ray, data = import_module("ray"), import_module("ray.data")
    except ImportError as error:
        raise ImportError(f'upscale_dataset needs Ray ({error}): pip install "srzoo[ray]"') from error
    _check(column, output_column, format)
    pool = _pool(num_workers)
    opened = _open(model, options)
    resources = ray.cluster_resources()
    if num_gpus_per_worker is None:
        num_gpus_per_worker = min(1, resources.get("GPU", 0))
    if not num_gpus_per_worker:
        options.setdefault("device", "cpu")  # Ray does not hide GPUs from workers that asked for none
    cores = num_cpus_per_worker if num_cpus_per_worker is not None or num_gpus_per_worker else 1
    if cores and min(pool.values()) * cores >= resources.get("CPU", 0):
        LOGGER.warning("the workers take all cores of the cluster: steps that read or write may wait for ever")
    worker: Any = _UpscaleWorker
    return dataset.map(
        worker,
        fn_constructor_args=(ray.put(opened),),
        fn_constructor_kwargs=dict(column=column, output_column=output_column, format=format, **options),
        compute=data.ActorPoolStrategy(**pool),
        num_cpus=num_cpus_per_worker,
        num_gpus=num_gpus_per_worker or None,
    )


def _check(column: str, output_column: str, format: str) -> None:
    if "error" in (column, output_column):
        raise ValueError("a column is called 'error', which says why an image failed; choose another name")
    named_format(format)


def _pool(num_workers: int | tuple[int, int] | None) -> dict[str, int]:
    """Arguments of Ray's pool of workers."""
    least, most = num_workers if isinstance(num_workers, tuple) else (num_workers, num_workers)
    if least is None or most is None:
        return {"min_size": 1}
    if not 1 <= least <= most:
        raise ValueError(f"num_workers is {num_workers}; give 1 or more, or the least and the most of them")
    return {"size": least} if least == most else {"min_size": least, "max_size": most}


def _open(model: Models, options: Mapping[str, Any]) -> SRModel | Networks:
    """The model, or all networks a cascade may take, on the CPU.

    Before, all options are tried that do not depend on the worker's machine.
    """
    known = inspect.signature(Upscaler).parameters
    for name in options:
        if name not in known:
            raise TypeError(
                f"there is no option {name!r}; there are: {', '.join(key for key in known if key != 'model')}"
            )
    check_options(**{name: options[name] for name in ("engine", "precision") if name in options})
    own = {name: value for name, value in options.items() if name not in OF_THE_WORKER}
    network = model if isinstance(model, str | Path) else deepcopy(model)  # the caller's stays on its device
    upscaler = Upscaler(network, device="cpu", engine="torch", **own)
    is_one = upscaler.size is None and upscaler.networks.is_alone(upscaler.scale or 0)
    return upscaler.model if is_one else upscaler.networks.open_sisters()


def _nothing(image: Any) -> Any:
    """An empty value of an image's kind: columns of a dataset are of one kind."""
    if isinstance(image, np.ndarray):
        return image[:0, :0] if image.ndim > 1 else image[:0]
    return type(image)() if isinstance(image, bytes | str) else None
