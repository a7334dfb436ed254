from copy import deepcopy
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

import srzoo
from srzoo.resize import imresize
from srzoo.tta import FLIP_WIDTH, Op, SelfEnsemble, dihedral, flips
from srzoo.upscaling import Target

EXACT: dict[str, Any] = dict(engine="torch", precision="fp32", device="cpu")


def upscale(image: Any, model: Any, **options: Any) -> Any:
    return srzoo.upscale(image, model, **{**EXACT, **options})


def Upscaler(model: Any, **options: Any) -> srzoo.Upscaler:  # noqa: N802
    return srzoo.Upscaler(model, **{**EXACT, **options})


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def tiny(name: str = "edsr_baseline_x2", **overrides: int) -> srzoo.SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1, **overrides).eval()


def expected_bytes(model: srzoo.SRModel, image: np.ndarray) -> np.ndarray:
    """RGB of h w 3 through the model, in one piece, by hand."""
    with torch.inference_mode():
        lr = torch.from_numpy(image).permute(2, 0, 1)[None] / 255
        return (model(lr)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)


def assert_close_bytes(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for one level where a value lies on the edge between two."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype == np.uint8
    difference = np.abs(found.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() < 0.01


def test_every_kind_of_image_gives_the_models_output(tmp_path: Path) -> None:
    model, image = tiny(), noise(5, 7, 3)
    expected = expected_bytes(model, image)
    upscaler = Upscaler(model, device="cpu")
    assert_close_bytes(upscaler(image), expected)
    assert_close_bytes(np.asarray(upscaler(Image.fromarray(image))), expected)
    assert_close_bytes(upscaler(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy(), expected)
    Image.fromarray(image).save(tmp_path / "photo.png")
    assert_close_bytes(np.asarray(Image.open(upscaler(tmp_path / "photo.png"))), expected)
    floats = upscaler(image / 255)
    assert_close_bytes((floats * 255).round().astype(np.uint8), expected)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_pil_in_pil_out_of_the_same_mode(mode: str) -> None:
    shape = (5, 7, len(mode)) if len(mode) > 1 else (5, 7)
    out = upscale(Image.fromarray(noise(*shape)), tiny())
    assert out.mode == mode
    assert out.size == (14, 10)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4), (1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_array_in_array_out_of_the_same_dtype_and_channels(shape: tuple[int, ...], dtype: type) -> None:
    image = noise(*shape) if dtype is np.uint8 else (noise(*shape) / 255).astype(dtype)
    before = image.copy()
    out = upscale(image, tiny("edsr_baseline_x3"))
    assert out.shape == (3 * shape[0], 3 * shape[1], *shape[2:])
    assert out.dtype == dtype
    assert out.min() >= 0
    assert out.max() <= (255 if dtype is np.uint8 else 1)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(1, 5, 7), (3, 5, 7), (4, 5, 7), (2, 1, 5, 7), (2, 3, 5, 7), (2, 4, 5, 7)])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float16, torch.float32, torch.float64])
def test_tensor_in_tensor_out_of_the_same_dtype_and_channels(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    image = (torch.rand(shape) * (255 if dtype == torch.uint8 else 1)).to(dtype)
    out = upscale(image, tiny())
    assert out.shape == (*shape[:-2], 10, 14)
    assert out.dtype == dtype


def test_each_image_of_a_batch_is_upscaled_by_itself() -> None:
    upscaler, batch = Upscaler(tiny()), torch.rand(3, 3, 5, 7)
    out = upscaler(batch)
    for i in range(3):
        torch.testing.assert_close(out[i], upscaler(batch[i]))


def test_read_only_and_turned_arrays_are_taken() -> None:
    image, model = noise(5, 7, 3), tiny()
    expected = upscale(image[::-1].copy(), model)
    turned = image[::-1]
    turned.flags.writeable = False
    np.testing.assert_array_equal(upscale(turned, model), expected)


def test_colour_under_a_constant_alpha_goes_through_alone(tmp_path: Path) -> None:
    image, model = noise(5, 7, 4), tiny()
    image[..., 3] = 77
    Image.fromarray(image).save(tmp_path / "photo.png")
    outputs = [
        upscale(image, model),
        np.asarray(upscale(Image.fromarray(image), model)),
        np.asarray(Image.open(upscale(tmp_path / "photo.png", model))),
        upscale(torch.from_numpy(image).permute(2, 0, 1), model).permute(1, 2, 0).numpy(),
        (upscale(image / 255, model) * 255).round().astype(np.uint8),
    ]
    for out in outputs:
        assert_close_bytes(out[..., :3], upscale(image[..., :3], model))
        assert (out[..., 3] == 77).all()


def test_every_kind_of_image_with_alpha_gives_the_same(tmp_path: Path) -> None:
    image, model = noise(6, 8, 4), tiny()
    image[:, :4, 3] = 0
    Image.fromarray(image).save(tmp_path / "photo.png")
    expected = upscale(image, model)
    assert (expected[:, :2] == 0).all()
    assert_close_bytes(np.asarray(upscale(Image.fromarray(image), model)), expected)
    assert_close_bytes(np.asarray(Image.open(upscale(tmp_path / "photo.png", model))), expected)
    batch = torch.from_numpy(image).permute(2, 0, 1)[None].expand(2, -1, -1, -1)
    for out in upscale(batch, model):
        assert_close_bytes(out.permute(1, 2, 0).numpy(), expected)


def test_a_model_of_four_channels_takes_the_fourth() -> None:
    model, image = tiny(channels=4), torch.rand(1, 4, 5, 7)
    with torch.inference_mode():
        expected = model(image).clamp(0, 1)
    torch.testing.assert_close(upscale(image, model), expected)


def test_grey_goes_through_an_rgb_model_as_three_channels_and_back() -> None:
    model, image = tiny(), torch.rand(1, 1, 5, 7)
    with torch.inference_mode():
        r, g, b = model(image.expand(-1, 3, -1, -1)).unbind(1)
    expected = (0.299 * r + 0.587 * g + 0.114 * b).clamp(0, 1)[:, None]
    torch.testing.assert_close(upscale(image, model), expected)


def test_grey_goes_through_a_grey_model_as_it_is() -> None:
    model, image = tiny(channels=1), torch.rand(1, 1, 5, 7)
    with torch.inference_mode():
        expected = model(image).clamp(0, 1)
    torch.testing.assert_close(upscale(image, model), expected)
    with pytest.raises(ValueError, match="the image has 3 channels, the model takes 1"):
        upscale(torch.rand(3, 5, 7), model)


def test_16_bit_grey_keeps_its_depth(tmp_path: Path) -> None:
    deep = (np.arange(35, dtype=np.uint16) * 1800).reshape(5, 7)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    out = np.asarray(Image.open(upscale(tmp_path / "deep.png", "bicubic_x2")))
    expected = imresize(torch.from_numpy(deep / 65535), scale=2).clamp(0, 1).numpy() * 65535
    assert out.dtype == np.uint16
    assert np.abs(out - expected).max() < 1


@pytest.mark.parametrize("tta", ["none", "flips", "x8"])
def test_the_tile_size_does_not_change_the_result(tta: str) -> None:
    image, model = noise(9, 17, 3), tiny()
    whole = upscale(image, model, tile=64, tta=tta)
    for tile in (2, 5, 16):
        np.testing.assert_array_equal(upscale(image, model, tile=tile, tta=tta), whole)


@pytest.mark.parametrize(("tta", "ops"), [("flips", flips()), ("x8", dihedral())])
def test_tta_is_the_ensemble(tta: str, ops: tuple) -> None:
    model, image = tiny(), torch.rand(1, 3, 5, 7)
    with torch.inference_mode():
        expected = SelfEnsemble(model, ops)(image).clamp(0, 1)
    torch.testing.assert_close(upscale(image, model, tta=tta), expected)
    assert not torch.allclose(expected, upscale(image, model))


def test_a_multi_scale_model_upscales_at_each_of_its_scales(tmp_path: Path) -> None:
    model = tiny("mdsr_baseline")
    for scale in (2, 3, 4):
        assert upscale(noise(5, 7, 3), model, scale=scale).shape == (5 * scale, 7 * scale, 3)
    Image.fromarray(noise(5, 7)).save(tmp_path / "photo.png")
    assert upscale(tmp_path / "photo.png", model, scale=3).name == "photo_x3.png"


def test_a_path_is_written_beside_or_where_told(tmp_path: Path) -> None:
    source = tmp_path / "holiday.photo.jpg"
    Image.fromarray(noise(5, 7, 3)).save(source, dpi=(300, 300))
    before = source.read_bytes()
    assert upscale(source, "bicubic_x2") == tmp_path / "holiday.photo_x2.png"
    assert upscale(str(source), "bicubic_x2", output=tmp_path / "big.tif") == tmp_path / "big.tif"
    for name in ("holiday.photo_x2.png", "big.tif"):
        with Image.open(tmp_path / name) as file:
            assert file.size == (14, 10)
            assert round(file.info["dpi"][0]) == 600  # the printed size stays
    assert source.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 3


def test_the_target_is_checked_before_any_work(tmp_path: Path) -> None:
    upscaler, ran = Upscaler("bicubic_x2"), []
    upscaler.model.register_forward_hook(lambda *_: ran.append(1))
    Image.fromarray(noise(5, 7, 3)).save(tmp_path / "photo.png")
    with pytest.raises(FileNotFoundError, match=r"output folder .* does not exist"):
        upscaler(tmp_path / "photo.png", output=tmp_path / "absent" / "photo.png")
    with pytest.raises(ValueError, match="no suffix of an image format"):
        upscaler(tmp_path / "photo.png", output=tmp_path / "photo.txt")
    with pytest.raises(FileNotFoundError, match=r"absent\.png does not exist"):
        upscaler(tmp_path / "absent.png")
    assert not ran


@pytest.mark.parametrize("size", [None, Target(size=(20, 9)), Target(scale=2.5)])
@pytest.mark.parametrize("kind", ["array", "tensor", "picture", "alpha", "deep", "file"])
def test_progress_rises_to_all_pixels(kind: str, size: Target | None, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    image = noise(7, 9, 4 if kind == "alpha" else 3)
    Image.fromarray(image).save(tmp_path / "photo.png")
    given = {
        "tensor": torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1),
        "picture": Image.fromarray(image),
        "alpha": torch.from_numpy(image).permute(2, 0, 1)[None].repeat(2, 1, 1, 1),
        "deep": image.astype(np.uint16),
        "file": tmp_path / "photo.png",
    }.get(kind, image)
    Upscaler("bicubic_x2", tile=3, size=size)(given, progress=lambda done, of: seen.append((done, of)))
    assert len({total for _, total in seen}) == 1
    done = [done for done, _ in seen]
    assert done == sorted(set(done))
    assert len(seen) > 1
    assert done[-1] == seen[0][1]


@pytest.mark.parametrize(
    ("target", "expected"),
    [(Target(size=(20, 9)), (9, 20)), (Target(long_edge=27), (21, 27)), (Target(scale=2.5), (18, 23))],
)
def test_every_kind_of_image_is_brought_to_a_size(target: Target, expected: tuple[int, int], tmp_path: Path) -> None:
    image, model = noise(7, 9, 3), tiny("mdsr_baseline")
    upscaler = Upscaler(model, size=target)
    Image.fromarray(image).save(tmp_path / "photo.png")
    scale = target.resolve(9, 7, model.scales).scale
    with torch.no_grad():
        sr = model(torch.from_numpy(image).permute(2, 0, 1)[None] / 255, scale)
    wanted = (imresize(sr, size=expected)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy().astype(np.uint8)
    assert_close_bytes(upscaler(image), wanted)
    assert_close_bytes(np.asarray(upscaler(Image.fromarray(image))), wanted)
    assert_close_bytes(upscaler(torch.from_numpy(image).permute(2, 0, 1)).permute(1, 2, 0).numpy(), wanted)
    assert upscaler(image.astype(np.uint16) * 257).shape == (*expected, 3)
    written = upscaler(tmp_path / "photo.png")
    assert written.name == f"photo_{target.word}.png"
    assert_close_bytes(np.asarray(Image.open(written)), wanted)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_16_bit_arrays_keep_their_depth(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(0).integers(0, 65536, shape, dtype=np.uint16)
    out = upscale(image, "bicubic_x2")
    assert out.dtype == np.uint16
    assert out.shape == (10, 14, *shape[2:])
    if len(shape) == 2 or shape[2] in (1, 3):
        expected = imresize(torch.from_numpy(image.reshape(5, 7, -1) / 65535).permute(2, 0, 1), scale=2)
        levels = (expected.clamp(0, 1) * 65535).round().permute(1, 2, 0).numpy().reshape(out.shape)
        assert np.abs(out - levels).max() <= 1
    np.testing.assert_array_equal(upscale(image.astype(">u2"), "bicubic_x2"), out)


def test_results_are_ordinary_tensors() -> None:
    for image in (torch.rand(3, 4, 4), torch.rand(2, 4, 4, 4), torch.rand(1, 1, 4, 4)):
        out = upscale(image, tiny())
        assert not out.is_inference()
        out += 1


def test_no_gradients_are_kept_and_the_model_is_in_eval_mode() -> None:
    model = tiny().train()
    assert not upscale(torch.rand(3, 4, 4), model).requires_grad
    assert not model.training


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("model", "options", "text"),
    [
        ("edsr_basline_x2", {}, "unknown model 'edsr_basline_x2'; did you mean edsr_baseline_x2"),
        ("bicubic_x2", {"scale": 5}, "scale 5 was given; bicubic_x2 offers 2, 3, 4, 6"),
        ("bicubic_x2", {"tta": "x16"}, "tta is 'x16'; allowed are none, flips, x8"),
        ("bicubic_x2", {"tile": 0}, "tile is 0; it must be at least 1"),
        ("bicubic_x2", {"device": "gpu"}, "device 'gpu' is not available here; there is"),
        ("bicubic_x2", {"device": "meta"}, "device 'meta' is not available here"),
        ("edsr_baseline_x4.nonsense", {}, "nonsense|no pretrained weights"),
    ],
)
def test_options_that_do_not_exist_are_refused_in_one_line(model: str, options: dict, text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        Upscaler(model, **options)
    assert "\n" not in str(caught.value)


def test_a_multi_scale_model_needs_a_scale() -> None:
    with pytest.raises(ValueError, match="no scale was given; mdsr_baseline offers 2, 3, 4"):
        Upscaler(tiny("mdsr_baseline"))


def test_a_model_without_weights_says_which_have_some() -> None:
    there = srzoo.list_models(pretrained=True)
    without = next(name for name in srzoo.list_models("edsr*") if name not in there)
    with pytest.raises(ValueError, match=f"{without} has no pretrained weights") as caught:
        Upscaler(without)
    for name in there or ["none yet"]:
        assert name in str(caught.value)


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("image", "error", "text"),
    [
        (np.zeros((0, 4, 3), np.uint8), ValueError, r"array of shape \(0, 4, 3\)"),
        (np.zeros(4, np.uint8), ValueError, r"array of shape \(4,\)"),
        (np.zeros((1, 4, 4, 3), np.uint8), ValueError, r"array of shape \(1, 4, 4, 3\)"),
        (np.zeros((4, 4, 5), np.uint8), ValueError, "the image has 5 channels, the model takes 3"),
        (np.zeros((4, 4), np.int32), ValueError, "image of dtype torch.int32"),
        (np.zeros((4, 4), np.complex64), ValueError, "image of dtype"),
        (np.zeros((4, 4, 5), np.uint16), ValueError, "the image has 5 channels"),
        (np.full((4, 4), np.nan), ValueError, "not finite"),
        (np.full((4, 4), "a"), ValueError, "image of dtype <U1"),
        (np.zeros((4, 4), bool), ValueError, "image of dtype torch.bool"),
        (np.full((4, 4), 200.0), ValueError, r"runs from 200 to 200; .* in \[0, 1\]"),
        (np.full((4, 4), -0.5), ValueError, "runs from -0.5 to -0.5"),
        (np.full((4, 4), 1.2), ValueError, "runs from 1.2 to 1.2"),
        (np.full((4, 4, 4), -np.inf), ValueError, "not finite"),
        (torch.full((3, 4, 4), float("nan")), ValueError, "not finite"),
        (torch.zeros(3, 4, 4).to_sparse(), ValueError, "layout torch.sparse_coo; give a dense one"),
        (torch.zeros(4, 4), ValueError, r"tensor of shape \(4, 4\)"),
        (torch.zeros(3, 4, 0), ValueError, r"tensor of shape \(3, 4, 0\)"),
        ([[1, 2], [3, 4]], TypeError, "image is a list"),
        (None, TypeError, "image is a NoneType"),
        (Image.new("F", (4, 4), 200.0), ValueError, "200"),
        (Image.new("RGB", (0, 4)), ValueError, "no pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_upscaled_is_told(image: object, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        upscale(image, "bicubic_x2")


def test_a_little_overshoot_is_clipped_as_in_files() -> None:
    image = torch.rand(3, 5, 7)
    image[0, 2, 3], image[1, 1, 1] = 1.03, -0.03
    for kind in (image, image.permute(1, 2, 0).numpy(), torch.cat([image, image[:1]])):
        clipped = kind.clip(0, 1)
        assert (upscale(kind, "bicubic_x2") == upscale(clipped, "bicubic_x2")).all()


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"tta": None}, "tta is None; allowed are none, flips, x8, or a sequence of operations"),
        ({"tta": 3}, "tta is 3; allowed"),
        ({"tta": [1]}, r"tta is \[1\]; allowed"),
        ({"tta": FLIP_WIDTH}, "tta is the one operation 'flip width'; give a sequence"),
        ({"tta": [Op("lost", cast(Any, lambda x: None), lambda x: x)]}, "do of operation 'lost' gives a NoneType"),
        ({"tile": "64"}, "tile is '64'; give a whole number"),
        ({"tile": 2.5}, r"tile is 2\.5; give a whole number"),
        ({"tile": True}, "tile is True; give a whole number"),
        ({"halo": "3"}, "halo is '3'; give a whole number"),
        ({"halo": 1.5}, r"halo is 1\.5; give a whole number"),
        ({"size": "800x600"}, r"size is '800x600'; give a Target, such as Target\(size=\(800, 600\)\)"),
        ({"size": (3, 4)}, r"size is \(3, 4\); give a Target"),
        ({"size": 300}, "size is 300; give a Target"),
        ({"scale": 2.0}, r"scale is 2\.0; give a whole number"),
        ({"scale": "2"}, "scale is '2'; give a whole number"),
        ({"device": None}, "device is None; give 'auto'"),
        ({"model": None}, "model is a NoneType; give a model's name"),
        ({"model": torch.nn.Conv2d(3, 3, 3)}, "model is a Conv2d; give a model's name"),
        ({"model": torch.nn.DataParallel(tiny())}, r"model is a DataParallel; give what it wraps, model\.module"),
        ({"model": type(tiny())}, r"model is the class EDSR; give a model, such as EDSR\(\.\.\.\)"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_of_the_wrong_kind_are_refused_in_one_line(options: dict, text: str) -> None:
    with pytest.raises(TypeError, match=text) as caught:
        Upscaler(**{"model": "bicubic_x2", **options})
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("as_users_call")
def test_what_a_compiled_model_was_compiled_from_is_taken() -> None:
    model = tiny()
    assert Upscaler(torch.compile(model, backend="eager")).model is model


@pytest.mark.parametrize("precision", ["bf16", "fp16", "fp32"])
def test_a_precision_that_cannot_be_had_is_refused(precision: Any) -> None:
    if precision != "fp32":
        with pytest.raises(ValueError, match=f"precision {precision} cannot be had: it calls index_select"):
            Upscaler("bicubic_x2", precision=precision)
        assert Upscaler("bicubic_x2", precision="auto").precision == "fp32"
    with pytest.raises(ValueError, match=f"precision {precision} cannot be had: the model's weights are float64"):
        Upscaler(tiny().double(), precision=precision)


def test_float32_asked_of_a_half_model_that_is_run_as_it_is_is_float32() -> None:
    model = srzoo.create_model("srcnn_x2", width=4).eval().bfloat16()
    upscaler, lr = Upscaler(model), torch.rand(1, 3, 8, 8)
    assert upscaler.precision == "fp32"
    assert Upscaler(model, precision="auto").precision == Upscaler(model, precision="bf16").precision == "bf16"
    with torch.no_grad():
        torch.testing.assert_close(upscaler(lr), deepcopy(model).float()(lr).clamp(0, 1))
    assert next(model.parameters()).dtype == torch.bfloat16


def test_output_is_for_paths_only(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="output is for images given as a path"):
        upscale(noise(4, 4, 3), "bicubic_x2", output=tmp_path / "image.png")
