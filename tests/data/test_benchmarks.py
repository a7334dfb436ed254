import numpy as np
import pytest

from srzoo.data.benchmarks import (
    ImageSet,
    find_set,
    sets_in,
)
from tests.data.conftest import TINY, noise, save, sets

pytestmark = pytest.mark.usefixtures("tiny")


@pytest.mark.parametrize(
    "place",
    ["Tiny4/HR", "Tiny4", "benchmark/Tiny4/HR", "bench/tiny/HR", "benchmarks/TINY4/GTmod12", "Tiny4_HR", "tiny"],
)
@pytest.mark.parametrize("name", ["Tiny4", "tiny", "TINY-4"])
def test_a_benchmark_is_found_in_each_layout(hr, tmp_path, place, name, monkeypatch):
    folder = tmp_path / "other" / place
    folder.parent.mkdir(parents=True)
    hr.rename(folder)
    save(folder.parent / "LR_bicubic" / "X2" / "babyx2.png", noise(5))
    assert find_set(name, tmp_path / "other").folder == folder
    monkeypatch.setenv("SRZOO_DATA", str(tmp_path / "other"))
    images = find_set(name)
    assert images.folder == folder
    assert images.name == "Tiny4"
    assert images.names == ("baby", "bird", "img_003", "bridge")  # in the order of the record
    assert images.problems((2,)) == []


def test_a_folder_that_is_called_as_a_benchmark_is_checked_as_one(hr):
    (hr / "baby.png").unlink()
    images = find_set(hr.parent)
    assert images.record is TINY
    assert images.problems((2,)) == ["missing (1): baby"]
    assert find_set("tiny", hr.parent).record is TINY
    inner = find_set(str(hr))
    assert (inner.name, inner.record, inner.names) == ("Tiny4", TINY, ("bird", "img_003", "bridge"))
    save(hr.with_name("GTmod12") / "baby.png", noise(0))
    assert find_set(hr.with_name("GTmod12")).names == ("baby",)  # the folder that was given, and not HR beside it
    save(hr.with_name("mine") / "x.png", noise(0))
    own = find_set(hr.with_name("mine"))
    assert (own.name, own.record, own.names) == ("mine", None, ("x",))


def test_names_may_differ_as_copies_of_a_set_do_and_then_pixels_tell(hr):
    for old, new in (("baby", "BABY_SRF_4_HR"), ("img_003", "img003"), ("bird", "second")):
        (hr / f"{old}.png").rename(hr / f"{new}.png")
    images = find_set("Tiny4", sets(hr))
    assert images.problems((2,)) == []
    assert {name: path.stem for name, path in images.files.items()} == {
        "baby": "BABY_SRF_4_HR",
        "bird": "second",
        "img_003": "img003",
        "bridge": "bridge",
    }


def test_of_the_training_folder_of_div2k_only_the_validation_images_are_taken(tmp_path, monkeypatch):
    folder = tmp_path / "DIV2K" / "DIV2K_train_HR"
    for number in (1, 799, 800, *range(801, 901)):
        save(folder / f"{number:04}.png", np.full((29, 2040, 3), number % 256, np.uint8))
    images = find_set("div2k", tmp_path)
    assert (len(images.names), images.names[0], images.names[-1]) == (100, "0801", "0900")
    assert images.problems((2,)) == []
    assert (images.protocol, images.cropped(2)[:1]) == ("div2k", ("0801",))
    assert len(images.problems((3,))) == 100  # a border of 9 leaves 9 pixels
    valid = folder.parent / "DIV2K_valid_HR"
    folder.rename(valid)
    (valid / "0850.png").unlink()
    assert find_set("DIV2K_valid", tmp_path).problems((2,)) == ["missing (1): 0850"]
    save(valid / "0850.png", noise(0, 510, 339))
    told = "0850: 339x510 pixels, and the longer side of every image of DIV2K has 2040"
    assert find_set(valid).problems((2,)) == [told]


def test_a_set_that_is_not_found_is_told_with_where_it_was_sought_and_what_is_there(hr, monkeypatch):
    monkeypatch.delenv("SRZOO_DATA", raising=False)
    with pytest.raises(FileNotFoundError, match=r"Set5/HR, Set5, benchmark/Set5/HR.*are there: none; put its 5 images"):
        find_set("set5", sets(hr))
    for name in ("baby", "bird"):
        save(sets(hr) / "Set5" / f"{name}.png", noise(0))
    with pytest.raises(FileNotFoundError, match=r"sets that are there: Set5; .*eugenesiow/Set14: fetch=True, --fetch"):
        find_set("Set14", sets(hr))
    assert sets_in(sets(hr)) == ["Set5"]
    with pytest.raises(FileNotFoundError, match="no place on the Hub is known for it"):
        find_set("Manga109", sets(hr))
    with pytest.raises(FileNotFoundError, match=r"no folder of benchmark sets is named.*SRZOO_DATA"):
        find_set("Set5")
    for name in ("Set5", hr):  # also where it is not needed
        with pytest.raises(FileNotFoundError, match="data is nowhere, which is not a folder"):
            find_set(name, "nowhere")
    with monkeypatch.context() as environment:
        environment.setenv("SRZOO_DATA", "nowhere")
        with pytest.raises(FileNotFoundError, match="Set5 was not found: SRZOO_DATA is nowhere, which is not a folder"):
            find_set("Set5")
        assert find_set(hr).record is TINY
    with pytest.raises(FileNotFoundError, match=r"neither a benchmark set \(Set5, .* nor a folder"):
        find_set("nothing", sets(hr))
    (sets(hr) / "Set14" / "HR").mkdir(parents=True)  # an empty folder is no set
    with pytest.raises(FileNotFoundError, match="Set14 was not found"):
        find_set("Set14", sets(hr))


def test_a_wrong_call_is_refused(hr, as_users_call):
    with pytest.raises(ValueError, match="path is 'y'"):
        find_set("Tiny4", sets(hr), path="y")  # pyright: ignore[reportArgumentType]
    for name, options in (("", {}), (" ", {}), ("Tiny4", {"data": ""}), ("Tiny4", {"lr": ""})):
        with pytest.raises(ValueError, match=r" is empty; was a variable not set\?"):
            find_set(name, **options)
    with pytest.raises(ValueError, match="leave out lr"):
        find_set("Tiny4", sets(hr), path="luma", lr=hr)
    with pytest.raises(FileNotFoundError, match="lr is nowhere"):
        find_set("Tiny4", sets(hr), lr="nowhere")
    with pytest.raises(ValueError, match="whole numbers of 1 or more"):
        find_set("Tiny4", sets(hr)).problems((0,))


def test_any_folder_is_a_set_with_its_subfolders(tmp_path):
    for name in ("b.png", "a/0001.png", "a/0002.png", "a/0002.bmp", ".hidden/x.png"):
        save(tmp_path / "mine" / name, noise(0, 16, 18))
    images = find_set("mine", tmp_path)
    assert (images.name, images.protocol) == ("mine", "paper")
    assert images.names == ("a/0001", "a/0002.bmp", "a/0002.png", "b")
    assert images.problems((2,)) == []
    save(tmp_path / "pairs" / "HR" / "c.png", noise(0))
    save(tmp_path / "pairs" / "LR" / "c.png", noise(0))
    both = find_set(str(tmp_path / "pairs"))  # its LR images are not HR images
    assert (both.name, both.names) == ("pairs", ("c",))
    one = find_set(str(tmp_path / "mine" / "b.png"))
    assert (one.name, one.names, len(one.pairs(2))) == ("b", ("b",), 1)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no image"):
        find_set("empty", tmp_path)


def test_a_set_is_told_by_its_repr(hr):
    assert isinstance(find_set("Tiny4", sets(hr)), ImageSet)
    assert repr(find_set("Tiny4", sets(hr))).startswith("ImageSet('Tiny4', 4 images in ")
