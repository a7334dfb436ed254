"""Pack photos into tar files of a given size, best score first, for `train.py`, which unpacks them.

python scripts/gpu/pack.py photos/ --scores photos/manifest.csv --size 55 -o packs/
"""

import argparse
import csv
import io
import math
import shutil
import sys
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # srzoo need not be installed

from srzoo.data import find_images

MIB = 2**20
SCORES = "scores.csv"


@dataclass(frozen=True)
class Photo:
    """An image file, the name it gets in the pack, and its score."""

    path: Path
    name: str
    score: float

    def header(self) -> tarfile.TarInfo:
        """Its entry in a tar file, without the owner."""
        info = tarfile.TarInfo(self.name)
        info.size = self.path.stat().st_size
        info.mtime = int(self.path.stat().st_mtime)
        return info

    def row(self) -> str:
        """Its line of scores.csv."""
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerow([self.name, repr(self.score)])
        return text.getvalue()


def read_scores(path: Path) -> dict[str, float]:
    """File name -> score, from a CSV file with at least the columns `file` and `score`."""
    with open(path, encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        if not {"file", "score"} <= set(table.fieldnames or ()):
            raise ValueError(f"{path} needs the columns file and score; it has {', '.join(table.fieldnames or ())}")
        scores = {}
        for row in table:
            try:
                scores[row["file"]] = float(row["score"])
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}: the score of {row['file']} is no number ({row['score']!r})") from error
    bad = [name for name, score in scores.items() if not 0 <= score < math.inf]
    if bad:
        raise ValueError(f"{path}: the score of {bad[0]} is {scores[bad[0]]}; scores must be 0 or larger")
    return scores


def list_photos(folder: Path, scores: dict[str, float] | None) -> list[Photo]:
    """The folder's images, best score first, equal scores by name; all or none have a score."""
    names = [path.relative_to(folder).as_posix() for path in find_images(folder)]
    if scores is not None:
        for which, left in (
            ("has no score", set(names) - set(scores)),
            ("is not in the folder", set(scores) - set(names)),
        ):
            if left:
                raise ValueError(f"{min(left)} {which}, and so with {len(left) - 1} more; make scores and photos agree")
    photos = [Photo(folder / name, name, 1.0 if scores is None else scores[name]) for name in names]
    return sorted(photos, key=lambda photo: (-photo.score, photo.name))


def _blocks(size: int, unit: int = tarfile.BLOCKSIZE) -> int:
    """Bytes that `size` bytes take in whole blocks."""
    return -(-size // unit) * unit


def _tar_size(held: int, table: int) -> int:
    """Size of a tar file of `held` bytes of members and a scores.csv of `table` bytes."""
    header_and_end = 3 * tarfile.BLOCKSIZE
    return _blocks(header_and_end + held + _blocks(table), tarfile.RECORDSIZE)


def plan_packs(photos: Sequence[Photo], limit: int) -> Iterator[list[Photo]]:
    """Runs of photos whose tar files, scores included, take at most `limit` bytes each."""
    heading = len("file,score\n")
    pack: list[Photo] = []
    held, table = 0, heading
    for photo in photos:
        header = photo.header()
        own = len(header.tobuf(tarfile.PAX_FORMAT)) + _blocks(header.size)
        row = len(photo.row().encode())
        if _tar_size(own, heading + row) > limit:
            size = f"{photo.name} ({header.size / MIB:.1f} MiB)"
            raise ValueError(f"{size} does not fit a pack of {limit / MIB:g} MiB; take a larger --size")
        if _tar_size(held + own, table + row) > limit:
            yield pack
            pack, held, table = [], 0, heading
        pack.append(photo)
        held, table = held + own, table + row
    if pack:
        yield pack


def write_pack(path: Path, photos: Sequence[Photo]) -> None:
    """An uncompressed tar file of scores.csv and the photos, byte for byte."""
    table = ("file,score\n" + "".join(photo.row() for photo in photos)).encode()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo(SCORES)
        info.size = len(table)
        tar.addfile(info, io.BytesIO(table))
        for photo in photos:
            with open(photo.path, "rb") as file:
                tar.addfile(photo.header(), file)


def unpack_photos(packs: Path, limit: int | None, target: Path) -> dict[str, float]:
    """Fill `target` with the photos of all packs, nothing else; returns their scores by name."""
    files = sorted(packs.glob("*.tar"))[:limit]
    if not files:
        raise FileNotFoundError(f"{packs} has no packs (*.tar); make some with pack.py")
    shutil.rmtree(target, ignore_errors=True)
    scores: dict[str, float] = {}
    for path in files:
        try:
            with tarfile.open(path) as tar:
                table = tar.extractfile(SCORES)
                rows = csv.DictReader(io.StringIO(table.read().decode() if table else ""))
                own = {row["file"]: float(row["score"]) for row in rows}
                if twice := sorted(own.keys() & scores.keys()):
                    raise ValueError(f"{path}: {twice[0]} is in another pack, too; give each photo one name")
                tar.extractall(target, [m for m in tar.getmembers() if m.name in own], filter="data")
        except (tarfile.TarError, KeyError) as error:
            raise ValueError(f"{path} is damaged or was not made by pack.py ({error}); copy it again") from error
        scores |= own
        print(f"{path.name}: {len(own)} photos")
    return scores


def run(args: argparse.Namespace) -> None:
    """Pack as told."""
    if args.size <= 0 or (args.count is not None and args.count < 1):
        raise ValueError("--size and --count must be positive")
    photos = list_photos(args.photos, read_scores(args.scores) if args.scores else None)
    args.output.mkdir(parents=True, exist_ok=True)
    if there := sorted(args.output.glob("*.tar")):
        raise ValueError(f"{there[0]} is already there; remove the old packs or choose another folder")
    packed = 0
    for i, pack in enumerate(plan_packs(photos, int(args.size * MIB))):
        if i == args.count:
            break
        path = args.output / f"photos-{i:02d}.tar"
        write_pack(path, pack)
        packed += len(pack)
        size = path.stat().st_size / MIB
        print(f"{path}: {len(pack)} photos, {size:.1f} MiB, scores {pack[0].score:g} to {pack[-1].score:g}")
    print(f"{packed} of {len(photos)} photos packed")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Pack photos into tar files of a given size, best score first.")
    parser.add_argument("photos", type=Path, help="folder of images, searched recursively")
    parser.add_argument("--scores", type=Path, help="CSV file with columns file and score; without it, order by name")
    parser.add_argument("--size", type=float, default=55, help="largest size of a pack in MiB (default 55)")
    parser.add_argument("--count", type=int, help="write at most this many packs")
    parser.add_argument("-o", "--output", type=Path, default=Path("packs"), help="folder for the packs (default packs)")
    try:
        run(parser.parse_args(argv))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
