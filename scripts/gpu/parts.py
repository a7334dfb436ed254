"""Files in numbered parts below a size, with an index of sizes and hashes; a cut-off write leaves the old.

`x.safetensors` becomes `x.safetensors.part00`, `.part01`, ... and `x.safetensors.json`. New parts are written
beside the old ones as `.new`; the moment the new index is there (`.json.new`), they count, and are renamed.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable
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


def clear_parts(target: Path) -> None:
    """Remove the parts of `target`, the index first."""
    for suffix in (".json.new", ".json"):
        _beside(target, suffix).unlink(missing_ok=True)
    for path in target.parent.glob(f"{target.name}.part*"):
        path.unlink()


def publish_file(whole: Path, target: Path, limit: int) -> None:
    """Copy `whole` to `target`: as one file if it is small enough, else in parts."""
    if whole.stat().st_size > limit:
        split_file(whole, target, limit)
        target.unlink(missing_ok=True)
    else:
        shutil.copyfile(whole, _beside(target, ".new"))
        _beside(target, ".new").replace(target)
        clear_parts(target)


def find_file(name: str, folders: Iterable[Path]) -> Path | None:
    """The path of `name` in the first folder that holds it, as one file or in parts."""
    for folder in folders:
        target = folder / name
        if any(path.is_file() for path in (target, _beside(target, ".json"), _beside(target, ".json.new"))):
            return target
    return None


def join_file(target: Path, whole: Path) -> None:
    """Put `target` together as the one file `whole`, checking every part.

    Raises:
        ValueError: If a part is missing or damaged.
    """
    if target.is_file():
        shutil.copyfile(target, whole)
        return
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
