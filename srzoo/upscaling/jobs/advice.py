"""What a user is told about the choice of weights, once a job: JPEG pictures and weights that never saw one."""

import warnings
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from PIL import Image

from srzoo.data.jpeg import estimate_quality
from srzoo.registry import list_models
from srzoo.upscaling.stages import OTHER_INPUTS

TAG = "jpeg"
"""Of weights trained for photographs as they are found: a little soft, a little noise, saved as JPEG."""
MOST_QUALITY = 95
"""JPEG of a higher quality is close to lossless, and not what the weights are trained for."""
MOST_LOOKED_AT = 20
"""Files whose headers are read for one sentence."""


def jpeg_quality(file: Path) -> int | None:
    """The quality of a JPEG file by its quantisation tables, 1 to 100; None for other files and unreadable ones.

    Examples:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "photo.jpg"
        >>> Image.new("RGB", (8, 8)).save(file, quality=72)
        >>> jpeg_quality(file)
        72
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(file) as image:
                tables = getattr(image, "quantization", None)
                is_jpeg = image.format in ("JPEG", "MPO")  # MPO: JPEG with further pictures, as phones write it
                return estimate_quality(tables[0]) if is_jpeg and tables else None
    except Exception:  # parsers of damaged files raise many kinds, and the image's own turn tells
        return None


def advise_weights(files: Iterable[Path | None], origin: str) -> str | None:
    """One sentence if pictures of a job are JPEG files, and the weights have a sister that is trained for such.

    Args:
        files: The pictures of the job; None stands for a stream, which is passed over. The first few are looked at.
        origin: Name of the weights that meet the pictures, `model.tag` (`SRModel.origin.name`).

    Returns:
        None if no file is a JPEG of quality 95 or less, the weights are a user's own or trained for other inputs
        than bicubic, or the model has no weights tagged `jpeg`.

    Examples:
        >>> advise_weights([], "edsr_baseline_x2.photos") is None
        True
    """
    model, _, tag = origin.partition(".")
    sister = f"{model}.{TAG}"
    if not tag or tag in OTHER_INPUTS or sister not in list_models(pretrained=True, tags=True):
        return None
    for file in islice((file for file in files if file is not None), MOST_LOOKED_AT):
        quality = jpeg_quality(file)
        if quality is not None and quality <= MOST_QUALITY:
            return f"{file.name} is a JPEG of quality {quality}; use --model {sister}, trained for such pictures"
    return None
