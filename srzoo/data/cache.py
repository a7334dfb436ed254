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
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from srzoo.data.crops import Atlas
from srzoo.data.folders import find_images
from srzoo.files import replacing
from srzoo.image import read_pixels
from srzoo.resize import imresize

LOGGER = logging.getLogger("srzoo")
FORMAT = 2
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
        self.entries = [Entry(*row) for row in index["images"]]
        self._atlases: dict[int, Atlas] = {}

    @classmethod
    def build(
        cls, folder: str | Path, *, channels: int = 3, root: Path | None = None, report: Report | None = None
    ) -> "PixelCache":
        """The cache of a folder of images, decoded now or found from last time.

        A build that was stopped goes on after the last image that was finished. Other processes that want the
        same cache wait until it is there. Unreadable files are left out and named in `skipped`.

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
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        state = [FORMAT, channels, str(folder), files]
        key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        target = (root or cache_root()) / "images" / key
        if not (target / "index.json").exists():
            with cache_faults(target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
                with work_alone(target.parent / f".{key}.lock") as unfinished:
                    if not (target / "index.json").exists():
                        _build(paths, folder, channels, target.parent / f".{key}.{unfinished}", target, report)
        return cls(target)

    def prepare(self, scale: int, report: Report | None = None) -> None:
        """Make the LR images of a scale, unless they are there; goes on where an earlier call was stopped.

        MATLAB bicubic of the HR cropped to a multiple; empty for an image smaller than the scale.

        Raises:
            OSError: If the cache folder is full or cannot be written to.
        """
        target = self.folder / f"lr_x{scale}.bin"
        if target.exists():
            return
        with cache_faults(self.folder), work_alone(self.folder / f".lr_x{scale}.lock") as unfinished:
            if target.exists():
                return
            work = self.folder / f".lr_x{scale}.{unfinished}"
            ends = np.cumsum([(e.height // scale) * (e.width // scale) * self.channels for e in self.entries])
            with open(work, "ab") as file:
                done = int(np.searchsorted(ends, file.tell(), side="right"))
                file.truncate(int(ends[done - 1]) if done else 0)
                for i in range(done, len(self.entries)):
                    file.write(_shrink(self.image(i), scale).tobytes())
                    file.flush()
                    if report:
                        report(i + 1, len(self.entries), f"LR x{scale}")
                os.fsync(file.fileno())
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
            rows.append(_decode(paths[i], names[i], channels, pixels))
            journal.write(json.dumps(rows[-1]).encode() + b"\n")
            journal.flush()
            if report:
                report(i + 1, len(paths), "decode")
        os.fsync(pixels.fileno())
    skipped = {name: reason for name, _, _, _, reason in rows if reason}
    if len(skipped) == len(rows):
        shutil.rmtree(work)
        reason = next(iter(skipped.values()))
        raise ValueError(f"none of the {len(paths)} images in {folder} can be read; the first: {reason}")
    _write_index(work / "index.json", rows, channels, skipped)
    (work / "journal").unlink()
    try:
        work.rename(target)
    except OSError:
        if not (target / "index.json").exists():  # else another process was faster, where files cannot be locked
            raise
        shutil.rmtree(work)


Row = tuple[str, int, int, str, str]
"""Name, height, width and SHA-256 of a decoded image, or name and reason of a file that cannot be read."""


def _decode(path: Path, name: str, channels: int, file: BinaryIO) -> Row:
    """Append the pixels of one image to a file."""
    try:
        pixels = read_pixels(path, channels)
    except (ValueError, OSError) as error:
        return name, 0, 0, "", str(error)
    data = pixels.tobytes()
    file.write(data)
    file.flush()
    return name, pixels.shape[0], pixels.shape[1], hashlib.sha256(data).hexdigest(), ""


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
        if row is None or row[0] != name:
            break
        data = pixels.read(row[1] * row[2] * channels)
        if not row[4] and hashlib.sha256(data).hexdigest() != row[3]:
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
        name, height, width, digest, reason = json.loads(line)
    except ValueError:  # after a power cut
        return None
    return name, height, width, digest, reason


def _write_index(path: Path, rows: Sequence[Row], channels: int, skipped: dict[str, str]) -> None:
    """The index of a finished cache."""
    digest = hashlib.sha256()
    offset, entries = 0, []
    for name, height, width, content, reason in rows:
        if not reason:
            digest.update(f"{name} {(height, width, channels)} ".encode() + bytes.fromhex(content))
            entries.append((name, height, width, offset, content))
            offset += height * width * channels
    index = {"channels": channels, "fingerprint": digest.hexdigest(), "skipped": skipped, "images": entries}
    with replacing(path) as work:
        work.write_text(json.dumps(index), encoding="utf-8")
