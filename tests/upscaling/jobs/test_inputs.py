import os
from pathlib import Path

import pytest
from stand_in import picture

from srzoo.image import READ_SUFFIXES
from srzoo.upscaling.jobs.inputs import find_inputs, has_pattern
from srzoo.upscaling.jobs.journal import Identity, Journal


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("photos/b.png", "photos/a.jpg", "photos/sub/c.png", "photos/sub/deep/d.png", "photos/.hidden/e.png"):
        picture(Path(name))
    picture(Path("photos/f.png")).rename("photos/.f.png")
    Path("photos/notes.txt").write_text("words")
    return tmp_path


def names(*inputs: str, **options) -> list[str]:
    return [one.path.as_posix() for one in find_inputs(list(inputs), **options)[0]]


def trees(*inputs: str) -> list[str]:
    return [one.tree.as_posix() for one in find_inputs(list(inputs))[0]]


def test_a_folder_is_searched_with_its_folders_and_without_hidden_ones(tree):
    assert names("photos") == ["photos/a.jpg", "photos/b.png", "photos/sub/c.png", "photos/sub/deep/d.png"]
    assert trees("photos") == [".", ".", "sub", "sub/deep"]
    assert names("photos", recursive=False) == ["photos/a.jpg", "photos/b.png"]


@pytest.mark.parametrize(
    ("pattern", "found", "kept"),
    [
        ("photos/*.png", ["photos/b.png"], ["."]),
        ("photos/*", ["photos/a.jpg", "photos/b.png"], [".", "."]),
        ("photos/**/*.png", ["photos/b.png", "photos/sub/c.png", "photos/sub/deep/d.png"], [".", "sub", "sub/deep"]),
        ("photos/s*/*.png", ["photos/sub/c.png"], ["sub"]),
        ("p?otos/[ab].*", ["photos/a.jpg", "photos/b.png"], ["photos", "photos"]),
    ],
)
def test_a_pattern_finds_images_and_keeps_the_tree_below_its_fixed_part(tree, pattern, found, kept):
    assert names(pattern) == found
    assert trees(pattern) == kept


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree):
    picture(tree / "photos/x[1].png")
    assert not has_pattern("photos/x[1].png")
    assert names("photos/x[1].png") == ["photos/x[1].png"]


def test_each_file_counts_once_where_it_comes_first(tree):
    assert names("photos/b.png", "photos", "photos/*.png", "./photos/b.png")[0] == "photos/b.png"
    assert len(names("photos/b.png", "photos", str(tree / "photos"))) == 4


def test_a_named_file_is_taken_whatever_its_suffix(tree):
    assert names("photos/notes.txt") == ["photos/notes.txt"]


def test_links_to_folders_are_followed_once(tree):
    (tree / "photos/sub/round").symlink_to(tree / "photos", target_is_directory=True)
    (tree / "other").mkdir()
    picture(tree / "other/g.png")
    (tree / "photos/other").symlink_to(tree / "other", target_is_directory=True)
    found = names("photos")
    assert sorted(Path(name).name for name in found) == ["a.jpg", "b.png", "c.png", "d.png", "g.png"]


def test_a_pipe_in_a_folder_is_passed_over_and_one_by_itself_is_told(tree):
    os.mkfifo("photos/pipe.png")
    assert len(names("photos")) == 4
    assert len(names("photos/*.png")) == 1
    with pytest.raises(ValueError, match=r"is a pipe or device; send it in: srzoo upscale - < photos/pipe\.png"):
        find_inputs(["photos/pipe.png"])


def test_a_link_that_leads_nowhere_is_told_as_such(tree):
    Path("photos/gone.png").symlink_to("nowhere.png")
    with pytest.raises(FileNotFoundError, match=r"gone\.png is a link to nowhere\.png, which does not exist"):
        find_inputs(["photos/gone.png"])
    assert "photos/gone.png" in names("photos")  # where it is told when its turn comes


def test_every_kind_that_can_be_read_is_found_in_a_folder(tree):
    for suffix in READ_SUFFIXES:
        Path(f"photos/sub/deep/kind{suffix}").write_bytes(b"")
    found = {Path(name).suffix for name in names("photos/sub/deep")}
    assert found == set(READ_SUFFIXES)
    assert {".gif", ".jp2", ".tga", ".ppm"} <= found


def test_the_output_folder_within_a_folder_is_passed_over(tree):
    picture(tree / "photos/out/x.png")
    assert "photos/out/x.png" in names("photos")
    assert "photos/out/x.png" not in names("photos", leave_out=[Path("photos/out")])
    assert len(names("photos", leave_out=[Path("photos")])) == 5  # into itself: its own images are still meant


def test_results_of_an_earlier_run_are_left_out_by_the_journal_beside_them(tree):
    source, result = tree / "photos/b.png", picture(tree / "photos/b_x4.png")
    Journal(tree / "photos").record(result, result.name, "any", Identity.of(source, tree / "photos"))
    found, left_out = find_inputs(["photos/*.png"])
    assert [one.path.name for one in found] == ["b.png"]
    assert [path.name for path in left_out] == ["b_x4.png"]
    assert names("photos/b_x4.png") == ["photos/b_x4.png"]  # asked for by itself, its source is not among the inputs
    assert names("photos/b_x4.png", "photos/*.png") == ["photos/b_x4.png", "photos/b.png"]  # by itself, it is meant
    assert names("photos/b.png", "photos/sub") == ["photos/b.png", "photos/sub/c.png", "photos/sub/deep/d.png"]


@pytest.mark.parametrize(
    ("inputs", "error", "told"),
    [
        ([], ValueError, "nothing to upscale"),
        ([""], ValueError, "is empty"),
        (["-", "photos"], ValueError, "give it alone"),
        (["none.png"], FileNotFoundError, "none.png does not exist"),
        (["photos/*.tif"], FileNotFoundError, "no image matches photos/\\*.tif"),
        (["photos/.hidden/none"], FileNotFoundError, "does not exist"),
    ],
)
def test_mistakes_are_told(tree, inputs, error, told):
    with pytest.raises(error, match=told):
        find_inputs(inputs)


def test_a_folder_without_images_is_told_with_what_may_help(tree):
    (tree / "empty/sub").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"empty has no image \(.*\.png.*\)$"):
        find_inputs(["empty"])
    with pytest.raises(FileNotFoundError, match="--no-recursive"):
        find_inputs(["empty"], recursive=False)


def test_standard_input_is_one_input_without_a_path():
    [one], left_out = find_inputs(["-"])
    assert one.path is None
    assert not left_out
