from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from srzoo.report import compare


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in with lr/bird.png, hr/bird.png and hr/sub/; nothing may be read or opened."""
    monkeypatch.chdir(tmp_path)
    for name, side in (("lr", 8), ("hr", 16)):
        Path(name).mkdir()
        Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(f"{name}/bird.png")
    Path("hr/sub").mkdir()
    monkeypatch.setattr("srzoo.report.comparison.open_methods", lambda *_, **__: pytest.fail("a model was opened"))
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("images", "hr", "output", "message"),
    [
        ("lr/bird.png", None, {"grid": "lr/bird.png"}, "lr/bird.png is one of the images that are read"),
        ("lr/bird.png", None, {"grid": "hr/../lr/bird.png"}, "is one of the images that are read"),
        ("lr", None, {"grid": "lr/bird.png"}, "is one of the images that are read"),
        (None, "hr", {"grid": "hr/bird.png"}, "is one of the images that are read"),
        ("lr", "hr", {"grid": "hr/bird.png"}, "is one of the images that are read"),
        ("lr/bird.png", "hr/bird.png", {"grid": "hr/bird.png"}, "is one of the images that are read"),
        ("lr", None, {"grid": "hard.png"}, "is one of the images that are read"),
        ("lr", None, {"page": "link.html"}, "is one of the images that are read"),
        (None, "hr", {"grid": "hr/figure.png"}, "hr/figure.png lies in hr, where the next run would take it"),
        ("lr", "hr", {"grid": "hr/sub/figure.png"}, "lies in hr, where"),
        (".", None, {"grid": "figure.png"}, "lies in ., where"),
    ],
)
def test_images_that_are_read_are_never_replaced_or_added_to(folder, images, hr, output, message):
    Path("hard.png").hardlink_to("lr/bird.png")
    Path("link.html").symlink_to("lr/bird.png")
    before = contents(folder)
    for overwrite in (False, True):
        with pytest.raises(ValueError, match=message):
            compare(images, "bicubic", scale=2, hr=hr, **output, overwrite=overwrite)
    assert contents(folder) == before


@pytest.mark.parametrize("output", [{"page": "old.html"}, {"grid": "old.png"}])
def test_what_exists_is_replaced_only_when_asked(folder, output, monkeypatch):
    [name] = output.values()
    Path(name).write_text("old")
    with pytest.raises(FileExistsError, match=f"{name} exists; --overwrite replaces it"):
        compare("lr", "bicubic", scale=2, **output)
    assert Path(name).read_text() == "old"
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    compare("lr", "bicubic", scale=2, **output, overwrite=True)
    assert Path(name).read_bytes() != b"old"


def test_an_output_that_is_a_folder_is_refused(folder):
    Path("a.html").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a\.html is a folder"):
        compare("lr", "bicubic", page="a.html", overwrite=True)


def test_a_page_beside_the_images_is_written(folder, monkeypatch):
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert compare("lr", "bicubic", scale=2, page="lr/a.html").page == Path("lr/a.html")
    assert compare("lr/bird.png", "bicubic", scale=2, grid="lr/figure.png").grid == Path("lr/figure.png")
