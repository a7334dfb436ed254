"""What of an image's metadata a format has room for, and how the rest is told."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

from srzoo.image.exif import exif_with_resolution
from srzoo.image.formats import Format
from srzoo.image.picture import Metadata
from srzoo.image.png_chunks import is_plain_srgb
from srzoo.image.png_strips import fits_png_text
from srzoo.image.tiff_tags import TEXT_TAGS, parse_exif, read_tags, words_of

NAMES = {
    "icc_profile": "the colour profile was",
    "exif": "the EXIF data were",
    "xmp": "the XMP packet was",
    "dpi": "the resolution was",
}
IN_EXIF = ("WEBP", "AVIF")
"""Formats whose resolution is that of the EXIF data."""
COMMON_PROFILE_BYTES = 1 << 20
"""Pillow refuses a PNG with a larger profile."""
JPEG_EXIF_BYTES = 65533 - 6
JPEG_XMP_BYTES = 65504
JPEG_COMMENT_BYTES = 65533
_FITS_TEXT: dict[str, Callable[[str, str], bool]] = {
    "PNG": fits_png_text,
    "TIFF": lambda keyword, text: keyword in TEXT_TAGS and "\0" not in text,
    "JPEG": lambda keyword, text: keyword == "Comment" and len(text.encode()) <= JPEG_COMMENT_BYTES,
}


def keep_metadata(kind: Format, metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """What a format keeps of the metadata, and a note on each thing it does not.

    Args:
        kind: The format.
        metadata: Of the image.
    """
    notes: list[str] = []
    if kind.name in IN_EXIF and metadata.dpi:
        exif = exif_with_resolution(metadata.exif, metadata.dpi)
        metadata = replace(metadata, exif=exif or metadata.exif, dpi=exif and metadata.dpi)
        notes += [] if exif else ["the resolution was left out: the EXIF data, which would hold it, are damaged"]
    for name, words in NAMES.items():
        value = getattr(metadata, name)
        reason = _reason(kind, name, value) if value else None
        if reason:
            notes.append(f"{words} left out: {reason}")
            metadata = replace(metadata, **{name: None})
    if kind.name != "PNG" and metadata.png_colour:
        if ("cICP" in metadata.png_colour or not metadata.icc_profile) and not is_plain_srgb(metadata.png_colour):
            chunks = ", ".join(metadata.png_colour)
            notes.append(f"what the PNG says of its colours ({chunks}) was left out: {kind.name} has no room for it")
        metadata = replace(metadata, png_colour={})
    if kind.name == "PNG" and len(metadata.icc_profile or b"") > COMMON_PROFILE_BYTES:
        notes.append(
            f"the colour profile has more than {COMMON_PROFILE_BYTES} bytes, which some readers refuse in a PNG"
        )
    fits, told = _FITS_TEXT.get(kind.name, lambda keyword, text: False), _told_by_exif(metadata)
    kept = {keyword: value for keyword, value in metadata.text.items() if fits(keyword, value)}
    lost = [
        repr(keyword) for keyword, value in metadata.text.items() if keyword not in kept and told.get(keyword) != value
    ]
    notes += [f"text was left out, for which {kind.name} has no room: {', '.join(lost)}"] if lost else []
    return replace(metadata, text=kept), tuple(notes)


def _told_by_exif(metadata: Metadata) -> dict[str, str]:
    """Keyword -> text that the EXIF data hold as well."""
    tags = read_tags(BytesIO(metadata.exif or b""), TEXT_TAGS.values())
    return {keyword: words_of(tags[tag]) for keyword, tag in TEXT_TAGS.items() if tag in tags}


def _reason(kind: Format, name: str, value: object) -> str | None:
    """Why a format does not keep a piece of metadata."""
    if name not in kind.keeps:
        return f"{kind.name} has no room for it"
    if kind.name == "JPEG" and isinstance(value, bytes):
        most = {"exif": JPEG_EXIF_BYTES, "xmp": JPEG_XMP_BYTES}.get(name)
        if most is not None and len(value) > most:
            return f"JPEG has room for {most} bytes, it has {len(value)}"
    if kind.name == "TIFF" and name == "exif" and isinstance(value, bytes):
        try:
            parse_exif(value)
        except ValueError as error:
            return str(error)
    return None
