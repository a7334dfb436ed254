"""What becomes of a picture: its header, and what there is to say about it."""

from dataclasses import dataclass

from srzoo.image import Header, Metadata
from srzoo.upscaling.target import Sizes


@dataclass(frozen=True)
class Result:
    """What became of a file.

    Args:
        width: Of the result, in pixels.
        height: Of the result, in pixels.
        mode: Its mode: L, LA, RGB, RGBA or CMYK.
        dtype: Its depth: uint8, uint16 or float32.
        notes: What the user should know: what of the file could not be kept, what was done again and why.
        engine: What computed it: torch, openvino or onnx. "auto" is torch for small images.
        precision: What it was computed in, such as "bf16 (head and tail fp32)"; rows done again are in the notes.
    """

    width: int
    height: int
    mode: str
    dtype: str
    notes: tuple[str, ...]
    engine: str
    precision: str


def result_header(header: Header, sizes: Sizes, *, strip: bool = False) -> Header:
    """What the result of a picture is: its size, and the picture's mode, depth and metadata."""
    metadata: Metadata = header.metadata.stripped() if strip else header.metadata
    metadata = metadata.scaled(sizes.width / header.width, sizes.height / header.height)
    return Header(sizes.width, sizes.height, header.mode, header.dtype, metadata)
