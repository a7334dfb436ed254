"""`srzoo info`: what is known about a model or a weight file."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from srzoo.cli.plain import plain
from srzoo.hub import place
from srzoo.registry import is_path, model_info, weight_file
from srzoo.weights import file_sha256, read_header


def add(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "info",
        help="facts about a model or a weight file",
        description="Facts about a model, or what a weight file says of itself.",
    )
    parser.add_argument("name", help="model name, model.tag, weight file, folder, or hf-hub:owner/name@revision")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    parser.set_defaults(run=run)


def facts(name: str) -> dict[str, Any]:
    """Facts about a model or a file as plain values."""
    if is_path(name):
        path = weight_file(name)
        return {"file": str(path), **asdict(read_header(path)), "sha256": file_sha256(path)}
    info = model_info(name)
    return {
        **asdict(info),
        "halo": {f"x{scale}": halo for scale, halo in info.halo.items()},
        "weights": [
            {"tag": w.tag, "place": place(w), **{k: v for k, v in asdict(w).items() if k not in ("model", "tag")}}
            for w in info.weights
        ],
    }


def _lines(value: Any, indent: str = "") -> list[str]:
    """Nested values as indented lines."""
    lines: list[str] = []
    for key, item in value.items():
        label = f"{indent}{plain(str(key)).replace('_', ' ')}"
        if isinstance(item, dict) and item:
            lines += [label, *_lines(item, indent + "  ")]
        elif isinstance(item, list | tuple) and item and isinstance(item[0], dict):
            lines.append(label)
            for entry in item:
                lines += _lines(entry, indent + "  ")
        elif item not in ("", None, {}, [], ()):
            text = (
                ", ".join(map(str, item))
                if isinstance(item, list | tuple)
                else f"{item:,}"
                if isinstance(item, int)
                else str(item)
            )
            lines.append(f"{label}: {plain(text)}")
    return lines


def run(args: argparse.Namespace) -> int:
    """Print the facts as lines, or as JSON."""
    found = facts(args.name)
    print(json.dumps(found, indent=2) if args.json else "\n".join(_lines(found)))
    return 0
