"""LR and HR images to score a model on."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from srzoo.color import rgb_to_y
from srzoo.data.folders import find_images
from srzoo.image import BITS, inks_as_rgb, read_picture
from srzoo.resize import imresize


@dataclass(frozen=True)
class Pair:
    """An LR image and its HR ground truth, c h w; one channel where the HR file is grey, or is scored by its luma.

    Args:
        name: What the image is called in tables.
        lr: 8 bits; or floating point in units of [0, 1], which overshoot a little, where an LR image that was never
            rounded is scored (`luma_pair`).
        hr: 8 bits, `scale` times as high and as wide.
        scale: HR pixels to an LR pixel, along each side.
    """

    name: str
    lr: UInt8[Tensor, "c h w"] | Float[Tensor, "c h w"]
    hr: UInt8[Tensor, "c H W"]
    scale: int

    @property
    def lr_float(self) -> Float[Tensor, "c h w"]:
        """The LR image in [0, 1], whichever kind it is."""
        return self.lr if self.lr.is_floating_point() else self.lr.float() / 255

    @property
    def hr_float(self) -> Float[Tensor, "c H W"]:
        """The HR image in [0, 1]."""
        return self.hr.float() / 255


def read_scored(path: str | Path) -> UInt8[Tensor, "c h w"]:
    """Pixels of a file as they are scored: one channel of a grey file, else RGB; 8 bits, nothing lost.

    Palettes and CMYK become RGB as Pillow converts them; an alpha channel that is opaque everywhere is dropped.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, is no image, is damaged, holds more than 8 bits a channel, or has pixels that
            are transparent: what lies behind them is no ground truth.
    """
    try:
        picture = inks_as_rgb(read_picture(path, upright=False))
    except PermissionError as error:
        raise ValueError(f"{path} cannot be read ({error})") from error
    except ImportError as error:  # what it names would read the file, and not make 8 bits of it
        raise ValueError(f"{path} has more than 8 bits a channel, and scores are of 8; convert it first") from error
    if picture.dtype != "uint8":
        raise ValueError(f"{path} has {BITS[picture.dtype]} bits a channel, and scores are of 8; convert it first")
    samples = torch.from_numpy(picture.pixels.transpose(2, 0, 1).copy())
    if len(samples) in (2, 4):
        if samples[-1].min() < 255:
            raise ValueError(f"{path} has transparent pixels, which cannot be scored; put it on a background first")
        samples = samples[:-1]
    return samples.contiguous()


def cropped_size(height: int, width: int, scale: int) -> tuple[int, int]:
    """Height and width that are left of an HR image when it is cropped to a multiple of `scale`.

    Examples:
        >>> cropped_size(361, 250, 3)
        (360, 249)
    """
    return height // scale * scale, width // scale * scale


def pair_from_hr(name: str, hr: UInt8[Tensor, "c h w"], scale: int) -> Pair:
    """A pair of an HR image, cropped to a multiple of `scale`, and its LR image by MATLAB's bicubic, rounded.

    Raises:
        ValueError: If the image is smaller than `scale`.

    Examples:
        >>> pair_from_hr("black", torch.zeros(3, 9, 8, dtype=torch.uint8), 2).lr.shape
        torch.Size([3, 4, 4])
    """
    hr = _cropped(name, hr, scale)
    return Pair(name, imresize(hr, scale=1 / scale), hr, scale)


def luma_pair(name: str, hr: UInt8[Tensor, "c h w"], scale: int) -> Pair:
    """A pair of one channel, as the papers before EDSR scored: only luma is shrunk, and never rounded.

    HR is the luma of BT.601 (`srzoo.color.rgb_to_y`) rounded to 8 bits, or the grey of a grey file, cropped to a
    multiple of `scale`. LR is that luma shrunk by MATLAB's bicubic in floating point, float32, neither rounded nor
    clamped: at sharp edges it leaves [0, 1] a little.

    Raises:
        ValueError: If the image is smaller than `scale`.

    Examples:
        >>> pair = luma_pair("white", torch.full((3, 8, 8), 255, dtype=torch.uint8), 2)
        >>> pair.hr.shape, pair.hr.max().item(), pair.lr.dtype
        (torch.Size([1, 8, 8]), 235, torch.float32)
    """
    hr = _cropped(name, hr, scale)
    if len(hr) == 3:
        hr = (rgb_to_y(hr.double() / 255) * 255).round().to(torch.uint8)
    return Pair(name, imresize(hr.double() / 255, scale=1 / scale).float(), hr, scale)


def pairs_from_hr(source: str | Path, scale: int) -> list[Pair]:
    """A pair for each image of a folder, or for one file: HR cropped to a multiple of `scale`, LR by MATLAB's bicubic.

    All are held in memory; `srzoo.data.benchmarks.find_set` decodes them one at a time.

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If an image cannot be scored (`read_scored`) or is smaller than `scale`.
    """
    paths = [Path(source)] if Path(source).is_file() else find_images(source)
    pairs = []
    for path in paths:
        hr = read_scored(path)
        if min(hr.shape[-2:]) < scale:
            raise ValueError(f"{path} is smaller than {scale} pixels")
        pairs.append(pair_from_hr(path.stem, hr, scale))
    return pairs


def _cropped(name: str, hr: Tensor, scale: int) -> Tensor:
    height, width = cropped_size(hr.shape[-2], hr.shape[-1], scale)
    if not (height and width):
        raise ValueError(f"{name} is {hr.shape[-1]}x{hr.shape[-2]}, smaller than {scale} pixels")
    return hr[:, :height, :width].contiguous()
