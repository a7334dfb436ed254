"""A benchmark's result as one page of HTML that needs no network."""

import json
from collections.abc import Sequence
from html import escape
from itertools import groupby

from srzoo.benchmark.drift import Check
from srzoo.benchmark.result import BenchmarkResult
from srzoo.benchmark.rows import Mean, Row
from srzoo.benchmark.tables import HEAD, cells, cells_of_published, cite, count, notes, published_beside

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8882; --quiet: #777; --bad: #c22; --good: #197a3a; }
@media (prefers-color-scheme: dark) { :root { --quiet: #aaa; --bad: #f77; --good: #6c8; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
.quiet, tr.published td { color: var(--quiet); } .bad { color: var(--bad); } .good { color: var(--good); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0 .8rem; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
tbody tr:hover { background: var(--soft); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid; outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\25b2"; }
th[aria-sort=descending] button::after { content: " \\25bc"; }
summary { cursor: pointer; }
"""
SCRIPT = """
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.parentElement, table = head.closest("table"), body = table.tBodies[0];
  const column = head.cellIndex, down = head.getAttribute("aria-sort") !== "descending";
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const key = row => { const text = row.cells[column].dataset.value ?? row.cells[column].textContent;
    const number = parseFloat(text); return text.trim() === "" ? null : isNaN(number) ? text : number; };
  const rows = [...body.rows].map(row => [key(row), row]);
  rows.sort(([a], [b]) => a === null ? (b === null ? 0 : 1) : b === null ? -1 :
    (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))) * (down ? -1 : 1));
  for (const [, row] of rows) body.append(row);
});
"""


def page(result: BenchmarkResult, check: Check | None = None) -> str:
    """The page: a table for each set and scale, images below it, what was compared, sources; light and dark.

    Args:
        result: What was measured.
        check: What `check_result` found.
    """
    sources = {}
    parts = []
    for (name, scale), group in groupby(result.means, key=lambda mean: (mean.set, mean.scale)):
        means = list(group)
        others = published_beside(means)
        for row in [*(mean.published for mean in means), *others]:
            sources |= {} if row is None else {row.source: None}
        body = [("", cells(mean)) for mean in means] + [("published", cells_of_published(row)) for row in others]
        parts += [
            f"<h2>{escape(name)} x{scale}</h2>",
            f'<p class="quiet">{count(means[0].images, "image")}; {escape(means[0].protocol)}</p>',
            _table(HEAD, body),
            _images(means, [row for row in result.rows if (row.set, row.scale) == (name, scale)]),
        ]
    told = [note.removeprefix("\\") for note in notes(result.means)] + [cite(source) for source in sources]
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
            f"<title>srzoo benchmark</title><style>{STYLE}</style></head><body>",
            "<h1>srzoo benchmark</h1>",
            f"<p>{escape(', '.join(entry.label for entry in result.entries))}</p>",
            f'<p class="quiet">{escape(result.measured_with)}. Seconds are those of the model alone, after a warm-up; '
            "megapixels are of the output; memory is of the GPU's allocator, on a processor of the whole process.</p>",
            *parts,
            *(_checked(check) if check is not None else []),
            f"<h2>Notes</h2><ul>{''.join(f'<li>{escape(one)}</li>' for one in told)}</ul>" if told else "",
            f"<script>{SCRIPT}</script>",
            f'<script type="application/json" id="result">{_inline(result)}</script>',
            "</body></html>\n",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    """A table that sorts by the column whose head is clicked; each row comes with a class."""
    heads = "".join(f"<th><button>{escape(cell)}</button></th>" for cell in head)
    body = "".join(
        f"<tr{f' class={kind}' if kind else ''}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for kind, row in rows
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table></div>'


def _images(means: Sequence[Mean], rows: Sequence[Row]) -> str:
    """A row an image, with PSNR and SSIM of each model, folded."""
    models = [mean.model for mean in means]
    scores = {(row.image, row.model): row for row in rows}
    body = []
    for image in dict.fromkeys(row.image for row in rows):
        found = [scores[image, model] for model in models]
        told = [f"{row.psnr:.3f} / {row.ssim:.4f}" for row in found]
        size = f"{found[0].width}x{found[0].height}"
        body.append(("bad" if any(row.nonfinite for row in found) else "", [image, size, *told]))
    return f"<details><summary>images</summary>{_table(['image', 'size', *models], body)}</details>"


def _checked(check: Check) -> list[str]:
    """What was compared with the weights' records."""
    lines = [f'<li class="{"bad" if one.drifted else "good"}">{escape(str(one))}</li>' for one in check.comparisons]
    lines += [f'<li class="quiet">{escape(one)}</li>' for one in check.skipped]
    lines += [f'<li class="bad">{escape(problem)}</li>' for problem in check.problems]
    return ["<h2>Check against the weights' records</h2>", f"<ul>{''.join(lines)}</ul>"]


def _inline(result: BenchmarkResult) -> str:
    """The result as JSON that cannot end the element it is in."""
    return json.dumps(result.to_json(), allow_nan=False).replace("<", "\\u003c")
