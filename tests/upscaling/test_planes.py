from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import srzoo
from srzoo.color import rgb_to_grey
from srzoo.image import CHANNELS, LEVELS, Depth, Mode, Picture, PictureSource
from srzoo.resize import RowResizer, imresize
from srzoo.upscaling.planes import REACH, Planes, find_constant_alpha, make_planes

MODES: tuple[Mode, ...] = ("L", "LA", "RGB", "RGBA", "CMYK")
DTYPES: tuple[Depth, ...] = ("uint8", "uint16", "float32")


def noise(mode: Mode, dtype: Depth, height: int = 9, width: int = 7, seed: int = 0) -> np.ndarray:
    pixels = np.random.default_rng(seed).random((height, width, CHANNELS[mode]), np.float32)
    return pixels if dtype == "float32" else (pixels * LEVELS[dtype]).round().astype(dtype)


def enlarge(image: Tensor) -> Tensor:
    """Each pixel twice as wide and high: a network that pixels can be followed through."""
    return image.repeat_interleave(2, -1).repeat_interleave(2, -2)


def blurred_disc(size: int = 40) -> np.ndarray:
    """Coverage of a disc with a soft edge, 0 to 1."""
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    return np.clip(size * 0.3 - np.hypot(x, y) + 0.5, 0, 1)


def over(pixels: np.ndarray, background: float | tuple[float, float, float]) -> np.ndarray:
    """uint8 RGBA over a colour, float in [0, 1]."""
    color, alpha = pixels[..., :3] / 255, pixels[..., 3:] / 255
    return color * alpha + np.array(background) * (1 - alpha)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_a_network_that_changes_nothing_gives_the_picture_back(mode: Mode, dtype: Depth) -> None:
    pixels = noise(mode, dtype)
    planes = make_planes(mode, dtype, 3)
    x = planes.encode(pixels)
    assert x.dtype == torch.float32
    assert x.shape == (planes.num, 3, 9, 7)
    out = planes.decode(x)
    assert out.dtype == pixels.dtype
    assert out.shape == pixels.shape
    if dtype == "float32":
        np.testing.assert_allclose(out, pixels, atol=1e-4)
        return
    if not mode.endswith("A"):
        np.testing.assert_array_equal(out, pixels)
        return
    np.testing.assert_array_equal(out[..., -1], pixels[..., -1])
    seen = pixels[..., -1] > LEVELS[dtype] / 8  # in float32 the colour of what can hardly be seen is lost
    assert np.abs(out.astype(int) - pixels)[seen].max() <= (0 if dtype == "uint8" else 1)


@pytest.mark.parametrize(("mode", "model_channels"), [("L", 1), ("LA", 1), ("LA", 2), ("RGBA", 4)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_models_of_other_channels_take_what_suits_them(mode: Mode, dtype: Depth, model_channels: int) -> None:
    pixels = noise(mode, dtype)
    planes = make_planes(mode, dtype, model_channels)
    x = planes.encode(pixels)
    assert x.shape == (2 if (mode, model_channels) == ("LA", 1) else 1, model_channels, 9, 7)
    alpha = planes.decode(x)[..., -1]
    np.testing.assert_allclose(alpha.astype(float), pixels[..., -1], atol=1e-6)


@pytest.mark.parametrize(
    ("mode", "model_channels", "text"),
    [
        ("RGB", 1, r"the image has 3 channels \(RGB\), the model takes 1; with it only L and LA can be upscaled"),
        ("RGBA", 1, "the image has 4 channels"),
        ("CMYK", 1, "the image has 4 channels"),
        ("CMYK", 4, r"the image has 4 channels \(CMYK\), the model takes 4; with it only RGBA can be upscaled"),
        ("RGB", 4, "the image has 3 channels"),
        ("RGB", 5, "the model takes 5; 1, 2, 3 or 4 are supported"),
    ],
)
def test_models_that_have_no_use_for_a_mode_are_told(mode: Mode, model_channels: int, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        make_planes(mode, "uint8", model_channels)
    assert "\n" not in str(caught.value)


def test_what_the_network_sees() -> None:
    grey = make_planes("L", "uint8", 3).encode(np.array([[[51], [255]]], np.uint8))
    torch.testing.assert_close(grey, torch.tensor([0.2, 1.0]).expand(1, 3, 1, 2))
    deep = make_planes("RGB", "uint16", 3).encode(np.array([[[0, 13107, 65535]]], np.uint16))
    torch.testing.assert_close(deep.flatten(), torch.tensor([0, 0.2, 1]))
    alpha = make_planes("RGBA", "uint8", 3).encode(np.array([[[255, 51, 0, 51], [9, 9, 9, 0]]], np.uint8))
    torch.testing.assert_close(alpha[0, :, 0, 0], torch.tensor([0.2, 0.04, 0]))
    torch.testing.assert_close(alpha[1, :, 0, 0], torch.tensor([1.0, 0.84, 0.8]))
    assert alpha[:, :, 0, 1].tolist() == [[0, 0, 0], [1, 1, 1]]  # whatever colour lies beneath
    inks = make_planes("CMYK", "uint8", 3).encode(np.array([[[255, 0, 51, 102]]], np.uint8))
    torch.testing.assert_close(inks.flatten(1), torch.tensor([[1.0, 0, 0.2], [0.4, 0.4, 0.4]]))


def test_the_result_is_clamped_and_rounded_to_the_nearest_level() -> None:
    sr = torch.tensor([-0.3, 0.0, 1 / 255, 100.4 / 255, 100.6 / 255, 1.0, 1.2]).expand(1, 3, 1, 7)
    found = make_planes("RGB", "uint8", 3).decode(sr)[0, :, 0]
    assert found.tolist() == [0, 0, 1, 100, 101, 255, 255]
    assert make_planes("L", "uint16", 1).decode(sr[:, :1] * 255 / 65535 * 100).max() == round(1.2 * 100 * 255)
    floats = make_planes("RGB", "float32", 3).decode(sr)[0, :, 0]
    np.testing.assert_allclose(floats, [0, 0, 1 / 255, 100.4 / 255, 100.6 / 255, 1, 1], atol=1e-7)


def test_the_result_is_not_changed_in_memory_and_neither_is_the_picture() -> None:
    for mode in MODES:
        for dtype in DTYPES:
            planes, pixels = make_planes(mode, dtype, 3), noise(mode, dtype)
            before = pixels.copy()
            x = planes.encode(pixels)
            x.mul_(0.5).add_(0.1)
            np.testing.assert_array_equal(pixels, before)
            kept = x.clone()
            out = planes.decode(x)
            assert torch.equal(x, kept)
            assert not np.shares_memory(out, x.numpy())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", MODES)
def test_any_window_comes_out_as_it_does_in_the_whole(mode: Mode, dtype: Depth) -> None:
    pixels = noise(mode, dtype, 40, 300)
    planes = make_planes(mode, dtype, 3)
    whole = planes.encode(pixels)
    window = slice(3, 30), slice(11, 205)
    assert torch.equal(planes.encode(pixels[window]), whole[..., window[0], window[1]])
    sr = torch.rand(planes.num, 3, 400, 300) * 1.2 - 0.1
    for made in (sr, sr.contiguous(memory_format=torch.channels_last)):
        out = planes.decode(made)  # more than one chunk
        np.testing.assert_array_equal(out, planes.decode(sr))
        np.testing.assert_array_equal(planes.decode(made[..., window[0], window[1]]), out[window])


def test_read_only_turned_and_strided_pixels_are_taken() -> None:
    pixels = noise("RGB", "uint8")
    turned = pixels[::-1, ::2]
    turned.flags.writeable = False
    planes = make_planes("RGB", "uint8", 3)
    assert torch.equal(planes.encode(turned), planes.encode(turned.copy()))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_results_of_other_precisions_are_decoded(dtype: torch.dtype) -> None:
    for mode in MODES:
        planes = make_planes(mode, "uint8", 3)
        sr = torch.rand(planes.num, 3, 5, 6).to(dtype)
        difference = planes.decode(sr).astype(int) - planes.decode(sr.float())
        assert np.abs(difference).max() <= 1


def test_results_of_a_model_that_is_trained_can_be_decoded() -> None:
    sr = torch.rand(2, 3, 4, 4, requires_grad=True)
    assert make_planes("RGBA", "uint8", 3).decode(sr).shape == (4, 4, 4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_a_constant_alpha_is_copied_and_one_image_goes_through(mode: Mode, dtype: Depth) -> None:
    pixels = noise(mode, dtype)
    for share in (0, 0.4, 1):
        pixels[..., -1] = np.array(share * LEVELS[dtype]).astype(dtype)
        alpha = find_constant_alpha(PictureSource(Picture(pixels, mode)))
        assert alpha == pixels[0, 0, -1]
        planes = make_planes(mode, dtype, 3, alpha)
        assert planes.num == 1
        out = planes.decode(planes.encode(pixels))
        np.testing.assert_allclose(out.astype(float), pixels, atol=1e-6)


def test_a_constant_alpha_means_nothing_where_alpha_goes_through_the_model_or_is_not() -> None:
    assert make_planes("RGBA", "uint8", 4, 255) == Planes("RGBA", "uint8", 4, None)
    assert make_planes("RGB", "uint8", 3, 255) == Planes("RGB", "uint8", 3, None)


class Counted(PictureSource):
    asked = 0

    def rows(self, top: int, bottom: int) -> np.ndarray:
        self.asked = max(self.asked, bottom)
        return super().rows(top, bottom)


def test_alpha_is_read_until_it_differs() -> None:
    pixels = np.full((3000, 2, 2), 200, np.uint8)
    pixels[500, 1, 1] = 199
    source = Counted(Picture(pixels, "LA"))
    assert find_constant_alpha(source) is None
    assert 500 < source.asked < 1000
    pixels[500, 1, 1] = 200
    pixels[:, :, 0] = 7
    assert find_constant_alpha(source) == 200
    assert source.asked == 3000
    assert find_constant_alpha(Counted(Picture(pixels[..., :1], "L"))) is None
    pixels[-1, -1, 1] = 0
    assert find_constant_alpha(source) is None


@given(st.integers(0, 2**32 - 1), st.sampled_from(["uint8", "float32"]), st.sampled_from(["LA", "RGBA"]))
def test_alpha_and_colour_are_sane_whatever_a_network_makes(seed: int, dtype: Depth, mode: Mode) -> None:
    made = torch.from_numpy(np.random.default_rng(seed).normal(0.5, 0.7, (2, 3, 6, 6)).astype(np.float32))
    made[:, :, 0] = 0.3  # opaque
    made[0, :, 1], made[1, :, 1] = 0.004, 1.0  # next to nothing, and a colour above it
    made[0, :, 2], made[1, :, 2] = -0.2, 1.1  # nothing
    out = make_planes(mode, dtype, 3).decode(made).astype(float)
    assert np.isfinite(out).all()
    assert (out[0, :, -1] == LEVELS[dtype]).all()
    np.testing.assert_allclose(out[0, :, 0] / LEVELS[dtype], 0.3, atol=0.003)
    assert (out[2] == 0).all()
    assert (out[out[..., -1] == 0] == 0).all()


Run = Callable[[np.ndarray], np.ndarray]


def upscale_by(name: str, *, resize_to: int | None = None) -> Run:
    """RGBA or RGB pictures through a model of the zoo, as strips would be: `settle`, a last resize, `decode`."""
    model: Any = srzoo.create_model(name, pretrained=name in srzoo.list_models(pretrained=True)).eval()

    @torch.inference_mode()
    def run(pixels: np.ndarray) -> np.ndarray:
        planes = make_planes("RGBA" if pixels.shape[2] == 4 else "RGB", "uint8", 3)
        sr = model(planes.encode(pixels))
        height, width = pixels.shape[:2]
        planes.settle(sr, pixels, (slice(0, height), slice(0, width)))
        if resize_to is not None:
            sr = RowResizer(tuple(sr.shape[-2:]), (resize_to, resize_to)).push(sr)
        return planes.decode(sr)

    return run


BACKGROUNDS = {"black": (0.0, 0.0, 0.0), "white": (1.0, 1.0, 1.0), "blue": (0.0, 0.0, 1.0)}


@pytest.mark.parametrize("edge", ["soft", "hard"])
@pytest.mark.parametrize("beneath", ["black", "green", "noise"])
@pytest.mark.parametrize(("name", "resize_to"), [("bicubic_x2", None), ("edsr_baseline_x2", None), ("bicubic_x2", 61)])
def test_a_red_disc_has_no_fringe(name: str, resize_to: int | None, beneath: str, edge: str) -> None:
    """The result over any background is the disc over it, upscaled; nothing is of another colour."""
    cover = blurred_disc()
    cover = cover if edge == "soft" else (cover >= 0.5) * 1.0
    pixels = np.zeros((*cover.shape, 4), np.uint8)
    if beneath == "green":
        pixels[..., 1] = 255
    elif beneath == "noise":
        pixels[..., :3] = noise("RGB", "uint8", *cover.shape)
    pixels[cover > 0, :3] = 220, 20, 30
    pixels[..., 3] = (cover * 255).round()
    run = upscale_by(name, resize_to=resize_to)
    result = run(pixels)
    opaque = result[..., 3:] == 255  # has one colour, whatever is behind it
    bounds: dict[str, list[np.ndarray]] = {}
    for background, colour in BACKGROUNDS.items():
        seen = over(pixels, colour)
        composed = run((seen * 255).round().astype(np.uint8)) / 255
        bounds[background] = [composed, composed.clip(seen.min((0, 1)), seen.max((0, 1)))]  # with and without rings
    every = [bound for pair in bounds.values() for bound in pair]
    for background, pair in bounds.items():
        low, high = (np.where(opaque, best(every), best(pair)) for best in (np.minimum.reduce, np.maximum.reduce))
        found = over(result, BACKGROUNDS[background])
        strayed = (np.maximum(low - found, found - high) * 255)[4:-4, 4:-4]  # flat corners come out wrong of EDSR
        if name.startswith("bicubic"):
            assert strayed.max() < (2 if resize_to is None else 4)
        else:  # its images differ in what rings, on hard edges much
            most = {"soft": (16, 16, 36), "hard": (36, 30, 54)}[edge]
            assert strayed.max() < dict(zip(BACKGROUNDS, most, strict=True))[background]
    strayed = np.abs(result[result[..., 3] >= 16][:, :3].astype(int) - (220, 20, 30))
    assert strayed.max() <= 4 + 220 / 2 / 16  # the slack, and what the rounding of alpha does
    assert (result[:4, :4] == 0).all()  # nothing over what was empty


def test_what_two_images_disagree_about_takes_no_colour_that_was_not_there() -> None:
    pixels = noise("RGBA", "uint8", 20, 22)
    pixels[..., :3] = 200, 100, 50
    pixels[3:9, 4:12, 3] = 0
    pixels[3:9, 4:12, :3] = 0, 255, 0  # hidden
    planes = make_planes("RGBA", "uint8", 3)
    made = enlarge(planes.encode(pixels)) + torch.from_numpy(noise("RGB", "float32", 2 * 3 * 40, 44)[..., 0]).reshape(
        2, 3, 40, 44
    )
    by_hand = planes.decode(made)
    planes.settle(made, pixels, (slice(0, 20), slice(0, 22)))
    settled = planes.decode(made)
    seen = settled[..., 3] >= 16
    assert seen.mean() > 0.5
    away = np.abs(settled[seen][:, :3].astype(int) - (200, 100, 50))
    assert away.max() <= 4 + 200 / 2 / 16  # the slack, and what the rounding of alpha does
    assert np.abs(by_hand[seen][:, :3].astype(int) - (200, 100, 50)).max() > 50


@pytest.mark.parametrize("background", [0.0, 0.4, 1.0])
def test_the_fit_shares_the_error_between_the_backgrounds(background: float) -> None:
    """No worse over any grey than the worse of the two images, and half as bad where only one is off."""
    pixels = np.full((12, 12, 4), 128, np.uint8)
    planes = make_planes("RGBA", "uint8", 3)
    made = enlarge(planes.encode(pixels))
    exact = made.clone()
    made[1, 0] += 0.03  # over white the red is off
    planes.settle(made, pixels, (slice(0, 12), slice(0, 12)))
    seen, right = (pair[0] * (1 - background) + pair[1] * background for pair in (made, exact))
    assert (seen - right).abs().max() < 0.025


def test_colour_upscaled_apart_from_alpha_does_have_a_fringe() -> None:
    """The measure above, applied to the simple way: it can fail."""
    cover = blurred_disc()
    pixels = np.zeros((*cover.shape, 4), np.uint8)
    pixels[cover > 0, :3] = 220, 20, 30
    pixels[..., 3] = (cover * 255).round()
    straight = imresize(torch.from_numpy(pixels).permute(2, 0, 1), scale=2).permute(1, 2, 0).numpy()
    composed = imresize(torch.from_numpy(over(pixels, 1.0)).permute(2, 0, 1), scale=2).permute(1, 2, 0).numpy()
    assert (over(straight, 1.0) - composed).min() < -0.1


def haze(image: Tensor) -> Tensor:
    """`enlarge`, with an error of a level everywhere and much of one at the picture's corner."""
    out = enlarge(image) * 0.99 + 0.004
    out[1] += 0.003
    out[..., 0, 0] = 0.5
    return out


def test_empty_and_opaque_areas_are_settled() -> None:
    pixels = noise("RGBA", "uint8", 24, 30)
    pixels[..., 3] = 0
    pixels[:, 14:, 3] = 255
    pixels[5, 5, 3] = 90
    planes = make_planes("RGBA", "uint8", 3)
    made = haze(planes.encode(pixels))
    before = made.clone()
    planes.settle(made, pixels, (slice(0, 24), slice(0, 30)))
    alpha = planes.decode(made)[..., 3]
    by_hand = planes.decode(before)[..., 3]
    lr = np.pad(pixels[..., 3], REACH, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(lr, (2 * REACH + 1, 2 * REACH + 1))
    empty, full = (np.kron((around == level).all((2, 3)), np.ones((2, 2), bool)) for level in (0, 255))
    assert (alpha[empty] == 0).all()
    assert (alpha[full] == 255).all()
    assert (by_hand[empty] != 0).all()
    assert (by_hand[full] != 255).any()
    torch.testing.assert_close(made[0][:, torch.from_numpy(full)], before.mean(0)[:, torch.from_numpy(full)])
    seen_through = (made[1] - made[0])[:, torch.from_numpy(~(empty | full))]
    torch.testing.assert_close(seen_through.amax(0), seen_through.amin(0))  # one alpha for all colours
    assert seen_through.mean() > 0.3


@pytest.mark.parametrize("channels_last", [False, True])
def test_windows_are_settled_as_the_whole_is(channels_last: bool) -> None:
    pixels = noise("LA", "uint16", 23, 31)
    pixels[4:15, 3:20, 1] = 0
    pixels[13:, 18:, 1] = 65535
    planes = make_planes("LA", "uint16", 3)
    made = haze(planes.encode(pixels))
    made = made.contiguous(memory_format=torch.channels_last) if channels_last else made
    parts = made.clone()
    planes.settle(made, pixels, (slice(0, 23), slice(0, 31)))
    for top in range(0, 23, 6):
        for left in range(0, 31, 7):
            bottom, right = min(23, top + 6), min(31, left + 7)
            above, before = max(0, top - REACH), max(0, left - REACH)
            inner = slice(top - above, bottom - above), slice(left - before, right - before)
            window = pixels[above : bottom + REACH, before : right + REACH]
            planes.settle(parts[..., 2 * top : 2 * bottom, 2 * left : 2 * right], window, inner)
    assert torch.equal(parts, made)


def test_only_images_that_carry_alpha_are_settled() -> None:
    for planes in (
        make_planes("CMYK", "uint8", 3),
        make_planes("RGBA", "uint8", 3, 0),
        make_planes("RGBA", "uint8", 4),
    ):
        pixels = np.zeros((4, 4, 4), np.uint8)
        made = torch.rand(planes.num, planes.model_channels, 8, 8)
        before = made.clone()
        planes.settle(made, pixels, (slice(0, 4), slice(0, 4)))
        assert torch.equal(made, before)


def test_grey_comes_back_as_luma() -> None:
    sr = torch.rand(1, 3, 4, 5)
    expected = (rgb_to_grey(sr)[0, 0] * 255).round().numpy()
    np.testing.assert_array_equal(make_planes("L", "uint8", 3).decode(sr)[..., 0], expected)
    pair = torch.rand(2, 3, 4, 5)
    found = make_planes("CMYK", "uint8", 3).decode(pair)
    np.testing.assert_array_equal(found[..., :3], (pair[0] * 255).round().permute(1, 2, 0).numpy())
    np.testing.assert_array_equal(found[..., 3], (rgb_to_grey(pair)[1, 0] * 255).round().numpy())


def test_each_ink_stays_on_its_plate() -> None:
    pixels = np.zeros((6, 6, 4), np.uint8)
    pixels[2:4, 2:4, 3] = 255  # black only
    planes = make_planes("CMYK", "uint8", 3)
    out = planes.decode(enlarge(planes.encode(pixels)))
    np.testing.assert_array_equal(out, np.kron(pixels, np.ones((2, 2, 1), np.uint8)))
