"""MATLAB's bicubic `imresize` in torch: the degradation behind every benchmark, and the baseline.

Source: MATLAB's documented behaviour (bicubic, antialiasing on) and the published low-resolution images of
Set5 and Set14, which `border="symmetric"` reproduces pixel for pixel.
"""

import math
from bisect import bisect_left
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
    return _sum_taps(x, dim, *_taps_there(x.shape[dim], num_out, scale, border, x.device, x.dtype))


def _sum_taps(x: Tensor, dim: int, index: Tensor, weight: Tensor) -> Tensor:
    """Weighted sums of samples of one axis: `index` and `weight` are (taps, samples of the result)."""
    if dim == -2:
        weight = weight[..., None]
    out = x.index_select(dim, index[0]).mul_(weight[0])
    for i in range(1, len(index)):
        out.addcmul_(x.index_select(dim, index[i]), weight[i])
    return out


def _resize_columns(x: Tensor, num_out: int, scale: Fraction, border: Border) -> Tensor:
    """`_resize_axis` of the last axis, on a CPU several times as fast: a few rows at a time, turned."""
    if x.device.type != "cpu":
        return _resize_axis(x, -1, num_out, scale, border)
    rows = x.reshape(-1, x.shape[-1])
    out = rows.new_empty(len(rows), num_out)
    for some, sums in zip(rows.split(TURNED_ROWS), out.split(TURNED_ROWS), strict=True):
        sums.copy_(_resize_axis(some.t().contiguous(), -2, num_out, scale, border).t())
    return out.view(*x.shape[:-1], num_out)


TURNED_ROWS = 64
MAX_WHOLE = 32
"""Largest factor shrunk in whole numbers."""
BLOCK_ROWS, BLOCK_COLUMNS = 2, 16
STRIP = 2**21
"""Samples that are worked on at a time, of whatever image or batch, which keeps memory flat."""


def whole_weights(scale: int) -> tuple[list[int], int, int]:
    """Weights of bicubic shrinking by a whole factor, which are fractions: numerators, divisor, and the first tap.

    Output sample i is the sum over k of `weights[k] * x[scale * i - first + k] / divisor`.

    Returns:
        The numerators, one a tap; what they are to be divided by; how far before `scale * i` the first tap lies.

    Examples:
        >>> whole_weights(2)
        ([-3, -9, 29, 111, 111, 29, -9, -3], 256, 3)
    """
    first = 3 * scale // 2
    unit = 2 * scale  # distances are counted in half pixels, of which the kernel's own unit has this many
    weights = []
    for tap in range(4 * scale - scale % 2):
        x = abs(2 * (tap - first) - (scale - 1))
        near = 3 * x**3 - 5 * x**2 * unit + 2 * unit**3
        far = -(x**3) + 5 * x**2 * unit - 8 * x * unit**2 + 4 * unit**3
        weights.append(near if x <= unit else far)
    divisor = 2 * unit**3 * scale
    common = math.gcd(divisor, *weights)
    return [weight // common for weight in weights], divisor // common, first


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def _bands(scale: int, num_out: int) -> Tensor:
    """Matrices that add up to the weights of `num_out` neighbours: (matrices, num_out, taps of them all), on the CPU.

    In float32 no number has more than 8 bits, so that products are exact whatever precision (bfloat16, TF32) the user
    has allowed matrix products; their sums have less than 24. Larger factors need float64, which nothing reduces.
    """
    weights, _, _ = whole_weights(scale)
    fits = 128 * sum(map(abs, weights)) < 2**24 and max(map(abs, weights)) < 2**14
    parts = torch.tensor([weights], dtype=torch.float32 if fits else torch.float64, device="cpu")
    if fits and parts.abs().max() > 256:
        high = (parts / 128).round() * 128
        parts = torch.cat([high, parts - high])
    bands = parts.new_zeros(len(parts), num_out, (num_out - 1) * scale + len(weights))
    for i in range(num_out):
        bands[:, i, i * scale : i * scale + len(weights)] = parts
    return bands


def _stretch(x: Tensor, dim: int, start: int, stop: int, border: Border) -> Tensor:
    """Samples from `start` to `stop` of an axis, which may lie beyond both ends; a copy if they do."""
    size = x.shape[dim]
    parts = [x.narrow(dim, max(start, 0), min(stop, size) - max(start, 0))]
    for first, last in ((start, 0), (size, stop)):
        if first < last:
            index = torch.arange(first, last, device="cpu")
            if border == "symmetric":
                index = index % (2 * size)
                index = torch.where(index < size, index, 2 * size - 1 - index)
            parts.insert(0 if first < 0 else 2, x.index_select(dim, index.clamp(0, size - 1)))
    return torch.cat(parts, dim) if len(parts) > 1 else parts[0]


def _divide(sums: Tensor, divisor: int) -> Tensor:
    """Sums of products over the divisor, in place: rounded half up, to -128 to 127.

    The quarter keeps a whole quotient from being floored to the one below it by the rounding of the product.
    """
    return sums.add_(divisor // 2 + 0.25).mul_(1 / divisor).floor_().clamp_(-128, 127)


def _products(windows: Tensor, bands: Tensor, *, left: bool) -> Tensor:
    """Batched matrix product of each window with the sum of the bands, put on its left or (transposed) on its right."""
    stacked = bands.flatten(0, 1).expand(len(windows), -1, -1)  # of one product the window is read once
    out = torch.bmm(stacked, windows) if left else torch.bmm(windows, stacked.mT)
    if len(bands) == 1:
        return out
    high, low = out.chunk(2, 1 if left else 2)
    return high + low


def _shrink_bytes(image: Tensor, scale: int, border: Border) -> Tensor:
    """A uint8 image shrunk by a whole factor: sums of whole numbers, so exact, and halves are rounded up."""
    height, width = image.shape[-2:]
    num_rows, num_columns = -(-height // scale), -(-width // scale)
    planes = image.reshape(-1, height, width)
    out = image.new_empty(len(planes), num_rows, num_columns)
    group = max(1, STRIP // ((height + 4 * scale) * (width + 4 * scale)))
    for some, shrunk in zip(planes.split(group), out.split(group), strict=True):
        _shrink_planes(some, shrunk, scale, border)
    return out.bitwise_xor_(128).view(*image.shape[:-2], num_rows, num_columns)


def _shrink_planes(planes: Tensor, out: Tensor, scale: int, border: Border) -> None:
    """Bytes (planes, height, width) shrunk into `out`, 128 less than they are to be.

    All output samples share their taps, so that blocks of 2 rows, then of 16 columns, are matrix products. The samples
    are centred, from -128 to 127, which keeps the sums of factor 8 within float32.
    """
    num_planes, num_rows, num_columns = out.shape
    block_rows, block_columns = min(BLOCK_ROWS, num_rows), min(BLOCK_COLUMNS, num_columns)
    _, divisor, first = whole_weights(scale)
    down, across = (_bands(scale, size) for size in (block_rows, block_columns))
    move_down, move_across = block_rows * scale, block_columns * scale
    rows_in, columns_in = down.shape[-1], across.shape[-1]
    padded = (-(-num_columns // block_columns) - 1) * move_across + columns_in
    most = max(1, STRIP // (num_planes * padded * move_down))
    x = planes.transpose(0, 1)
    for row in range(0, num_rows, most * block_rows):
        blocks = min(most, -(-(num_rows - row) // block_rows))
        top = row * scale - first
        strip = _stretch(x, 0, top, top + (blocks - 1) * move_down + rows_in, border)
        strip = _stretch(strip, 2, -first, padded - first, border)  # a copy, since the first tap is outside
        part = strip.bitwise_xor_(128).view(torch.int8).to(down.dtype).flatten(1)
        part = _products(part.unfold(0, rows_in, move_down).mT, down, left=True)
        part = _divide(part, divisor).view(-1, padded)
        part = _products(part.unfold(1, columns_in, move_across).transpose(0, 1), across, left=False)
        part = _divide(part, divisor).to(torch.int8).transpose(0, 1)
        part = part.reshape(blocks * block_rows, num_planes, -1)[: num_rows - row, :, :num_columns]
        out[:, row : row + len(part)] = part.transpose(0, 1).view(torch.uint8)


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


def _is_whole(factor: Fraction, image: Tensor) -> bool:
    """Whether an image is shrunk by `_shrink_bytes`; traced graphs keep the sums that any size can go through."""
    here = image.device.type == "cpu" and not torch.compiler.is_compiling()
    return here and factor.denominator == 1 and 2 <= factor <= MAX_WHOLE


def imresize(
    image: Shaped[Tensor, "*batch h w"],
    *,
    scale: int | float | Fraction | None = None,
    size: Sequence[int] | None = None,
    border: Border = "symmetric",
) -> Shaped[Tensor, "*batch H W"]:
    """Image resized by MATLAB's bicubic rule, up or down, with antialiasing when it shrinks.

    A uint8 image gives uint8, rounded half up after each pass (the smaller factor first, height first when
    equal), as MATLAB does; a floating-point image gives the same dtype, neither rounded nor clamped. Shrinking uint8
    by a whole factor up to 32 is done in whole numbers on a CPU, so it is exact whatever the settings of torch
    (autocast, reduced precision). MATLAB's float64 is as exact, except on halves at 6, 10, 12 and such. On a GPU, in
    compiled graphs and by other factors uint8 goes through sums in float32, where a value that is half a level, or
    very near to it, may be rounded the other way.

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
    if is_bytes and scale_h == scale_w and _is_whole(1 / scale_h, image):
        with torch.autocast("cpu", enabled=False):
            return _shrink_bytes(image, int(1 / scale_h), border)
    passes = [(-2, rows, scale_h), (-1, columns, scale_w)]
    passes.sort(key=lambda axis: axis[2])  # stable: height first when the factors are equal
    half = image.dtype in (torch.float16, torch.bfloat16)
    x = image.float() if is_bytes or half else image
    for dim, num_out, factor in passes:
        x = _resize_axis(x, dim, num_out, factor, border)
        if is_bytes:
            x = x.add_(0.5).floor_().clamp_(0, 255)
    return x.to(image.dtype)


class RowResizer:
    """`imresize` to a size for an image that flows by from top to bottom, of which only the rows in reach are held.

    What `push` returns, one after the other, is `imresize(image, size=out_size)`: the same sums in the same order. A
    uint8 image shrunk by a whole factor goes through float32 here, where a half may be rounded the other way. uint16
    is taken as well, by the rules for uint8. The rows held are those of one output row: 4, more when the image shrinks.

    Args:
        in_size: Height and width of the image.
        out_size: Height and width of the result.
        border: What lies beyond the edge, see `imresize`.

    Raises:
        ValueError: If a side is below 1 or the border is unknown.

    Examples:
        >>> image = torch.rand(3, 6, 4)
        >>> resizer = RowResizer((6, 4), (9, 5))
        >>> parts = [resizer.push(rows) for rows in image.split(2, dim=-2)]
        >>> [part.shape[-2] for part in parts]
        [1, 3, 5]
        >>> torch.equal(torch.cat(parts, dim=-2), imresize(image, size=(9, 5)))
        True
    """

    def __init__(self, in_size: Sequence[int], out_size: Sequence[int], *, border: Border = "symmetric") -> None:
        if border not in ("symmetric", "replicate"):
            raise ValueError(f"border is {border!r}; allowed are 'symmetric' and 'replicate'")
        if len(in_size) != 2 or min(in_size) < 1:
            raise ValueError(f"in_size is {in_size!r}; give (height, width), both at least 1")
        self._height, self._width = in_size
        self._rows, self._columns = _factors((self._height, self._width), None, out_size)
        self._border: Border = border
        index, _ = _taps(self._height, *self._rows, border)
        self._last: list[int] = index.amax(0).cummax(0).values.tolist()  # the last row needed so far
        self._first: list[int] = index.amin(0).flip(0).cummin(0).values.flip(0).tolist()  # the first from here on
        self._kind: tuple[torch.dtype, torch.Size] | None = None
        self._held: Tensor | None = None
        self._got = self._given = 0

    @property
    def done(self) -> bool:
        """Whether all rows were pushed, and so all of the result returned."""
        return self._got == self._height

    def push(self, rows: Shaped[Tensor, "*batch h w"]) -> Shaped[Tensor, "*batch H W"]:
        """The rows of the result that are known by now and were not before, which may be none.

        Args:
            rows: The next rows of the image, any number of them; their leading axes and dtype stay the same.

        Raises:
            ValueError: If they are of another width, or more than the image has, or unlike those before.
            TypeError: If they are neither uint8, uint16 nor floating point.
        """
        self._check(rows)
        dtype, width_first = rows.dtype, self._columns[1] < self._rows[1]
        rows = rows.float() if dtype.itemsize < 4 else rows
        if width_first:
            rows = self._rounded(_resize_columns(rows, *self._columns, self._border), dtype)
        held = rows if self._held is None else torch.cat([self._held, rows], -2)
        self._got += rows.shape[-2]
        start, stop = self._given, bisect_left(self._last, self._got)
        index, weight = _taps_there(self._height, *self._rows, self._border, held.device, held.dtype)
        top = self._got - held.shape[-2]
        out = held.new_empty(*held.shape[:-2], 0, held.shape[-1])
        if stop > start:
            out = self._rounded(_sum_taps(held, -2, index[:, start:stop] - top, weight[:, start:stop]), dtype)
        self._given = stop
        keep = self._first[stop] - top if stop < len(self._first) else held.shape[-2]
        self._held = held[..., keep:, :].clone()  # for the caller may use the memory of `rows` again
        if not width_first:
            out = self._rounded(_resize_columns(out, *self._columns, self._border), dtype)
        return out.to(dtype)

    def _check(self, rows: Tensor) -> None:
        if not (rows.dtype in (torch.uint8, torch.uint16) or rows.is_floating_point()):
            raise TypeError(f"rows have dtype {rows.dtype}; RowResizer takes uint8, uint16 or floating point")
        left = self._height - self._got
        if rows.ndim < 2 or rows.shape[-1] != self._width or rows.shape[-2] > left:
            raise ValueError(f"rows have shape {tuple(rows.shape)}; {left} of width {self._width} are still to come")
        kind = rows.dtype, rows.shape[:-2]
        if self._kind not in (None, kind):
            raise ValueError(f"rows are {kind}, those before were {self._kind}; they are parts of one image")
        self._kind = kind

    @staticmethod
    def _rounded(x: Tensor, dtype: torch.dtype) -> Tensor:
        """Samples after a pass, in place: whole numbers if the image's are."""
        if dtype.is_floating_point:
            return x
        return x.add_(0.5).floor_().clamp_(0, 255 if dtype == torch.uint8 else 65535)
