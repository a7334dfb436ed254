"""What was found wrong with a set of training images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class DataReport:
    """The images of a source of patches, and what is wrong with some of them.

    Args:
        patch_size: Side of the LR patch that was asked for.
        images: Images that are drawn at one scale or more.
        megapixels: HR pixels of those, in millions.
        excluded: Images that are kept from the draw, with their copies.
        left_out: Licence -> images that are under it and are left out as `ImageFolder(leave_out=...)` asks.
        unreadable: `name: reason` of files that are left out.
        too_small: Scale -> images that hold no patch and are not drawn at it.
        duplicates: Groups of images with equal pixels; only the first of each is drawn.
        unpaired: HR images without an LR image and LR images without an HR image, of paired folders.
        misfit: Pairs whose LR image has not the size HR // scale.
    """

    patch_size: int
    images: int
    megapixels: float
    excluded: int = 0
    unreadable: tuple[str, ...] = ()
    too_small: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    duplicates: tuple[tuple[str, ...], ...] = ()
    unpaired: tuple[str, ...] = ()
    misfit: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def lines(self) -> list[str]:
        """The report as plain lines to print: the images first, then one for each kind of fault there is.

        Examples:
            >>> DataReport(48, 2, 1.5, too_small={4: ("icon.png",)}).lines()
            ['2 images, 1.5 megapixels', 'too small for a patch of 48 at x4, not drawn there (1): icon.png']
        """
        held = f", {self.excluded} held out" if self.excluded else ""
        size = f"{self.images} images, {self.megapixels:.1f} megapixels{held}"
        licences = ", ".join(f"{number} {licence}" for licence, number in self.left_out.items())
        return [size, *([f"left out by licence: {licences}"] if licences else []), *self.warnings(), *self.faults()]

    def warnings(self) -> list[str]:
        """A line for each reason why images are left out."""
        copies = [" = ".join(group) for group in self.duplicates]
        told = [("unreadable, left out", list(self.unreadable)), ("equal pixels, only the first is drawn", copies)]
        told += [
            (f"too small for a patch of {self.patch_size} at x{scale}, not drawn there", list(names))
            for scale, names in self.too_small.items()
        ]
        return [f"{what} ({len(names)}): {listed(names)}" for what, names in told if names]

    def faults(self) -> list[str]:
        """A line for each reason why this cannot be trained on; all images are named."""
        told = (("unpaired", self.unpaired), ("LR and HR sizes that do not fit", self.misfit))
        return [f"{what} ({len(names)}): {listed(names, len(names))}" for what, names in told if names]


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names separated by commas; past `most`, how many more there are.

    Examples:
        >>> listed(["a.png", "b.png", "c.png"], most=2)
        'a.png, b.png and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return printable(", ".join(names[:most])) + more


def printable(text: str) -> str:
    r"""The text with bytes of file names that are not UTF-8 written as escapes.

    Examples:
        >>> printable("caf\udce9.png")
        'caf\\udce9.png'
    """
    return text.encode("utf-8", "backslashreplace").decode()
