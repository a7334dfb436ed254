"""MATLAB's bicubic `imresize` in torch: the degradation behind every benchmark, and the baseline.

Source: MATLAB's documented behaviour (bicubic, antialiasing on) and the published low-resolution images of
Set5 and Set14, which `border="symmetric"` reproduces pixel for pixel.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

Border = Literal["symmetric", "replicate"]


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution kernel with a = -0.5 (Keys 1981, equation 15), support [-2, 2]."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x <= 1, near, torch.where(x <= 2, far, torch.zeros_like(x)))


@lru_cache(maxsize=256)
@torch.inference_mode(False)  # what is cached must serve a later caller who trains
def _taps(num_in: int, num_out: int, scale: Fraction, border: Border) -> tuple[Tensor, Tensor]:
    """Source index and weight of each tap of each output sample: two tensors (taps, num_out), on the CPU."""
    step = float(1 / scale)
    stretch = min(float(scale), 1.0)  # a kernel stretched by 1/scale is MATLAB's antialiasing
    width = 4.0 / stretch
    center = torch.arange(num_out, dtype=torch.float64, device="cpu") * step + 0.5 * (step - 1)
    left = torch.floor(center - width / 2).long()
    index = left + torch.arange(math.ceil(width) + 2, device="cpu")[:, None]
    weight = stretch * _cubic(stretch * (center - index))
    weight = weight / weight.sum(0)
    used = (weight != 0).any(1)
    index, weight = index[used], weight[used]
    if border == "symmetric":
        index = index % (2 * num_in)
        index = torch.where(index < num_in, index, 2 * num_in - 1 - index)
    else:
        index = index.clamp(0, num_in - 1)
    return index, weight


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _taps_there(
    num_in: int, num_out: int, scale: Fraction, border: Border, device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`_taps` on a device: a copy at each call would make the host wait for a GPU."""
    index, weight = _taps(num_in, num_out, scale, border)
    return index.to(device), weight.to(device, dtype)


def _resize_axis(x: Tensor, dim: int, num_out: int, scale: Fraction, border: Border) -> Tensor:
    """Resample one axis of a floating-point tensor."""
    index, weight = _taps_there(x.shape[dim], num_out, scale, border, x.device, x.dtype)
    if dim == -2:
        weight = weight[..., None]
    out = x.index_select(dim, index[0]).mul_(weight[0])
    for i in range(1, len(index)):
        out.addcmul_(x.index_select(dim, index[i]), weight[i])
    return out


def upsample_kernel(scale: int) -> Tensor:
    """Weights of bicubic upsampling by a whole factor: phase k of each pixel sums pixels -2 to 2 by row k.

    Returns:
        Tensor (scale, 5), float64, on the CPU; each row sums to 1.
    """
    with torch.device("cpu"):  # whatever device models are being built on
        phase = (torch.arange(scale, dtype=torch.float64) + 0.5) / scale - 0.5
        return _cubic(phase[:, None] - torch.arange(-2, 3))


def pad_symmetric(x: Float[Tensor, "*batch h w"], amount: int) -> Float[Tensor, "*batch H W"]:
    """`x` mirrored past each edge by `amount` pixels, the edge pixel repeated; any height and width of 1 or more."""
    for dim in (-2, -1):
        size = x.shape[dim]
        index = torch.arange(-amount, size + amount, device=x.device) % (2 * size)
        x = x.index_select(dim, torch.where(index < size, index, 2 * size - 1 - index))
    return x


def _factors(
    shape: tuple[int, int], scale: int | float | Fraction | None, size: Sequence[int] | None
) -> list[tuple[int, Fraction]]:
    """Output length and factor of height and width, checked."""
    if (scale is None) == (size is None):
        raise ValueError(f"imresize got scale={scale!r} and size={size!r}; give exactly one of them")
    if size is not None:
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"size is {size!r}; give (height, width), both at least 1")
        return [(int(out), Fraction(int(out), n)) for out, n in zip(size, shape, strict=True)]
    assert scale is not None
    if not 1e-4 <= scale < math.inf:
        raise ValueError(f"scale is {scale!r}; give a factor such as 0.25 or 2, at least 0.0001")
    factor = Fraction(scale).limit_denominator(10_000)  # 1/3 as a float must stay one third
    return [(math.ceil(n * factor), factor) for n in shape]


def imresize(
    image: Shaped[Tensor, "*batch h w"],
    *,
    scale: int | float | Fraction | None = None,
    size: Sequence[int] | None = None,
    border: Border = "symmetric",
) -> Shaped[Tensor, "*batch H W"]:
    """Image resized by MATLAB's bicubic rule, up or down, with antialiasing when it shrinks.

    A uint8 image gives uint8, rounded half up after each pass (the smaller factor first, height first when
    equal), as MATLAB does; a floating-point image gives the same dtype, neither rounded nor clamped.

    Args:
        image: uint8, or floating point of any range; height and width last, any leading axes, any device.
        scale: Factor on both sides (0.25 shrinks four times); the output has `ceil(side * scale)` pixels.
        size: Output (height, width), instead of `scale`.
        border: What lies beyond the edge: "symmetric" mirrors (MATLAB since 2007, the published benchmark
            images), "replicate" repeats the last pixel (older MATLAB).

    Raises:
        ValueError: Unless exactly one valid `scale` or `size` is given, the border is known and the image
            has at least one pixel.
        TypeError: If the image is neither uint8 nor floating point.

    Examples:
        >>> imresize(torch.arange(16.0, dtype=torch.float64).view(4, 4), size=(3, 3))[0]
        tensor([0.7506, 2.1004, 3.4503], dtype=torch.float64)
    """
    if border not in ("symmetric", "replicate"):
        raise ValueError(f"border is {border!r}; allowed are 'symmetric' and 'replicate'")
    if image.ndim < 2 or image.numel() == 0:
        raise ValueError(f"image has shape {tuple(image.shape)}; it needs height and width of at least 1")
    is_bytes = image.dtype == torch.uint8
    if not (is_bytes or image.is_floating_point()):
        raise TypeError(f"image has dtype {image.dtype}; imresize takes uint8 or floating point")

    height, width = image.shape[-2:]
    (rows, scale_h), (columns, scale_w) = _factors((height, width), scale, size)
    passes = [(-2, rows, scale_h), (-1, columns, scale_w)]
    passes.sort(key=lambda axis: axis[2])  # stable: height first when the factors are equal
    half = image.dtype in (torch.float16, torch.bfloat16)
    x = image.float() if is_bytes or half else image
    for dim, num_out, factor in passes:
        x = _resize_axis(x, dim, num_out, factor, border)
        if is_bytes:
            x = x.add_(0.5).floor_().clamp_(0, 255)
    return x.to(image.dtype)
