"""Licences of training pictures: who may not be trained on, and how many pictures came under which."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from srzoo.data.check import listed
from srzoo.data.hold_out import group_crops

SHARE_ALIKE = "share-alike"
"""What `ImageFolder(leave_out=...)` takes for all licences that ask for works made from a picture to be under them."""
_SHARE_ALIKE = re.compile(r"\bSA\b|share[- ]?alike|\b[AL]?GPL|\bGFDL|\bODbL|\bFAL\b|\bLAL\b|free art|copyleft", re.I)
_SPDX_SHARE_ALIKE = re.compile(r"CC[- ]BY(-NC)?-SA[- ](\d\.\d)", re.I)


@dataclass(frozen=True)
class Licences:
    """The licences of the images of a folder, and which of them are crops of one picture.

    Args:
        by_file: File name (relative to the folder) -> licence, an SPDX identifier or in words. What is in parentheses
            behind it, such as the name of a photographer, is not looked at and never recorded.
        pictures: File name -> the picture it is a crop of; those that are not named are crops of one picture where
            their names say so (`0001_s001.png`, `0001_s002.png`).

    Raises:
        ValueError: If a licence is empty.

    Examples:
        >>> Licences({"a.png": "CC-BY-SA-4.0 (A. Photographer)"}).of("a.png")
        'CC-BY-SA-4.0'
    """

    by_file: Mapping[str, str]
    pictures: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if empty := [name for name, licence in self.by_file.items() if not plain_licence(licence)]:
            raise ValueError(f"no licence for {listed(empty)}; give each one, if only 'not known'")

    def of(self, name: str) -> str:
        """The licence of a file, without what is in parentheses.

        Raises:
            KeyError: If the file is not named.
        """
        return plain_licence(self.by_file[name])


def read_licences(path: str | Path) -> Licences:
    """The licences in a CSV file with columns `file` and `licence` (or `license`).

    Where it has a column `original`, files with an equal one (and an equal `source`, where there is that column) are
    crops of one picture. Other columns are passed over, so it can be the file that names the scores too.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a column is missing, a licence is empty, or a file is named twice with two licences.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; give a CSV file with columns file and licence")
    by_file: dict[str, str] = {}
    pictures: dict[str, str] = {}
    with open(path, newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        column = next((name for name in ("licence", "license") if name in columns), None)
        if "file" not in columns or column is None:
            has = ", ".join(columns) or "nothing"
            raise ValueError(f"{path} needs columns file and licence; it has {has}")
        for row in rows:
            name, licence = row["file"], row[column] or ""
            if by_file.setdefault(name, licence) != licence:
                raise ValueError(f"{path} names {name} twice, as {by_file[name]} and {licence}; keep one of them")
            if row.get("original"):
                pictures[name] = "/".join(filter(None, (row.get("source"), row["original"])))
    try:
        return Licences(by_file, pictures)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def has_licences(path: str | Path) -> bool:
    """Whether a CSV file has the columns that `read_licences` needs; False if it cannot be read."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            columns = csv.DictReader(file).fieldnames or []
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return "file" in columns and bool({"licence", "license"} & set(columns))


def plain_licence(text: str) -> str:
    """A licence without names in parentheses and without quotes; its first letter is a capital.

    Examples:
        >>> plain_licence('"public domain" (as stated by a museum)')
        'Public domain'
        >>> plain_licence("CC-BY-4.0 (own photos) / Unsplash License")
        'CC-BY-4.0 / Unsplash License'
    """
    bare = " ".join(re.sub(r"\([^()]*\)", " ", text).replace('"', " ").split())
    return bare[:1].upper() + bare[1:]


def is_share_alike(licence: str) -> bool:
    """Whether a licence asks for works made from the picture to be under the same one: CC-BY-SA, GPL, GFDL, FAL.

    Examples:
        >>> [is_share_alike(name) for name in ("CC-BY-SA-4.0", "CC BY-SA 3.0", "CC-BY-4.0", "CC0-1.0")]
        [True, True, False, False]
    """
    return _SHARE_ALIKE.search(plain_licence(licence)) is not None


def names_licence(pattern: str, licence: str) -> bool:
    """Whether a licence is one of those that a pattern names: `share-alike`, or as in `CC-BY-NC*`.

    Examples:
        >>> names_licence("share-alike", "CC-BY-SA-4.0"), names_licence("cc-by-*", "CC0-1.0")
        (True, False)
    """
    if pattern == SHARE_ALIKE:
        return is_share_alike(licence)
    return fnmatchcase(plain_licence(licence).lower(), pattern.lower())


def left_out_files(names: Sequence[str], licences: Licences, patterns: Sequence[str], folder: str) -> dict[str, str]:
    """File -> licence of the files that are under one of some licences.

    Args:
        names: All files of a folder.
        licences: Theirs.
        patterns: As `names_licence` takes them.
        folder: What the folder is called, for errors.

    Raises:
        ValueError: If a file has no licence, all would be left out, or a pattern other than `share-alike` fits none.
    """
    missing = [name for name in names if name not in licences.by_file]
    if missing:
        raise ValueError(f"no licence for {listed(missing)}; give every image of {folder} one")
    own = {name: licences.of(name) for name in names}
    there = sorted(set(own.values()))
    for pattern in patterns:
        if pattern != SHARE_ALIKE and names and not any(names_licence(pattern, licence) for licence in there):
            raise ValueError(f"no image of {folder} is under {pattern!r}, to be left out; there are {', '.join(there)}")
    out = {name: one for name, one in own.items() if any(names_licence(pattern, one) for pattern in patterns)}
    if names and len(out) == len(names):
        raise ValueError(f"all {len(names)} images of {folder} are under {', '.join(there)}; none is left to train on")
    return out


def pictures_of(names: Sequence[str], licences: Licences) -> list[str]:
    """For each file, the picture it is a crop of."""
    return [licences.pictures.get(name, crop) for name, crop in zip(names, group_crops(names), strict=True)]


def count_pictures(named: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Licence -> number of pictures, sorted by licence, of (licence, picture) for each image; crops count once.

    Examples:
        >>> count_pictures([("CC0-1.0", "a"), ("CC0-1.0", "a"), ("CC-BY-4.0", "b"), ("CC0-1.0", "c")])
        {'CC-BY-4.0': 1, 'CC0-1.0': 2}
    """
    return dict(sorted(Counter(licence for licence, _ in set(named)).items()))


def weights_licence(licence: str, pictures: Iterable[str]) -> str:
    """What weights are to be shared under: the licence of those they start from, and that of share-alike pictures.

    Of several versions of one share-alike licence of Creative Commons the newest is told, which the others allow.
    Licences that are not share-alike add nothing: this is the rule of the zoo, and no legal advice.

    Args:
        licence: SPDX expression of the weights that were started from; empty if there are none, or it is not known.
        pictures: Licences of the pictures trained on.

    Examples:
        >>> weights_licence("", ["CC0-1.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0"])
        'CC-BY-SA-4.0'
        >>> weights_licence("Apache-2.0", ["CC-BY-SA-4.0 (A. Photographer)", "CC0-1.0"])
        'Apache-2.0 AND CC-BY-SA-4.0'
        >>> weights_licence("", ["CC0-1.0"])
        ''
    """
    parts = [part for part in licence.split(" AND ") if part]
    parts += [plain_licence(one) for one in pictures if is_share_alike(one)]
    newest: dict[str, tuple[str, str]] = {}
    for part in dict.fromkeys(parts):
        found = _SPDX_SHARE_ALIKE.fullmatch(part)
        kind, version = (f"CC-BY{(found[1] or '').upper()}-SA", found[2]) if found else (part, "")
        newest[kind] = max(newest.get(kind, ("", "")), (version, f"{kind}-{version}" if found else part))
    return " AND ".join(sorted(told for _, told in newest.values()))
