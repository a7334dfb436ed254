"""Chunks of PNG files (ISO/IEC 15948, section 5)."""

import struct
import zlib
from collections.abc import Iterator, Mapping

from srzoo.files import Rereadable

SIGNATURE = b"\x89PNG\r\n\x1a\n"
OF_COLOUR = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")
"""What a PNG says about its colours besides an ICC profile."""
_OF_PIXELS = (b"IDAT", b"fdAT")


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk as it stands in a file."""
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", zlib.crc32(body, zlib.crc32(kind)))))


def chunks(file: Rereadable) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each chunk; pixels as empty bodies; what has a wrong check sum or is cut is left out."""
    file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in _OF_PIXELS:
            file.seek(size + 4, 1)
            yield kind, b""
            continue
        body, check = file.read(size), file.read(4)
        if check == struct.pack(">I", zlib.crc32(body, zlib.crc32(kind))):
            yield kind, body


def colour_chunks(file: Rereadable) -> dict[str, bytes]:
    """Kind -> body of the chunks that say what the colours are, which stand before the pixels."""
    found = {}
    for kind, body in chunks(file):
        if kind in _OF_PIXELS:
            break
        if kind in OF_COLOUR:
            found.setdefault(kind.decode(), body)
    return found


_SRGB_GAMMA, _SRGB_PRIMARIES = 45455, (31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)


def is_plain_srgb(colour: Mapping[str, bytes]) -> bool:
    """Whether such chunks say no more than that colours are sRGB, as they are taken for anyway."""
    if "cICP" in colour:
        return colour["cICP"][:2] == b"\x01\x0d"
    if "sRGB" in colour:
        return True
    gamma, primaries = colour.get("gAMA"), colour.get("cHRM")
    return (gamma is None or abs(int.from_bytes(gamma, "big") - _SRGB_GAMMA) <= 50) and (
        primaries is None or primaries == struct.pack(">8I", *_SRGB_PRIMARIES)
    )


def light_curve(colour: Mapping[str, bytes]) -> str | None:
    """PQ or HLG, if the values are encoded so for displays of high dynamic range."""
    return {b"\x10": "PQ", b"\x12": "HLG"}.get(colour.get("cICP", b"")[1:2])
