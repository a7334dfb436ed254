"""srzoo.upscaling.jobs.advice: JPEG pictures meet weights that never saw one, and it is said once."""

from pathlib import Path

import pytest
from PIL import Image

from srzoo.upscaling.jobs import advice
from srzoo.upscaling.jobs.advice import MOST_LOOKED_AT, advise_weights, jpeg_quality


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photo.jpg (72), good.jpg (97), flat.png, torn.jpg; the zoo has edsr_baseline_x2.jpeg."""
    image = Image.effect_noise((32, 24), 40).convert("RGB")
    image.save(tmp_path / "photo.jpg", quality=72)
    image.save(tmp_path / "good.jpg", quality=97)
    image.save(tmp_path / "flat.png")
    (tmp_path / "torn.jpg").write_bytes((tmp_path / "photo.jpg").read_bytes()[:20])
    rows = ["edsr_baseline_x2.jpeg", "edsr_baseline_x2.photos", "edsr_baseline_x3.photos"]
    monkeypatch.setattr(advice, "list_models", lambda **_: rows)
    return tmp_path


def test_the_quality_is_read_from_the_tables(pictures: Path) -> None:
    names = ("photo.jpg", "good.jpg", "flat.png", "torn.jpg", "not there.jpg")
    assert [jpeg_quality(pictures / name) for name in names] == [72, 97, None, None, None]


def test_a_jpeg_and_weights_trained_on_bicubic_get_one_sentence(pictures: Path) -> None:
    told = advise_weights([None, pictures / "flat.png", pictures / "photo.jpg"], "edsr_baseline_x2.photos")
    assert told == "photo.jpg is a JPEG of quality 72; use --model edsr_baseline_x2.jpeg, trained for such pictures"


@pytest.mark.parametrize(
    ("names", "origin"),
    [
        ((), "edsr_baseline_x2.photos"),
        (("flat.png", "good.jpg", "torn.jpg"), "edsr_baseline_x2.photos"),
        (("photo.jpg",), "edsr_baseline_x2.jpeg"),
        (("photo.jpg",), "edsr_baseline_x2.unknown"),
        (("photo.jpg",), "edsr_baseline_x3.photos"),  # no sister
        (("photo.jpg",), "runs/mine/model.safetensors"),
        (("photo.jpg",), "hf-hub:owner/name@0123"),
        (("photo.jpg",), ""),
    ],
)
def test_otherwise_nothing_is_said(pictures: Path, names: tuple[str, ...], origin: str) -> None:
    assert advise_weights([pictures / name for name in names], origin) is None


def test_only_the_first_files_are_looked_at(pictures: Path) -> None:
    many = [pictures / "flat.png"] * MOST_LOOKED_AT
    assert advise_weights([*many[1:], pictures / "photo.jpg"], "edsr_baseline_x2.photos") is not None
    assert advise_weights([*many, pictures / "photo.jpg"], "edsr_baseline_x2.photos") is None
