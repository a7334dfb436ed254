import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

from srzoo.resize import (
    MAX_WHOLE,
    Border,
    RowResizer,
    _bands,
    _divide,
    imresize,
    pad_symmetric,
    upsample_kernel,
    whole_weights,
)


def reference_cubic(x: float | Fraction) -> float | Fraction:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0


def reference_matrix(num_in: int, num_out: int, scale: float, border: str) -> np.ndarray:
    """MATLAB's `contributions`, one output pixel at a time, with its one-based indices."""
    stretch = min(scale, 1.0)
    width = 4 / stretch
    mirror = [*range(num_in), *reversed(range(num_in))]
    matrix = np.zeros((num_out, num_in))
    for row in range(num_out):
        u = (row + 1) / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        taps = [left + k for k in range(math.ceil(width) + 2)]
        weights = [stretch * reference_cubic(stretch * (u - tap)) for tap in taps]
        for tap, weight in zip(taps, weights, strict=True):
            at = mirror[(tap - 1) % len(mirror)] if border == "symmetric" else min(max(tap, 1), num_in) - 1
            matrix[row, at] += weight / sum(weights)
    return matrix


def reference_imresize(
    image: np.ndarray, *, scale: float | None = None, size: tuple[int, int] | None = None, border: str = "symmetric"
) -> np.ndarray:
    """MATLAB's documented `imresize(image, scale or size, 'bicubic')` of one channel, in float64."""
    if size is None:
        size = tuple(math.ceil(round(side * scale, 9)) for side in image.shape)
    factors = [scale or size[axis] / image.shape[axis] for axis in (0, 1)]
    out = image.astype(np.float64)
    for axis in sorted((0, 1), key=lambda axis: factors[axis]):
        matrix = reference_matrix(out.shape[axis], size[axis], factors[axis], border)
        out = matrix @ out if axis == 0 else out @ matrix.T
        if image.dtype == np.uint8:
            out = np.clip(np.floor(out + 0.5), 0, 255)
    return out.astype(image.dtype)


CASES = [
    dict(scale=0.5),
    dict(scale=1 / 3),
    dict(scale=0.25),
    dict(scale=0.7),
    dict(scale=2.0),
    dict(scale=3.0),
    dict(scale=1.7),
    dict(size=(5, 23)),  # one side shrinks, the other grows: the shrinking side goes first
    dict(size=(23, 5)),
    dict(size=(1, 1)),
]
SHAPES = [(12, 16), (13, 9), (1, 7), (7, 1), (1, 1), (2, 3)]


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_matlabs_documented_algorithm(case: dict, border: str) -> None:
    rng = np.random.default_rng(0)
    for shape in SHAPES:
        floats = rng.normal(size=shape)
        found = imresize(torch.from_numpy(floats), border=border, **case).numpy()
        np.testing.assert_allclose(found, reference_imresize(floats, border=border, **case), rtol=0, atol=1e-12)
        pixels = rng.integers(0, 256, shape, dtype=np.uint8)
        found = imresize(torch.from_numpy(pixels), border=border, **case).numpy()
        np.testing.assert_array_equal(found, reference_imresize(pixels, border=border, **case))


def test_the_two_borders_differ() -> None:
    image = torch.rand(8, 8)
    assert not torch.allclose(imresize(image, scale=0.5), imresize(image, scale=0.5, border="replicate"))


def test_golden_values() -> None:
    image = torch.arange(16, dtype=torch.float64).view(4, 4)
    expected = [[0.7506, 2.1004, 3.4503], [6.1501, 7.5, 8.8499], [11.5497, 12.8996, 14.2494]]
    torch.testing.assert_close(
        imresize(image, size=(3, 3)), torch.tensor(expected, dtype=torch.float64), rtol=0, atol=5e-5
    )


def read_rgb(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)


def test_reproduces_the_published_low_resolution_images(data_dir: Path) -> None:
    wrong, images = {}, 0
    for path in sorted(data_dir.glob("bench/Set*/HR/*.png")):
        for scale in (2, 3, 4):
            hr = read_rgb(path)  # Set14's grey file was published as LR with three equal channels
            height, width = (side // scale * scale for side in hr.shape[-2:])
            lr = imresize(hr[:, :height, :width], scale=1 / scale)
            published = read_rgb(path.parents[1] / f"LRbicx{scale}" / path.name)
            images += 1
            if count := (lr != published).sum().item():
                wrong[f"{path.stem} x{scale}"] = count
    assert images == 57
    assert wrong == {}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_keeps_the_dtype_and_is_neither_rounded_nor_clamped(dtype: torch.dtype) -> None:
    image = torch.tensor([[0.0, 0.0, 1.0, 1.0]], dtype=dtype)
    out = imresize(image, scale=4)
    assert out.dtype == dtype
    assert out.min() < 0
    assert out.max() > 1
    exact = imresize(image.double(), scale=4)
    torch.testing.assert_close(out.double(), exact, rtol=0, atol=2 * torch.finfo(dtype).eps)


def test_uint8_saturates() -> None:
    image = torch.tensor([[0, 0, 255, 255]], dtype=torch.uint8)
    out = imresize(image, scale=4)
    assert (out.min(), out.max()) == (0, 255)
    assert out[0, :4].tolist() == [0, 0, 0, 0]


def test_batched_equals_single() -> None:
    images = torch.rand(2, 3, 9, 11)
    out = imresize(images, scale=1 / 3)
    assert out.shape == (2, 3, 3, 4)
    for i in range(2):
        for j in range(3):
            assert torch.equal(out[i, j], imresize(images[i, j], scale=1 / 3))


@pytest.mark.parametrize("border", ["symmetric", "replicate"])
def test_keeps_constants(border: str) -> None:
    for scale in (0.1, 0.25, 1 / 3, 1, 2.5, 4):
        grey = imresize(torch.full((7, 10), 77, dtype=torch.uint8), scale=scale, border=border)
        assert set(grey.flatten().tolist()) == {77}
        ones = imresize(torch.ones(7, 10, dtype=torch.float64), scale=scale, border=border)
        torch.testing.assert_close(ones, torch.ones_like(ones))


def test_scale_one_changes_nothing() -> None:
    image = torch.rand(5, 6)
    assert torch.equal(imresize(image, scale=1), image)


def test_a_third_is_a_third_whatever_its_type() -> None:
    image = torch.rand(99, 3)
    out = imresize(image, scale=Fraction(1, 3))
    assert out.shape == (33, 1)
    assert torch.equal(out, imresize(image, scale=1 / 3))
    assert imresize(image, scale=0.3333333).shape == (33, 1)


def test_the_output_has_the_rounded_up_size() -> None:
    assert imresize(torch.rand(10, 11), scale=0.25).shape == (3, 3)
    assert imresize(torch.rand(10, 11), scale=0.01).shape == (1, 1)


def test_the_input_stays_as_it_was() -> None:
    image = torch.rand(4, 4)
    before = image.clone()
    for scale in (0.5, 1, 2):
        imresize(image, scale=scale).zero_()
    assert torch.equal(image, before)


def test_gradients_flow_although_the_first_call_was_for_inference() -> None:
    image = torch.rand(1, 1, 23, 29, dtype=torch.float64)
    with torch.inference_mode():
        imresize(image, scale=1.75)  # fills the cache of weights
    image.requires_grad_()
    out = imresize(image, scale=1.75)
    out.sum().backward()
    assert image.grad is not None
    torch.testing.assert_close(image.grad.sum().item(), float(out.numel()))


def test_the_cache_is_not_spoilt_by_the_meta_device() -> None:
    with torch.device("meta"):
        assert imresize(torch.rand(1, 19, 31), scale=1.25).is_meta
    assert imresize(torch.ones(1, 19, 31), scale=1.25).sum().isfinite()


@pytest.mark.parametrize(
    ("image", "options", "error", "text"),
    [
        (torch.rand(4, 4), {}, ValueError, "give exactly one"),
        (torch.rand(4, 4), {"scale": 2, "size": (8, 8)}, ValueError, "give exactly one"),
        (torch.rand(4, 4), {"scale": 0}, ValueError, "scale is 0"),
        (torch.rand(4, 4), {"scale": -2}, ValueError, "scale is -2"),
        (torch.rand(4, 4), {"scale": 1e-6}, ValueError, "scale is 1e-06"),
        (torch.rand(4, 4), {"scale": math.nan}, ValueError, "scale is nan"),
        (torch.rand(4, 4), {"scale": math.inf}, ValueError, "scale is inf"),
        (torch.rand(4, 4), {"size": (0, 4)}, ValueError, r"size is \(0, 4\)"),
        (torch.rand(4, 4), {"size": (4,)}, ValueError, r"size is \(4,\)"),
        (torch.rand(4, 4), {"scale": 2, "border": "zeros"}, ValueError, "border is 'zeros'; allowed are"),
        (torch.rand(4), {"scale": 2}, ValueError, r"shape \(4,\)"),
        (torch.rand(3, 0, 4), {"scale": 2}, ValueError, r"shape \(3, 0, 4\)"),
        (torch.ones(4, 4, dtype=torch.int32), {"scale": 2}, TypeError, "dtype torch.int32"),
        (torch.ones(4, 4, dtype=torch.bool), {"scale": 2}, TypeError, "dtype torch.bool"),
    ],
)
@pytest.mark.usefixtures("as_users_call")
def test_what_cannot_be_done_is_told_in_one_line(
    image: torch.Tensor, options: dict, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text) as caught:
        imresize(image, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("amount", [0, 1, 2, 7, 13])
def test_pad_symmetric_mirrors_however_often_it_must(size: int, amount: int) -> None:
    image = np.random.default_rng(0).normal(size=(2, size, 6 - size))
    expected = np.pad(image, ((0, 0), (amount, amount), (amount, amount)), mode="symmetric")
    np.testing.assert_array_equal(pad_symmetric(torch.from_numpy(image), amount).numpy(), expected)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_upsample_kernel_is_what_imresize_does_to_a_pulse(scale: int) -> None:
    pulse = torch.zeros(1, 9, dtype=torch.float64)
    pulse[0, 4] = 1
    spread = imresize(pulse, size=(1, 9 * scale)).view(9, scale)  # each pixel's phases
    torch.testing.assert_close(upsample_kernel(scale), spread[2:7].flip(0).T)


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 7, 8, 9, 15, 16, MAX_WHOLE])
@pytest.mark.parametrize("border", ["symmetric", "replicate"])
def test_whole_factors_are_the_float64_rule_at_any_shape(scale: int, border: Border) -> None:
    rng = np.random.default_rng(scale)
    for height, width in ((1, 1), (2, 7), (scale, 3 * scale), (9 * scale + 1, 17 * scale + 2)):
        image = rng.integers(0, 256, (height, width), dtype=np.uint8)
        image[rng.random(image.shape) < 0.3] = 255
        image[rng.random(image.shape) < 0.3] = 0
        expected = reference_imresize(image, scale=1 / scale, border=border)
        out = imresize(torch.from_numpy(image), scale=Fraction(1, scale), border=border)
        np.testing.assert_array_equal(out.numpy(), expected)


@pytest.mark.parametrize("scale", [6, 12])
def test_halves_of_even_factors_that_are_no_power_of_two_are_exact_too(scale: int) -> None:
    """float64 cannot hold these weights, so that its rounding decides on halves."""
    weights, divisor, first = whole_weights(scale)
    taps = np.arange(len(weights)) - first + 3 * scale
    columns = np.random.default_rng(0).integers(0, 256, (6 * scale, 100_000), dtype=np.int64)
    sums = np.tensordot(weights, columns[taps], 1)
    ties = (sums % divisor == divisor // 2) & (sums > 0) & (sums < 255 * divisor)
    assert ties.any()
    tied = columns[:, ties][:, :20]
    wide = torch.from_numpy(tied.astype(np.uint8).repeat(9 * scale, 1))  # away from the others, width changes nothing
    out = imresize(wide, scale=Fraction(1, scale))[3].view(-1, 9)[:, 4]
    np.testing.assert_array_equal(out.numpy(), sums[ties][:20] // divisor + 1)


@pytest.mark.parametrize("scale", [2, 3, 4, 5, 6, 7, 8, 9])
def test_float32_divides_every_possible_sum_exactly(scale: int) -> None:
    weights, divisor, _ = whole_weights(scale)
    largest = 128 * sum(map(abs, weights))
    assert largest + divisor < 2**24
    sums = torch.arange(-largest, largest + 1)
    exact = torch.div(sums + divisor // 2, divisor, rounding_mode="floor").clamp_(-128, 127)
    assert torch.equal(_divide(sums.float(), divisor), exact.float())


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_exact_halves_are_rounded_up(scale: int) -> None:
    weights, divisor, first = whole_weights(scale)
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 256, (200_000, len(weights)), dtype=np.int64)
    sums = columns @ np.array(weights)
    ties = columns[(sums % divisor == divisor // 2) & (sums > 0) & (sums < 255 * divisor)][:50]
    assert len(ties) > 1
    side = scale * 8
    image = np.zeros((side, len(ties)), np.uint8)
    image[4 * scale - first : 4 * scale - first + len(weights)] = ties.T
    out = imresize(torch.from_numpy(image), size=(8, len(ties)))  # the width stays
    np.testing.assert_array_equal(out[4].numpy(), ties @ np.array(weights) // divisor + 1)
    wide = torch.from_numpy(image.repeat(side, axis=1))
    shrunk = imresize(wide, scale=Fraction(1, scale))[4].view(len(ties), 8)
    assert torch.equal(shrunk[:, 3:5], out[4][:, None].expand(-1, 2))


@pytest.mark.parametrize("scale", range(2, MAX_WHOLE + 1))
def test_whole_weights_are_those_of_the_kernel(scale: int) -> None:
    weights, divisor, first = whole_weights(scale)
    assert sum(weights) == divisor
    middle = Fraction(scale - 1, 2)
    for tap in range(len(weights)):
        exact = reference_cubic(Fraction(tap - first - middle) / scale) / scale
        assert weights[tap] / divisor == pytest.approx(float(exact), abs=1e-15)
    assert sum(weights[tap] * (tap - first - middle) for tap in range(len(weights))) == 0


@pytest.mark.parametrize("scale", [2, 3, 4, 8, 9, 10])
def test_bands_add_up_and_are_exact_in_bfloat16_or_float64(scale: int) -> None:
    weights, _, _ = whole_weights(scale)
    bands = _bands(scale, 3)
    for row in range(3):
        assert bands.sum(0)[row, row * scale :][: len(weights)].tolist() == weights
    for band in bands:
        assert band.dtype == torch.float64 or torch.equal(band.bfloat16().float(), band)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
def test_reduced_precision_changes_no_pixel(scale: int) -> None:
    image = torch.randint(0, 256, (3, 9 * scale, 33 * scale), dtype=torch.uint8)
    expected = imresize(image, scale=Fraction(1, scale))
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16), torch.inference_mode():
            out = imresize(image, scale=Fraction(1, scale))
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(out, expected)


def test_layouts_and_leading_axes_give_the_same_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.randint(0, 256, (2, 3, 70, 41), dtype=torch.uint8)
    out = imresize(image, scale=0.5)
    assert out.shape == (2, 3, 35, 21)
    assert out.is_contiguous()
    assert torch.equal(imresize(image.to(memory_format=torch.channels_last), scale=0.5), out)
    assert torch.equal(imresize(image[0].permute(1, 2, 0).contiguous().permute(2, 0, 1), scale=0.5), out[0])
    assert torch.equal(imresize(image[1, 2], scale=0.5), out[1, 2])
    monkeypatch.setattr("srzoo.resize.STRIP", 1)
    assert torch.equal(imresize(image, scale=0.5), out)


@pytest.mark.parametrize("scale", [2, 3, 8, 16])
@pytest.mark.parametrize("border", ["symmetric", "replicate"])
def test_narrow_images_and_batches_give_the_pixels_of_each_image(
    scale: int, border: Border, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = [(1, 5 * scale), (5 * scale, 1), (2 * scale, 15 * scale), (3 * scale + 1, 17 * scale), (9, 4)]
    for strip in (2**21, 40 * scale**2):  # the second works on a few planes and a few rows at a time
        monkeypatch.setattr("srzoo.resize.STRIP", strip)
        for shape in shapes:
            batch = torch.randint(0, 256, (5, 3, *shape), dtype=torch.uint8)
            out = imresize(batch, scale=Fraction(1, scale), border=border)
            for i in range(5):
                expected = reference_imresize(batch[i, i % 3].numpy(), scale=1 / scale, border=border)
                np.testing.assert_array_equal(out[i, i % 3].numpy(), expected)
                assert torch.equal(out[i], imresize(batch[i], scale=Fraction(1, scale), border=border))


class Largest(TorchDispatchMode):
    """The most elements that any result of an operation has."""

    elements = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for one in out if isinstance(out, list | tuple) else [out]:
            if isinstance(one, torch.Tensor) and one.is_floating_point():
                self.elements = max(self.elements, one.numel())
        return out


@pytest.mark.parametrize(("shape", "scale"), [((4, 3, 48, 48), 8), ((4, 3, 48, 48), 16), ((3, 4000, 8), 8)])
def test_narrow_images_are_not_padded_to_whole_blocks(shape: tuple[int, ...], scale: int) -> None:
    image = torch.zeros(shape, dtype=torch.uint8)
    with Largest() as largest:
        imresize(image, scale=Fraction(1, scale))
    padded = math.prod(shape[:-2]) * (shape[-2] + 4 * scale) * (shape[-1] + 4 * scale)
    assert largest.elements <= 2 * padded


def test_a_large_batch_takes_no_more_memory_than_a_small_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("srzoo.resize.STRIP", 2**14)
    used = []
    for batch in (32, 128):
        with Largest() as largest:
            imresize(torch.zeros(batch, 3, 24, 24, dtype=torch.uint8), scale=0.5)
        used.append(largest.elements)
    assert used[1] <= used[0] * 1.1


def test_whole_factors_leave_the_image_as_it_was() -> None:
    image = torch.randint(0, 256, (3, 40, 40), dtype=torch.uint8)
    before = image.clone()
    imresize(image, scale=0.5).zero_()
    assert torch.equal(image, before)


def in_rows(image: torch.Tensor, size: tuple[int, int], lengths: list[int], border: Border) -> torch.Tensor:
    """`imresize` by a `RowResizer`, the rows pushed by so many at a time, over and over."""
    resizer = RowResizer(image.shape[-2:], size, border=border)
    parts, top = [], 0
    while not resizer.done:
        rows = image[..., top : top + lengths[len(parts) % len(lengths)], :].clone()
        parts.append(resizer.push(rows))
        top += rows.shape[-2]
        rows.fill_(99)  # the caller's memory may be used again
    return torch.cat(parts, -2)


LENGTHS = st.tuples(st.integers(0, 9), st.integers(1, 40)).map(list)
SIDES = st.one_of(st.integers(1, 5), st.integers(1, 60))


@given(
    st.tuples(SIDES, SIDES),
    st.tuples(SIDES, SIDES),
    LENGTHS,
    st.sampled_from(["symmetric", "replicate"]),
    st.sampled_from([torch.float64, torch.float32, torch.float16]),
)
def test_rows_flowing_by_give_what_the_whole_gives(
    in_size: tuple[int, int], size: tuple[int, int], lengths: list[int], border: Border, dtype: torch.dtype
) -> None:
    image = torch.rand(2, *in_size).to(dtype)
    expected = imresize(image, size=size, border=border)
    found = in_rows(image, size, lengths, border)
    assert found.dtype == dtype
    assert torch.equal(found, expected) or dtype != torch.float64
    torch.testing.assert_close(found, expected)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), LENGTHS)
def test_bytes_flowing_by_give_what_the_whole_gives(
    in_size: tuple[int, int], size: tuple[int, int], lengths: list[int]
) -> None:
    image = torch.randint(256, (3, *in_size), dtype=torch.uint8)
    expected = imresize(image, size=size)
    found = in_rows(image, size, lengths, "symmetric")
    assert found.dtype == torch.uint8
    factors = {Fraction(a, b) for a, b in zip(in_size, size, strict=True)}
    if len(factors) == 1 and factors.pop().denominator == 1:  # the whole goes through whole numbers
        assert (found.int() - expected.int()).abs().max() <= 1
    else:
        assert torch.equal(found, expected)


@given(st.tuples(SIDES, SIDES), st.tuples(SIDES, SIDES), LENGTHS)
def test_16_bits_are_rounded_and_clamped_as_8_are(
    in_size: tuple[int, int], size: tuple[int, int], lengths: list[int]
) -> None:
    image = torch.randint(65536, in_size, dtype=torch.int32)
    image[image < 20000], image[image > 45000] = 0, 65535  # steep, so that sums leave the range
    found = in_rows(image.to(torch.uint16), size, lengths, "symmetric")
    assert found.dtype == torch.uint16
    factors = [out / side for out, side in zip(size, in_size, strict=True)]
    expected = image.double().numpy()
    for axis in sorted((0, 1), key=lambda axis: factors[axis]):
        matrix = reference_matrix(in_size[axis], size[axis], factors[axis], "symmetric")
        expected = np.clip(np.floor((matrix @ expected if axis == 0 else expected @ matrix.T) + 0.5), 0, 65535)
    assert np.abs(found.int().numpy() - expected).max() <= 2  # sums in float32, halves


def test_rows_that_were_used_are_let_go() -> None:
    resizer = RowResizer((4000, 8), (1500, 3))
    most = given = 0
    for rows in torch.rand(1, 4000, 8).split(10, dim=-2):
        given += resizer.push(rows).shape[-2]
        assert resizer._held is not None
        most = max(most, resizer._held.shape[-2])
    assert given == 1500
    assert most <= 4 * 4000 / 1500 + 3


def test_rows_come_as_early_as_they_can() -> None:
    resizer = RowResizer((100, 5), (200, 5))
    found = [resizer.push(torch.rand(1, 5)).shape[-2] for _ in range(100)]
    assert found == [0, 1, *[2] * 97, 5]
    assert resizer.done


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("rows", "error", "text"),
    [
        (torch.rand(2, 6), ValueError, r"rows have shape \(2, 6\); 3 of width 5 are still to come"),
        (torch.rand(4, 5), ValueError, "3 of width 5 are still to come"),
        (torch.rand(5), ValueError, "3 of width 5 are still to come"),
        (torch.rand(3, 1, 5), ValueError, "those before were"),
        (torch.rand(1, 5).double(), ValueError, "those before were"),
        (torch.ones(1, 5, dtype=torch.int64), TypeError, "rows have dtype torch.int64; RowResizer takes uint8"),
    ],
)
def test_rows_of_another_image_are_refused(rows: torch.Tensor, error: type[Exception], text: str) -> None:
    resizer = RowResizer((4, 5), (8, 8))
    resizer.push(torch.rand(1, 5))
    with pytest.raises(error, match=text):
        resizer.push(rows)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("sizes", "options", "text"),
    [
        (((0, 4), (8, 8)), {}, r"in_size is \(0, 4\)"),
        (((4, 4), (8, 0)), {}, r"size is \(8, 0\)"),
        (((4, 4), (8, 8)), {"border": "wrap"}, "border is 'wrap'"),
    ],
)
def test_row_resizers_that_cannot_be_are_refused(sizes: Any, options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        RowResizer(*sizes, **options)
