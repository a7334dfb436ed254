"""Training images decoded once into memory-mapped uint8 files, with their LR versions."""

import errno
import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from srzoo.data.crops import Atlas
from srzoo.data.folders import find_images
from srzoo.files import replacing
from srzoo.image import read_pixels
from srzoo.resize import imresize

LOGGER = logging.getLogger("srzoo")
FORMAT = 3
"""Part of every cache's key: raised when decoding, LR images or the files of a cache change."""
Pixels = np.ndarray
Report = Callable[[int, int, str], None]
"""Called with (done, total, what) while a cache is built."""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ENTRY = (errno.EACCES, errno.EPERM, errno.EROFS)


def cache_root() -> Path:
    """Where decoded images are kept: `SRZOO_CACHE`, or srzoo under the user's cache folder."""
    if "SRZOO_CACHE" in os.environ:
        return Path(os.environ["SRZOO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "srzoo"


@dataclass(frozen=True)
class Entry:
    """One image of the cache: name, HR size in pixels, where its bytes start in `hr.bin`, SHA-256 of them."""

    name: str
    height: int
    width: int
    offset: int
    digest: str


class PixelCache:
    """Decoded images of one folder, memory-mapped; built by `PixelCache.build`, flat in memory.

    Args:
        folder: A finished cache folder.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.folder = folder
        self.channels: int = index["channels"]
        self.fingerprint: str = index["fingerprint"]
        """Hash over the sorted names and decoded pixels: equal images, equal fingerprint."""
        self.skipped: dict[str, str] = index["skipped"]
        """Files that could not be read -> the reason."""
        self.withheld: list[str] = index["withheld"]
        """Those of them that the system would not give, which may pass."""
        self.entries = [Entry(*row) for row in index["images"]]
        self._atlases: dict[int, Atlas] = {}

    @classmethod
    def build(
        cls, folder: str | Path, *, channels: int = 3, root: Path | None = None, report: Report | None = None
    ) -> "PixelCache":
        """The cache of a folder of images, decoded now or found from last time.

        A build that was stopped goes on after the last image that was finished. Other processes that want the
        same cache wait until it is there. Unreadable files are left out and named in `skipped`; those that the
        system would not give (no permission, a broken disk or link) are tried again at the next call.

        Args:
            folder: HR images, searched recursively.
            channels: 1 (grey), 3 (RGB) or 4 (RGBA); files are converted.
            root: Where caches are kept; `cache_root()` if None.
            report: Told of progress.

        Raises:
            FileNotFoundError: If the folder does not exist or holds no image.
            ValueError: If none of its images can be read.
            OSError: If the cache folder is full or cannot be written to.
        """
        folder = Path(folder).resolve()
        paths = find_images(folder)
        files = [(str(path), _stamp(path)) for path in paths]
        state = [FORMAT, channels, str(folder), files]
        key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        caches = (root or cache_root()) / "images"
        target, is_there = _locate(caches, key, folder)
        if not is_there:
            with cache_faults(caches):
                caches.mkdir(parents=True, exist_ok=True)
                with work_alone(caches / f".{key}.lock") as unfinished:
                    target, is_there = _locate(caches, key, folder)
                    if not is_there:
                        _build(paths, folder, channels, caches / f".{key}.{unfinished}", target, report)
        return cls(target)

    def prepare(self, scale: int, report: Report | None = None) -> None:
        """Make the LR images of a scale, unless they are there; goes on where an earlier call was stopped.

        MATLAB bicubic of the HR cropped to a multiple; empty for an image smaller than the scale.

        Raises:
            OSError: If the cache folder is full or cannot be written to.
        """
        target = self.folder / f"lr_x{scale}.bin"
        size = sum((e.height // scale) * (e.width // scale) * self.channels for e in self.entries)
        if _size(target) == size:
            return
        with cache_faults(self.folder), work_alone(self.folder / f".lr_x{scale}.lock") as unfinished:
            if _size(target) == size:
                return
            work, list_of_it = (self.folder / f".lr_x{scale}{of}.{unfinished}" for of in ("", ".journal"))
            with open(work, "a+b") as pixels, open(list_of_it, "a+b") as journal:
                done = len(_resume(pixels, journal, [entry.name for entry in self.entries], self.channels))
                for i, entry in enumerate(self.entries[done:], done):
                    data = _shrink(self.image(i), scale).tobytes()
                    digest = hashlib.sha256(data).hexdigest()
                    row = Row(entry.name, entry.height // scale, entry.width // scale, digest)
                    _append(row, data, pixels, journal)
                    if report:
                        report(i + 1, len(self.entries), f"LR x{scale}")
                os.fsync(pixels.fileno())
            list_of_it.unlink()
            work.replace(target)

    def atlas(self, scale: int = 1) -> Atlas:
        """All images, memory-mapped: HR at scale 1, else the LR of that scale (see `prepare`)."""
        if scale not in self._atlases:
            heights, widths = (
                np.array([getattr(e, side) // scale for e in self.entries], np.int64) for side in ("height", "width")
            )
            ends = np.cumsum(heights * widths)
            path = self.folder / ("hr.bin" if scale == 1 else f"lr_x{scale}.bin")
            pixels = np.memmap(path, np.uint8, mode="r") if ends[-1] else np.empty(0, np.uint8)
            which = np.zeros(len(ends), np.int64)
            starts = ends - heights * widths
            self._atlases[scale] = Atlas((pixels.reshape(-1, self.channels),), which, starts, heights, widths)
        return self._atlases[scale]

    def image(self, i: int, scale: int = 1) -> Pixels:
        """Image `i` as a read-only view, h w c: HR at scale 1, else the LR of that scale (see `prepare`)."""
        return self.atlas(scale).image(i)


def bicubic_lr(hr: Tensor, scale: int) -> Tensor:
    """The LR image of an HR image c h w, uint8: MATLAB's bicubic of what is left when cropped to a multiple."""
    height, width = (side // scale * scale for side in hr.shape[-2:])
    return imresize(hr[:, :height, :width], scale=1 / scale)


def _shrink(pixels: Pixels, scale: int) -> Pixels:
    """The LR image of an HR image h w c; empty if it is smaller than the scale."""
    if min(pixels.shape[:2]) < scale:
        return pixels[:0]
    return bicubic_lr(torch.from_numpy(pixels.copy()).permute(2, 0, 1), scale).permute(1, 2, 0).contiguous().numpy()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What tells that a file has changed; None where the system does not say."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _size(path: Path) -> int:
    """Bytes of a file; -1 if there is none."""
    return path.stat().st_size if path.exists() else -1


def _locate(caches: Path, key: str, folder: Path) -> tuple[Path, bool]:
    """Where the cache of a folder is or is to be built, and whether it is there.

    One that was built while the system would not give a file stays for those who have it open; where that file can be
    read now, the cache with it lies beside it.
    """
    for number in count():
        target = caches / (f"{key}-{number}" if number else key)
        cache = _whole(target)
        if cache is None or all(_is_withheld(folder / name, cache.channels) for name in cache.withheld):
            return target, cache is not None
    raise AssertionError


def _whole(target: Path) -> PixelCache | None:
    """The cache there, unless it is unfinished or damaged."""
    try:
        cache = PixelCache(target)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    size = sum(entry.height * entry.width * cache.channels for entry in cache.entries)
    return cache if _size(target / "hr.bin") == size else None


def _is_withheld(path: Path, channels: int) -> bool:
    """Whether the system still does not give a file."""
    try:
        read_pixels(path, channels)
    except (ValueError, OSError) as error:
        return _is_of_the_system(error)
    return False


def _is_of_the_system(error: BaseException) -> bool:
    """Whether a file was not read for a reason that may pass, rather than for what is in it."""
    return any(isinstance(e, OSError) and e.errno is not None for e in (error, error.__cause__)) or isinstance(
        error, FileNotFoundError | PermissionError
    )


@contextmanager
def cache_faults(folder: Path) -> Iterator[None]:
    """A full disk and a folder that may not be written to, said in one sentence."""
    try:
        yield
    except OSError as error:
        move = "set SRZOO_CACHE to a folder on another disk"
        if error.errno in NO_ROOM:
            raise OSError(
                error.errno,
                f"no space left for decoded images in {folder}; free some or {move} (what is decoded stays, and the "
                "next run goes on from there)",
            ) from error
        if error.errno in NO_ENTRY:
            raise OSError(error.errno, f"the cache folder {folder} cannot be written to; {move}") from error
        raise


@contextmanager
def work_alone(path: Path) -> Iterator[str]:
    """Hold a lock file, gone afterwards, for which other processes wait.

    Args:
        path: The lock file.

    Yields:
        The suffix of unfinished work: one that the next process finds, or where files cannot be locked, a new one.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield f"{secrets.token_hex(4)}.partial"
        return
    with open(path, "w") as file:
        locked = True
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOGGER.info("waiting for another process that decodes the same images")
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # some network folders
            locked = False
        yield "partial" if locked else f"{secrets.token_hex(4)}.partial"
        path.unlink(missing_ok=True)  # who waits on it, or makes a new one, finds the work done


def _build(paths: Sequence[Path], folder: Path, channels: int, work: Path, target: Path, report: Report | None) -> None:
    """Decode every image into `work`, after what is there from an interrupted build, and make it `target`."""
    work.mkdir(exist_ok=True)
    names = [path.relative_to(folder).as_posix() for path in paths]
    with open(work / "hr.bin", "a+b") as pixels, open(work / "journal", "a+b") as journal:
        rows = _resume(pixels, journal, names, channels)
        for i in range(len(rows), len(paths)):
            row, data = _decode(paths[i], names[i], channels)
            rows.append(row)
            _append(row, data, pixels, journal)
            if report:
                report(i + 1, len(paths), "decode")
        os.fsync(pixels.fileno())
    skipped = {row.name: row.reason for row in rows if row.reason}
    if len(skipped) == len(rows):
        shutil.rmtree(work)
        reason = next(iter(skipped.values()))
        raise ValueError(f"none of the {len(paths)} images in {folder} can be read; the first: {reason}")
    _write_index(work / "index.json", rows, channels, skipped)
    (work / "journal").unlink()
    if target.exists() and _whole(target) is None:
        shutil.rmtree(target)
    try:
        work.rename(target)
    except OSError:
        if not (target / "index.json").exists():  # else another process was faster, where files cannot be locked
            raise
        shutil.rmtree(work)


class Row(NamedTuple):
    """What the journal says of an image: size and SHA-256 of its pixels, or why it cannot be read.

    Args:
        name: Relative to the folder.
        height: In pixels.
        width: In pixels.
        digest: SHA-256 of the pixels.
        reason: Why it cannot be read; empty if it can.
        withheld: Whether the system would not give it, which may pass.
    """

    name: str
    height: int = 0
    width: int = 0
    digest: str = ""
    reason: str = ""
    withheld: bool = False


def _decode(path: Path, name: str, channels: int) -> tuple[Row, bytes]:
    """One image: what the journal says of it, and its pixels."""
    try:
        pixels = read_pixels(path, channels)
    except (ValueError, OSError) as error:
        return Row(name, reason=str(error), withheld=_is_of_the_system(error)), b""
    data = pixels.tobytes()
    return Row(name, pixels.shape[0], pixels.shape[1], hashlib.sha256(data).hexdigest()), data


def _append(row: Row, data: bytes, pixels: BinaryIO, journal: BinaryIO) -> None:
    """Write the pixels of an image, and then what the journal says of it."""
    pixels.write(data)
    pixels.flush()
    journal.write(json.dumps(row).encode() + b"\n")
    journal.flush()


def _resume(pixels: BinaryIO, journal: BinaryIO, names: Sequence[str], channels: int) -> list[Row]:
    """The images an interrupted build has finished; both files are cut after them.

    The pixels are read again and compared with their hash, so that what a power cut took is decoded anew.
    """
    pixels.seek(0)
    journal.seek(0)
    rows: list[Row] = []
    line_end = pixel_end = 0
    for line, name in zip(journal.read().splitlines(keepends=True), names, strict=False):
        row = _whole_row(line)
        if row is None or row.name != name:
            break
        data = pixels.read(row.height * row.width * channels)
        if not row.reason and hashlib.sha256(data).hexdigest() != row.digest:
            break
        rows.append(row)
        line_end, pixel_end = line_end + len(line), pixel_end + len(data)
    pixels.truncate(pixel_end)
    journal.truncate(line_end)
    return rows


def _whole_row(line: bytes) -> Row | None:
    """A line of the journal; None if it was cut off."""
    if not line.endswith(b"\n"):
        return None
    try:
        return Row(*json.loads(line))
    except (ValueError, TypeError):  # after a power cut
        return None


def _write_index(path: Path, rows: Sequence[Row], channels: int, skipped: dict[str, str]) -> None:
    """The index of a finished cache."""
    digest = hashlib.sha256()
    offset, entries = 0, []
    for row in rows:
        if not row.reason:
            said = f"{row.name} {(row.height, row.width, channels)} "
            digest.update(said.encode("utf-8", "surrogateescape") + bytes.fromhex(row.digest))
            entries.append((row.name, row.height, row.width, offset, row.digest))
            offset += row.height * row.width * channels
    index = {"channels": channels, "fingerprint": digest.hexdigest(), "images": entries, "skipped": skipped}
    index["withheld"] = [row.name for row in rows if row.withheld]
    with replacing(path) as work:
        work.write_text(json.dumps(index), encoding="utf-8")
