"""examples/paper/{jpeg,unknown}_track.py: tables and crops at toy size, with the track's weights and without them."""

import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

import srzoo
from srzoo.benchmark import mean_psnr, mean_ssim
from srzoo.data.degraded_pairs import pairs_by_preset

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "examples" / "paper"


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The two scripts and what they share, as `python examples/paper/NAME.py` sees them."""
    monkeypatch.syspath_prepend(str(FOLDER))
    names = ("tracks", "jpeg_track", "unknown_track")
    loaded = {}
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
        loaded[name] = __import__(name)
    for name in names:
        monkeypatch.delitem(sys.modules, name)
    return loaded


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """sets/Tiny with two images, the second one grey, photo.png for the crops, page.md for the tables."""
    rng = np.random.default_rng(0)
    (tmp_path / "sets/Tiny").mkdir(parents=True)
    for name, side in (("sets/Tiny/a", 40), ("sets/Tiny/b", 44), ("photo", 160)):
        levels = rng.integers(0, 256, (side // 4, side // 4, 3), dtype=np.uint8)
        picture = Image.fromarray(levels).resize((side, side), Image.Resampling.BICUBIC)
        picture.convert("L" if name.endswith("b") else "RGB").save(tmp_path / f"{name}.png")
    return tmp_path


def arguments(place: Path, name: str) -> list[str]:
    start, end = f"<!-- figures: {name} -->", "<!-- end of the figures -->"
    (place / "page.md").write_text(f"# Page\n\n{start}\nold\n{end}\n\nThe end.\n")
    folders = ["--data", str(place / "nothing"), str(place / "sets"), "--sets", "Tiny", "Set5000"]
    (place / "nothing").mkdir(exist_ok=True)
    return [
        *folders,
        f"--photo={place / 'photo.png'}",
        f"--assets={place / 'assets'}",
        f"--page={place / 'page.md'}",
    ]


def own_weights(path: Path, scale: int) -> srzoo.SRModel:
    """Any weights, saved as those of the track might be."""
    model = srzoo.create_model(f"edsr_baseline_x{scale}", width=4, num_blocks=1)
    srzoo.save_model(model, path)
    return srzoo.load_model(path)


def test_without_weights_the_column_is_left_out_and_told(scripts, place: Path, monkeypatch, capsys) -> None:
    tracks = scripts["tracks"]
    monkeypatch.setattr(tracks.srzoo, "model_info", without_tags(srzoo.model_info))
    assert scripts["unknown_track"].main([*arguments(place, "unknown_track"), "--limit=1"]) == 0
    told = capsys.readouterr().out
    assert "edsr_baseline_x4.unknown is not there yet: its column is left out" in told
    assert "Set5000 is in none of the folders and is left out" in told
    page = (place / "page.md").read_text()
    assert "old" not in page
    assert page.startswith("# Page\n")
    assert page.endswith("The end.\n")
    assert "Not measured yet" in page
    assert "| LR images | set | `bicubic` | `edsr_baseline_x4.photos` |" in page
    assert "edsr_baseline_x4.unknown` |" not in page
    with Image.open(place / "assets/unknown_kernel.png") as picture:
        assert picture.width > picture.height


def without_tags(info):
    """`model_info` of a zoo that has no weights of the tracks."""

    def found(name: str):
        told = info(name)
        return replace(told, weights=tuple(row for row in told.weights if row.tag not in ("jpeg", "unknown")))

    return found


def test_with_weights_the_table_has_their_scores(scripts, place: Path, capsys) -> None:
    model = own_weights(place / "own.safetensors", 2)
    given = ["--models", "edsr_baseline_x2", "--weights", str(place / "own.safetensors")]
    assert scripts["jpeg_track"].main([*arguments(place, "jpeg_track"), *given]) == 0
    page = (place / "page.md").read_text()
    assert "Not measured yet" not in page
    pairs = pairs_by_preset(place / "sets/Tiny", 2, "photo")
    plain, own = (srzoo.evaluate(one, pairs) for one in (srzoo.create_model("edsr_baseline_x2.photos"), model))
    [row] = [line for line in page.splitlines() if line.startswith("| photo | Tiny |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[3:] == [
        f"{mean_psnr(plain):.2f} / {mean_ssim(plain):.4f}",
        f"{mean_psnr(own):.2f} / {mean_ssim(own):.4f}",
        f"{mean_psnr(own) - mean_psnr(plain):+.2f} dB",
    ]
    assert "| clean | Tiny |" in page
    picture = place / "assets/jpeg_track_x2.png"
    assert picture.stat().st_size < 300_000
    with Image.open(picture) as image:
        assert image.width == 5 * (2 * 112 + 6) - 6


def test_weights_of_another_model_are_refused(scripts, place: Path) -> None:
    script, page = scripts["unknown_track"], arguments(place, "unknown_track")
    srzoo.save_model(srzoo.create_model("srresnet_x4", width=4, num_blocks=1), place / "other.safetensors")
    for files, told in ((["other"], "is of srresnet_x4; give weights of edsr_baseline_x4"), (["a", "b"], "two files")):
        for name in set(files) - {"other"}:
            own_weights(place / f"{name}.safetensors", 4)
        with pytest.raises(ValueError, match=told):
            script.main([*page, "--weights", *(str(place / f"{name}.safetensors") for name in files)])
    assert "old" in (place / "page.md").read_text()


def test_a_page_without_the_marks_is_refused(scripts, place: Path) -> None:
    (place / "page.md").write_text("# Page\n")
    with pytest.raises(ValueError, match="lacks <!-- figures: jpeg_track -->"):
        scripts["tracks"].put_into_page(place / "page.md", "jpeg_track", "text")


@pytest.mark.parametrize(
    ("name", "page"), [("jpeg_track", "guides/real_photos.md"), ("unknown_track", "paper/unknown_track.md")]
)
def test_the_pages_have_the_marks(scripts, name: str, page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert all(mark.format(name=name) in text for mark in scripts["tracks"].MARKS)
