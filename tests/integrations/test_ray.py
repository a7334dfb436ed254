import errno
import gc
import io
import logging
import pickle
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import srzoo
from srzoo.integrations.ray import UpscaleImages, upscale_dataset
from srzoo.upscaling import Target

IMAGE = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


def sr_of(image: np.ndarray) -> np.ndarray:
    return srzoo.upscale(image, "bicubic_x2")


def png_of(image: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "png")
    return stream.getvalue()


def pixels_of(file: bytes | Path | str) -> np.ndarray:
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        return np.asarray(image)


@pytest.fixture
def upscale_image() -> UpscaleImages:
    return UpscaleImages("bicubic_x2")


# -- a row ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (5, 7, 4)])
def test_an_array_becomes_what_an_upscaler_makes_of_it(upscale_image, dtype, shape) -> None:
    image = np.random.default_rng(1).random(shape)
    image = image.astype(dtype) if dtype == np.float32 else (image * np.iinfo(dtype).max).astype(dtype)
    image.flags.writeable = False  # as those in Ray's object store
    row = upscale_image({"image": image, "name": "a"})
    assert row["sr"].dtype == dtype
    assert np.array_equal(row["sr"], sr_of(image))
    assert (row["name"], row["error"]) == ("a", "")
    assert row["image"] is image


def test_bytes_become_a_file_of_the_format_that_keeps_what_the_image_has(as_users_call) -> None:
    stream = io.BytesIO()
    Image.fromarray(IMAGE).save(stream, "png", dpi=(72, 72))
    row = UpscaleImages("bicubic_x2", format="tiff")({"image": stream.getvalue()})
    assert np.array_equal(pixels_of(row["sr"]), sr_of(IMAGE))
    with Image.open(io.BytesIO(row["sr"])) as image:
        assert image.format == "TIFF"
        assert image.info["dpi"] == pytest.approx((144, 144), rel=1e-3)


def test_a_path_becomes_the_file_that_the_row_names_or_one_beside_it(upscale_image, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(IMAGE).save(path)
    beside = upscale_image({"image": str(path)})
    named = upscale_image({"image": str(path), "sr": str(tmp_path / "large.tif")})
    replaced = UpscaleImages("bicubic_x2", output_column="image")({"image": str(path)})
    assert beside["sr"] == replaced["image"] == str(tmp_path / "a_x2.png")
    assert named["sr"] == str(tmp_path / "large.tif")
    for row in (beside, named):
        assert np.array_equal(pixels_of(row["sr"]), sr_of(IMAGE))


def test_options_and_columns_are_the_users(tmp_path: Path) -> None:
    upscale_image = UpscaleImages("bicubic_x2", column="lr", output_column="large", size=Target(scale=3))
    row = upscale_image({"lr": IMAGE, "image": 1})
    assert row["large"].shape == (15, 21, 3)
    assert set(row) == {"lr", "image", "large", "error"}


@pytest.mark.parametrize(
    ("image", "empty", "reason"),
    [
        (np.zeros((5, 7, 5), np.uint8), np.zeros((0, 0, 5), np.uint8), "channels"),
        (np.zeros((5, 0, 3), np.uint8), np.zeros((0, 0, 3), np.uint8), "at least one pixel"),
        (np.zeros(5, np.uint8), np.zeros(0, np.uint8), "h w c"),
        (np.full((5, 7), 9.0), np.zeros((0, 0)), r"\[0, 1\]"),
        (b"GIF89a", b"", "image"),
        (png_of(IMAGE)[:90], b"", "image"),
        ("nowhere.png", "", "nowhere.png"),
        (None, None, "NoneType"),
        ({"bytes": b""}, None, "dict"),
    ],
)
def test_an_image_that_fails_is_told_in_its_row(upscale_image, image, empty, reason, caplog, as_users_call) -> None:
    with caplog.at_level(logging.WARNING, "srzoo"):
        row = upscale_image({"image": image, "name": "a"})
    assert row["error"]
    assert re.search(reason, row["error"])
    assert row["error"] in caplog.text
    assert row["name"] == "a"
    assert type(row["sr"]) is type(empty)
    if isinstance(empty, np.ndarray):
        assert (row["sr"].shape, row["sr"].dtype) == (empty.shape, empty.dtype)
    else:
        assert row["sr"] == empty
    assert upscale_image({"image": IMAGE})["error"] == ""  # and the next one is made


def test_a_full_disk_ends_the_job(upscale_image, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(image: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(upscale_image, "upscaler", fail)
    with pytest.raises(OSError, match="No space left"):
        upscale_image({"image": "a.png"})


def test_a_row_without_the_column_is_a_mistake_of_the_whole_job(upscale_image) -> None:
    with pytest.raises(KeyError, match="no column 'image'; there are: name, path"):
        upscale_image({"name": "a", "path": "b"})


# -- a dataset, as far as no cluster is needed ------------------------------------------------------------------------


class Recorded:
    """Stands for a Ray dataset and keeps what it is asked to do."""

    def map(self, function: Any, **settings: Any) -> dict[str, Any]:
        return {"function": function, **settings}


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch, as_users_call):
    """What Ray would be asked to do on a cluster with some GPUs."""

    def make(*arguments: Any, gpus: int = 0, **options: Any) -> dict[str, Any]:
        data = SimpleNamespace(ActorPoolStrategy=lambda **pool: pool)
        resources = {"CPU": 4, "GPU": gpus} if gpus else {"CPU": 4}
        store = dict(put=lambda model: [model], get=lambda reference: reference[0])
        monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(cluster_resources=lambda: resources, **store))
        monkeypatch.setitem(sys.modules, "ray.data", data)
        dataset: Any = Recorded()
        return upscale_dataset(dataset, *arguments, **options)  # pyright: ignore[reportReturnType]

    return make


def test_workers_are_sent_the_model_and_make_what_an_upscaler_makes(plan) -> None:
    planned = plan("bicubic_x2", column="lr", output_column="lr")
    ((model,),) = planned["fn_constructor_args"]
    assert isinstance(model, srzoo.SRModel)
    row = planned["function"]([model], **planned["fn_constructor_kwargs"])({"lr": IMAGE})
    assert np.array_equal(row["lr"], sr_of(IMAGE))


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("bicubic_x4", {"scale": 16}),
        ("bicubic_x2", {"size": Target(scale=9.5)}),
        (["bicubic_x2", "bicubic_x3"], {}),
        ("edsr_baseline_x4", {"scale": 8}),
    ],
)
def test_workers_are_sent_all_networks_of_a_cascade(plan, monkeypatch, model, options) -> None:
    exact: dict[str, Any] = dict(engine="torch", precision="fp32", device="cpu", **options)
    expected = srzoo.Upscaler(model, **exact)(IMAGE)
    planned = plan(model, **exact)
    ((sent,),) = planned["fn_constructor_args"]
    monkeypatch.setattr("srzoo.upscaling.stages.open_model", None)  # a worker has no weights
    sent = pickle.loads(pickle.dumps(sent))
    row = planned["function"]([sent], **planned["fn_constructor_kwargs"])({"image": IMAGE})
    assert not row["error"]
    assert np.array_equal(row["sr"], expected)


def test_a_model_of_the_callers_own_stays_as_it_is(plan) -> None:
    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1).train()
    before = [p.stride() for p in model.parameters()]
    ((sent,),) = plan(model)["fn_constructor_args"]
    assert sent is not model
    assert not sent.training
    assert model.training
    assert [p.stride() for p in model.parameters()] == before
    for mine, theirs in zip(model.parameters(), sent.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize(
    ("gpus", "asked", "given", "device"),
    [(0, None, None, "cpu"), (2, None, 1, None), (2, 0, None, "cpu"), (2, 0.5, 0.5, None)],
)
def test_workers_take_a_gpu_where_the_cluster_has_some(plan, gpus, asked, given, device) -> None:
    planned = plan("bicubic_x2", gpus=gpus, num_gpus_per_worker=asked)
    assert planned["num_gpus"] == given
    assert planned["fn_constructor_kwargs"].get("device") == device
    assert plan("bicubic_x2", device="mps")["fn_constructor_kwargs"]["device"] == "mps"


def test_number_and_cores_of_workers_are_passed_on(plan) -> None:
    assert plan("bicubic_x2", num_workers=3, num_cpus_per_worker=2)["compute"] == {"size": 3}
    assert plan("bicubic_x2", num_workers=(1, 4))["compute"] == {"min_size": 1, "max_size": 4}
    assert plan("bicubic_x2")["compute"] == {"min_size": 1}
    assert plan("bicubic_x2", num_cpus_per_worker=2)["num_cpus"] == 2


@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        ({"num_workers": 4}, True),
        ({"num_workers": 3}, False),
        ({"num_workers": 2, "num_cpus_per_worker": 2}, True),
        ({"num_workers": (1, 9)}, False),
        ({"num_workers": 4, "gpus": 4}, False),
        ({"num_workers": 4, "gpus": 4, "num_cpus_per_worker": 1}, True),
        ({}, False),
    ],
)
def test_workers_that_leave_no_core_for_reading_are_told_of(plan, options, is_told, caplog) -> None:
    with caplog.at_level(logging.WARNING, "srzoo"):
        plan("bicubic_x2", **options)
    assert ("all cores of the cluster" in caplog.text) == is_told


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        ("edsr_baselin_x4", {}, ValueError, "did you mean edsr_baseline_x4"),
        ("bicubic_x2", {"ttta": "x8"}, TypeError, "there is no option 'ttta'; there are: scale, size, engine"),
        ("bicubic_x2", {"tta": "x9"}, ValueError, "tta is 'x9'"),
        ("bicubic_x2", {"scale": 5}, ValueError, "scale 5 was given; bicubic_x2 offers 2, 3, 4, 6"),
        ("bicubic_x2", {"column": "error"}, ValueError, "choose another name"),
        ("bicubic_x2", {"output_column": "error"}, ValueError, "choose another name"),
        ("bicubic_x2", {"num_workers": 0}, ValueError, "num_workers is 0"),
        ("bicubic_x2", {"num_workers": (3, 2)}, ValueError, r"num_workers is \(3, 2\)"),
        ("bicubic_x2", {"format": "pngg"}, ValueError, "pngg"),
        ("bicubic_x2", {"engine": "trt"}, ValueError, "engine is 'trt'; allowed are auto, torch"),
        ("bicubic_x2", {"precision": "int8"}, ValueError, "precision is 'int8'; allowed are auto, fp32"),
    ],
)
def test_a_mistake_is_told_before_the_job_begins(plan, model, options, error, message) -> None:
    with pytest.raises(error, match=message):
        plan(model, **options)


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, as_users_call) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    dataset: Any = Recorded()
    with pytest.raises(ImportError, match=r'pip install "srzoo\[ray\]"'):
        upscale_dataset(dataset, "bicubic_x2")


# -- a cluster --------------------------------------------------------------------------------------------------------


@pytest.fixture
def ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Ray with a cluster of two processor cores on this machine."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # it would write a token into the home folder
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    module = pytest.importorskip("ray", reason='Ray is not installed: pip install "srzoo[ray]"')
    pytest.importorskip("ray.data", reason='Ray Data is not installed: pip install "srzoo[ray]"')
    module.init(
        num_cpus=2, num_gpus=0, include_dashboard=False, object_store_memory=80 * 2**20, logging_level=logging.ERROR
    )
    context = module.data.DataContext.get_current()
    context.enable_progress_bars = False
    yield module
    module.shutdown()
    del context, module
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray leaves it to the collector to wait for its processes
        gc.collect()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")
def test_a_cluster_upscales_arrays_bytes_and_paths(ray, tmp_path: Path) -> None:
    photos = [IMAGE, IMAGE[:3], np.zeros((5, 7, 5), np.uint8), IMAGE[:, :4]]
    arrays = ray.data.from_items([{"image": image, "i": i} for i, image in enumerate(photos)])
    done = sorted(upscale_dataset(arrays, "bicubic_x2", num_workers=2).take_all(), key=lambda row: row["i"])
    assert [row["sr"].shape for row in done] == [(10, 14, 3), (6, 14, 3), (0, 0, 5), (10, 8, 3)]
    assert [bool(row["error"]) for row in done] == [False, False, True, False]
    for row in (done[0], done[1], done[3]):
        assert np.array_equal(row["sr"], sr_of(photos[row["i"]]))

    (tmp_path / "in").mkdir()
    for i in range(3):
        (tmp_path / f"in/{i}.png").write_bytes(png_of(IMAGE[i:]) if i != 1 else b"no image")
    files = ray.data.read_binary_files(str(tmp_path / "in"), include_paths=True)
    rows = upscale_dataset(files, "bicubic_x2", column="bytes", output_column="bytes", num_workers=1).take_all()
    made = {Path(row["path"]).name: row for row in rows}
    assert made["1.png"]["error"]
    assert made["1.png"]["bytes"] == b""
    for i in (0, 2):
        assert np.array_equal(pixels_of(made[f"{i}.png"]["bytes"]), sr_of(IMAGE[i:]))

    model = srzoo.create_model("edsr_baseline_x2", width=8, num_blocks=1)
    paths = ray.data.from_items([{"image": str(tmp_path / f"in/{i}.png")} for i in range(3)])
    upscaled = upscale_dataset(paths, model, num_workers=1, num_cpus_per_worker=2)
    errors = {Path(row["image"]).name: row["error"] for row in upscaled.take_all()}
    assert [bool(errors[f"{i}.png"]) for i in range(3)] == [False, True, False]
    assert {path.name for path in (tmp_path / "in").glob("*_x2.png")} == {"0_x2.png", "2_x2.png"}
    expected = srzoo.upscale(IMAGE, model)
    assert np.abs(pixels_of(tmp_path / "in/0_x2.png").astype(int) - expected).max() <= 1
