"""Benchmark sets from the Hugging Face Hub: fetched once, when asked for, and checked against the record."""

import logging
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from PIL import Image

from srzoo.data.benchmark_records import BenchmarkSet, HubFiles
from srzoo.data.cache import cache_faults, cache_root, work_alone
from srzoo.data.folders import SUFFIXES
from srzoo.data.image_sets import ImageSet, inspect
from srzoo.data.pairs import read_scored
from srzoo.hub import HubFile, fetch

LOGGER = logging.getLogger("srzoo")


def fetched_folder(record: BenchmarkSet) -> Path:
    """Where the HR images of a set lie once they are fetched: below the cache (`SRZOO_CACHE`)."""
    revision = record.hub.revision[:8] if record.hub else "none"
    return cache_root() / "benchmarks" / f"{record.name}-{revision}"


def fetch_set(record: BenchmarkSet) -> Path:
    """The folder of a set's HR images, fetched from the Hub unless it is there.

    The archive is downloaded by huggingface_hub into its own cache, so that HF_ENDPOINT, HF_HUB_OFFLINE, tokens and
    mirrors count, and a cut download goes on. Only images are taken out of it, whatever folders it names. They are kept
    if they are what the record says.

    Raises:
        FileNotFoundError: If no place on the Hub is known, or the file cannot be had from there.
        ValueError: If what was fetched is damaged or not the set.
        OSError: If the cache folder is full or cannot be written to.
    """
    if record.hub is None:
        raise FileNotFoundError(
            f"{record.name} cannot be fetched: no place on the Hub is known that anyone may fetch it from; get it from "
            "its authors and name its folder"
        )
    target = fetched_folder(record)
    with cache_faults(target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
        with work_alone(target.parent / f".{target.name}.lock") as unfinished:
            if target.is_dir():
                return target
            archive = _download(record.name, record.hub)
            work = target.parent / f".{target.name}.{unfinished}"
            shutil.rmtree(work, ignore_errors=True)  # of a process that was stopped
            work.mkdir()
            try:
                _unpack(archive, work, record)
                _restore_grey(record, work)
                _check(record, work)
                work.rename(target)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    LOGGER.info("%s was fetched into %s", record.name, target)
    return target


def _download(name: str, files: HubFiles) -> Path:
    """The archive in the cache of huggingface_hub."""
    try:
        return fetch(HubFile(files.repo, files.revision, files.file, "dataset"))
    except (FileNotFoundError, ConnectionError, PermissionError) as error:
        raise FileNotFoundError(
            f"{name} cannot be fetched: {error}; or get it elsewhere and name its folder"
        ) from error


def _unpack(archive: Path, folder: Path, record: BenchmarkSet) -> None:
    """Write the images of an archive into a folder, by their last names: nothing can be written anywhere else."""
    assert record.hub is not None
    source = f"{record.hub.file} of {record.hub.repo}"
    try:
        for name, content in _members(archive):
            last = PurePosixPath(name.replace("\\", "/")).name
            if PurePosixPath(last).suffix.lower() not in SUFFIXES or last.startswith("."):
                continue
            if (folder / last).exists():
                raise ValueError(f"{source} has two images called {last}; it is not the archive of {record.name}")
            with content() as data, open(folder / last, "wb") as file:
                shutil.copyfileobj(data, file)
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"{source} is damaged ({error}); delete {archive} and fetch it again") from error
    except OSError as error:
        if error.errno is not None:  # of the disk
            raise
        raise ValueError(f"{source} is damaged ({error}); delete {archive} and fetch it again") from error


def _members(archive: Path) -> Iterator[tuple[str, "_Opener"]]:
    """Name of each plain file in a tar or zip archive, and how it is opened; links and devices are left out."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if not name.endswith("/"):
                    yield name, _Opener(packed, name)
        return
    with tarfile.open(archive) as packed:
        for member in packed:
            if member.isfile():
                yield member.name, _Opener(packed, member)


class _Opener:
    """Opens one file of an archive."""

    def __init__(self, packed: tarfile.TarFile | zipfile.ZipFile, member: tarfile.TarInfo | str) -> None:
        self.packed = packed
        self.member = member

    @contextmanager
    def __call__(self) -> Iterator[BinaryIO]:
        if isinstance(self.packed, zipfile.ZipFile):
            assert isinstance(self.member, str)
            file = self.packed.open(self.member)
        else:
            assert isinstance(self.member, tarfile.TarInfo)
            file = self.packed.extractfile(self.member)
        assert file is not None  # it is a plain file
        with file:
            yield file  # pyright: ignore[reportReturnType]


def _restore_grey(record: BenchmarkSet, folder: Path) -> None:
    """Make images grey again that are so in the record and were packed as RGB, if that gives the recorded pixels."""
    grey = {image.sha256 for image in record.images if image.mode == "L" and image.sha256}
    for path in sorted(folder.iterdir()) if grey else []:
        if inspect(path).grey_sha256 in grey:
            pixels = read_scored(path)[0].numpy()
            path.unlink()
            Image.fromarray(pixels).save(path.with_suffix(".png"))


def _check(record: BenchmarkSet, folder: Path) -> None:
    """See that a folder holds the set.

    Raises:
        ValueError: If it does not; it lists what is wrong.
    """
    assert record.hub is not None
    paths = sorted(folder.iterdir())
    found = ImageSet(record.name, paths, folder, record=record).problems(())
    if found:
        raise ValueError(
            "\n- ".join(
                [f"what {record.hub.repo} on the Hub has as {record.name} is not that set, and is not kept:", *found]
            )
        )
