"""Write docs/paper/claims.md from the JSON files that the scripts of the claims have left; no figure is typed by hand.

python examples/paper/page.py
python examples/paper/page.py --check
"""

import argparse
import importlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from study import ASSETS, CLAIMS, Found, Rows, draw_picture

from srzoo.files import replacing

PAGE = ASSETS.parents[1] / "paper" / "claims.md"
INTRO = """# The paper's claims, measured

What the slides of EDSR (Lim et al. 2017) claim, measured with our own runs. They are short, and mostly of small
networks: the paper trains 600,000 steps. A run of some hundred steps can show that an effect is there, but not that
it is not.

Each verdict is computed from the figures below it, by the rule that stands there. What the paper says is quoted from
its slides. PSNR is that of [the protocol](../protocol.md): luma, 8 bits, a border of the scale left out.
"""


def table(rows: Rows) -> str:
    """Rows as a Markdown table, the first as its head.

    Examples:
        >>> print(table([["run", "dB"], ["a", "30.1"]]))
        | run | dB |
        | --- | --- |
        | a | 30.1 |
    """
    head, *rest = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *rest])


def command(found: Found) -> str:
    """The command that makes a claim's figures, with the settings they were made with."""
    words = ["python", f"examples/paper/{found['claim']}.py"]
    if found["photos"]:
        words += ["--data", "photos/"]
    if found["validation"]:
        words += ["--validation", *(f"{name}/HR" for name in found["validation"])]
    words += [f"--{key.replace('_', '-')} {value:g}" for key, value in found["settings"].items()]
    return " ".join(words)


def where(found: Found) -> str:
    """Images, seeds, device, precision and versions, in a sentence or two."""
    machine, settings = found["machine"], found["settings"]
    precisions = dict.fromkeys(run["precision"] for run in found["runs"] if "precision" in run)
    told = []
    if found["photos"]:
        told.append(f"{found['photos']} training images")
    if "seeds" in settings:
        told.append(f"{settings['seeds']} seed" + ("s" if settings["seeds"] > 1 else ""))
    if "steps" in settings:
        least, most = (pick(run["steps"] for run in found["runs"]) for pick in (min, max))
        told.append(f"{least} steps a run" if least == most else f"{least} to {most} steps a run")
    told += [machine["device"], " and ".join(precisions or [machine["precision"]])]
    return f"{', '.join(told)}; torch {machine['torch']}."


def section(script: ModuleType, found: Found, picture: str) -> str:
    """What is said of one claim."""
    verdict = script.verdict(found)
    return f"""## {script.TITLE}

The paper: {script.PAPER}

**{verdict.word[0].upper()}{verdict.word[1:]}.** {verdict.reason}

The rule: {script.RULE}.

{table(script.rows(found))}

![{script.TITLE}]({picture})

```sh
{command(found)}
```

{where(found)}
"""


def make_page(assets: Path, page: Path) -> str:
    """The whole page: a summary, and a section for each claim that has been measured.

    Raises:
        SystemExit: If a JSON file is that of a toy run.
    """
    summary, sections, missing = [["claim", "our runs"]], [], []
    for name in CLAIMS:
        script = importlib.import_module(name)
        path = assets / f"{name}.json"
        if not path.exists():
            missing.append(script.TITLE)
            continue
        found = json.loads(path.read_text(encoding="utf-8"))
        if found["toy"]:
            raise SystemExit(f"{path} is that of a toy run; run examples/paper/{name}.py without --toy")
        anchor = "".join(c for c in script.TITLE.lower() if c.isalnum() or c in " -").replace(" ", "-")
        summary.append([f"[{script.TITLE}](#{anchor})", script.verdict(found).word])
        picture = os.path.relpath(assets / f"{name}.png", page.parent).replace(os.sep, "/")
        sections.append(section(script, found, picture))
    parts = [INTRO, table(summary) + "\n"]
    if missing:
        parts.append(f"Not measured yet: {'; '.join(missing)}.\n")
    parts.append("`python examples/paper/page.py` makes this page from the files that the scripts have written.\n")
    return "\n".join([*parts, *sections])


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page, or see whether it is up to date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=ASSETS, help="where the JSON files and plots are")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--draw", action="store_true", help="draw the plots anew from the JSON files")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page is out of date")
    args = parser.parse_args(argv)
    text = make_page(args.assets, args.page)
    if args.check:
        if args.page.exists() and args.page.read_text(encoding="utf-8") == text:
            return 0
        print(f"{args.page} is out of date; run python examples/paper/page.py", file=sys.stderr)
        return 1
    if args.draw:
        for name in CLAIMS:
            if (path := args.assets / f"{name}.json").exists():
                found = json.loads(path.read_text(encoding="utf-8"))
                draw_picture(importlib.import_module(name), found, path.with_suffix(".png"))
    args.page.parent.mkdir(parents=True, exist_ok=True)
    with replacing(args.page) as work:
        work.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
