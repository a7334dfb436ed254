import io
import json
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import srzoo
from srzoo.resize import imresize
from srzoo.tta import IDENTITY, Op, SelfEnsemble
from srzoo.tta.ops import FLIP_WIDTH
from srzoo.upscaling import Target

EXACT: dict[str, Any] = dict(engine="torch", precision="fp32", device="cpu")


def swap(x: torch.Tensor) -> torch.Tensor:
    return x.flip(1)


SWAP = Op("swap", swap, swap)


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def tiny(name: str = "edsr_baseline_x2", **overrides: int) -> srzoo.SRModel:
    return srzoo.create_model(name, width=4, num_blocks=1, **overrides).eval()


def make(model: Any = None, **options: Any) -> srzoo.Upscaler:
    return srzoo.Upscaler(model or tiny(), **{**EXACT, **options})


def test_map_keeps_the_order_and_takes_mixed_kinds(tmp_path: Path) -> None:
    images = [noise(4 + i, 6, 3) for i in range(5)]
    Image.fromarray(images[0]).save(tmp_path / "photo.png")
    upscaler = make()
    given = [*images, Image.fromarray(images[1]), tmp_path / "photo.png"]
    found = list(upscaler.map(given))
    for image, out in zip(images, found[:5], strict=True):
        np.testing.assert_array_equal(out, upscaler(image))
    np.testing.assert_array_equal(np.asarray(found[5]), found[1])
    assert found[6] == tmp_path / "photo_x2.png"


def test_map_is_lazy_and_an_error_comes_in_its_turn() -> None:
    taken: list[int] = []

    def images() -> Iterator[Any]:
        for i in range(100):
            taken.append(i)
            yield noise(4, 4, 3) if i != 2 else "nothing.png"

    before = threading.active_count()
    results = make().map(images())
    assert taken == []
    next(results)
    next(results)
    with pytest.raises(FileNotFoundError, match=r"nothing\.png"):
        next(results)
    assert len(taken) <= 6
    assert threading.active_count() == before

    def broken() -> Iterator[np.ndarray]:
        yield noise(4, 4, 3)
        raise KeyError("mine")

    results = make().map(broken())
    assert next(results).shape == (8, 8, 3)
    with pytest.raises(KeyError, match="mine"):
        next(results)


@pytest.mark.parametrize("tta", ["none", "x8"])
def test_threads_may_share_one(tta: str, tmp_path: Path) -> None:
    upscaler = make(tiny("mdsr_baseline"), tta=tta, size=Target(scale=3))
    images = [noise(5 + i % 3, 7 + i % 4, 3) for i in range(16)]
    expected = [upscaler(image) for image in images]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")

    def work(i: int) -> np.ndarray:
        if i % 2:
            return upscaler(images[i])
        return np.asarray(Image.open(upscaler(tmp_path / f"{i}.png")))

    with ThreadPoolExecutor(8) as pool:
        for found, wanted in zip(pool.map(work, range(16)), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)


def test_a_failure_does_not_keep_other_threads_waiting(tmp_path: Path) -> None:
    upscaler = make()
    Image.fromarray(noise(60, 5, 3)).save(tmp_path / "photo.png")

    def fail(done: int, total: int) -> None:
        raise RuntimeError("stop")

    kept = []  # with its traceback, and all the frames in it
    for call in (
        lambda: upscaler(tmp_path / "photo.png", progress=fail),
        lambda: upscaler(noise(60, 5, 3), progress=fail),
        lambda: upscaler(noise(60, 5, 3).astype(np.uint16), progress=fail),
    ):
        with pytest.raises(RuntimeError, match="stop") as caught:
            call()
        kept.append(caught)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(upscaler, noise(4, 4, 3)).result(timeout=20).shape == (8, 8, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photo.png"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tta": "x8", "merge": "median"},
        {"tta": (IDENTITY, FLIP_WIDTH, SWAP)},
        {"size": Target(scale=1.5), "tile": 5},
    ],
)
def test_a_pickled_one_does_the_same(options: dict[str, Any]) -> None:
    upscaler, image = make(**options), noise(6, 8, 3)
    expected = upscaler(image)
    again = pickle.loads(pickle.dumps(upscaler))
    assert again.settings == upscaler.settings
    np.testing.assert_array_equal(again(image), expected)


def test_a_block_lets_go_and_it_can_be_used_again() -> None:
    image = noise(6, 8, 3)
    with make() as upscaler:
        expected = upscaler(image)
        assert upscaler._executors
    assert not upscaler._executors
    np.testing.assert_array_equal(upscaler(image), expected)
    upscaler.model.tail.weight.data *= 2  # pyright: ignore[reportAttributeAccessIssue]
    upscaler.close()
    assert (upscaler(image) != expected).any()


def test_settings_are_json_and_tell_all_that_pixels_depend_on() -> None:
    model = tiny("mdsr_baseline")
    base: dict[str, Any] = dict(model=model, scale=2)
    other = tiny("mdsr_baseline")
    changes: list[dict[str, Any]] = [
        {}, {"scale": 3}, {"model": other}, {"tta": "flips"}, {"tta": "x8"}, {"tta": "x8", "merge": "median"},
        {"tta": (IDENTITY, SWAP)}, {"precision": "bf16"}, {"halo": 3}, {"halo": 3, "tile": 9},
        {"halo": 3, "memory": "1GB"},
        {"size": Target(scale=2.5)}, {"size": Target(long_edge=100)}, {"size": Target(size=(100, 100))},
    ]  # fmt: skip
    found = [json.dumps(make(**{**base, **change}).settings, sort_keys=True) for change in changes]
    assert len(set(found)) == len(changes)
    same = [{"tile": 9}, {"memory": "1GB"}, {"halo": 1000}, {"merge": "median"}]
    for change in same:
        assert json.loads(found[0]) == make(**{**base, **change}).settings
    assert json.loads(found[0])["srzoo"] == srzoo.__version__


def test_a_lowered_halo_is_told_and_needs_fewer_pixels(caplog: pytest.LogCaptureFixture) -> None:
    pixels: dict[Any, int] = {}
    for halo in (None, 100, 1):
        model = srzoo.create_model("bicubic_x2") if halo == 100 else srzoo.create_model("srcnn_x2", width=4).eval()
        with caplog.at_level(logging.WARNING, "srzoo"):
            upscaler = make(model, tile=8, halo=halo)
        told = [record.getMessage() for record in caplog.records]
        assert len(told) == (halo == 1)
        seen: list[int] = []
        model.register_forward_hook(lambda _, args, __, seen=seen: seen.append(args[0].numel()))
        upscaler(noise(32, 32, 3))
        pixels[halo] = sum(seen)
    assert pixels[1] < 0.4 * pixels[None]
    assert "halo is 1, the model sees 6 pixels far: up to 5 LR pixels from the borders of tiles" in told[0]


def test_the_cost_of_a_lowered_halo_is_told_once_and_with_each_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Image.fromarray(noise(24, 24, 3)).save(tmp_path / "photo.png")
    with caplog.at_level(logging.WARNING, "srzoo"):
        upscaler = make(tile=8, halo=2)
        result = upscaler.file(tmp_path / "photo.png", tmp_path / "big.png")
        upscaler(noise(24, 24, 3))
    (told,) = [record.getMessage() for record in caplog.records]
    assert result.notes == (told,)
    levels = float(told.split("by up to ")[1].split()[0])
    image = torch.from_numpy(noise(24, 24, 3)).permute(2, 0, 1) / 255
    found = 255 * float((upscaler(image) - make(upscaler.model)(image)).abs().max())
    assert 0 < found < 4 * levels < 1000


def test_the_engine_that_auto_takes_is_said_and_is_in_settings_and_result(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr("srzoo.upscaling.building.SMALL", 100)
    for name, shape in (("small", (6, 8, 3)), ("large", (12, 16, 3))):
        Image.fromarray(noise(*shape)).save(tmp_path / f"{name}.png")
    with caplog.at_level(logging.INFO, "srzoo"):
        auto = make(engine="auto")
        files = {name: auto.file(tmp_path / f"{name}.png", tmp_path / "big.png") for name in ("small", "large")}
    told = [record.getMessage() for record in caplog.records]
    assert told == ["engine openvino, fp32; torch for images below 0.00 megapixels"]
    assert {name: (result.engine, result.precision) for name, result in files.items()} == {
        "small": ("torch", "fp32"),
        "large": ("openvino", "fp32"),
    }
    assert auto.settings["engine"] == "openvino, torch below 100 pixels"
    assert make(auto.model, engine="openvino").settings["engine"] == "openvino"


class Own(srzoo.SRModel):
    """A model by hand, whose code goes by an attribute."""

    scales = (2,)

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__()
        self.gain = gain
        self.conv = torch.nn.Conv2d(3, 3, 1)
        torch.nn.init.constant_(self.conv.weight, 0.1)
        torch.nn.init.zeros_(self.conv.bias)  # pyright: ignore[reportArgumentType]

    def halo(self, scale: int | None = None) -> int:
        return 0

    def forward(self, lr: torch.Tensor, scale: int | None = None) -> torch.Tensor:
        return self.gain * self.conv(lr).repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_settings_tell_models_apart_that_have_the_same_weights() -> None:
    inner = tiny()
    scaled = srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1, res_scale=0.3).eval()
    scaled.load_state_dict(inner.state_dict())
    darker, brighter = (Op("tone", lambda x, g=gain: x * g, lambda x, g=gain: x / g) for gain in (0.5, 0.25))
    different: list[dict[str, Any]] = [
        {"model": inner}, {"model": scaled}, {"model": Own()}, {"model": Own(0.5)},
        {"model": SelfEnsemble(inner)}, {"model": SelfEnsemble(scaled)}, {"model": SelfEnsemble(inner, merge="median")},
        {"model": SelfEnsemble(inner, (IDENTITY, FLIP_WIDTH))}, {"model": SelfEnsemble(inner, (IDENTITY, SWAP))},
        {"model": inner, "tta": (IDENTITY, darker)}, {"model": inner, "tta": (IDENTITY, brighter)},
    ]  # fmt: skip
    found = [json.dumps(make(**options).settings, sort_keys=True) for options in different]
    assert len(set(found)) == len(found)
    assert found == [json.dumps(make(**options).settings, sort_keys=True) for options in different]
    assert make(Own()).settings == make(Own()).settings


class WrongSize(Own):
    """A model that does not upscale."""

    def forward(self, lr: torch.Tensor, scale: int | None = None) -> torch.Tensor:
        return self.conv(lr)


def test_a_model_of_the_wrong_size_is_not_resized_to_the_right_one() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - by whatever finds it first
        raise_unless_x2(make(WrongSize())(torch.rand(3, 6, 8)))


def raise_unless_x2(sr: torch.Tensor) -> None:
    if tuple(sr.shape) != (3, 12, 16):
        raise ValueError(f"it has shape {tuple(sr.shape)}")


def test_the_median_stays_the_median_where_the_uncertainty_is_written(tmp_path: Path) -> None:
    model = tiny()
    for weight in model.parameters():
        weight.data *= 2  # so that the passes lie apart
    Image.fromarray(noise(24, 16, 3)).save(tmp_path / "photo.png")
    pixels: dict[tuple[str, bool], np.ndarray] = {}
    for merge in ("mean", "median"):
        upscaler = make(model, tta="x8", merge=merge)
        for drawn in (False, True):
            path = tmp_path / f"{merge}_{drawn}.png"
            upscaler.file(tmp_path / "photo.png", path, uncertainty=tmp_path / "map.png" if drawn else None)
            pixels[merge, drawn] = np.asarray(Image.open(path))
    assert (pixels["median", True] == pixels["median", False]).all()
    assert (pixels["median", False] != pixels["mean", False]).any()


def test_notes_say_what_a_user_should_know(tmp_path: Path) -> None:
    Image.fromarray(noise(6, 8, 3)).save(tmp_path / "photo.png")
    result = make().file(tmp_path / "photo.png", tmp_path / "big.png", size=Target(size=(40, 40)))
    assert (result.width, result.height, result.mode, result.dtype) == (40, 40, "RGB", "uint8")
    assert any("shape changes" in note for note in result.notes)
    assert any("bicubic the rest" in note for note in result.notes)
    assert make().file(tmp_path / "photo.png", tmp_path / "big.png").notes == ()


def test_streams_are_read_and_written() -> None:
    source, target = io.BytesIO(), io.BytesIO()
    Image.fromarray(noise(6, 8, 3)).save(source, "png")
    source.seek(0)
    make().file(source, target, format="tiff")
    target.seek(0)
    with Image.open(target) as image:
        assert (image.format, image.size) == ("TIFF", (16, 12))


def test_the_uncertainty_is_written(tmp_path: Path) -> None:
    Image.fromarray(noise(40, 8, 3)).save(tmp_path / "photo.png")
    for tta in ("x8", (IDENTITY,), (IDENTITY, SWAP)):
        make(tta=tta).file(tmp_path / "photo.png", tmp_path / "big.png", uncertainty=tmp_path / "map.png")
        with Image.open(tmp_path / "map.png") as drawn:
            assert (drawn.mode, drawn.size) == ("L", (16, 80))
            assert bool(np.asarray(drawn).any()) == (tta != (IDENTITY,))


def test_an_uncertainty_that_cannot_be_is_refused(tmp_path: Path) -> None:
    Image.fromarray(noise(4, 8, 3)).save(tmp_path / "photo.png")
    with pytest.raises(ValueError, match="give tta, such as 'x8'"):
        make().file(tmp_path / "photo.png", tmp_path / "big.png", uncertainty=tmp_path / "map.png")
    (tmp_path / "x").mkdir()
    with pytest.raises(ValueError, match="give two names"):
        make(tta="x8").file(tmp_path / "photo.png", tmp_path / "big.png", uncertainty=tmp_path / "x" / ".." / "big.png")
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.usefixtures("as_users_call")
@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"merge": "mode"}, "merge is 'mode'; allowed are mean, median"),
        ({"halo": -1}, "halo is -1; it must be at least 0"),
        ({"memory": "lots"}, "memory is 'lots'; give a size such as 2GB"),
        ({"engine": "cuda"}, "engine is 'cuda'; allowed are auto, torch, openvino, onnx"),
        ({"precision": "fp8"}, "precision is 'fp8'; allowed are auto, fp32, bf16, fp16"),
    ],
)
def test_options_that_do_not_exist_are_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text) as caught:
        make("bicubic_x2", **options)
    assert "\n" not in str(caught.value)


def test_a_model_in_float64_is_not_rounded() -> None:
    model = tiny().double()
    lr = torch.rand(3, 6, 8, dtype=torch.float64)
    upscaler = srzoo.Upscaler(model, device="cpu")
    assert (upscaler.engine, upscaler.precision) == ("torch", "fp64")
    with torch.no_grad():
        assert (upscaler(lr) - model(lr[None])[0].clamp(0, 1)).abs().max() < 1e-12


def test_a_half_precision_asked_for_is_used_even_by_models_that_name_no_parts() -> None:
    model = tiny()
    type(model).half_modules, kept = (), type(model).half_modules
    try:
        words = [make(model, precision=precision).precision for precision in ("auto", "bf16", "fp32")]
    finally:
        type(model).half_modules = kept
    assert words == ["fp32", "bf16", "fp32"]


RSS = """
import resource, sys, numpy as np, srzoo
from PIL import Image
height, suffix = int(sys.argv[1]), sys.argv[2]
Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, 64, 3), dtype=np.uint8)).save(f"in_{height}.tif")
model = srzoo.create_model("edsr_baseline_x4", width=16, num_blocks=2).eval()
upscaler = srzoo.Upscaler(model, engine="torch", device="cpu")
upscaler.file(f"in_{height}.tif", f"out_{height}{suffix}")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_memory_does_not_grow_with_the_height_of_a_file(suffix: str, tmp_path: Path) -> None:
    peaks = []
    for height in (300, 6000):
        call = [sys.executable, "-c", RSS, str(height), suffix]
        done = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
        peaks.append(int(done.stdout) * 1024)
    rows = 5700 * 64 * 3
    assert peaks[1] - peaks[0] < 3 * rows + 8 * 2**20  # the input; the result would be 16 times that


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["auto", "torch"])
@pytest.mark.parametrize("name", srzoo.list_models(pretrained=True))
def test_bf16_costs_no_more_than_a_hundredth_of_a_decibel(name: str, engine: str, data_dir: Path) -> None:
    model = srzoo.create_model(name, pretrained=True).eval()
    images = sorted((data_dir / "bench" / "Set5" / "HR").glob("*.png"))
    assert images
    for scale in model.scales:
        exact = make(model, scale=scale)
        fast = make(model, scale=scale, precision="bf16", engine=engine)
        lost = []
        for path in images:
            hr = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)[None]
            hr = hr[..., : hr.shape[2] // scale * scale, : hr.shape[3] // scale * scale]
            lr = imresize(hr, scale=1 / scale)
            quality = [-10 * (up(lr).float() - hr).div(255).square().mean().log10().item() for up in (exact, fast)]
            lost.append(quality[0] - quality[1])
        assert sum(lost) / len(lost) < 0.01, (name, scale, lost)
