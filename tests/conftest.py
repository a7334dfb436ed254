import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
settings.register_profile("srzoo", deadline=None)  # a busy machine is no fault
settings.load_profile("srzoo")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Benchmark images and golden vectors, where SRZOO_DATA says they are."""
    folder = os.environ.get("SRZOO_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SRZOO_DATA does not name a folder with bench/ and golden/")
    return Path(folder)


@pytest.fixture
def as_users_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the run-time type checks of the tests, so that wrong calls meet the library's own errors."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def smooth_image(height: int, width: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """A random uint8 image with structure: smooth waves and a few edges."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 16
    planes = []
    for _ in range(channels):
        a, b, c = rng.uniform(0.5, 2, 3)
        wave = np.sin(a * x + c) * np.cos(b * y) + (np.sin(a * x + b * y) > 0.6)
        planes.append(wave)
    image = np.stack(planes, -1)
    image = (image - image.min()) / (image.max() - image.min()) * 255
    return image.round().astype(np.uint8)


@pytest.fixture
def photo_folder(tmp_path: Path) -> Path:
    """Six small PNG images to train on."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(6):
        Image.fromarray(smooth_image(48 + 4 * i, 64, seed=i)).save(folder / f"photo{i}.png")
    return folder
