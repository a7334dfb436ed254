"""`srzoo list`: the models there are."""

import argparse
import json
import sys
from typing import Any

from srzoo.hub import place
from srzoo.registry import broken_plugins, list_models, model_info

PLACES = {"package": "", "cache": " (from the Hub)", "hub": " (on the Hub)"}
FOOT = "-: no weights yet, train them. With --tta x8 a model is its + (EDSR+, MDSR+)."


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser("list", help="list models", description="List the models of the zoo.")
    parser.add_argument("pattern", nargs="?", default="*", help="glob, such as 'edsr*_x4'")
    parser.add_argument("--pretrained", action="store_true", help="only models with weights")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(run=run)


def row(name: str) -> dict[str, Any]:
    """One model as plain values."""
    info = model_info(name)
    return {
        "name": name,
        "family": info.family,
        "scales": list(info.scales),
        "parameters": info.parameters,
        "halo": {f"x{scale}": halo for scale, halo in info.halo.items()},
        "weights": [
            {
                "tag": w.tag,
                "place": place(w),
                "license": w.license,
                "metrics": {name: dict(scores) for name, scores in w.metrics.items()},
            }
            for w in info.weights
        ],
        "title": info.title,
    }


def run(args: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    rows = [row(name) for name in list_models(args.pattern, pretrained=args.pretrained)]
    if not rows:
        raise ValueError(f"no model matches {args.pattern!r}; `srzoo list` shows them all")
    for plugin in broken_plugins():
        sys.stderr.write(f"srzoo: plug-in {plugin.name} ({plugin.target}) could not be loaded: {plugin.error}\n")
    if args.json:
        print(json.dumps(rows, indent=2))
        return 0
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading, justify in (
        ("model", "left"),
        ("scale", "left"),
        ("parameters", "right"),
        ("weights", "left"),
        ("Set5 Y-PSNR", "right"),
    ):
        table.add_column(heading, justify="right" if justify == "right" else "left", no_wrap=heading == "model")
    for entry in rows:
        weights = entry["weights"]
        scores = weights[0]["metrics"].get("Set5", {}).values() if weights else ()
        table.add_row(
            entry["name"],
            ", ".join(f"x{scale}" for scale in entry["scales"]),
            f"{entry['parameters']:,}",
            ", ".join(w["tag"] + PLACES[w["place"]] for w in weights)
            or ("-" if entry["parameters"] else "none needed"),
            " / ".join(f"{score:.2f}" for score in scores),
        )
    console = Console()
    console.print(table)
    console.print(FOOT, soft_wrap=True)
    return 0
