from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from srzoo.data.folders import ImageFolder
from srzoo.data.licences import (
    Licences,
    count_pictures,
    has_licences,
    is_share_alike,
    plain_licence,
    read_licences,
    weights_licence,
)
from srzoo.data.patches import PatchSource

SHARED = (
    "CC-BY-SA-4.0", "CC BY-SA 3.0", "CC-BY-NC-SA-4.0", "cc-by-sa-2.5 (someone)", "GPL-2.0-only", "LGPL-3.0", "AGPL-3.0",
    "GFDL-1.3", "ODbL-1.0", "Attribution-ShareAlike 4.0", "share alike", "FAL-1.3",
)  # fmt: skip
FREE = ("CC0-1.0", "CC-BY-4.0", "Public domain", "Unsplash License", "Pexels License", "MIT", "CC-BY-4.0 (S. A. Sa)")


def test_share_alike_licences_are_told_from_others() -> None:
    assert [name for name in SHARED if not is_share_alike(name)] == []
    assert [name for name in FREE if is_share_alike(name)] == []


def test_names_in_parentheses_are_never_recorded() -> None:
    given = Licences({"a": "CC-BY-4.0 (Some One)", "b": '"public domain" (X, as stated)'})
    assert [given.of(name) for name in "ab"] == ["CC-BY-4.0", "Public domain"]
    assert plain_licence("  MIT ") == "MIT"


def test_crops_of_one_picture_count_once_and_equal_names_of_two_sources_twice(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    rows = ["1.png,CC0-1.0,here,a", "2.png,CC0-1.0,here,a", "3.png,CC0-1.0,there,a", "4.png,MIT,here,"]
    path.write_text("file,licence,source,original\n" + "\n".join(rows) + "\n")
    found = read_licences(path)
    assert found.pictures == {"1.png": "here/a", "2.png": "here/a", "3.png": "there/a"}
    assert count_pictures((found.of(n), found.pictures.get(n, n)) for n in found.by_file) == {"CC0-1.0": 2, "MIT": 1}


def test_the_other_spelling_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("\ufefffile,license\na.png,MIT\n", encoding="utf-8")
    assert read_licences(path).by_file == {"a.png": "MIT"}
    assert has_licences(path)
    path.write_text("file,score\na.png,1\n")
    assert not has_licences(path)
    assert not has_licences(tmp_path)


@pytest.mark.parametrize(
    ("start", "pictures", "licence"),
    [
        ("", [], ""),
        ("CC-BY-SA-4.0", [], "CC-BY-SA-4.0"),
        ("CC-BY-SA-4.0", ["CC-BY-SA-3.0"], "CC-BY-SA-4.0"),
        ("CC-BY-SA-3.0", ["CC-BY-SA-4.0", "MIT"], "CC-BY-SA-4.0"),
        ("Apache-2.0", ["MIT"], "Apache-2.0"),
        ("Apache-2.0 AND CC-BY-SA-4.0", ["CC BY-SA 4.0"], "Apache-2.0 AND CC-BY-SA-4.0"),
        ("", ["CC-BY-NC-SA-4.0", "CC-BY-SA-4.0"], "CC-BY-NC-SA-4.0 AND CC-BY-SA-4.0"),
    ],
)
def test_weights_are_shared_as_their_start_and_their_pictures_are(start, pictures, licence) -> None:
    assert weights_licence(start, pictures) == licence


def test_leaving_out_needs_licences() -> None:
    with pytest.raises(ValueError, match="share-alike is to be left out of photos, and there are no licences"):
        ImageFolder("photos", leave_out="share-alike")


@pytest.fixture
def source(photo_folder: Path, tmp_path: Path):
    """A source of the six photos with licences, and what is left out."""
    names = [f"photo{i}.png" for i in range(6)]
    licences = Licences({name: "CC-BY-SA-4.0" if i < 2 else "CC0-1.0" for i, name in enumerate(names)})

    def make(*leave_out: str, more: tuple[ImageFolder, ...] = ()) -> PatchSource:
        folder = ImageFolder(photo_folder, licences=licences, leave_out=leave_out)
        return PatchSource([folder, *more], scales=(2,), cache=tmp_path / "cache")

    return make


def test_what_is_left_out_is_never_drawn_nor_held_out(source) -> None:
    all_of_it, without = source(), source("share-alike")
    assert set(all_of_it.names) - set(without.names) == {"photo0.png", "photo1.png"}
    assert without._inventory.left_out == {"CC-BY-SA-4.0": 2}
    assert all_of_it.fingerprint != without.fingerprint
    assert {"photo0.png", "photo1.png"}.isdisjoint(without.hold_out(0.9))
    pixels = {name: all_of_it.images(name, 2)[0] for name in all_of_it.names}
    for name in without.names:
        assert np.array_equal(without.images(name, 2)[0], pixels[name])


def test_pictures_are_counted_where_they_are_drawn(source, tmp_path: Path, photo_folder: Path) -> None:
    assert source()._inventory.count_pictures() == {"CC-BY-SA-4.0": 2, "CC0-1.0": 4}
    assert source().without(["photo5.png"])._inventory.count_pictures() == {"CC-BY-SA-4.0": 2, "CC0-1.0": 3}
    assert source("cc-by*")._inventory.count_pictures() == {"CC0-1.0": 4}
    other = tmp_path / "other"
    other.mkdir()
    ImageOps.invert(Image.open(photo_folder / "photo0.png").convert("RGB")).save(other / "x.png")
    both = source("share-alike", more=(ImageFolder(other),))
    assert both._inventory.count_pictures() == {"CC0-1.0": 4, "not stated": 1}
