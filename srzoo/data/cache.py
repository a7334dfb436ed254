"""Training images decoded once into memory-mapped uint8 files, with their LR versions."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from srzoo.data.folders import find_images
from srzoo.files import replacing
from srzoo.image import read_pixels
from srzoo.resize import imresize

LOGGER = logging.getLogger("srzoo")
FORMAT = 1
"""Part of every cache's key: raised when decoding or LR images change."""
Pixels = np.ndarray
Report = Callable[[int, int, str], None]
"""Called with (done, total, what) while a cache is built."""


def cache_root() -> Path:
    """Where decoded images are kept: `SRZOO_CACHE`, or srzoo under the user's cache folder."""
    if "SRZOO_CACHE" in os.environ:
        return Path(os.environ["SRZOO_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "srzoo"


@dataclass(frozen=True)
class Entry:
    """One image of the cache: its name and HR size in pixels, and where its bytes start in `hr.bin`."""

    name: str
    height: int
    width: int
    offset: int


class PixelCache:
    """Decoded images of one folder, memory-mapped; built by `PixelCache.build`, flat in memory.

    Args:
        folder: A finished cache folder.
    """

    def __init__(self, folder: Path) -> None:
        index = json.loads((folder / "index.json").read_text())
        self.folder = folder
        self.channels: int = index["channels"]
        self.fingerprint: str = index["fingerprint"]
        """Hash over the sorted names and decoded pixels: equal images, equal fingerprint."""
        self.skipped: list[str] = index["skipped"]
        """Files that could not be read, with the reason."""
        self.entries = [Entry(*row) for row in index["images"]]
        self._maps: dict[int, np.memmap] = {}
        self._offsets: dict[int, list[int]] = {}

    @classmethod
    def build(
        cls, folder: str | Path, *, channels: int = 3, root: Path | None = None, report: Report | None = None
    ) -> "PixelCache":
        """The cache of a folder of images, decoded now or found from last time.

        Unreadable files are logged, listed in `skipped`, and left out.

        Args:
            folder: HR images, searched recursively.
            channels: 1 (grey), 3 (RGB) or 4 (RGBA); files are converted.
            root: Where caches are kept; `cache_root()` if None.
            report: Told of progress.

        Raises:
            FileNotFoundError: If the folder does not exist or holds no image.
            ValueError: If none of its images can be read.
        """
        folder = Path(folder).resolve()
        paths = find_images(folder)
        files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
        state = [FORMAT, channels, str(folder), files]
        key = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:16]
        target = (root or cache_root()) / "images" / key
        if not (target / "index.json").exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{key}."))
            try:
                _decode_all(paths, folder, channels, work, report)
                work.rename(target)
            except OSError:
                if not (target / "index.json").exists():  # else another process was faster
                    raise
            finally:
                shutil.rmtree(work, ignore_errors=True)
        return cls(target)

    def prepare(self, scale: int, report: Report | None = None) -> None:
        """Make the LR images of a scale, unless they are there.

        MATLAB bicubic of the HR cropped to a multiple; empty for an image smaller than the scale.
        """
        target = self.folder / f"lr_x{scale}.bin"
        if target.exists():
            return
        with replacing(target) as work, open(work, "wb") as file:
            for i, entry in enumerate(self.entries):
                hr = self.image(i)[: entry.height // scale * scale, : entry.width // scale * scale]
                if hr.size:
                    lr = imresize(torch.from_numpy(hr.copy()).permute(2, 0, 1), scale=1 / scale)
                    file.write(lr.permute(1, 2, 0).contiguous().numpy().tobytes())
                if report:
                    report(i + 1, len(self.entries), f"LR x{scale}")

    def image(self, i: int, scale: int = 1) -> Pixels:
        """Image `i` as a read-only view, h w c: HR at scale 1, else the LR of that scale (see `prepare`)."""
        if scale not in self._maps:
            name = "hr.bin" if scale == 1 else f"lr_x{scale}.bin"
            self._maps[scale] = np.memmap(self.folder / name, np.uint8, mode="r")
            sizes = [(e.height // scale) * (e.width // scale) * self.channels for e in self.entries]
            self._offsets[scale] = [0, *np.cumsum(sizes).tolist()]
        entry, start = self.entries[i], self._offsets[scale][i]
        shape = (entry.height // scale, entry.width // scale, self.channels)
        return self._maps[scale][start : start + int(np.prod(shape))].reshape(shape)


def _decode_all(paths: Iterable[Path], folder: Path, channels: int, work: Path, report: Report | None) -> None:
    """Decode every image into `work/hr.bin` and write `work/index.json` last."""
    paths = list(paths)
    entries: list[tuple[str, int, int, int]] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    offset = 0
    with open(work / "hr.bin", "wb") as file:
        for i, path in enumerate(paths):
            name = path.relative_to(folder).as_posix()
            try:
                pixels = read_pixels(path, channels)
            except (ValueError, OSError) as error:
                skipped.append(f"{name}: {error}")
                LOGGER.warning("left out %s: %s", name, error)
                continue
            data = pixels.tobytes()
            file.write(data)
            digest.update(f"{name} {pixels.shape} ".encode() + hashlib.sha256(data).digest())
            entries.append((name, pixels.shape[0], pixels.shape[1], offset))
            offset += len(data)
            if report:
                report(i + 1, len(paths), "decode")
    if not entries:
        raise ValueError(f"none of the {len(paths)} images in {folder} can be read; the first: {skipped[0]}")
    index = {
        "channels": channels,
        "fingerprint": digest.hexdigest(),
        "skipped": skipped,
        "images": entries,
    }
    (work / "index.json").write_text(json.dumps(index))
