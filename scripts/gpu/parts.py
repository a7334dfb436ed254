"""A folder as one tar file in numbered parts below a size, with an index of sizes and hashes.

`run.tar` becomes `run.tar.part00`, `.part01`, ... and `run.tar.json`. New parts are written beside the old ones as
`.new`; the moment the new index is there (`.json.new`), they count, and are renamed: a cut-off write leaves the old.
"""

import hashlib
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path


def _beside(target: Path, suffix: str) -> Path:
    return target.with_name(target.name + suffix)


def _settle(target: Path) -> None:
    """Complete a write whose new index is there; drop one that was cut off earlier."""
    new = _beside(target, ".json.new")
    if not new.exists():
        for path in target.parent.glob(f"{target.name}.part*.new"):
            path.unlink()
        return
    names = {part["name"] for part in json.loads(new.read_text())["parts"]}
    for name in names:
        path = target.with_name(f"{name}.new")
        if path.exists():
            path.replace(target.with_name(name))
    for path in target.parent.glob(f"{target.name}.part*"):
        if path.name not in names:
            path.unlink()
    new.replace(_beside(target, ".json"))


def split_file(whole: Path, target: Path, limit: int) -> None:
    """Write `whole` as the parts of `target`, each of at most `limit` bytes."""
    if limit < 1:
        raise ValueError("the largest file size must be positive")
    target.parent.mkdir(parents=True, exist_ok=True)
    _settle(target)
    parts = []
    digest = hashlib.sha256()
    with open(whole, "rb") as file:
        while data := file.read(limit):
            name = f"{target.name}.part{len(parts):02d}"
            target.with_name(f"{name}.new").write_bytes(data)
            digest.update(data)
            parts.append({"name": name, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    index = {"size": sum(part["size"] for part in parts), "sha256": digest.hexdigest(), "parts": parts}
    unfinished = _beside(target, ".json.unfinished")
    unfinished.write_text(json.dumps(index, indent=1))
    unfinished.replace(_beside(target, ".json.new"))
    _settle(target)


def has_parts(target: Path) -> bool:
    """Whether there is a `target` in parts."""
    return any(_beside(target, suffix).is_file() for suffix in (".json", ".json.new"))


def join_file(target: Path, whole: Path) -> None:
    """Put `target` together as the one file `whole`, checking every part.

    Raises:
        ValueError: If a part is missing or damaged.
    """
    _settle(target)
    index = json.loads(_beside(target, ".json").read_text())
    digest = hashlib.sha256()
    with open(whole, "wb") as file:
        for part in index["parts"]:
            path = target.with_name(part["name"])
            data = path.read_bytes() if path.is_file() else None
            if data is None or hashlib.sha256(data).hexdigest() != part["sha256"]:
                what = "missing" if data is None else "damaged: its sha256 is not the one in the index"
                whole.unlink()
                raise ValueError(f"{path} is {what}; copy the state of the last part again, or delete it to start anew")
            digest.update(data)
            file.write(data)
    if digest.hexdigest() != index["sha256"]:
        whole.unlink()
        raise ValueError(f"the parts of {target} do not make the file they were cut from; copy the state again")


def pack_folder(folder: Path, target: Path, limit: int, skip: Sequence[str] = ()) -> None:
    """Write the files below `folder` as the parts of the tar file `target`; hidden files and `skip` are left out."""
    whole = folder.with_name(f"{folder.name}.tar")
    with tarfile.open(whole, "w") as tar:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            if not path.name.startswith(".") and path.name not in skip:
                tar.add(path, path.relative_to(folder).as_posix())
    split_file(whole, target, limit)
    whole.unlink()


def unpack_folder(target: Path, folder: Path) -> None:
    """Put the files in the parts of the tar file `target` into `folder`.

    Raises:
        ValueError: If a part is missing or damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = folder / ".joined.tar"
    join_file(target, whole)
    with tarfile.open(whole) as tar:
        tar.extractall(folder, filter="data")
    whole.unlink()
