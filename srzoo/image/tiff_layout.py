"""What the samples of a TIFF page mean, and how they become pixels; TIFF 6.0, parts 1 and 3."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from srzoo.image.picture import LEVELS, Depth, Mode
from srzoo.image.pil import unit_floats

if TYPE_CHECKING:
    from tifffile import TiffPage

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _INKS, _YCBCR = 0, 1, 2, 3, 5, 6
_PREMULTIPLIED, _ALPHA = 1, 2
_NAMES = {
    4: "a mask",
    6: "YCbCr",
    8: "CIE Lab",
    9: "ICC Lab",
    10: "ITU Lab",
    32803: "raw sensor data",
    34892: "raw sensor data",
}
_COLOURS: dict[int, tuple[Mode, int]] = {
    _WHITE_IS_ZERO: ("L", 1),
    _BLACK_IS_ZERO: ("L", 1),
    _RGB: ("RGB", 3),
    _PALETTE: ("RGB", 1),
    _INKS: ("CMYK", 4),
}
_CONVERT = "convert it to RGB first"


@dataclass(frozen=True, eq=False)
class TiffLayout:
    """How stored samples become pixels.

    Args:
        mode: Mode of the pixels.
        dtype: Depth of the pixels.
        bits: Of a stored sample, if it is an unsigned integer.
        inverted: Whether zero is white.
        premultiplied: Whether the colours are multiplied by alpha.
        palette: Colours by index, if samples are indices.
        notes: What is changed on the way.
    """

    mode: Mode
    dtype: Depth
    bits: int
    inverted: bool = False
    premultiplied: bool = False
    palette: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def pixels(self, samples: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
        """Pixels h w c of samples h w s, and what had to be changed in these.

        Raises:
            ValueError: If floats are not within [0, 1], or an index is in no palette.
        """
        notes: tuple[str, ...] = ()
        if self.palette is not None:
            if samples.max() >= len(self.palette):
                raise ValueError("an index is beyond its palette")
            return self.palette[samples[..., 0]], notes
        if self.dtype == "float32":
            samples, notes = unit_floats(samples)
        elif self.bits < 8:
            samples = (samples * (255 // (2**self.bits - 1))).astype(np.uint8)
        elif samples.dtype.byteorder not in "=|":
            samples = samples.astype(samples.dtype.newbyteorder("="))
        if self.inverted:
            samples = np.concatenate([_negative(samples[..., :1]), samples[..., 1:]], axis=2)
        return (_divided(samples) if self.premultiplied else samples), notes


def layout_of(page: "TiffPage") -> TiffLayout:
    """Layout of a page.

    Raises:
        ValueError: If it is one that would lose something, with the reason.
    """
    photometric, extras = int(page.photometric), tuple(int(kind) for kind in page.extrasamples)
    if photometric not in _COLOURS:
        what = _NAMES.get(photometric, f"photometric interpretation {photometric}")
        raise ValueError(f"it holds {what}, which is not read; {_CONVERT}")
    mode, channels = _COLOURS[photometric]
    _check_samples(page, photometric, channels, extras)
    bits, dtype, notes = _depth(page)
    palette = None
    if photometric == _PALETTE:
        palette, notes = _palette(page, bits), ("palette read as RGB",)
        if extras:
            raise ValueError(f"it has a palette with alpha, which is not read; {_CONVERT}")
    if bits == 1 and photometric != _PALETTE:
        notes = ("bilevel read as L",)
    premultiplied = extras == (_PREMULTIPLIED,)
    if premultiplied:
        notes = (*notes, f"premultiplied alpha read as {mode}A")
    final: Any = mode + ("A" if extras else "")
    return TiffLayout(final, dtype, bits, photometric == _WHITE_IS_ZERO, premultiplied, palette, notes)


def _check_samples(page: "TiffPage", photometric: int, channels: int, extras: tuple[int, ...]) -> None:
    if page.imagedepth != 1:
        raise ValueError("it is a volume, not an image; save one slice of it")
    if photometric == _INKS and int(page.tags.valueof(332, 1)) != 1:
        raise ValueError(f"its inks are not those of CMYK; {_CONVERT}")
    if page.samplesperpixel != channels + len(extras):
        raise ValueError(
            f"it has {page.samplesperpixel} channels, {channels} of which are known; save it without the others"
        )
    if len(extras) > 1 or (extras and photometric == _INKS):
        raise ValueError(
            f"it has {page.samplesperpixel} channels, more than colour and alpha; save it without the others"
        )
    if extras and extras[0] not in (_PREMULTIPLIED, _ALPHA):
        raise ValueError("it has one channel that does not say whether it is alpha; save it with alpha or without")


def _depth(page: "TiffPage") -> tuple[int, Depth, tuple[str, ...]]:
    """Bits of an integer sample, depth of the pixels, and what is changed."""
    bits, kind = page.bitspersample, int(page.sampleformat)
    if not isinstance(bits, int):
        raise ValueError(f"its channels have different numbers of bits; {_CONVERT}")
    if kind == 3 and bits in (16, 32, 64):
        return 32, "float32", (f"{bits}-bit floats read as 32",) if bits != 32 else ()
    if kind in (1, 4) and (bits in (8, 16) or (bits in (1, 2, 4) and page.samplesperpixel == 1)):
        return bits, "uint16" if bits == 16 else "uint8", ()
    name = {1: "unsigned integers", 2: "signed integers", 3: "floats", 5: "complex numbers", 6: "complex numbers"}
    raise ValueError(
        f"its samples are {bits}-bit {name.get(kind, 'values')}, which are not read; "
        "save it with 8 or 16 bits or floats from 0 to 1"
    )


def _palette(page: "TiffPage", bits: int) -> np.ndarray:
    colours = page.colormap
    if colours is None or colours.shape != (3, 2**bits) or bits > 8:
        raise ValueError("its palette does not fit its samples")
    return np.ascontiguousarray((colours >> 8).astype(np.uint8).T)


def _negative(samples: np.ndarray) -> np.ndarray:
    return np.asarray(LEVELS[samples.dtype.name], samples.dtype) - samples


def _divided(samples: np.ndarray) -> np.ndarray:
    """Colours divided by alpha, which is the last channel."""
    most = LEVELS[samples.dtype.name]
    colours, alpha = samples[..., :-1].astype(np.float64), samples[..., -1:].astype(np.float64)
    colours = (colours * most / np.where(alpha > 0, alpha, most)).clip(0, most)
    colours = colours if samples.dtype == np.float32 else np.rint(colours)
    return np.concatenate([colours.astype(samples.dtype), samples[..., -1:]], axis=2)
