"""LR and HR images to score a model on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from srzoo.data.folders import find_images
from srzoo.resize import imresize


@dataclass(frozen=True)
class Pair:
    """An LR image and its HR ground truth, uint8, c h w; one channel where the HR file is grey (mode L)."""

    name: str
    lr: UInt8[Tensor, "c h w"]
    hr: UInt8[Tensor, "c H W"]
    scale: int


def pairs_from_hr(folder: str | Path, scale: int) -> list[Pair]:
    """A pair for each image of a folder: HR cropped to a multiple of `scale`, LR by MATLAB's bicubic.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If an image cannot be read or is smaller than `scale`.
    """
    pairs = []
    for path in find_images(folder):
        try:
            with Image.open(path) as image:
                pixels = np.array(image if image.mode == "L" else image.convert("RGB"))
        except Exception as error:  # Pillow's decoders raise many kinds; each is a bad file
            raise ValueError(f"{path} cannot be read ({error})") from error
        hr = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
        height, width = (side // scale * scale for side in hr.shape[-2:])
        if not (height and width):
            raise ValueError(f"{path} is smaller than {scale} pixels")
        hr = hr[:, :height, :width].contiguous()
        pairs.append(Pair(path.stem, imresize(hr, scale=1 / scale), hr, scale))
    return pairs
