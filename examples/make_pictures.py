"""Draw pictures that are unlike photographs: text pages, line art and maps, a third of each.

A picture depends only on the seed, its number and its side: everyone with the same Pillow gets the same pixels, and the
first ten of a hundred are the ten of `--count 10`.

python examples/make_pictures.py pictures/ --count 100 --seed 0
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

ZOOM = 2
"""Pixels of a picture for each unit of length below, as on a screen of high resolution."""
OVER = 3 * ZOOM
"""Pixels drawn for each unit; then they are averaged, so that edges are as smooth as a renderer's."""
TEXT = (
    "the of and to in a is that for it as was with be by on not he his but at are this have from which one had or all "
    "were their there been more when who will no if out so what up into about than them can only other time new some "
    "could these two may first then any like my now over such our man even most made after also did many must before "
    "through years where much your way well down should because each just those people how too little state good very "
    "make world still own see men work long here between both life being under never day same another know while last "
    "might us great old year off come since against go came right used take three river harbour station market bridge "
    "quarter journey letter window garden mountain weather captain evening silver question number measure surface"
)
WORDS = TEXT.split()
INKS = ("#111111", "#1b2a49", "#3b1f1f", "#0b3d2e", "#2f2f3a")
PAPERS = ("#ffffff", "#ffffff", "#fbf7ec", "#f2f4f7", "#fdf6e3", "#eef6ee")
ACCENTS = ("#c62828", "#1565c0", "#2e7d32", "#ef6c00", "#6a1b9a", "#00838f", "#f9a825", "#ad1457")
Points = np.ndarray
"""Corners, n x 2, in units: x, y."""


@cache
def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, set letter by letter: the same with every build of Pillow."""
    face = ImageFont.load_default(size)
    assert isinstance(face, ImageFont.FreeTypeFont), "Pillow was built without FreeType"
    return face.font_variant(layout_engine=ImageFont.Layout.BASIC)


class Canvas:
    """A square to draw on.

    Args:
        side: In units.
        rng: What is random is drawn from it.
        paper: Background colour.
    """

    def __init__(self, side: int, rng: np.random.Generator, paper: str) -> None:
        self.side = side
        self.rng = rng
        self.image = Image.new("RGB", (side * OVER, side * OVER), paper)
        self.draw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        """The picture."""
        return self.image.reduce(OVER // ZOOM)

    def pick(self, items: Sequence[str]) -> str:
        """One of the items."""
        return items[int(self.rng.integers(len(items)))]

    def words(self, least: int, most: int) -> str:
        """So many words in a row."""
        return " ".join(self.pick(WORDS) for _ in range(self.rng.integers(least, most + 1)))

    def uniform(self, low: float, high: float) -> float:
        """A number between two."""
        return float(self.rng.uniform(low, high))

    def line(self, points: Points, ink: str, width: float) -> None:
        """A line through points, its joints and ends round."""
        corners = np.round(points * OVER).astype(int)
        thick = max(1, round(width * OVER))
        self.draw.line([tuple(corner) for corner in corners.tolist()], ink, thick, joint="curve")
        for x, y in corners[[0, -1]].tolist():
            self.draw.ellipse((x - thick // 2, y - thick // 2, x + thick // 2, y + thick // 2), ink)

    def area(self, points: Points, fill: str, ink: str | None = None, width: float = 1.5) -> None:
        """A filled polygon, outlined if there is an ink."""
        self.draw.polygon([tuple(point) for point in (points * OVER).tolist()], fill)
        if ink is not None:
            self.line(np.concatenate([points, points[:1]]), ink, width)

    def text(self, x: float, y: float, text: str, ink: str, size: float, *, bold: bool = False, **more: str) -> float:
        """Write a line of text and return its width; `anchor` and a `halo` colour as options."""
        face = font(round(size * OVER))
        halo = more.get("halo")
        stroke = round(size * OVER * (0.12 if halo else 0.025)) if halo or bold else 0
        options = {"stroke_width": stroke, "stroke_fill": halo or ink}
        self.draw.text((x * OVER, y * OVER), text, ink, face, more.get("anchor", "ls"), **options)
        return face.getlength(text) / OVER


def ring(centre: tuple[float, float], radius: float | np.ndarray, corners: int = 72, turn: float = 0.0) -> Points:
    """Corners around a centre: a circle, or a polygon with few of them."""
    angle = turn + np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], 1)


def hills(rng: np.random.Generator, side: int, waves: int) -> np.ndarray:
    """A smooth random landscape, side x side, from about -1 to 1."""
    y, x = np.mgrid[:side, :side] / side
    height = np.zeros((side, side))
    for _ in range(8):
        across, down = rng.uniform(-waves, waves, 2)
        height += np.sin(2 * np.pi * (across * x + down * y + rng.uniform()))
    return height / 4


def text_page(side: int, rng: np.random.Generator) -> Image.Image:
    """Headings, paragraphs, lists and tables, dark on light or now and then light on dark."""
    dark = rng.uniform() < 0.2
    canvas = Canvas(side, rng, "#1e1e2a" if dark else PAPERS[rng.integers(len(PAPERS))])
    ink = "#e8e8e8" if dark else canvas.pick(INKS)
    accent = "#8ab4f8" if dark else canvas.pick(ACCENTS)
    size = canvas.uniform(11, 20)
    left, y = canvas.uniform(6, 15), canvas.uniform(5, 20)
    while y < side + size:
        part = rng.uniform()
        if part < 0.25:
            big = size * canvas.uniform(1.3, 2.0)
            y += big
            canvas.text(left, y, canvas.words(1, 3).capitalize(), accent, big, bold=True)
            if rng.uniform() < 0.4:
                canvas.line(np.array([[left, y + big * 0.4], [side - left, y + big * 0.4]]), ink, 1.2)
            y += big * 0.8
        elif part < 0.75:
            y = paragraph(canvas, left, y, ink, accent, size)
        elif part < 0.88:
            for _ in range(rng.integers(2, 5)):
                y += size * 1.4
                canvas.area(ring((left + size * 0.4, y - size * 0.35), size * 0.17), accent)
                canvas.text(left + size, y, canvas.words(1, 4).capitalize(), ink, size)
            y += size
        else:
            y = table(canvas, left, y, ink, accent, size)
    return canvas.finished()


def paragraph(canvas: Canvas, left: float, y: float, ink: str, accent: str, size: float) -> float:
    """Lines of text with a word set off here and there; the height they reach to."""
    for _ in range(canvas.rng.integers(2, 7)):
        y += size * 1.4
        x = left
        while True:
            word = canvas.words(1, 1) + canvas.pick((" ", " ", " ", " ", ", ", ". "))
            if canvas.rng.uniform() < 0.08:
                word = f"{canvas.rng.integers(2, 9999)} "
            if x + font(round(size * OVER)).getlength(word) / OVER > canvas.side - left / 2:
                break
            special = canvas.rng.uniform()
            x += canvas.text(x, y, word, accent if special < 0.05 else ink, size, bold=special > 0.93)
    return y + size * 0.9


def table(canvas: Canvas, left: float, y: float, ink: str, accent: str, size: float) -> float:
    """A table of words and numbers; the height it reaches to."""
    columns = canvas.rng.integers(2, 4)
    step = (canvas.side - 2 * left) / columns
    for row in range(canvas.rng.integers(3, 6)):
        canvas.line(np.array([[left, y], [canvas.side - left, y]]), accent if row < 2 else ink, 2.0 if row < 2 else 1.0)
        y += size * 1.6
        for column in range(columns):
            number = f"{canvas.uniform(0, 100):.2f}"
            told = canvas.words(1, 1) if row == 0 or column == 0 else number
            canvas.text(left + column * step + 4, y - size * 0.45, told, ink, size * 0.85, bold=row == 0)
    return y + size


def line_art(side: int, rng: np.random.Generator) -> Image.Image:
    """A technical drawing, an ornament, a chart or a landscape in outlines."""
    canvas = Canvas(side, rng, PAPERS[rng.integers(len(PAPERS))])
    ink = canvas.pick(INKS)
    (machine, ornament, chart, landscape)[rng.integers(4)](canvas, ink)
    return canvas.finished()


def machine(canvas: Canvas, ink: str) -> None:
    """Plates, wheels and bolts with hatching, axes and dimensions."""
    side, thick = canvas.side, canvas.uniform(1.2, 2.6)
    for _ in range(canvas.rng.integers(2, 4)):
        x, y = canvas.rng.uniform(0.05, 0.6, 2) * side
        width, height = canvas.rng.uniform(0.2, 0.5, 2) * side
        canvas.area(np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]]), "#ffffff", ink, thick)
        gap = canvas.uniform(6, 13)
        for start in np.arange(gap, width + height, gap):
            ends = [
                [x + min(start, width), y + max(0, start - width)],
                [x + max(0, start - height), y + min(start, height)],
            ]
            canvas.line(np.array(ends), ink, thick / 2)
    for _ in range(canvas.rng.integers(3, 6)):
        centre, radius = tuple(canvas.rng.uniform(0.1, 0.9, 2) * side), canvas.uniform(0.06, 0.22) * side
        canvas.area(
            gear(centre, radius, int(canvas.rng.integers(8, 24))), canvas.pick(("#ffffff", "#dfe6ee")), ink, thick
        )
        for part in canvas.rng.uniform(0.15, 0.8, 2):
            canvas.area(ring(centre, radius * part), "#ffffff", ink, thick)
        for turn in (0, np.pi / 2):
            canvas.line(ring(centre, radius * 1.25, 2, turn), canvas.pick(ACCENTS), thick / 2)
        canvas.text(
            centre[0] + radius, centre[1] - radius, f"R{radius:.1f}", ink, canvas.uniform(8, 12), halo="#ffffff"
        )


def gear(centre: tuple[float, float], radius: float, teeth: int) -> Points:
    """Outline of a toothed wheel."""
    around = np.arange(teeth * 4)
    return ring(centre, radius * np.where(around % 4 < 2, 1.0, 0.85), teeth * 4)


def ornament(canvas: Canvas, ink: str) -> None:
    """Rosettes drawn with one line, as by a spirograph, and rings of petals."""
    side = canvas.side
    angle = np.linspace(0, 2 * np.pi, 1500)
    for _ in range(canvas.rng.integers(2, 5)):
        x, y = canvas.rng.uniform(0.2, 0.8, 2) * side
        size, petals = canvas.uniform(0.15, 0.4) * side, int(canvas.rng.integers(3, 12))
        for ring_size in np.linspace(1, 0.25, canvas.rng.integers(2, 6)):
            wave = 1 + canvas.uniform(0.15, 0.6) * np.sin(petals * angle + canvas.uniform(0, 6))
            points = ring((x, y), size * ring_size * wave / 1.5, len(angle))
            colour = canvas.pick((ink, ink, *ACCENTS))
            if canvas.rng.uniform() < 0.4:
                canvas.area(points, canvas.pick((*PAPERS, *ACCENTS)), colour, canvas.uniform(1.0, 3.0))
            else:
                canvas.line(np.concatenate([points, points[:1]]), colour, canvas.uniform(1.0, 3.0))


def chart(canvas: Canvas, ink: str) -> None:
    """Axes with ticks and labels, a grid, curves and bars."""
    side, size = canvas.side, canvas.uniform(9, 12)
    left, top, right, bottom = 3.2 * size, 3 * size, side - size, side - 2.5 * size
    canvas.text(left, 1.8 * size, canvas.words(2, 4).capitalize(), ink, size * 1.3, bold=True)
    steps = int(canvas.rng.integers(3, 6))
    for i, part in enumerate(np.linspace(0, 1, steps)):
        x, y = left + part * (right - left), bottom + part * (top - bottom)
        canvas.line(np.array([[left, y], [right, y]]), "#c8c8c8", 1)
        canvas.text(left - 6, y, f"{i * 10}", ink, size * 0.85, anchor="rm")
        canvas.text(x, bottom + size * 1.2, f"{2000 + i}", ink, size * 0.8, anchor="ms")
        if canvas.rng.uniform() < 0.7:
            bar = np.array([[x, bottom], [x, top + canvas.uniform(0, 1) * (bottom - top)]])
            canvas.line(bar, canvas.pick(ACCENTS), canvas.uniform(6, 16))
    across = np.linspace(0, 1, 120)
    for _ in range(canvas.rng.integers(2, 5)):
        height = 0.5 + 0.2 * np.sin(across * canvas.uniform(3, 25) + canvas.uniform(0, 6))
        height += canvas.uniform(-0.25, 0.25) * across + canvas.rng.normal(0, canvas.uniform(0, 0.05), len(across))
        points = np.stack([left + across * (right - left), bottom + height * (top - bottom)], 1)
        canvas.line(points, canvas.pick(ACCENTS), canvas.uniform(1.2, 3.5))
    canvas.line(np.array([[left, top], [left, bottom], [right, bottom]]), ink, 2)


def landscape(canvas: Canvas, ink: str) -> None:
    """Sun, ridges, houses and trees in flat colours with outlines, as in a children's book."""
    side, thick = canvas.side, canvas.uniform(1.5, 3.5)
    canvas.area(np.array([[0, 0], [side, 0], [side, side], [0, side]]), canvas.pick(("#ffffff", "#d6ecfa", "#fdebd0")))
    canvas.area(ring((canvas.uniform(0.1, 0.9) * side, 0.15 * side), 0.09 * side), "#f9c846", ink, thick)
    across = np.linspace(0, 1, 100)
    for level in np.linspace(0.35, 0.85, 4):
        ridge = level + 0.06 * np.sin(across * canvas.uniform(4, 14) + canvas.uniform(0, 6))
        corners = np.stack([across, ridge], 1) * side
        whole = np.concatenate([corners, [[side + 9, side + 9], [-9, side + 9]]])
        canvas.area(whole, canvas.pick(("#a5c882", "#7fb069", "#cfe3b4", "#e3d9a8", "#ffffff")), ink, thick)
        for _ in range(canvas.rng.integers(2, 6)):
            x, y = corners[canvas.rng.integers(len(corners))]
            (house if canvas.rng.uniform() < 0.5 else tree)(canvas, x, y + 0.03 * side, ink, thick)


def house(canvas: Canvas, x: float, y: float, ink: str, thick: float) -> None:
    """A house with windows that stands at a point."""
    size = canvas.uniform(0.05, 0.12) * canvas.side
    box = np.array([[-1, 0], [1, 0], [1, -1.4], [-1, -1.4]])
    canvas.area(box * size + (x, y), canvas.pick(PAPERS), ink, thick)
    canvas.area(np.array([[-1.2, -1.4], [1.2, -1.4], [0, -2.3]]) * size + (x, y), canvas.pick(ACCENTS), ink, thick)
    for shift in (-0.5, 0.5):
        canvas.area(box * size * 0.25 + (x + shift * size, y - 0.6 * size), canvas.pick(ACCENTS), ink, thick / 2)


def tree(canvas: Canvas, x: float, y: float, ink: str, thick: float) -> None:
    """A tree that stands at a point."""
    size = canvas.uniform(0.05, 0.12) * canvas.side
    canvas.area(np.array([[-0.12, 0], [0.12, 0], [0.12, -1], [-0.12, -1]]) * size + (x, y), "#8d6e63", ink, thick)
    for up in (1.0, 1.5, 2.0):
        crown = np.array([[-0.8, -up + 0.4], [0.8, -up + 0.4], [0, -up - 0.7]]) * size + (x, y)
        canvas.area(crown, canvas.pick(("#2e7d32", "#558b2f", "#33691e")), ink, thick)


def street_map(side: int, rng: np.random.Generator) -> Image.Image:
    """Water, parks, contour lines, blocks of houses, streets, a railway and names."""
    paper = ("#f2efe9", "#f7f5ee", "#e9eef2")[rng.integers(3)]
    canvas = Canvas(side, rng, paper)
    ground(canvas)
    centre, angle, gap = np.array([side / 2, side / 2]), canvas.uniform(0, np.pi), canvas.uniform(34, 70)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    marks = np.arange(-side, side, gap) + rng.uniform(-gap / 5, gap / 5, len(np.arange(-side, side, gap)))
    if rng.uniform() < 0.6:
        blocks(canvas, marks, turn, centre)
    streets = [np.array([[mark, -side], [mark, side]]) for mark in marks if rng.uniform() < 0.8]
    streets += [np.array([[-side, mark], [side, mark]]) for mark in marks if rng.uniform() < 0.8]
    ways = [(points @ turn.T + centre, canvas.uniform(3, 7), "#ffffff") for points in streets]
    along = np.linspace(-0.1, 1.1, 60) * side
    for colour in ("#fbd773", "#f4a259")[: rng.integers(1, 3)]:
        bend = side * (canvas.uniform(0.2, 0.8) + 0.12 * np.sin(along / side * canvas.uniform(3, 9)))
        road = np.stack([along, bend] if rng.uniform() < 0.5 else [bend, along], 1)
        ways.append((road, canvas.uniform(8, 13), colour))
    for widen, casing in ((2.0, True), (0.0, False)):  # all the edges first, so that crossings are open
        for points, width, colour in ways:
            canvas.line(points, "#9a948a" if casing else colour, width + widen)
    if rng.uniform() < 0.5:
        rail = np.stack([along, np.flip(along) * 0.7 + side * canvas.uniform(0, 0.3)], 1)
        canvas.line(rail, "#555555", 3.5)
        for first in range(0, len(rail) - 2, 3):
            canvas.line(rail[first : first + 2], paper, 1.8)
    for _ in range(rng.integers(2, 5)):
        x, y = rng.uniform(0.05, 0.8, 2) * side
        name = canvas.words(1, 2).title() + canvas.pick((" St", " Rd", "", " Park", f" {rng.integers(1, 99)}"))
        canvas.text(x, y, name, canvas.pick((*INKS, "#1f5f8b")), canvas.uniform(9, 16), halo="#ffffff")
    for _ in range(rng.integers(2, 6)):
        spot = tuple(rng.uniform(0.05, 0.95, 2) * side)
        canvas.area(ring(spot, canvas.uniform(4, 7)), canvas.pick(ACCENTS), "#ffffff", 1.5)
    return canvas.finished()


def ground(canvas: Canvas) -> None:
    """Water, parks and contour lines."""
    height = hills(canvas.rng, canvas.side * OVER, 2)
    pixels = np.asarray(canvas.image).copy()
    slope = np.hypot(*np.gradient(height)) + 1e-6
    if canvas.rng.uniform() < 0.5:
        level = np.abs((height * 8) % 1 - 0.5) / (8 * slope)  # distance from the nearest contour line
        pixels[level < 0.5 * OVER] = ImageColor.getrgb("#c9b79c")
    for above, fill, edge in ((-height - 0.55, "#aad3df", "#6fa8c4"), (height - 0.65, "#c8e6b8", "#8fc17a")):
        pixels[above > 0] = ImageColor.getrgb(fill)
        pixels[np.abs(above) / slope < 0.7 * OVER] = ImageColor.getrgb(edge)
    canvas.image.paste(Image.fromarray(pixels))


def blocks(canvas: Canvas, marks: np.ndarray, turn: np.ndarray, centre: np.ndarray) -> None:
    """Houses between the streets."""
    gap = float(np.mean(np.diff(marks))) if len(marks) > 1 else canvas.side
    box = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])
    for x in marks:
        for y in marks:
            for shift in (0.2, 0.55):
                if canvas.rng.uniform() < 0.6:
                    size = canvas.rng.uniform(0.15, 0.3, 2) * gap
                    corner = np.array([x + shift * gap, y + canvas.uniform(0.2, 0.5) * gap])
                    canvas.area((box * size + corner) @ turn.T + centre, "#d9d0c9", "#a89c90", 0.8)


KINDS = {"text": text_page, "lines": line_art, "map": street_map}


def make_picture(number: int, *, seed: int = 0, side: int = 384) -> tuple[str, Image.Image]:
    """File name and picture of a number."""
    kind = list(KINDS)[number % len(KINDS)]
    units = -(-side // ZOOM)
    picture = KINDS[kind](units, np.random.default_rng([seed, number]))
    return f"{number:04}_{kind}.png", picture.crop((0, 0, side, side))


def main(argv: Sequence[str] | None = None) -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder to write to")
    parser.add_argument("--count", type=int, default=100, help="pictures (default: 100)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other pictures")
    parser.add_argument("--side", type=int, default=384, help="of the pictures, in pixels (default: 384)")
    args = parser.parse_args(argv)

    args.folder.mkdir(parents=True, exist_ok=True)
    for number in range(args.count):
        name, picture = make_picture(number, seed=args.seed, side=args.side)
        picture.save(args.folder / name)
    print(f"{args.count} pictures of {args.side}x{args.side} pixels are in {args.folder}")


if __name__ == "__main__":
    main()
