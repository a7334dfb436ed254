"""What a TIFF file keeps besides pixels, read from its tags, whoever reads the pixels."""

from srzoo.files import Rereadable
from srzoo.image.metadata import dots_per_inch
from srzoo.image.picture import Metadata
from srzoo.image.tiff_tags import DENSITY, EXIF_TAGS, TEXT_TAGS, Tag, dots_of, exif_block, read_tags, words_of

_DESCRIPTION, _XMP, _ICC = 270, 700, 34675
_CAPTIONS = (33723, 34377)
"""IPTC, and Photoshop's blocks, which hold it too."""
LEFT_OUT = "IPTC and Photoshop data left out"


def tiff_metadata(file: Rereadable) -> tuple[Metadata, tuple[str, ...]]:
    """Metadata of the first page, and what is left out.

    Args:
        file: A TIFF or BigTIFF; what is damaged of its tags is left out.
    """
    tags = read_tags(file, (*EXIF_TAGS, *TEXT_TAGS.values(), *DENSITY, *_CAPTIONS, _XMP, _ICC))
    notes = (LEFT_OUT,) if any(tag in tags for tag in _CAPTIONS) else ()
    if _DESCRIPTION in tags and _is_of_a_program(words_of(tags[_DESCRIPTION])):
        del tags[_DESCRIPTION]
    texts = {key: words_of(tags[tag]) for key, tag in TEXT_TAGS.items() if tag in tags and tags[tag].kind == 2}
    kept = [tag for number, tag in tags.items() if number in EXIF_TAGS]
    return Metadata(
        icc_profile=_bytes(tags.get(_ICC)),
        exif=exif_block(kept) if kept else None,
        xmp=_bytes(tags.get(_XMP)),
        text={key: value for key, value in texts.items() if value},
        dpi=dots_per_inch(dots_of(tags)),
    ), notes


def _bytes(tag: Tag | None) -> bytes | None:
    return tag.data or None if tag is not None else None


def _is_of_a_program(description: str) -> bool:
    """Whether it tells tifffile, ImageJ or OME how the pixels were stored, which is not so any more."""
    return description.startswith(('{"shape":', "shape=(", "ImageJ=")) or description.rstrip().endswith("OME>")
