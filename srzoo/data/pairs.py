"""LR and HR images to score a model on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from srzoo.data.folders import find_images
from srzoo.image import read_pixels
from srzoo.resize import imresize


@dataclass(frozen=True)
class Pair:
    """An LR image and its HR ground truth, uint8, c h w; one channel where the HR file is grey (mode L)."""

    name: str
    lr: UInt8[Tensor, "c h w"]
    hr: UInt8[Tensor, "c H W"]
    scale: int


def pairs_from_hr(source: str | Path, scale: int) -> list[Pair]:
    """A pair for each image of a folder, or for one file: HR cropped to a multiple of `scale`, LR by MATLAB's bicubic.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If an image cannot be read or is smaller than `scale`.
    """
    pairs = []
    for path in [Path(source)] if Path(source).is_file() else find_images(source):
        try:
            hr = torch.from_numpy(read_pixels(path).copy()).permute(2, 0, 1)
        except PermissionError as error:
            raise ValueError(f"{path} cannot be read ({error})") from error
        height, width = (side // scale * scale for side in hr.shape[-2:])
        if not (height and width):
            raise ValueError(f"{path} is smaller than {scale} pixels")
        hr = hr[:, :height, :width].contiguous()
        pairs.append(Pair(path.stem, imresize(hr, scale=1 / scale), hr, scale))
    return pairs
