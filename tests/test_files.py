import errno
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from srzoo import files
from srzoo.files import remove_stale, replacing, replacing_file


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


def test_an_open_file_takes_the_place_of_the_old_one(tmp_path):
    path, seen = tmp_path / "a.png", []
    path.write_bytes(b"old")

    def look(work: Path) -> None:
        seen.append((work.read_bytes(), path.read_bytes(), work.parent, work.suffix, work.name[:7]))

    with replacing_file(path, before_place=look) as file:
        file.write(b"newer")
        file.seek(0)
        file.write(b"N")
        file.seek(0)
        assert file.read() == b"Newer"
    assert seen == [(b"Newer", b"old", tmp_path, ".png", ".srzoo-")]
    assert path.read_bytes() == b"Newer"
    assert list(tmp_path.iterdir()) == [path]
    assert file.closed


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
def test_the_mode_of_an_open_file_is_that_of_any_new_file(tmp_path, umask):
    with replacing_file(tmp_path / "a.png") as file:
        file.write(b"new")
    assert stat.S_IMODE((tmp_path / "a.png").stat().st_mode) == 0o666 & ~umask


def test_an_open_file_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    path, steps = tmp_path / "a.png", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(("synced", os.fstat(descriptor).st_size)))
    with replacing_file(path, before_place=lambda work: steps.append(("placed", path.exists()))) as file:
        file.write(b"12345")
    assert steps == [("synced", 5), ("placed", False)]


@pytest.mark.parametrize("fault", [ValueError("stop"), KeyboardInterrupt()])
@pytest.mark.parametrize("late", [False, True])
def test_a_fault_leaves_the_old_file_alone_and_no_other(tmp_path, fault, late):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")

    def stop(work: Path) -> None:
        raise fault

    def write_half() -> None:
        with replacing_file(path, before_place=stop) as file:
            file.write(b"half")
            if not late:
                raise fault

    with pytest.raises(type(fault)):
        write_half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_at_the_end_leaves_the_old_file_alone(tmp_path, monkeypatch, step):
    def full(*args, **more):
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    monkeypatch.setattr(os if step == "fsync" else Path, step, full)
    with pytest.raises(OSError, match="No space left"), replacing_file(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_what_stays_in_the_buffer_of_a_full_disk_is_told_once(tmp_path, monkeypatch):
    """The write itself is buffered; flushing fails, and so does closing, which must not hide the old file's rescue."""
    path, real = tmp_path / "a.png", os.open
    path.write_bytes(b"old")

    def full(name, *rest, **more):
        os.close(real(name, *rest, **more))
        return real("/dev/full", os.O_RDWR)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", full)
        with pytest.raises(OSError, match="No space left"), replacing_file(path) as file:
            file.write(b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import importlib.util, sys, time
from pathlib import Path

spec = importlib.util.spec_from_file_location("files", sys.argv[1])
files = importlib.util.module_from_spec(spec)
spec.loader.exec_module(files)
assert "torch" not in sys.modules
folder = Path(sys.argv[2])
with files.replacing_file(folder / "a.png") as file, files.replacing(folder / "b.json") as work:
    file.write(b"half" * 10000)
    work.write_text("half")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def start_writer(folder: Path) -> subprocess.Popen:
    """A process in the middle of writing two files."""
    command = [sys.executable, "-c", WRITER, str(files.__file__), str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    killed, alive = start_writer(tmp_path), start_writer(tmp_path)
    mine = [
        tmp_path / name for name in (".srzoo-cache", ".srzoo-0123456789ab.tar.gz", "srzoo-0123456789ab.png", "c.png")
    ]
    for path in mine:
        path.write_bytes(b"mine")
    (tmp_path / ".srzoo-0123456789ab").mkdir()
    (tmp_path / ".srzoo-aaaaaaaaaaaa.png").symlink_to(mine[-1])
    assert len(list(tmp_path.glob(".srzoo-*.png"))) == 3
    assert remove_stale(tmp_path) == 0
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "a.png").exists()
    assert remove_stale(tmp_path) == 2
    assert remove_stale(tmp_path) == 0
    alive.communicate("go on\n")
    assert alive.returncode == 0
    assert (tmp_path / "a.png").read_bytes() == b"half" * 10000
    assert (tmp_path / "b.json").read_text() == "half"
    assert all(path.read_bytes() == b"mine" for path in mine)
    assert len(list(tmp_path.iterdir())) == len(mine) + 4


def test_files_are_never_taken_from_under_their_writers(tmp_path):
    """Four threads write, one removes all the time: whatever it meets between the birth and the lock is made again."""
    stop, removed = threading.Event(), []

    def remove() -> None:
        while not stop.is_set():
            removed.append(remove_stale(tmp_path))

    def write(name: int) -> None:
        for turn in range(100):
            with replacing_file(tmp_path / f"{name}.txt") as file:
                file.write(str(turn).encode())

    remover = threading.Thread(target=remove)
    writers = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in [remover, *writers]:
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    remover.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{name}.txt" for name in range(4)]
    assert {path.read_text() for path in tmp_path.iterdir()} == {"99"}


@pytest.mark.skipif(os.name == "nt", reason="Windows has no flock")
def test_a_file_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    real, taken = files._lock, []

    def slow(descriptor: int) -> None:
        if not taken:
            taken.append(remove_stale(tmp_path))
        real(descriptor)

    monkeypatch.setattr(files, "_lock", slow)
    with replacing_file(tmp_path / "a.txt") as file:
        file.write(b"whole")
    assert taken == [1]
    assert (tmp_path / "a.txt").read_bytes() == b"whole"


def test_without_locks_files_are_written_and_none_is_removed(tmp_path, monkeypatch):
    """A file system that knows no locks: nobody can tell what is in use."""
    if files.fcntl is None:
        pytest.skip("no fcntl here")

    def unknown(*args) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(files.fcntl, "flock", unknown)
    with replacing_file(tmp_path / "a.txt") as file:
        file.write(b"whole")
        assert remove_stale(tmp_path) == 0
    (tmp_path / ".srzoo-0123456789ab.txt").touch()
    assert remove_stale(tmp_path) == 0
    assert (tmp_path / "a.txt").read_bytes() == b"whole"


def test_without_fcntl_files_are_closed_before_they_are_renamed(tmp_path, monkeypatch):
    """As on Windows."""
    monkeypatch.setattr(files, "fcntl", None)
    closed = []
    with replacing_file(tmp_path / "a.txt", before_place=lambda work: closed.append(file.closed)) as file:
        file.write(b"whole")
    with replacing(tmp_path / "b.txt") as work:
        work.write_text("whole")
    assert closed == [True]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]
    (tmp_path / ".srzoo-0123456789ab.txt").touch()
    assert remove_stale(tmp_path) == 1


def test_a_folder_that_cannot_be_read_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        remove_stale(tmp_path / "none")
