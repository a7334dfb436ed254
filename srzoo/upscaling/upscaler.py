"""Upscale images of any kind with a model of the zoo."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from srzoo.architecture import SRModel
from srzoo.color import rgb_to_grey
from srzoo.device import pick_device, to_channels_last
from srzoo.image import Picture, check_writable, from_pil, read_picture, to_pil, write_picture
from srzoo.registry import open_model
from srzoo.resize import imresize
from srzoo.tta import SelfEnsemble, dihedral, flips
from srzoo.upscaling.tiling import run_tiled

Tta = Literal["none", "flips", "x8"]
DEFAULT_MODEL = "edsr_baseline_x4"
DEFAULT_TILE = 256
Progress = Callable[[int, int], None]
"""Called with (tiles done, tiles in all)."""


class Upscaler:
    """A model ready to upscale many images.

    Args:
        model: Model name (its weights are loaded), path of a weight file, or a model, which is moved to the
            device and set to eval mode.
        scale: Which of a multi-scale model's scales; None takes a single-scale model's own.
        device: "auto" (cuda, mps, xpu, cpu: the first there is), or a torch device.
        tta: "none", "flips" (mean of 4) or "x8" (mean of 8: EDSR+, about +0.1 dB at 8 times the time).
        tile: Largest side of a tile in LR pixels. Tiles overlap by the model's receptive field, so the result
            does not depend on it.

    Raises:
        ValueError: If the model is unknown, has no weights, or does not offer the scale; if the device, the
            ensemble or the tile size is not one there is.

    Examples:
        ```python
        upscaler = srzoo.Upscaler("edsr_baseline_x4", tta="x8")
        for path in photos:
            upscaler(path)
        ```
    """

    def __init__(
        self,
        model: str | Path | SRModel = DEFAULT_MODEL,
        *,
        scale: int | None = None,
        device: str | torch.device = "auto",
        tta: Tta = "none",
        tile: int = DEFAULT_TILE,
    ) -> None:
        groups = {"none": None, "flips": flips, "x8": dihedral}
        if tta not in groups:
            raise ValueError(f"tta is {tta!r}; allowed are {', '.join(groups)}")
        if tile < 1:
            raise ValueError(f"tile is {tile}; it must be at least 1")
        self.device = pick_device(device)
        network = open_model(model) if isinstance(model, str | Path) else model
        self.scale = network.check_scale(scale)
        self.tta = tta
        self.tile = tile
        make_ops = groups[tta]
        network = to_channels_last(network, self.device).eval()
        self.model = network if make_ops is None else SelfEnsemble(network, make_ops())

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
        `photo.png`. Colour goes through the model (grey as three equal channels, and back), alpha through bicubic.

        Args:
            image: Path, PIL image, numpy array (h w or h w c; uint8, or float in [0, 1]), or tensor (c h w or
                b c h w; uint8, or float in [0, 1]).
            output: Where to write, for paths only.
            progress: Called with (tiles done, tiles in all).

        Raises:
            FileNotFoundError: If the path, or the folder of `output`, does not exist.
            PermissionError: If the output folder is not writable.
            ValueError: If it is no readable image, or has a shape or channel count the model cannot take.
            TypeError: If it is another kind of thing, or `output` is given without a path.
        """
        if output is not None and not isinstance(image, str | Path):
            raise TypeError("output is for images given as a path; save the returned image yourself")
        if isinstance(image, str | Path):
            target = check_writable(output if output is not None else self.output_path(image))
            picture = read_picture(image)
            check_writable(target, picture.mode)
            return write_picture(self.picture(picture, progress), target)
        if isinstance(image, Image.Image):
            return to_pil(self.picture(from_pil(image), progress))
        if isinstance(image, np.ndarray):
            return self._array(image, progress)
        if isinstance(image, Tensor):
            return self._tensor(image, progress)
        raise TypeError(f"image is a {type(image).__name__}; give a path, PIL image, numpy array or tensor")

    def output_path(self, path: str | Path) -> Path:
        """Where the result of a file goes by default: `photo.jpg` -> `photo_x4.png`, lossless."""
        path = Path(path)
        return path.with_name(f"{path.stem}_x{self.scale}.png")

    def picture(self, picture: Picture, progress: Progress | None = None) -> Picture:
        """A `Picture` upscaled: colour by the model, alpha by bicubic."""
        samples = self._upscale(picture.samples, picture.levels, progress)
        return Picture(samples, picture.levels, picture.info)

    def _array(self, image: np.ndarray, progress: Progress | None) -> np.ndarray:
        if image.ndim not in (2, 3) or 0 in image.shape:
            raise ValueError(f"array of shape {image.shape}; give h w or h w c, with at least one pixel")
        image_hwc = image.reshape(*image.shape[:2], -1).copy()  # read-only or flipped arrays cannot be shared
        tensor = torch.from_numpy(image_hwc).permute(2, 0, 1)
        out = self._tensor(tensor, progress).permute(1, 2, 0).cpu().numpy()
        return out.reshape(*out.shape[:2]) if image.ndim == 2 else out

    def _tensor(self, image: Tensor, progress: Progress | None) -> Tensor:
        if image.ndim not in (3, 4) or 0 in image.shape:
            raise ValueError(f"tensor of shape {tuple(image.shape)}; give c h w or b c h w, with at least one pixel")
        if image.dtype != torch.uint8 and not image.is_floating_point():
            raise ValueError(f"image of dtype {image.dtype}; give uint8, or floating point in [0, 1]")
        is_bytes = image.dtype == torch.uint8
        batch = image if image.ndim == 4 else image[None]
        if not is_bytes and batch.max() > 2:  # a little overshoot is fine
            raise ValueError(f"the image runs up to {batch.max():g}; floating-point images are in [0, 1]")
        sr = self._upscale(batch, 255 if is_bytes else None, progress)
        return sr if image.ndim == 4 else sr[0]

    @torch.inference_mode()
    def _upscale(self, x: Tensor, levels: int | None, progress: Progress | None) -> Tensor:
        """Images b c h w, larger, of the same dtype: integers from 0 to `levels`, or floats in [0, 1] if None.

        The last of two or four channels is alpha, unless the model takes as many: it goes through bicubic.
        """
        channels, wanted = x.shape[1], self.model.channels
        if channels in (2, 4) and channels != wanted:
            color = self._upscale(x[:, :-1], levels, progress)
            alpha = imresize(x[:, -1:].float(), scale=self.scale).clamp(0, levels or 1)
            return torch.cat([color, (alpha.round() if levels else alpha).to(x.dtype)], dim=1)
        through_rgb = channels == 1 and wanted == 3  # grey as three equal channels
        if channels != wanted and not through_rgb:
            raise ValueError(f"the image has {channels} channels, the model takes {wanted}")
        dtype = next((p.dtype for p in self.model.parameters()), torch.float32)  # half and double models, too
        exact = torch.promote_types(dtype, torch.float32)

        def run(window: Tensor) -> Tensor:
            window = (window.to(self.device).to(exact) / (levels or 1)).to(dtype)
            window = window.expand(-1, wanted, -1, -1).contiguous(memory_format=torch.channels_last)
            sr = self.model(window, self.scale).to(exact)
            sr = (rgb_to_grey(sr) if through_rgb else sr).clamp(0, 1)
            return (sr * levels).round().to(x.dtype) if levels else sr.to(x.dtype)

        halo = self.model.halo(self.scale)
        return run_tiled(run, x, scale=self.scale, tile=self.tile, halo=halo, progress=progress)


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
        **options: `scale`, `device`, `tta`, `tile`, as `Upscaler` takes them.

    Raises:
        FileNotFoundError, PermissionError, ValueError, TypeError: As `Upscaler` does.

    Examples:
        >>> import numpy as np
        >>> upscale(np.zeros((4, 6, 3), np.uint8), "bicubic_x2").shape
        (8, 12, 3)
    """
    upscaler: Any = Upscaler(model, **options)
    return upscaler(image, **({} if output is None else {"output": output}))
