import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for tiny_benchmarks

from tiny_benchmarks import make_images, tiny, tiny_broken

import srzoo


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A cache folder of the test's own."""
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A set of three images; one is no multiple of the scales."""
    return make_images(tmp_path / "tiny", (36, 48), (37, 40), (48, 36))


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A weight file of a tiny EDSR at x2."""
    srzoo.save_model(tiny(), tmp_path / "mine.safetensors")
    return tmp_path / "mine.safetensors"


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A weight file of a model whose output holds NaN."""
    srzoo.save_model(tiny_broken(), tmp_path / "broken.safetensors")
    return tmp_path / "broken.safetensors"
