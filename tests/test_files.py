import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srzoo.files import replacing


@pytest.fixture(params=[0o022, 0o077, 0o027])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def private(work: Path) -> None:
    """As some writers do: a new file of mode 0600 takes the place of the one they are given."""
    other = work.with_name("other")
    other.touch(0o600)
    other.chmod(0o600)
    other.replace(work)


WRITERS = {
    "in place": lambda work: work.write_bytes(b"new"),
    "replaced": private,
    "safetensors": lambda work: save_file({"x": torch.zeros(1)}, work),
}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
@pytest.mark.parametrize("there", [False, True])
def test_the_mode_is_that_of_any_new_file(tmp_path, umask, write, there):
    path = tmp_path / "a.safetensors"
    if there:
        path.write_text("old")
        path.chmod(0o600)
    with replacing(path) as work:
        write(work)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_synced_is_open_for_writing(tmp_path, monkeypatch):
    modes = []

    def fsync(descriptor: int) -> None:
        modes.append(os.write(descriptor, b""))  # Windows syncs no file that is open for reading only

    monkeypatch.setattr(os, "fsync", fsync)
    with replacing(tmp_path / "a.txt") as work:
        work.write_text("whole")
    assert modes == [0]
    assert (tmp_path / "a.txt").read_text() == "whole"


@pytest.mark.parametrize("fault", [ValueError("stop"), KeyboardInterrupt()])
def test_a_fault_leaves_the_old_file_alone(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as work:
            work.write_text("half")
            raise fault

    with pytest.raises(type(fault)):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with replacing(path) as work:
        work.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "none" / "a.txt"):
        pass
