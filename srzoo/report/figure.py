"""A comparison as papers print it: the image with the part marked, and the part by each method, with scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from srzoo.files import replacing
from srzoo.image import FORMATS
from srzoo.report.crops import Crop
from srzoo.report.methods import HR
from srzoo.report.views import Views, as_picture, best

CELL = 300
"""Width that a crop is enlarged to, about: its pixels become squares of a whole number of pixels."""
GAP = 16
LINE = 28
INK, QUIET = "#1b1c1f", "#5c6068"
MARKS = ("#e02020", "#1565d8", "#0e8a4f", "#b45309", "#7c3aed")
FORMAT_OPTIONS = {"PNG": {"optimize": True}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}
MOST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Format -> most pixels on a side that it holds."""
PHOTO_SHARE = 1.6
"""Most width of the photo, relative to that of the cells."""
SPLIT = 3
"""With more cells than this, the only crop of an image takes two rows."""


class Figure:
    """A figure in the making: a block an image, one below the other."""

    def __init__(self) -> None:
        self.blocks: list[Image.Image] = []

    def add(self, views: Views) -> None:
        """Add a block for an image."""
        self.blocks.append(draw_block(views))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return max(block.width for block in self.blocks), sum(block.height for block in self.blocks)

    def check_fits(self, path: str | Path) -> None:
        """Nothing, if a file of that name can hold what was added.

        Raises:
            ValueError: If its format holds no picture of that size.
        """
        kind = FORMATS[Path(path).suffix.lower()]
        if self.blocks and max(self.size) > MOST_SIDE.get(kind, max(self.size)):
            width, height = self.size
            num = len(self.blocks)
            raise ValueError(
                f"{path} would have {width}x{height} pixels with {num} image{'s' if num > 1 else ''}, but {kind} holds "
                f"{MOST_SIDE[kind]} on a side; end its name in .png, or take fewer images (limit, --limit)"
            )

    def write(self, path: str | Path) -> None:
        """Write the figure whole or not at all.

        Raises:
            OSError: If the folder cannot be written to.
        """
        page = Image.new("RGB", self.size, "white")
        top = 0
        for block in self.blocks:
            page.paste(block, (0, top))
            top += block.height
        kind = FORMATS[Path(path).suffix.lower()]
        with replacing(path) as work, open(work, "wb") as file:
            page.save(file, format=kind, dpi=(300, 300), **FORMAT_OPTIONS.get(kind, {}))


@dataclass(frozen=True)
class _Row:
    """One crop by some of the methods, side by side."""

    crop: Crop
    labels: Sequence[str]
    mark: str | None
    """Colour of the crop's frame, where there are several to tell apart."""
    has_captions: bool

    @property
    def factor(self) -> int:
        """Side of the square that a pixel becomes."""
        return max(1, CELL // max(self.crop.width, self.crop.height))

    @property
    def height(self) -> int:
        """With what is below it."""
        return self.crop.height * self.factor + GAP // 2 + self.has_captions * (2 * LINE + GAP // 2)


def _plan_rows(crops: Sequence[Crop], labels: Sequence[str]) -> list[_Row]:
    """A row a crop, captions below the last, since scores are the whole image's; or two rows of the only crop."""
    if len(crops) == 1:
        half = -(-len(labels) // 2) if len(labels) > SPLIT else len(labels)
        return [_Row(crops[0], labels[i : i + half], None, True) for i in range(0, len(labels), half)]
    return [_Row(crop, labels, MARKS[i % len(MARKS)], i == len(crops) - 1) for i, crop in enumerate(crops)]


def draw_block(views: Views) -> Image.Image:
    """The image with its crops marked on the left; on the right a row of cells a crop, or two rows of the only one."""
    rows = _plan_rows(views.crops, [*([HR] if views.hr is not None else []), *views.images])
    cell = max(CELL // 2, *(row.crop.width * row.factor for row in rows))
    tall, wide = sum(row.height for row in rows), len(rows[0].labels) * (cell + GAP)
    photo = _photo(views, tall - GAP - 2 * LINE, round(PHOTO_SHARE * wide))
    right = 2 * GAP + photo.width
    block = Image.new("RGB", (right + wide, max(tall, photo.height + 2 * LINE) + GAP), "white")
    block.paste(photo, (GAP, GAP))
    title = [f"{views.name} (x{views.scale})", "PSNR / SSIM" if views.scores else ""]
    _caption(ImageDraw.Draw(block), title, GAP + photo.width / 2, GAP + photo.height, photo.width)
    top = GAP
    for row in rows:
        _draw_row(block, views, row, (right, top), cell)
        top += row.height
    return block


def _draw_row(block: Image.Image, views: Views, row: _Row, corner: tuple[int, int], cell: int) -> None:
    """Draw the cells of a row from its left upper corner on."""
    pen = ImageDraw.Draw(block)
    for i, label in enumerate(row.labels):
        image = views.hr if views.hr is not None and label == HR else views.images[label]
        size = (row.crop.width * row.factor, row.crop.height * row.factor)
        left, top = corner[0] + i * (cell + GAP), corner[1]
        at = left + (cell - size[0]) // 2
        block.paste(as_picture(row.crop.of(image)).resize(size, Image.Resampling.NEAREST), (at, top))
        if row.mark is not None:
            pen.rectangle([at, top, at + size[0] - 1, top + size[1] - 1], outline=row.mark, width=3)
        if row.has_captions:
            texts = [label, str(views.scores.get(label, ""))]
            is_best = label in best(views.scores)
            _caption(pen, texts, left + cell / 2, top + size[1], cell + GAP - 4, is_best)


def _photo(views: Views, height: int, most_width: int) -> Image.Image:
    """HR, or else the last method's image, as high as the cells beside it, with the crops marked."""
    image = views.hr if views.hr is not None else list(views.images.values())[-1]
    factor = min(height / views.height, most_width / views.width)
    size = (max(1, round(views.width * factor)), max(1, round(views.height * factor)))
    photo = as_picture(image).resize(size, Image.Resampling.LANCZOS)
    pen = ImageDraw.Draw(photo)
    for i, crop in enumerate(views.crops):
        box = [crop.left * factor, crop.top * factor, crop.right * factor - 1, crop.bottom * factor - 1]
        wide = [box[0] - 1, box[1] - 1, max(box[0], box[2]) + 1, max(box[1], box[3]) + 1]
        pen.rectangle(wide, outline="white", width=6)
        pen.rectangle(wide, outline=MARKS[i % len(MARKS)], width=4)
    return photo


def _caption(
    pen: ImageDraw.ImageDraw,
    texts: Sequence[str],
    middle: int | float,
    top: int,
    room: int | float,
    is_best: bool = False,
) -> None:
    """Lines of text below a picture, cut to the room there is; the score of the best method is bold."""
    for i, (text, size) in enumerate(zip(texts, (22, 20), strict=True)):
        font = ImageFont.load_default(size)
        text = _shorten(text, font, room)
        at = (middle, top + 6 + i * LINE)
        is_bold = is_best and i == 1
        for shift in (0, 1) if is_bold else (0,):  # Pillow's own font has no bold face
            pen.text((at[0] + shift, at[1]), text, INK if i == 0 or is_bold else QUIET, font, anchor="ma")


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: int | float) -> str:
    """The text in one line, or as much of it as fits, with dots."""
    text = "".join(one if one.isprintable() else " " for one in text)
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "...") > room:
        text = text[:-1]
    return text + "..."
