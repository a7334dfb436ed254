"""EXIF changed in place: orientation, sizes and resolution; every other byte stays as it is.

Layout of the data: TIFF 6.0, section 2; the tags: Exif 2.32, section 4.6. Rewriting it as a whole would lose what is
found by position, such as the notes of camera makers.
"""

import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

ORIENTATION = 0x0112
_EXIF_BLOCK = 0x8769
_ACROSS = (0x0100, 0xA002)
_DOWN = (0x0101, 0xA003)
_PER_UNIT_ACROSS = (0x011A, 0xA20E)
_PER_UNIT_DOWN = (0x011B, 0xA20F)
_UNIT = 0x0128
_SHORT, _LONG, _RATIONAL = 3, 4, 5
_WHOLE = {_SHORT: "H", _LONG: "I"}
_THUMBNAIL_AT, _THUMBNAIL_BYTES = (0x0201, 0x0111), (0x0202, 0x0117)
_MOST = 2**32 - 1
_IN_XMP = re.compile(rb"(tiff:Orientation(?:=[\"']|>))([1-8])")


@dataclass(frozen=True)
class _Entry:
    """One tag: where its 12 bytes stand, and what they say."""

    at: int
    tag: int
    kind: int
    count: int


def orientation_of(exif: bytes | None, xmp: bytes | None) -> int:
    """Orientation from 1 (upright) to 8 as the EXIF data says, or else the XMP packet; 1 if neither does."""
    for entry, order in _entries(exif or b""):
        if entry.tag == ORIENTATION and entry.kind in _WHOLE and entry.count == 1:
            (value,) = struct.unpack_from(order + _WHOLE[entry.kind], exif or b"", entry.at + 8)
            return value if 1 <= value <= 8 else 1
    found = _IN_XMP.search(xmp or b"")
    return int(found[2]) if found else 1


def upright_exif(exif: bytes, orientation: int) -> bytes:
    """EXIF data of an image that has been turned upright: it says so, and what stood sideways is exchanged.

    The thumbnail, which has not been turned, is unlinked, and its bytes are zeros.
    """
    data = bytearray(exif)
    entries = list(_entries(exif))
    for entry, order in entries:
        if entry.tag == ORIENTATION and entry.kind in _WHOLE:
            struct.pack_into(order + _WHOLE[entry.kind], data, entry.at + 8, 1)
    if orientation >= 5:
        for one, other in (*zip(_ACROSS, _DOWN, strict=True), *zip(_PER_UNIT_ACROSS, _PER_UNIT_DOWN, strict=True)):
            _exchange(data, entries, one, other)
    if orientation > 1:
        _unlink_thumbnail(data)
    return bytes(data)


def upright_xmp(xmp: bytes) -> bytes:
    """XMP packet of an image that has been turned upright."""
    return _IN_XMP.sub(rb"\g<1>1", xmp)


def scaled_exif(exif: bytes, factor_x: int | float, factor_y: int | float) -> bytes:
    """EXIF data of the same picture with so many times the pixels: its sizes and pixels per unit are scaled."""
    data = bytearray(exif)
    for entry, order in _entries(exif):
        for factor, sizes, per_unit in (
            (factor_x, _ACROSS, _PER_UNIT_ACROSS),
            (factor_y, _DOWN, _PER_UNIT_DOWN),
        ):
            if entry.tag in sizes:
                _scale_size(data, entry, order, factor)
            elif entry.tag in per_unit:
                _scale_ratio(data, entry, order, factor)
    return bytes(data)


def _order(exif: bytes | bytearray) -> str | None:
    """Byte order of the data for `struct`, if it is EXIF at all."""
    return {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(exif[:4])) if len(exif) >= 8 else None


def _entries(exif: bytes) -> Iterator[tuple[_Entry, str]]:
    """Tags of the first block and of the EXIF block, each with the byte order; damage ends them."""
    order = _order(exif)
    if order is None:
        return
    blocks = [struct.unpack_from(order + "I", exif, 4)[0]]
    for block in blocks:  # grows by the EXIF block at most
        if block + 2 > len(exif):
            return
        (number,) = struct.unpack_from(order + "H", exif, block)
        for at in range(block + 2, min(block + 2 + 12 * number, len(exif) - 11), 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, at)
            if tag == _EXIF_BLOCK and len(blocks) == 1:
                blocks.append(struct.unpack_from(order + "I", exif, at + 8)[0])
            yield _Entry(at, tag, kind, count), order


def _unlink_thumbnail(data: bytearray) -> None:
    order = _order(data)
    if order is None:
        return
    (block,) = struct.unpack_from(order + "I", data, 4)
    if block + 2 > len(data):
        return
    end = block + 2 + 12 * struct.unpack_from(order + "H", data, block)[0]
    if end + 4 <= len(data):
        (second,) = struct.unpack_from(order + "I", data, end)
        struct.pack_into(order + "I", data, end, 0)
        _erase_thumbnail(data, order, second, (block, end))


def _erase_thumbnail(data: bytearray, order: str, block: int, first: tuple[int, int]) -> None:
    """Zeros in place of the thumbnail that the second block tells of, unless it says that it lies in the first."""
    if not 0 < block <= len(data) - 2:
        return
    (number,) = struct.unpack_from(order + "H", data, block)
    place = size = 0
    for at in range(block + 2, min(block + 2 + 12 * number, len(data) - 11), 12):
        tag, kind, count = struct.unpack_from(order + "HHI", data, at)
        if kind in _WHOLE and count == 1:
            (value,) = struct.unpack_from(order + _WHOLE[kind], data, at + 8)
            place, size = value if tag in _THUMBNAIL_AT else place, value if tag in _THUMBNAIL_BYTES else size
    end = min(place + size, len(data))
    if place >= 8 and (end <= first[0] or place >= first[1] + 4):
        data[place:end] = bytes(max(end - place, 0))


def exif_with_resolution(exif: bytes | None, dpi: tuple[float, float]) -> bytes | None:
    """EXIF data that give the resolution, all else as it stands; None if they are damaged.

    The first block is written again at the end, with three tags more, so that nothing else moves.

    Args:
        exif: The data; None makes a block that says nothing else.
        dpi: Pixels per inch, horizontally and vertically.
    """
    exif = exif or b"II*\0\x08\0\0\0" + bytes(6)
    order = _order(exif)
    start = struct.unpack_from(order + "I", exif, 4)[0] if order else 0
    if order is None or start + 2 > len(exif):
        return None
    end = start + 2 + 12 * struct.unpack_from(order + "H", exif, start)[0]
    if end > len(exif):
        return None
    tags = {struct.unpack_from(order + "H", exif, at)[0]: exif[at : at + 12] for at in range(start + 2, end, 12)}
    data = exif + bytes(len(exif) % 2)
    for i, tag in enumerate((_PER_UNIT_ACROSS[0], _PER_UNIT_DOWN[0])):
        tags[tag] = struct.pack(order + "HHII", tag, _RATIONAL, 1, len(data))
        data += struct.pack(order + "II", *_fitting(Fraction(dpi[i])))
    tags[_UNIT] = struct.pack(order + "HHIHH", _UNIT, _SHORT, 1, 2, 0)
    block = struct.pack(order + "H", len(tags)) + b"".join(tags[tag] for tag in sorted(tags))
    following = exif[end : end + 4].ljust(4, b"\0")
    return data[:4] + struct.pack(order + "I", len(data)) + data[8:] + block + following


def _exchange(data: bytearray, entries: list[tuple[_Entry, str]], one: int, other: int) -> None:
    """Exchange the values of two tags of the same kind: their types and values, not their places."""
    pair = [entry for tag in (one, other) for entry, _ in entries if entry.tag == tag]
    if len(pair) == 2 and pair[0].count == pair[1].count == 1:
        first, second = (slice(entry.at + 2, entry.at + 12) for entry in pair)
        data[first], data[second] = data[second], data[first]


def _scale_size(data: bytearray, entry: _Entry, order: str, factor: int | float) -> None:
    if entry.count != 1 or entry.kind not in _WHOLE:
        return
    (value,) = struct.unpack_from(order + _WHOLE[entry.kind], data, entry.at + 8)
    struct.pack_into(order + "HII", data, entry.at + 2, _LONG, 1, min(round(value * factor), _MOST))


def _scale_ratio(data: bytearray, entry: _Entry, order: str, factor: int | float) -> None:
    if entry.count != 1 or entry.kind != _RATIONAL:
        return
    (at,) = struct.unpack_from(order + "I", data, entry.at + 8)
    if at + 8 > len(data):
        return
    above, below = struct.unpack_from(order + "II", data, at)
    if above and below:
        struct.pack_into(order + "II", data, at, *_fitting(Fraction(above, below) * Fraction(factor)))


def _fitting(value: Fraction) -> tuple[int, int]:
    """Numerator and denominator of the value, near enough and of 32 bits each."""
    limit: Callable[[int], Fraction] = value.limit_denominator
    most = 1_000_000
    while most > 1 and limit(most).numerator > _MOST:
        most //= 10
    near = limit(most)
    return min(near.numerator, _MOST), near.denominator
