"""One image upscaled, in one call."""

from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.upscaling.upscaler import DEFAULT_MODEL, Upscaler


@overload
def upscale(image: str | Path, model: str | SRModel = ..., **options: Any) -> Path: ...
@overload
def upscale(image: Image.Image, model: str | SRModel = ..., **options: Any) -> Image.Image: ...
@overload
def upscale(image: np.ndarray, model: str | SRModel = ..., **options: Any) -> np.ndarray: ...
@overload
def upscale(image: Tensor, model: str | SRModel = ..., **options: Any) -> Tensor: ...


def upscale(
    image: Any, model: str | SRModel = DEFAULT_MODEL, *, output: str | Path | None = None, **options: Any
) -> Any:
    """An image upscaled, as the same kind of thing: `Upscaler(model, **options)(image, output=output)`.

    Args:
        image: Path, PIL image, numpy array or tensor, see `Upscaler`.
        model: Model name or model.
        output: Where to write, for paths only.
        **options: As `Upscaler` takes them.

    Raises:
        FileNotFoundError, PermissionError, ValueError, TypeError: As `Upscaler` does.

    Examples:
        >>> import numpy as np
        >>> upscale(np.zeros((4, 6, 3), np.uint8), "bicubic_x2").shape
        (8, 12, 3)
    """
    upscaler: Any = Upscaler(model, **options)
    return upscaler(image, **({} if output is None else {"output": output}))
