"""The paper's main table as a page: Markdown, or HTML that needs no network."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from srzoo.benchmark.main_table import Cell, MainTable, SetFacts
from srzoo.benchmark.order import RULES
from srzoo.benchmark.page import STYLE
from srzoo.benchmark.published import PUBLISHED, Published, Source
from srzoo.benchmark.systems import SR_SIZE, SYSTEMS
from srzoo.benchmark.tables import cite, count, grid

NONE = "-"
QUOTED = " \\*"


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading, sentences, a command, a table, a list: whichever there are."""

    title: str
    text: tuple[str, ...] = ()
    code: str = ""
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    left: int = 1
    """Columns whose text is aligned to the left."""
    items: tuple[str, ...] = ()


def main_markdown(table: MainTable) -> str:
    """The page in Markdown; the same table gives the same page, on whatever machine."""
    parts = []
    for i, section in enumerate(_sections(table)):
        parts.append(f"{'#' if i == 0 else '##'} {section.title}")
        parts += section.text
        parts += [f"```sh\n{section.code}\n```"] if section.code else []
        parts += ["\n".join(grid(section.head, section.rows, left=section.left))] if section.rows else []
        parts += ["\n".join(f"- {item}" for item in section.items)] if section.items else []
    return "\n\n".join(parts) + "\n"


def main_html(table: MainTable) -> str:
    """The page in HTML, light and dark, without scripts."""
    sections = _sections(table)
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{escape(sections[0].title)}</title><style>{STYLE}</style></head><body>",
    ]
    for i, section in enumerate(sections):
        level = "h1" if i == 0 else "h2"
        parts.append(f"<{level}>{escape(section.title)}</{level}>")
        parts += [f"<p>{escape(_unmarked(text))}</p>" for text in section.text]
        parts += [f"<pre>{escape(section.code)}</pre>"] if section.code else []
        if section.rows:
            heads = "".join(f"<th>{escape(cell)}</th>" for cell in section.head)
            body = "".join(
                f"<tr>{''.join(f'<td>{escape(_unmarked(cell))}</td>' for cell in row)}</tr>" for row in section.rows
            )
            table_html = f"<table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"
            parts.append(f'<div class="wide">{table_html}</div>')
        if section.items:
            parts.append(f"<ul>{''.join(f'<li>{escape(_unmarked(item))}</li>' for item in section.items)}</ul>")
    return "\n".join([*parts, "</body></html>\n"])


def _unmarked(text: str) -> str:
    return text.replace("`", "").replace("\\", "").replace("**", "")


def _sections(table: MainTable) -> list[Section]:
    shown = [row for one in table.sets for row in _published(table, one)]
    sources = dict.fromkeys(row.source for row in shown)
    parts = [_opening(table), _overview(table), *(_set(table, one) for one in table.sets), _order(table), _cost(table)]
    parts += [_left_out(table)] if table.missing else []
    return [*parts, *_elsewhere(table, sources), _sources(list(sources))]


def _opening(table: MainTable) -> Section:
    return Section(
        title="The paper's main table",
        text=(
            "Every system of the main table of Lim et al. 2017 (https://arxiv.org/abs/1707.02921), measured by one "
            "command and set beside what was published.",
            f"**Measured with:** {table.measured_with}. float32, in tiles that change no pixel; LR by MATLAB's "
            "bicubic, the RGB path; + is the mean over eight flips and rotations.",
            f"**The order of the systems:** {table.order.describe()}; see below.",
        ),
        code=table.command,
    )


def _overview(table: MainTable) -> Section:
    """Mean PSNR with the paper's columns."""
    rows: list[tuple[str, ...]] = []
    for one in table.sets:
        for scale in table.scales:
            ours = tuple(_psnr(table.cell(system.name, one.name, scale)) for system in SYSTEMS)
            published = [system.published(one.name, scale) for system in SYSTEMS]
            theirs = tuple(NONE if row is None else f"{row.psnr:.2f}" for row in published)
            gains = tuple(_signed(table.differences(system, one.name, scale)[0], 2) for system in SYSTEMS)
            rows += [(one.name, f"x{scale}", "ours", *ours)] if one.images else []
            rows += [("" if one.images else one.name, "" if one.images else f"x{scale}", "published", *theirs)]
            rows += [("", "", "difference", *gains)] if one.images else []
    return Section(
        title="PSNR",
        text=("Mean PSNR in dB, in the paper's columns. `-`: no weights, not measured, or not published.",),
        head=("set", "scale", "", *(system.name for system in SYSTEMS)),
        rows=tuple(rows),
        left=3,
    )


def _set(table: MainTable, one: SetFacts) -> Section:
    """A system a row, PSNR and SSIM."""
    protocols = dict.fromkeys(cell.protocol for cell in table.cells if cell.set == one.name)
    parts = ("ours", "published", "difference") if one.images else ("published",)
    rows: list[tuple[str, ...]] = []
    for system in SYSTEMS:
        cells: list[str] = []
        for scale in table.scales:
            published = system.published(one.name, scale)
            told = {
                "ours": _both(table.cell(system.name, one.name, scale)),
                "published": NONE if published is None else f"{published}{QUOTED if published.is_quoted else ''}",
                "difference": _gains(*table.differences(system, one.name, scale)),
            }
            cells += [told[part] for part in parts]
        rows.append((system.name, *cells))
    notes = _broken(table, one)
    if any(row.is_quoted for row in _published(table, one)):
        notes.append("\\* told by another paper than the method's own.")
    if any(row.ssim is not None and not row.source.ssim_comparable for row in _published(table, one)) and one.images:
        notes.append("Where the published SSIM is another quantity, the difference has PSNR alone.")
    if one.images and not one.is_whole:
        notes.append("Published figures are of the whole benchmark, so that there are no differences.")
    images = count(one.images, "image") if one.images else "not at hand"
    return Section(
        title=f"{one.name}: {images}",
        text=(f"PSNR in dB / SSIM{f'; {told}' if (told := ' | '.join(protocols)) else ''}.", *notes),
        head=("system", *(f"x{scale} {part}" for scale in table.scales for part in parts)),
        rows=tuple(rows),
    )


def _broken(table: MainTable, one: SetFacts) -> list[str]:
    return [
        f"{cell.system} x{cell.scale}: NaN or infinity in {', '.join(cell.nonfinite)}; the mean leaves them out."
        for cell in table.cells
        if cell.set == one.name and cell.nonfinite
    ]


def _order(table: MainTable) -> Section:
    check = table.order
    told = check.describe()
    return Section(
        title="Order",
        text=(f"{RULES[0].upper()}{RULES[1:]}", f"{told[0].upper()}{told[1:]}."),
        items=(
            *(f"**{one}**" for one in check.violated),
            *(str(one) for one in check.relations if one.holds),
            *check.skipped,
        ),
    )


def _cost(table: MainTable) -> Section:
    """Size, work and speed of each variant, by scale."""
    first = next((one.name for one in table.sets if one.images), "")
    rows: list[tuple[str, ...]] = []
    for system in SYSTEMS:
        if system.tta != "none":
            continue
        costs = [cost for cost in table.costs if cost.variant == system.variant]
        by_scale = {cost.scale: cost for cost in costs}
        found = [table.cell(system.name, first, scale) for scale in table.scales]
        macs = [by_scale[scale].gigamacs if scale in by_scale else None for scale in table.scales]
        rows.append(
            (
                system.name,
                _each([_size(by_scale[scale].parameters) if scale in by_scale else NONE for scale in table.scales]),
                _each([NONE if not one else f"{one:,.1f}" for one in macs]),
                _each([NONE if cell is None else _rate(cell.megapixels_per_second) for cell in found]),
                ", ".join(dict.fromkeys(cell.model for cell in found if cell is not None)) or NONE,
                ", ".join(dict.fromkeys(cell.license for cell in found if cell is not None and cell.license)) or NONE,
            )
        )
    scales = " / ".join(f"x{scale}" for scale in table.scales)
    return Section(
        title="Size, work and speed",
        text=(
            f"By scale ({scales}; one figure where all are equal). GMACs are multiply-accumulates of convolutions and "
            f"matrix products in units of 1e9 for an SR image of {SR_SIZE[0]} x {SR_SIZE[1]}; MP/s are megapixels of "
            f"SR a second{f' on {first}' if first else ''}, on the device above. A + takes eight times both.",
        ),
        head=("system", "parameters", "GMACs", "MP/s", "weights", "licence"),
        rows=tuple(rows),
    )


def _left_out(table: MainTable) -> Section:
    """What was not measured, and why."""
    reasons: dict[tuple[str, str], list[int]] = {}
    for one in table.missing:
        reasons.setdefault((one.system, one.why), []).append(one.scale)
    told = (
        f"{system} {', '.join(f'x{scale}' for scale in scales)}: {why}" for (system, why), scales in reasons.items()
    )
    return Section(title="Not measured", items=tuple(told))


def _elsewhere(table: MainTable, sources: dict[Source, None]) -> list[Section]:
    """Figures of other sources that differ from those shown; their sources are added."""
    rows: list[tuple[str, ...]] = []
    for one in table.sets:
        for scale in table.scales:
            for system in SYSTEMS:
                shown = system.published(one.name, scale)
                if shown is None:
                    continue
                for row in PUBLISHED:
                    same = (row.method, row.set, row.scale) == (shown.method, one.name, scale)
                    if same and row.psnr != shown.psnr:
                        rows.append((one.name, f"x{scale}", system.name, str(shown), str(row), row.source.title))
                        sources[row.source] = None
    head = ("set", "scale", "system", "shown", "elsewhere", "where")
    text = ("Other sources have other figures for the same methods.",)
    return [Section(title="Published elsewhere", text=text, head=head, rows=tuple(rows), left=3)] if rows else []


def _sources(sources: Sequence[Source]) -> Section:
    return Section(title="Sources", items=tuple(cite(source).removeprefix("Published: ") for source in sources))


def _published(table: MainTable, one: SetFacts) -> list[Published]:
    found = (system.published(one.name, scale) for system in SYSTEMS for scale in table.scales)
    return [row for row in found if row is not None]


def _psnr(cell: Cell | None) -> str:
    return NONE if cell is None else f"{cell.psnr:.2f}{_mark(cell)}"


def _both(cell: Cell | None) -> str:
    return NONE if cell is None else f"{cell.psnr:.2f} / {cell.ssim:.4f}{_mark(cell)}"


def _mark(cell: Cell) -> str:
    return " !" if cell.nonfinite else ""


def _signed(value: float | None, digits: int) -> str:
    return NONE if value is None or math.isnan(value) else f"{round(value, digits) + 0:+.{digits}f}"


def _gains(psnr: float | None, ssim: float | None) -> str:
    return _signed(psnr, 2) if ssim is None else f"{_signed(psnr, 2)} / {_signed(ssim, 4)}"


def _size(parameters: int) -> str:
    """A number of parameters, short.

    Examples:
        >>> _size(0), _size(57184), _size(1517571), _size(43089923)
        ('0', '57.2 k', '1.52 M', '43.1 M')
    """
    if parameters < 1000:
        return str(parameters)
    number, unit = (parameters / 1e3, "k") if parameters < 1e6 else (parameters / 1e6, "M")
    return f"{number:.{2 if number < 10 else 1}f} {unit}"


def _rate(number: float) -> str:
    """A number above 0 with three significant digits.

    Examples:
        >>> [_rate(number) for number in (0.004213, 0.3384, 36.43, 1234.5)]
        ['0.00421', '0.338', '36.4', '1,234']
    """
    digits = 2 - math.floor(math.log10(number)) if number > 0 else 0
    return f"{number:,.{max(0, digits)}f}"


def _each(told: Sequence[str]) -> str:
    """What is told of each scale, once if it is always the same."""
    return told[0] if len(set(told)) == 1 else " / ".join(told)
