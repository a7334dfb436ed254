"""Write what the documentation says about models, from the models' own records.

python scripts/gen_docs.py            docs/models/*.md, and the model table in README.md
python scripts/gen_docs.py --check    only see whether README.md is up to date; exit code 1 if it is not

Run it before `mkdocs build`. Only families of `srzoo.models` are written about, not installed plug-ins.
"""

import argparse
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from inspect import cleandoc
from pathlib import Path
from typing import Any

from srzoo.architecture import Architecture, Weights
from srzoo.registry import ModelInfo, architectures, model_info

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- models: begin -->", "<!-- models: end -->"


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; a heading that ends in a colon is aligned right."""
    rule = ["---:" if heading.endswith(":") else "---" for heading in headings]
    lines = [[heading.rstrip(":") for heading in headings], rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def families() -> list[Architecture]:
    """The built-in families, smallest first."""
    built_in = [arch for arch in architectures().values() if arch.model.__module__.startswith("srzoo.models.")]
    return sorted(built_in, key=lambda arch: (infos(arch)[0].parameters, arch.family))


facts_of = cache(model_info)


def infos(arch: Architecture) -> list[ModelInfo]:
    """Facts about each model of a family."""
    return [facts_of(name) for name in arch.model_names()]


def scales_text(scales: Iterable[int]) -> str:
    """(2, 3) -> 'x2, x3'."""
    return ", ".join(f"x{scale}" for scale in scales)


def sizes(counts: Sequence[int]) -> str:
    """Parameter counts as a range: '1.37 to 1.67 M', '57.3 k'."""
    if max(counts) == 0:
        return "0"
    unit, size, digits = ("k", 1e3, 1) if max(counts) < 1e5 else ("M", 1e6, 2)
    low, high = (f"{count / size:.{digits}f}" for count in (min(counts), max(counts)))
    return f"{low} {unit}" if low == high else f"{low} to {high} {unit}"


def scores(row: Weights, scale: int) -> dict[str, float]:
    """Measured Y-PSNR of weights at one scale, by benchmark set."""
    return {name: by_scale[f"x{scale}"] for name, by_scale in row.metrics.items() if f"x{scale}" in by_scale}


def weights_tables(archs: Iterable[Architecture]) -> list[str]:
    """The weights that can be had, those for bicubic LR images before those for others; a sentence and a table each."""
    rows = [row for arch in archs for row in arch.weights]
    parts = []
    for title, chosen in (
        ("Weights that can be had", [row for row in rows if not degradation_of(row)]),
        ("Weights for degraded LR images, so scored", [row for row in rows if degradation_of(row)]),
    ):
        if chosen:
            parts += [f"{title}, with measured Y-PSNR in dB (`Protocol.paper`):", weights_table(chosen)]
    return parts


def degradation_of(row: Weights) -> str:
    """The preset of the LR images that weights were scored on, which their sets' names end in; "" for bicubic."""
    return next((name.partition(" ")[2] for name in row.metrics), "")


def weights_table(weights: Sequence[Weights]) -> str:
    """A row for each file and scale."""
    found = [(row, scale, scores(row, scale)) for row in weights for scale in facts_of(row.model).scales]
    sets = list(dict.fromkeys(key for _, _, by_set in found for key in by_set))
    rows = [
        (
            f"`{row.model}.{row.tag}`",
            f"x{scale}",
            *(f"{by_set[s]:.2f}" if s in by_set else "" for s in sets),
            row.license,
        )
        for row, scale, by_set in found
    ]
    return table(["weights", "scale", *(f"{name}:" for name in sets), "licence"], rows)


def variants_table(archs: Iterable[Architecture]) -> str:
    """A row for each variant of each family."""
    rows = []
    for arch in archs:
        for variant in arch.variants:
            names = [variant] if arch.multi_scale else [f"{variant}_x{scale}" for scale in arch.scales]
            ending = "" if arch.multi_scale else "_x{}".format("/".join(map(str, arch.scales)))
            rows.append(
                (
                    f"`{variant}{ending}`",
                    scales_text(arch.scales),
                    sizes([facts_of(name).parameters for name in names]),
                    arch.title,
                )
            )
    return table(["model", "scales", "parameters:", "what"], rows)


def models_section() -> str:
    """What README.md and docs/models/index.md say about the models there are."""
    return "\n\n".join([variants_table(families()), *weights_tables(families())])


def docstring_facts(text: str) -> tuple[str, list[str]]:
    """First paragraph of a module docstring, and its `Paper: ...` fields as list items with linked addresses."""
    head, _, rest = cleandoc(text).partition("\n\n")
    items: list[str] = []
    for line in rest.splitlines():
        if found := re.match(r"([A-Z][A-Za-z ]+): (.+)", line):
            items.append(f"- **{found[1]}:** {found[2]}")
        elif items and line.strip():
            items[-1] += f" {line.strip()}"
    items = [re.sub(r"https?://[^\s,;)]*[^\s,;).]", r"<\g<0>>", item) for item in items]
    return " ".join(head.split()), items


def usage(arch: Architecture) -> str:
    """How to use the family's smallest model, in a few lines of Python."""
    first = infos(arch)[0]
    scale = f", scale={first.scales[-1]}" if arch.multi_scale else ""
    lines = ["import srzoo", ""]
    if arch.weights:
        row = arch.weights[0]
        lines.append(f'srzoo.upscale("photo.png", "{row.model}.{row.tag}"{scale})')
    elif not first.parameters:
        lines.append(f'srzoo.upscale("photo.png", "{first.name}"{scale})')
    else:
        lines += [
            f'model = srzoo.create_model("{first.name}")  # random weights: no trained ones yet',
            f'srzoo.upscale("photo.png", model{scale})',
        ]
    return "```python\n{}\n```".format("\n".join(lines))


def arguments_text(arguments: Mapping[str, Any]) -> str:
    """Constructor arguments as they are written in Python."""
    return ", ".join(f"`{key}={value!r}`" for key, value in arguments.items())


def family_page(arch: Architecture) -> str:
    """docs/models/FAMILY.md."""
    module = sys.modules[arch.model.__module__]
    summary, facts = docstring_facts(module.__doc__ or "")
    rows = [
        (
            f"`{info.name}`",
            f"{info.parameters:,}",
            ", ".join(f"x{scale}: {halo}" for scale, halo in info.halo.items()),
            arguments_text(info.arguments),
        )
        for info in infos(arch)
    ]
    parts = [
        f"# {arch.model.__name__}",
        summary,
        "\n".join(facts),
        "## Use",
        usage(arch),
        "## Models",
        "The halo is the exact radius of the receptive field in LR pixels.",
        table(["model", "parameters:", "halo", "constructor arguments"], rows),
        "## Weights",
    ]
    if not arch.weights:
        parts.append("None needed." if not infos(arch)[0].parameters else "None yet.")
    else:
        parts += weights_tables([arch])
        parts += [f"- `{row.model}.{row.tag}` ({row.license}): {row.source}" for row in arch.weights]
    parts += ["## Class", f"::: {arch.model.__module__}.{arch.model.__name__}"]
    return "\n\n".join(parts) + "\n"


def index_page() -> str:
    """docs/models/index.md."""
    pages = [f"- [{arch.model.__name__}]({arch.family}.md): {arch.title}" for arch in families()]
    intro = (
        "Written by `scripts/gen_docs.py` from the records in `srzoo/models/`. "
        "`srzoo list` shows the same for an installation, plug-ins included."
    )
    return "\n\n".join(["# Models", intro, "\n".join(pages), models_section()]) + "\n"


def updated_readme(text: str) -> str:
    """README.md with the model table written anew.

    Raises:
        ValueError: If the two marks are not there, each once, in order.
    """
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"README.md needs {BEGIN} and {END}, each once, in this order")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{models_section()}\n\n{END}{rest.split(END)[1]}"


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Write the pages and the table, or only check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if README.md is out of date")
    args = parser.parse_args(argv)

    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    new = updated_readme(text)
    if args.check:
        if text != new:
            print("README.md is out of date: run python scripts/gen_docs.py", file=sys.stderr)
        return int(text != new)
    if text != new:
        readme.write_text(new, encoding="utf-8")

    folder = root / "docs/models"
    folder.mkdir(parents=True, exist_ok=True)
    pages = {"index": index_page(), **{arch.family: family_page(arch) for arch in families()}}
    for stale in set(folder.glob("*.md")) - {folder / f"{name}.md" for name in pages}:
        stale.unlink()
    for name, page in pages.items():
        (folder / f"{name}.md").write_text(page, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
