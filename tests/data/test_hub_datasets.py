import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.data import PatchSource
from srzoo.data.hub_datasets import hub_folder


def noise(seed: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))


FILES = [encoded(noise(0), "PNG"), encoded(noise(1), "JPEG"), encoded(noise(2), "PPM"), encoded(noise(3), "WEBP")]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A dataset of two columns of images, as a folder with a parquet file."""
    datasets = pytest.importorskip("datasets")
    rows = {
        "hr": [*({"bytes": data, "path": None} for data in FILES), None],
        "lr": [{"bytes": data, "path": None} for data in [*FILES[1:], FILES[0], FILES[0]]],
        "caption": list("abcde"),
    }
    features = datasets.Features({"hr": datasets.Image(), "lr": datasets.Image(), "caption": datasets.Value("string")})
    folder = tmp_path / "made"
    folder.mkdir()
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "train-00000-of-00001.parquet")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if not path.name.startswith(".")}


def test_images_of_a_dataset_become_files_byte_by_byte(dataset, tmp_path, caplog):
    folder = hub_folder(str(dataset), column="hr")
    files = contents(folder)
    assert list(files) == ["000000.png", "000001.jpg", "000002.png", "000003.webp"]
    assert [files[name] for name in ("000000.png", "000001.jpg", "000003.webp")] == [FILES[0], FILES[1], FILES[3]]
    assert np.array_equal(Image.open(folder / "000002.png"), noise(2))  # a format that is not searched for
    assert "row 4 of the dataset has no image" in caplog.text
    assert folder.is_relative_to(tmp_path / "cache" / "datasets")
    assert len(PatchSource(folder, scales=(2,)).names) == 4


def test_a_dataset_is_read_once_for_each_split_and_column(dataset, monkeypatch):
    import datasets

    loads = []
    load = datasets.load_dataset
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: (loads.append(k["split"]), load(*a, **k))[1])
    first = hub_folder(str(dataset), column="hr")
    assert hub_folder(str(dataset), column="hr") == first
    assert hub_folder(str(dataset), column="lr") != first
    part = hub_folder(str(dataset), split="train[1:3]", column="hr")
    assert next(iter(contents(part).values())) == FILES[1]
    assert len(contents(part)) == 2
    assert loads == ["train", "train", "train[1:3]"]


def test_a_folder_is_known_by_its_path_and_its_files(dataset, tmp_path, monkeypatch):
    first = hub_folder(str(dataset), column="hr")
    monkeypatch.chdir(tmp_path)
    assert hub_folder("made", column="hr") == first
    os.utime(next(dataset.iterdir()), ns=(1, 1))
    assert hub_folder("made", column="hr") != first
    shutil.copytree(dataset, tmp_path / "made@home")
    found = hub_folder("made@home", column="hr")
    assert len(contents(found)) == 4
    assert found.name.startswith("made@home-")


def test_a_stopped_copy_leaves_nothing_that_is_taken_for_whole(dataset, tmp_path, monkeypatch):
    write = Path.write_bytes

    def stop(path, data):
        if path.name == "000002.png":
            raise KeyboardInterrupt
        return write(path, data)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", stop)
        with pytest.raises(KeyboardInterrupt):
            hub_folder(str(dataset), column="hr")
    assert not [path for path in (tmp_path / "cache" / "datasets").iterdir() if path.is_dir()]
    assert len(contents(hub_folder(str(dataset), column="hr"))) == 4


def test_a_column_must_be_named_where_there_are_several(dataset):
    with pytest.raises(ValueError, match=r"has 2 columns of images \(hr, lr\); give column="):
        hub_folder(str(dataset))
    with pytest.raises(ValueError, match=r"\(hr, lr\); column 'caption' is none of them"):
        hub_folder(str(dataset), column="caption")


def test_a_dataset_that_is_not_there_is_said(tmp_path):
    pytest.importorskip("datasets")
    with pytest.raises(ValueError, match=r"the dataset .*nowhere cannot be loaded \("):
        hub_folder(str(tmp_path / "nowhere"))


def test_an_unknown_split_is_said(dataset):
    with pytest.raises(ValueError, match=r"cannot be loaded .*test"):
        hub_folder(str(dataset), split="test", column="hr")


def test_a_missing_package_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r'pip install "srzoo\[hub-datasets\]"'):
        hub_folder("owner/name@main")
