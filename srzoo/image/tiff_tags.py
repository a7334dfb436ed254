"""Directories of TIFF files: tags and values, built for a file and taken out of EXIF data (TIFF 6.0, Exif 2.32)."""

import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO

from srzoo.files import Rereadable

SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
"""Type of a value -> its bytes."""
SWAPPED = {3: 2, 4: 4, 5: 4, 8: 2, 9: 4, 10: 4, 11: 4, 12: 8, 13: 4}
"""Type of a value -> bytes whose order depends on the file's."""
LARGEST = 2**32 - 1
CODES = {1: "B", 3: "H", 4: "I", 16: "Q"}
DIRECTORIES = (0x8769, 0x8825, 0xA005)
"""Tags that point to a directory of their own: Exif, GPS and interoperability."""
TEXT_TAGS = {"Description": 270, "Title": 269, "Author": 315, "Software": 305, "Copyright": 33432}
"""Keyword -> tag that holds it, in TIFF files and mostly in EXIF data."""
EXIF_TAGS = (269, 270, 271, 272, 274, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096), *DIRECTORIES)
"""Tags of a TIFF's first directory that belong in EXIF data, and back: the rest describes pixels or a thumbnail."""
DENSITY = (282, 283, 296)
"""Tags of the resolution: across, down, and its unit."""
MOST_BYTES = 1 << 28
"""Largest value read: nothing beside the pixels is larger."""
MOST_TAGS = 1 << 16
MOST_POSITION = 1 << 62


@dataclass(frozen=True)
class Tag:
    """One entry of a directory.

    Args:
        number: What it says.
        kind: Type of its values, as TIFF numbers them.
        count: How many there are.
        data: The values, low byte first.
        directory: What it points to instead, if it points to a directory.
    """

    number: int
    kind: int
    count: int
    data: bytes = b""
    directory: tuple["Tag", ...] = ()


def numbers(number: int, kind: int, *values: int) -> Tag:
    """A tag of whole numbers: bytes (kind 1), 16 bits (3), 32 bits (4) or 64 bits (16)."""
    return Tag(number, kind, len(values), struct.pack(f"<{len(values)}{CODES[kind]}", *values))


def raw(number: int, data: bytes, kind: int = 7) -> Tag:
    """A tag of bytes that mean nothing here."""
    return Tag(number, kind, len(data), data)


def text(number: int, value: str) -> Tag:
    """A tag of text, in UTF-8."""
    return raw(number, value.encode() + b"\0", kind=2)


def rational(number: int, value: float) -> Tag:
    """A tag of one fraction."""
    ratio = Fraction(value).limit_denominator(max(1, min(10_000, int(LARGEST / max(value, 1)))))
    return Tag(number, 5, 1, struct.pack("<II", ratio.numerator, ratio.denominator))


def build_directory(tags: Sequence[Tag], start: int, big: bool) -> tuple[bytes, int]:
    """Bytes that go to `start` in a file, and where in the file the directory is.

    Args:
        tags: Its entries, in any order.
        start: Where the bytes will be; even.
        big: As in BigTIFF, with 8 bytes to a position.
    """
    word = 8 if big else 4
    before, entries, after = b"", [], b""
    pointers = {}
    for tag in tags:
        if tag.directory:
            inner, pointers[tag.number] = build_directory(tag.directory, start + len(before), big)
            before += inner
    here = start + len(before)
    values_at = here + (8 + 20 * len(tags) + 8 if big else 2 + 12 * len(tags) + 4)
    for tag in sorted(tags, key=lambda tag: tag.number):
        kind, count, data = tag.kind, tag.count, tag.data
        if tag.directory:
            kind, count, data = (16 if big else 4), 1, pointers[tag.number].to_bytes(word, "little")
        if len(data) > word:
            position = values_at + len(after)
            after += data + b"\0" * (len(data) % 2)
            data = position.to_bytes(word, "little")
        entries.append(struct.pack("<HHQ" if big else "<HHI", tag.number, kind, count) + data.ljust(word, b"\0"))
    num = struct.pack("<Q" if big else "<H", len(entries))
    return before + num + b"".join(entries) + bytes(word) + after, here


def parse_exif(exif: bytes) -> tuple[Tag, ...]:
    """Tags of EXIF data and of the directories within; a thumbnail is left out.

    Args:
        exif: From `II` or `MM` on.

    Raises:
        ValueError: If it is damaged.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        raise ValueError("EXIF data begin with the mark of a TIFF structure")
    try:
        return _Reader(BytesIO(exif), order, len(exif)).directory(struct.unpack_from(f"{order}I", exif, 4)[0])
    except struct.error:
        raise ValueError("EXIF data end before they should") from None


def read_tags(file: Rereadable, wanted: Collection[int]) -> dict[int, Tag]:
    """Number -> tag of the first directory of a TIFF file or of EXIF data; what is damaged is left out.

    Args:
        file: TIFF or BigTIFF, of either byte order.
        wanted: Numbers of the tags to read.
    """
    file.seek(0)
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2], "<")
    big = head[2:4] in (b"+\0", b"\0+")
    try:
        (start,) = struct.unpack_from(f"{order}{'Q' if big else 'I'}", head, 8 if big else 4)
    except struct.error:
        return {}
    found = _Reader(file, order, MOST_BYTES, big=big, wanted=wanted, strict=False).directory(start)
    return {tag.number: tag for tag in found}


def exif_block(tags: Collection[Tag]) -> bytes:
    """EXIF data with these tags in their first directory."""
    directory, position = build_directory(list(tags), 8, big=False)
    return b"II*\0" + struct.pack("<I", position) + directory


def dots_of(tags: Mapping[int, Tag]) -> tuple[float, float] | None:
    """Pixels per inch, across and down, by the tags of `DENSITY`; None if they do not say."""
    across, down, unit = (tags.get(number) for number in DENSITY)
    factor = {2: 1.0, 3: 2.54}.get(2 if unit is None else int.from_bytes(unit.data, "little"))
    if factor is None or across is None or down is None or across.kind != 5 or down.kind != 5:
        return None
    (x, x_below), (y, y_below) = (struct.unpack_from("<II", tag.data) for tag in (across, down))
    return (x / x_below * factor, y / y_below * factor) if x and y and x_below and y_below else None


def words_of(tag: Tag) -> str:
    """The text of a tag, as far as its first zero."""
    words = tag.data.split(b"\0")[0]
    try:
        return words.decode()
    except UnicodeDecodeError:
        return words.decode("latin-1")


class _Reader:
    """Reads directories.

    Args:
        file: Where they are.
        order: Its byte order, as `struct` has it.
        room: Bytes that values may have in all; more is damage.
        big: Whether it is a BigTIFF.
        wanted: Tags of the first directory to read; None reads all.
        strict: Whether a damaged tag raises ValueError, or is left out.
    """

    def __init__(
        self,
        file: Rereadable,
        order: str,
        room: int,
        *,
        big: bool = False,
        wanted: Collection[int] | None = None,
        strict: bool = True,
    ) -> None:
        self._file, self._order, self._room = file, order, room
        self._big, self._wanted, self._strict = big, wanted, strict
        self._seen: set[int] = set()

    def directory(self, position: int, depth: int = 0) -> tuple[Tag, ...]:
        """Tags of the directory at a position; none if it was read before or is too deep."""
        if position in self._seen or depth > 3:
            return ()
        self._seen.add(position)
        word = 8 if self._big else 4
        head, entry = self._order + ("Q" if self._big else "H"), self._order + ("HHQQ" if self._big else "HHII")
        size, start = struct.calcsize(entry), position + struct.calcsize(head)
        tags: dict[int, Tag] = {}
        try:
            (num,) = struct.unpack(head, self._at(position, struct.calcsize(head)))
            for here in range(start, start + size * min(num, MOST_TAGS), size):
                number, kind, count, place = struct.unpack(entry, self._at(here, size))
                if depth or self._wanted is None or number in self._wanted:
                    values_at = here + size - word if SIZES.get(kind, 0) * count <= word else place
                    tag = self._pointed(number, place, depth) or self._tag(number, kind, count, values_at)
                    tags |= {number: tag} if tag is not None else {}
        except struct.error:
            if self._strict:
                raise
        return tuple(tags.values())

    def _pointed(self, number: int, place: int, depth: int) -> Tag | None:
        inner = self.directory(place, depth + 1) if number in DIRECTORIES else ()
        return Tag(number, 4, 1, directory=inner) if inner else None

    def _tag(self, number: int, kind: int, count: int, place: int) -> Tag | None:
        """The tag with the values that are there; None if there are none, or they are damaged."""
        if number in DIRECTORIES:
            return None
        length = SIZES.get(kind, 0) * count
        data = self._at(place, length) if length <= self._room else b""
        if kind not in SIZES or len(data) < length:
            if self._strict:
                raise ValueError(f"EXIF tag {number} is damaged")
            return None
        self._room -= length
        data = data if self._order == "<" else _swap(data, SWAPPED.get(kind, 1))
        return Tag(number, kind, count, data) if count else None

    def _at(self, position: int, length: int) -> bytes:
        if position > MOST_POSITION:
            return b""
        self._file.seek(position)
        return self._file.read(length)


def _swap(data: bytes, unit: int) -> bytes:
    """Each group of so many bytes backwards."""
    return b"".join(data[i : i + unit][::-1] for i in range(0, len(data), unit)) if unit > 1 else data
