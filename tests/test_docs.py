"""What the documentation says is true of the code: commands parse, examples run, every public name has a place."""

import argparse
import ast
import importlib
import importlib.util
import re
import shlex
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import srzoo
from srzoo.catalog import catalog
from srzoo.cli import build_parser
from srzoo.registry import architectures

ROOT = Path(__file__).parents[1]
DOCS = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))
PAGES = ["README.md", "CONTRIBUTING.md", *(page for page in DOCS if not page.startswith("docs/models/"))]
PACKAGES = ["srzoo", *(f"srzoo.{path.parent.name}" for path in sorted((ROOT / "srzoo").glob("*/__init__.py")))]


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, kind: str) -> list[str]:
    """Fenced blocks of one kind, also indented ones. `python` blocks run, `py` ones need files or weights."""
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```$", read(page), re.DOTALL | re.MULTILINE)
    return [dedent(code) for _, code in found]


def pages_with(kind: str) -> list[str]:
    return [page for page in PAGES if blocks(page, kind)]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """scripts/gen_docs.py as a module."""
    spec = importlib.util.spec_from_file_location("gen_docs", ROOT / "scripts/gen_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("mark", ["main job", "tests"])
def test_the_readme_has_a_command_after_each_newcomer_mark(mark: str) -> None:
    _, found, rest = read("README.md").partition(f"<!-- newcomer: {mark} -->")
    assert found
    fence, command = rest.strip().splitlines()[:2]
    assert fence.startswith("```")
    assert command.startswith("pip install ")


def test_the_readme_table_is_up_to_date(script: ModuleType) -> None:
    assert script.main(["--check"]) == 0


def test_an_outdated_table_is_noticed_and_written_anew(script: ModuleType, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{script.BEGIN}\nold\n{script.END}\nafter\n")
    assert script.main(["--check"], root=tmp_path) == 1
    assert "old" in readme.read_text()
    assert script.main([], root=tmp_path) == 0
    text = readme.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "`mdsr_baseline`" in text
    assert script.main(["--check"], root=tmp_path) == 0


def test_each_family_has_a_page_with_its_models_and_stale_pages_go(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(f"{script.BEGIN}\n{script.END}\n")
    (tmp_path / "docs/models").mkdir(parents=True)
    (tmp_path / "docs/models/gone.md").write_text("a family that is no more")
    script.main([], root=tmp_path)
    built_in = [arch for arch in architectures().values() if arch.model.__module__.startswith("srzoo.models.")]
    pages = {path.stem: path.read_text() for path in (tmp_path / "docs/models").glob("*.md")}
    assert pages.keys() == {"index", *(arch.family for arch in built_in)}
    for arch in built_in:
        assert f"({arch.family}.md)" in pages["index"]
        assert arch.paper in pages[arch.family]
        assert all(f"| `{name}` |" in pages[arch.family] for name in arch.model_names())
        assert all(row.source in pages[arch.family] for row in arch.weights)


def test_scores_of_weights_are_shown_by_set_and_scale(script: ModuleType) -> None:
    from srzoo.models.edsr import ARCH as EDSR
    from srzoo.models.mdsr import ARCH as MDSR

    def with_weights(arch: srzoo.Architecture, model: str, metrics: dict[str, dict[str, float]]) -> srzoo.Architecture:
        row = srzoo.Weights(model=model, tag="t", file="f", sha256="0" * 64, license="MIT", source="s", metrics=metrics)
        return srzoo.Architecture(**{**vars(arch), "weights": (row,)})

    edsr = with_weights(EDSR, "edsr_x2", {"Set5": {"x2": 38.0}, "Set14": {"x2": 33.9}})
    mdsr = with_weights(MDSR, "mdsr", {"Set5": {"x2": 38.1, "x4": 32.5}})
    _, table = script.weights_tables([edsr, mdsr])
    assert table.splitlines()[2:] == [
        "| `edsr_x2.t` | x2 | 38.00 | 33.90 | MIT |",
        "| `mdsr.t` | x2 | 38.10 |  | MIT |",
        "| `mdsr.t` | x3 |  |  | MIT |",
        "| `mdsr.t` | x4 | 32.50 |  | MIT |",
    ]

    jpeg = with_weights(EDSR, "edsr_x4", {"Set5 photo": {"x4": 27.0}})
    told, table, told_jpeg, table_jpeg = script.weights_tables([jpeg, mdsr])
    assert "degraded" not in told
    assert "degraded" in told_jpeg
    assert "photo" not in table
    assert table_jpeg.splitlines() == [
        "| weights | scale | Set5 photo | licence |",
        "| --- | --- | ---: | --- |",
        "| `edsr_x4.t` | x4 | 27.00 | MIT |",
    ]
    assert script.weights_tables([EDSR.__class__(**{**vars(EDSR), "weights": ()})]) == []


def test_the_readme_tree_has_every_file_and_no_other() -> None:
    _, _, rest = read("README.md").partition("## The package")
    told: set[str] = set()
    folder = Path()
    for line in rest.split("```")[1].splitlines()[2:]:
        name = line.split()[0]
        folder = folder if line.startswith("    ") else Path()
        if name.endswith("/"):
            folder = Path(name)
        else:
            told.add((folder / name).as_posix())
    files = {path.relative_to(ROOT / "srzoo").as_posix() for path in (ROOT / "srzoo").rglob("*.py")}
    assert told == {name for name in files if not name.endswith("/__init__.py")}


def exported(package: str) -> dict[str, str]:
    """Public names of a package's `__init__` with where each is defined: the `X as X` imports, followed to the end."""
    source = Path(str(importlib.import_module(package).__file__)).read_text(encoding="utf-8")
    names: dict[str, str] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if alias.asname == alias.name:
                    further = exported(node.module) if node.module in PACKAGES and node.module != package else {}
                    names[alias.name] = further.get(alias.name, f"{node.module}.{alias.name}")
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_in_the_reference(package: str) -> None:
    pages = "\n".join(read(page) for page in PAGES if page.startswith("docs/reference/"))
    listed = set(re.findall(r"^::: (\S+)$", pages, re.MULTILINE))
    everywhere = {f"{other}.{name}": home for other in PACKAGES for name, home in exported(other).items()}
    shown = listed | {everywhere[name] for name in listed if name in everywhere}
    missing = [
        name
        for name, home in exported(package).items()
        if home not in shown and home.rpartition(".")[0] not in shown and f"`srzoo.{name}`" not in pages
    ]
    assert not missing


def test_the_reference_lists_nothing_twice() -> None:
    pages = "\n".join(read(page) for page in PAGES if page.startswith("docs/reference/"))
    listed = re.findall(r"^::: (\S+)$", pages, re.MULTILINE)
    everywhere = {f"{other}.{name}": home for other in PACKAGES for name, home in exported(other).items()}
    homes = [everywhere.get(name, name) for name in listed]
    assert len(homes) == len(set(homes))


@pytest.mark.parametrize("kind", ["python", "py"])
def test_code_blocks_compile_and_name_only_what_there_is(kind: str) -> None:
    for page in pages_with(kind):
        for code in blocks(page, kind):
            for node in ast.walk(ast.parse(code, filename=page)):
                if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "srzoo":
                    assert hasattr(srzoo, node.attr), f"{page}: srzoo.{node.attr}"
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("srzoo"):
                    module = importlib.import_module(str(node.module))
                    assert all(hasattr(module, alias.name) for alias in node.names), f"{page}: {ast.unparse(node)}"


@pytest.mark.parametrize("page", pages_with("python"))
def test_code_blocks_run(page: str, photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SRZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (photo_folder / "photo0.png").rename(tmp_path / "photo.png")
    names = {"__name__": "docs"}  # a page is read from the top
    before = set(catalog().families)
    try:
        for code in blocks(page, "python"):
            exec(compile(code, page, "exec"), names)
    finally:
        for family in set(catalog().families) - before:
            catalog().forget(catalog().families[family])


def commands(page: str) -> list[str]:
    lines = [line for code in blocks(page, "sh") for line in code.splitlines()]
    return [part.strip() for line in lines for part in line.split("&&") if part.strip().startswith("srzoo ")]


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)])
def test_commands_parse_and_name_models_there_are(page: str) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        if words == ["train", "--list-recipes"]:  # prints and leaves
            continue
        args = build_parser().parse_args(words)
        model = getattr(args, "model", None)
        if model is not None and "/" not in model and not model.startswith("pixattn"):  # of examples/plugin
            assert srzoo.list_models(model.partition(".")[0]), command


def options(parser: argparse.ArgumentParser) -> dict[str, set[str]]:
    """Command -> its options."""
    found: dict[str, set[str]] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, command in action.choices.items():
                found[name] = {option for a in command._actions for option in a.option_strings} - {"-h", "--help"}
    return found


@pytest.mark.parametrize(("command", "expected"), options(build_parser()).items())
def test_the_reference_has_every_option_of_a_command_and_no_other(command: str, expected: set[str]) -> None:
    _, found, rest = read("docs/reference/cli.md").partition(f"## srzoo {command}\n")
    assert found
    rows = [line.split("|")[1] for line in rest.split("\n## ")[0].splitlines() if line.startswith("| `-")]
    assert {option for row in rows for option in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", row)} == expected


def test_the_network_in_the_guide_is_the_one_in_the_example() -> None:
    source = read("examples/own_network.py").replace("import numpy as np\n", "")
    network = source[source.index("import math") : source.index("def main")].rstrip()
    assert network in read("docs/guides/blocks.md")


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)[^)\s]*\)", read(page)):
            if not target.startswith("http") and "models/" not in target:
                assert (ROOT / page).parent.joinpath(target).exists(), f"{page}: {target}"
