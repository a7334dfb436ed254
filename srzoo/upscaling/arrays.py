"""Images as arrays and tensors through an upscaler: any depth, with or without alpha, and back to the same kind."""

import math
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.color import rgb_to_grey
from srzoo.image import Mode, Picture
from srzoo.image.pil import SLACK
from srzoo.upscaling.pipeline import Progress

MODES: dict[int, Mode] = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


@runtime_checkable
class Runs(Protocol):
    """What upscales pictures and tensors: an `Upscaler`."""

    model: SRModel

    def picture(self, picture: Picture, progress: Progress | None = None) -> Picture:
        """The picture upscaled."""
        ...

    def _run(self, batch: Tensor, progress: Progress | None) -> Tensor: ...


def upscale_array(image: np.ndarray, upscaler: Runs, progress: Progress | None) -> np.ndarray:
    """An array h w or h w c, upscaled.

    Raises:
        ValueError: If it is no image, or of another dtype, range or number of channels than can be upscaled.
    """
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"array of shape {image.shape}; give h w or h w c, with at least one pixel")
    pixels = image.reshape(*image.shape[:2], -1)
    # copied, since read-only and flipped arrays, or those of another byte order, cannot be shared
    pixels = np.array(pixels, dtype=image.dtype.newbyteorder("="), order="C")
    if pixels.dtype == np.uint16:
        if pixels.shape[2] not in MODES:
            raise ValueError(f"the image has {pixels.shape[2]} channels; 16-bit arrays have 1 to 4")
        out = upscaler.picture(Picture(pixels, MODES[pixels.shape[2]]), progress).pixels
    else:
        out = upscale_tensor(_as_tensor(pixels), upscaler, progress).permute(1, 2, 0).cpu().numpy()
    return out[..., 0] if image.ndim == 2 else out


def _as_tensor(pixels: np.ndarray) -> Tensor:
    try:
        return torch.from_numpy(pixels).permute(2, 0, 1)
    except TypeError:
        raise ValueError(f"image of dtype {pixels.dtype}; give uint8, uint16, or floating point in [0, 1]") from None


@torch.no_grad()
def upscale_tensor(image: Tensor, upscaler: Runs, progress: Progress | None) -> Tensor:
    """A tensor c h w or b c h w, upscaled.

    Raises:
        ValueError: If it is no image, or of another dtype, range or number of channels than can be upscaled.
    """
    if image.layout != torch.strided:
        raise ValueError(f"tensor of layout {image.layout}; give a dense one, image.to_dense()")
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise ValueError(f"tensor of shape {tuple(image.shape)}; give c h w or b c h w, with at least one pixel")
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise ValueError(f"image of dtype {image.dtype}; give uint8, or floating point in [0, 1]")
    batch = image if image.ndim == 4 else image[None]
    batch = _in_range(batch) if image.is_floating_point() else batch
    channels, wanted = batch.shape[1], upscaler.model.channels
    if channels in (2, 4) and channels != wanted:
        sr = _with_alpha(batch, upscaler, progress)
    elif channels == wanted or (channels == 1 and wanted == 3):
        sr = _colour(batch, upscaler, progress)
    else:
        raise ValueError(f"the image has {channels} channels, the model takes {wanted}")
    return sr if image.ndim == 4 else sr[0]


def _in_range(batch: Tensor) -> Tensor:
    """Floats clipped to [0, 1], as those of files are; further outside than filters overshoot they are refused."""
    low, high = (float(value) for value in batch.aminmax())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError("the image has values that are not finite")
    if low < -SLACK or high > 1 + SLACK:
        raise ValueError(f"the image runs from {low:g} to {high:g}; floating-point images are in [0, 1]")
    return batch.clamp(0, 1) if low < 0 or high > 1 else batch


def _with_alpha(batch: Tensor, upscaler: Runs, progress: Progress | None) -> Tensor:
    """Images with alpha, one by one, as pictures."""
    out: list[Tensor] = []

    def tell(done: int, total: int) -> None:
        if progress:
            progress(len(out) * total + done, len(batch) * total)

    for image in batch:
        pixels = image.permute(1, 2, 0).cpu()
        pixels = pixels if pixels.dtype == torch.uint8 else pixels.float().clamp(0, 1)
        picture = upscaler.picture(Picture(pixels.contiguous().numpy(), MODES[pixels.shape[2]]), tell)
        out.append(torch.from_numpy(picture.pixels).permute(2, 0, 1).to(image))
    return torch.stack(out)


def _colour(batch: Tensor, upscaler: Runs, progress: Progress | None) -> Tensor:
    """Images of as many channels as the model's, or grey ones for an RGB model."""
    is_bytes, wanted = batch.dtype == torch.uint8, upscaler.model.channels
    through_rgb = batch.shape[1] != wanted
    exact = torch.promote_types(torch.float32 if is_bytes else batch.dtype, torch.float32)
    lr = batch.to(exact) / 255 if is_bytes else batch.to(exact)
    sr = upscaler._run(lr.expand(-1, wanted, -1, -1), progress)  # pyright: ignore[reportPrivateUsage]
    sr = (rgb_to_grey(sr) if through_rgb else sr).clamp(0, 1)
    sr = (sr * 255).round().to(torch.uint8) if is_bytes else sr.to(batch.dtype)
    return sr.to(batch.device)  # last, since bytes are a quarter of what is to be moved
