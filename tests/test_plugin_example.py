"""The package in examples/plugin, and what faults in such a package do; nothing is installed."""

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples/plugin"
GROUP = "srzoo.architectures"

FAULTS = {
    "raises": "raise RuntimeError('this plug-in is broken')",
    "exits": "raise ImportError('no module named wheel_of_fortune')",
    "without": "title = 'a module that forgot its record'",
    "twice": """
from dataclasses import replace
from srzoo_pixattn import ARCH as theirs
ARCH = replace(theirs, family="edsr", variants={"edsr": {}})
""",
    "notone": "ARCH = {'family': 'notone'}",
}

TELL = """
import json, sys
import srzoo
after_import = sorted({"srzoo_pixattn", *sys.argv[1:]} & set(sys.modules))
import torch
from srzoo import catalog
model = srzoo.create_model("pixattn_x3", width=8, num_blocks=1)
try:
    srzoo.create_model("without_x2")
    error = ""
except ValueError as caught:
    error = str(caught)
print(json.dumps({
    "after_import": after_import,
    "models": srzoo.list_models("pixattn*"),
    "package": model.package,
    "shape": list(model(torch.rand(1, 3, 4, 5)).shape),
    "edsr": srzoo.model_info("edsr_x2").defined_in,
    "broken": {plugin.name: plugin.error for plugin in catalog.broken_plugins()},
    "error": error,
}))
"""
CONTRACT = """
import torch
from srzoo.testing import ContractError, check_architecture
from srzoo_pixattn import ARCH, PixelAttention
check_architecture(ARCH)

def of_the_whole_image(self, x):
    return x * torch.sigmoid(self.score(x.mean((2, 3), keepdim=True)))

PixelAttention.forward = of_the_whole_image
try:
    check_architecture(ARCH)
except ContractError as error:
    print(error)
"""


def put(site: Path, distribution: str, entry: str, target: str) -> None:
    """What pip leaves of an installed package: its metadata with an entry point."""
    info = site / f"{distribution.replace('-', '_')}-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{entry} = {target}\n")


def python(code: str, *arguments: str, paths: tuple[Path, ...]) -> str:
    """What a fresh interpreter prints that finds srzoo, the example and those folders."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, PLUGIN, *paths)))}
    command = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((PLUGIN / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def told(project: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What srzoo says beside the example and every fault, all installed at once."""
    site = tmp_path_factory.mktemp("site")
    for entry, target in project["entry-points"][GROUP].items():
        put(site, project["name"], entry, target)
    for name, source in FAULTS.items():
        (site / f"{name}.py").write_text(source)
        put(site, f"srzoo-{name}", name, f"{name}:ARCH")
    return json.loads(python(TELL, *FAULTS, paths=(site,)))


def test_the_example_keeps_the_contract_and_attention_of_the_whole_image_does_not() -> None:
    pooled = python(CONTRACT, paths=())
    told = "pixattn_x2: check_tiles: tiles at x2 differ from the whole by"
    assert pooled.startswith(told)
    assert told in (ROOT / "docs/contributing/add-a-model.md").read_text()


def test_its_entry_point_names_a_record_in_the_one_module_it_ships(project: dict[str, Any]) -> None:
    tool = tomllib.loads((PLUGIN / "pyproject.toml").read_text())["tool"]
    [module] = tool["hatch"]["build"]["targets"]["wheel"]["only-include"]
    assert (PLUGIN / module).exists()
    assert project["entry-points"] == {GROUP: {"pixattn": f"{Path(module).stem}:ARCH"}}


def test_it_is_found_by_name_beside_broken_plugins(told: dict[str, Any]) -> None:
    assert told["models"] == ["pixattn_x2", "pixattn_x3", "pixattn_x4"]
    assert told["package"] == "srzoo-pixattn 0.1.0"
    assert told["shape"] == [1, 3, 12, 15]


def test_importing_srzoo_imports_no_plugin(told: dict[str, Any]) -> None:
    assert told["after_import"] == []


def test_each_fault_is_reported_and_takes_no_other_name_away(told: dict[str, Any]) -> None:
    broken = told["broken"]
    assert broken.keys() == FAULTS.keys()
    assert broken["raises"] == "RuntimeError: this plug-in is broken"
    assert broken["exits"] == "ImportError: no module named wheel_of_fortune"
    assert broken["without"].startswith("AttributeError: module 'without' has no attribute 'ARCH'")
    assert "model 'edsr_x2' is defined in srzoo.models.edsr and again in plug-in twice" in broken["twice"]
    assert broken["notone"].startswith("TypeError")
    assert told["edsr"] == "srzoo.models.edsr"


def test_the_error_of_an_unknown_name_tells_of_the_plugin_that_may_have_had_it(told: dict[str, Any]) -> None:
    assert "plug-in without (without:ARCH) could not be loaded: AttributeError" in told["error"]
