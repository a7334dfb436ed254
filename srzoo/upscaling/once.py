"""One image upscaled, in one call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, overload

import numpy as np
from PIL import Image
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.upscaling.upscaler import DEFAULT_MODEL, Upscaler

Models = str | Path | SRModel | Sequence[str | Path | SRModel]


@overload
def upscale(image: str | Path, model: Models = ..., **options: Any) -> Path: ...
@overload
def upscale(image: Image.Image, model: Models = ..., **options: Any) -> Image.Image: ...
@overload
def upscale(image: np.ndarray, model: Models = ..., **options: Any) -> np.ndarray: ...
@overload
def upscale(image: Tensor, model: Models = ..., **options: Any) -> Tensor: ...


def upscale(image: Any, model: Models = DEFAULT_MODEL, *, output: str | Path | None = None, **options: Any) -> Any:
    """An image upscaled, as the same kind of thing: `Upscaler(model, **options)(image, output=output)`.

    Args:
        image: Path, PIL image, numpy array or tensor, see `Upscaler`.
        model: Model name or model, or a list of these.
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
