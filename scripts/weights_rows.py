"""The rows of weights in the files of srzoo/models: their text, and how one is put in or replaced."""

import ast
from dataclasses import MISSING, fields
from typing import Any

from srzoo.architecture import Weights

WIDTH = 120


def row_text(row: Weights, indent: str = " " * 8) -> str:
    """A row as it stands in a model's file, the first line indented too; fields that are as by default are left out."""
    inner = indent + " " * 4
    lines = []
    for one in fields(row):
        value = getattr(row, one.name)
        usual = one.default_factory() if one.default_factory is not MISSING else one.default
        if value == usual:
            continue
        if isinstance(value, str):
            lines.append(f"{inner}{one.name}={_text(value)},")
            continue
        scores = [f"{_text(name)}: {_scores(by_scale)}" for name, by_scale in value.items()]
        line = f"{inner}{one.name}={{{', '.join(scores)}}},"
        lines += [line] if len(line) <= WIDTH else _broken(one.name, scores, inner)
    return "\n".join([f"{indent}Weights(", *lines, f"{indent}),"])


def _broken(name: str, scores: list[str], inner: str) -> list[str]:
    """A field with its scores, a set to a line."""
    return [f"{inner}{name}={{", *(f"{inner}    {one}," for one in scores), f"{inner}}},"]


def _text(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _scores(scores: Any) -> str:
    return "{" + ", ".join(f"{_text(scale)}: {psnr}" for scale, psnr in scores.items()) + "}"


def edit_row(source: str, row: Weights) -> str:
    """The text of a model's file with a row put in, or put in the place of the one of the same model and tag.

    A file that had no rows gets the import they need. A new row goes to the end: the first row of a model is the one
    that `pretrained=True` loads.

    Raises:
        ValueError: If there is no `ARCH = Architecture(...)` with rows in a tuple, or nothing is imported from
            srzoo.architecture.
    """
    source = _with_import(source)
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


def _with_import(source: str) -> str:
    """The text with `Weights` among what it imports from srzoo.architecture."""
    from_there = [one for one in ast.parse(source).body if isinstance(one, ast.ImportFrom)]
    names = [name for one in from_there if one.module == "srzoo.architecture" for name in one.names]
    if any(name.name == "Weights" and name.asname is None for name in names):
        return source
    if not names or names[-1].name == "*":
        raise ValueError(
            "Weights is not imported; write `from srzoo.architecture import Weights` into the model's file"
        )
    end = _offset(source, names[-1].end_lineno or 0, names[-1].end_col_offset or 0)
    return f"{source[:end]}, Weights{source[end:]}"


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
