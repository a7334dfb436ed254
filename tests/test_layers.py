"""Every module of the package has its place in the layers that import-linter checks."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_every_module_has_a_layer() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(c for c in settings["tool"]["importlinter"]["contracts"] if c["type"] == "layers")["layers"]
    placed = {name.strip().removeprefix("srzoo.") for layer in layers for name in layer.split("|")}
    modules = {path.stem for path in (ROOT / "srzoo").glob("*.py") if not path.stem.startswith("__")}
    packages = {path.parent.name for path in (ROOT / "srzoo").glob("*/__init__.py")}
    assert modules | packages == placed
