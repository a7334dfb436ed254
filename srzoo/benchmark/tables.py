"""A benchmark's result as Markdown."""

from collections.abc import Callable, Sequence
from itertools import groupby

from srzoo.benchmark.published import METHODS, Published, Source, find_published
from srzoo.benchmark.rows import Mean, Row

HEAD = ("model", "PSNR", "SSIM", "published", "difference", "s/image", "MP/s", "peak MiB")


def markdown(means: Sequence[Mean]) -> str:
    """A table for each set and scale: the models, then what else was published for it; then notes and sources."""
    parts, sources = [], dict[Source, None]()
    for (name, scale), group in groupby(means, key=lambda mean: (mean.set, mean.scale)):
        found = list(group)
        others = published_beside(found)
        shown = [mean.published for mean in found if mean.published is not None] + others
        sources |= dict.fromkeys(row.source for row in shown)
        lines = [f"### {name} x{scale}: {count(found[0].images, 'image')}; {found[0].protocol}", ""]
        parts.append(
            "\n".join(
                [*lines, *grid(HEAD, [cells(mean) for mean in found] + [cells_of_published(row) for row in others])]
            )
        )
    parts += [note for note in (*notes(means), *map(cite, sources)) if note]
    return "\n\n".join(parts)


def cells(mean: Mean) -> list[str]:
    """The cells of a row, as `HEAD` has them."""
    mark = "*" if mean.nonfinite else ""
    difference = "" if mean.difference is None else f"{mean.difference:+.2f} dB"
    published = mean.published
    if difference and published is not None and published.ssim is not None and published.source.ssim_comparable:
        difference += f" / {mean.ssim - published.ssim:+.4f}"
    return [
        mean.model,
        f"{mean.psnr:.3f}{mark}",
        f"{mean.ssim:.4f}{mark}",
        "" if published is None else f"{published.method}: {published}",
        difference,
        f"{mean.seconds:.3f}",
        f"{mean.megapixels_per_second:.2f}",
        "" if mean.peak_mib is None else f"{mean.peak_mib:.0f}",
    ]


def published_beside(means: Sequence[Mean]) -> list[Published]:
    """What else was published for a set and scale in the paper's table, where the means are comparable with it."""
    if not any(mean.published for mean in means):
        return []
    taken = {mean.published.method for mean in means if mean.published is not None}
    found = (find_published(method, means[0].set, means[0].scale) for method in METHODS if method not in taken)
    return [row for row in found if row is not None]


def cells_of_published(row: Published) -> list[str]:
    """The cells of a row of what else was published, as `HEAD` has them."""
    similarity = "" if row.ssim is None else f"{row.ssim:.4f}"
    return [f"published: {row.method}", f"{row.psnr:.2f}", similarity, "", "", "", "", ""]


def notes(means: Sequence[Mean]) -> list[str]:
    """What must be known to read the means, a sentence each."""
    told = []
    for mean in means:
        what = f"{mean.model} on {mean.set} x{mean.scale}"
        if mean.nonfinite:
            left = "no image is left" if len(mean.nonfinite) == mean.images else "the mean leaves them out"
            told.append(
                f"\\* {what}: NaN or infinity in the output of {count(len(mean.nonfinite), 'image')} "
                f"({', '.join(mean.nonfinite)}); {left}."
            )
        if mean.identical:
            told.append(
                f"{what}: {', '.join(mean.identical)} came out identical to HR, or above 100 dB, and counts as 100 dB."
            )
    return told


def cite(source: Source) -> str:
    """A source in one line."""
    return f"Published: {source.title}, {source.where}, {source.address} ({source.protocol})."


def per_image(rows: Sequence[Row]) -> str:
    """A row an image."""
    body = [
        [
            row.set,
            f"x{row.scale}",
            row.image,
            row.model,
            f"{row.psnr:.3f}",
            f"{row.ssim:.4f}",
            f"{row.seconds:.3f}",
            f"{row.megapixels_per_second:.2f}",
            "" if row.peak_mib is None else f"{row.peak_mib:.0f}",
        ]
        for row in sorted(rows, key=_by_image(rows))
    ]
    head = ("set", "scale", "image", "model", "PSNR", "SSIM", "s", "MP/s", "peak MiB")
    return "\n".join(grid(head, body, left=4))


def _by_image(rows: Sequence[Row]) -> Callable[[Row], tuple[int, int, int]]:
    """A sort key that puts the models on one image together."""
    sets = list(dict.fromkeys(row.set for row in rows))
    images = list(dict.fromkeys(row.image for row in rows))
    return lambda row: (sets.index(row.set), row.scale, images.index(row.image))


def grid(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a Markdown table, columns aligned: the first `left` to the left, the others to the right.

    Examples:
        >>> grid(["a", "b"], [["long", "1"]])
        ['| a    |  b |', '| ---- | -: |', '| long |  1 |']
    """
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(2, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        pairs = zip(row, widths, strict=True)
        padded = [cell.ljust(width) if i < left else cell.rjust(width) for i, (cell, width) in enumerate(pairs)]
        return "| " + " | ".join(padded) + " |"

    rule = ["-" * width if i < left else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    return [line(head), "| " + " | ".join(rule) + " |", *map(line, rows)]


def count(number: int, what: str) -> str:
    """A number of things in words.

    Examples:
        >>> count(1, "image"), count(5, "image")
        ('1 image', '5 images')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
