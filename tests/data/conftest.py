import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.data import benchmark_records
from srzoo.data.benchmarks import BENCHMARKS, BenchmarkImage, BenchmarkSet, HubFiles


def noise(seed: int, height: int = 32, width: int = 40, channels: int = 3) -> np.ndarray:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return pixels[..., 0] if channels == 1 else pixels


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def image_of(name: str, pixels: np.ndarray) -> BenchmarkImage:
    mode = "L" if pixels.ndim == 2 else "RGB"
    return BenchmarkImage(name, pixels.shape[1], pixels.shape[0], mode, hashlib.sha256(pixels.tobytes()).hexdigest())


PIXELS = {"baby": noise(0), "bird": noise(1, 33, 41), "img_003": noise(2), "bridge": noise(3, 32, 32, 1)}
TINY = BenchmarkSet(
    "Tiny4",
    tuple(image_of(name, pixels) for name, pixels in PIXELS.items()),
    "paper",
    "made here",
    HubFiles("owner/tiny", "0" * 40, "data/Tiny4_HR.tar.gz"),
    aliases=("Tiny",),
)


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark_records, "BENCHMARKS", {**BENCHMARKS, "Tiny4": TINY})
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hr(tiny: None, tmp_path: Path) -> Path:
    """The tiny set as it should be; its folder of HR images."""
    folder = tmp_path / "sets" / "Tiny4" / "HR"
    for name, pixels in PIXELS.items():
        save(folder / f"{name}.png", pixels)
    return folder


def sets(hr: Path) -> Path:
    return hr.parent.parent


def packed(files: dict[str, bytes], kind: str = "tar") -> bytes:
    data = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(data, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
    else:
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for name, content in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return data.getvalue()


def png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def moments() -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Centre and covariance (x right, y up) of a kernel, from its middle."""

    def of(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        at = np.arange(len(kernel)) - (len(kernel) - 1) / 2
        x, y = np.meshgrid(at, -at)
        points = np.stack([x.ravel(), y.ravel()])
        weights = kernel.ravel() / kernel.sum()
        centre = points @ weights
        away = points - centre[:, None]
        return centre, (away * weights) @ away.T

    return of
