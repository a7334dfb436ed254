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
from srzoo.registry import create_model
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
        model: Model name (its weights are loaded), or a model, which is moved to the device and set to eval mode.
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
        model: str | SRModel = DEFAULT_MODEL,
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
        network = create_model(model, pretrained=True) if isinstance(model, str) else model
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
            return write_picture(self.picture(read_picture(image), progress), target)
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
        color = self._run(picture.color, progress)
        alpha = picture.alpha
        if alpha is not None:
            alpha = imresize(alpha, scale=self.scale).clamp(0, 1)
        return Picture(color, alpha, picture.levels, picture.info)

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
        x = batch.float() / 255 if is_bytes else batch.float()
        if x.shape[1] in (2, 4) and self.model.channels != x.shape[1]:
            color, alpha = x[:, :-1], x[:, -1:]
            sr = torch.cat([self._run(color, progress), imresize(alpha, scale=self.scale).clamp(0, 1)], dim=1)
        else:
            sr = self._run(x, progress)
        sr = (sr * 255).round().to(torch.uint8) if is_bytes else sr.to(image.dtype)
        return sr if image.ndim == 4 else sr[0]

    @torch.inference_mode()
    def _run(self, color: Tensor, progress: Progress | None) -> Tensor:
        """Images b c h w in [0, 1] through the model in tiles, clamped; grey through RGB models as three channels."""
        given, wanted = color.shape[1], self.model.channels
        through_rgb = given == 1 and wanted == 3
        if through_rgb:
            color = color.expand(-1, 3, -1, -1)
        elif given != wanted:
            raise ValueError(f"the image has {given} channels, the model takes {wanted}")

        dtype = next((p.dtype for p in self.model.parameters()), color.dtype)  # half and double models, too

        def run(window: Tensor) -> Tensor:
            window = window.to(self.device, dtype).contiguous(memory_format=torch.channels_last)
            return self.model(window, self.scale).to(color.dtype)

        halo = self.model.halo(self.scale)
        sr = run_tiled(run, color, scale=self.scale, tile=self.tile, halo=halo, progress=progress)
        return (rgb_to_grey(sr) if through_rgb else sr).clamp(0, 1).contiguous()


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
