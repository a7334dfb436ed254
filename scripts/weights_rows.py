"""The rows of weights in the files of srzoo/models: their text, and how one is put in or replaced."""

import ast
import re
from typing import Any

from srzoo.architecture import Weights

WIDTH = 120
NO_IMPORT = r"(from srzoo\.architecture import (?!.*\bWeights\b)[\w, ]+)$"


def row_text(row: Weights, indent: str = " " * 8) -> str:
    """A row as it stands in a model's file, the first line indented too."""
    inner = indent + " " * 4
    fields = ("model", "tag", "file", "sha256", "license", "source")
    lines = [f"{inner}{name}={_text(getattr(row, name))}," for name in fields]
    metrics = "{" + ", ".join(f"{_text(name)}: {_scores(scores)}" for name, scores in row.metrics.items()) + "}"
    if len(f"{inner}metrics={metrics},") <= WIDTH:
        lines.append(f"{inner}metrics={metrics},")
    else:
        rows = [f"{inner}    {_text(name)}: {_scores(scores)}," for name, scores in row.metrics.items()]
        lines += [f"{inner}metrics={{", *rows, f"{inner}}},"]
    return "\n".join([f"{indent}Weights(", *lines, f"{indent}),"])


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _scores(scores: Any) -> str:
    return "{" + ", ".join(f"{_text(scale)}: {psnr}" for scale, psnr in scores.items()) + "}"


def edit_row(source: str, row: Weights) -> str:
    """The text of a model's file with a row put in, or put in the place of the one of the same model and tag.

    A file that had no rows gets the import they need.

    A new row goes to the end: the first row of a model is the one that `pretrained=True` loads.

    Raises:
        ValueError: If there is no `ARCH = Architecture(...)` with rows in a tuple.
    """
    source = re.sub(
        r"(from srzoo\.architecture import (?!.*\bWeights\b)[\w, ]+)$", r"\1, Weights", source, count=1, flags=re.M
    )
    call = _architecture(source)
    weights = next((one.value for one in call.keywords if one.arg == "weights"), None)
    if weights is None:
        end = _offset(source, call.end_lineno or 0, (call.end_col_offset or 0) - 1)
        return f"{source[:end]}    weights=(\n{row_text(row)}\n    ),\n{source[end:]}"
    if not isinstance(weights, ast.Tuple):
        raise ValueError("the weights of ARCH are no tuple of rows; write the row by hand")
    for one in weights.elts:
        told = {key.arg: key.value.value for key in getattr(one, "keywords", ()) if isinstance(key.value, ast.Constant)}
        if (told.get("model"), told.get("tag")) == (row.model, row.tag):
            start, end = _span(source, one)
            return source[:start] + row_text(row).strip().removesuffix(",") + source[end:]
    if not weights.elts:
        start, end = _span(source, weights)
        return f"{source[:start]}(\n{row_text(row)}\n    ){source[end:]}"
    _, end = _span(source, weights.elts[-1])
    comma = "" if source[end:].lstrip().startswith(",") else ","
    end = source.index(",", end) + 1 if not comma else end
    return f"{source[:end]}{comma}\n{row_text(row)}{source[end:]}"


def _architecture(source: str) -> ast.Call:
    assigned = [one for one in ast.parse(source).body if isinstance(one, ast.Assign)]
    for one in assigned:
        is_record = any(isinstance(target, ast.Name) and target.id == "ARCH" for target in one.targets)
        if is_record and isinstance(one.value, ast.Call):
            return one.value
    raise ValueError("there is no ARCH = Architecture(...); write the row by hand")


def _span(source: str, node: ast.expr) -> tuple[int, int]:
    """Where a node starts and ends in the text."""
    end = _offset(source, node.end_lineno or 0, node.end_col_offset or 0)
    return _offset(source, node.lineno, node.col_offset), end


def _offset(source: str, line: int, column: int) -> int:
    """Place in the text of a line and a column that is counted in bytes, as ast does."""
    lines = source.splitlines(keepends=True)
    return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())
