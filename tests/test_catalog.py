import importlib
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import srzoo
from srzoo import catalog, models
from srzoo.architecture import Architecture, Weights
from srzoo.models.bicubic import Bicubic
from srzoo.models.edsr import EDSR

TOY = Architecture(
    family="toy",
    model=EDSR,
    title="EDSR made tiny",
    paper="https://example.org",
    scales=(2, 12),
    variants={"toy": dict(width=4, num_blocks=1), "toy_wide": dict(width=6, num_blocks=1)},
)


@pytest.fixture(autouse=True)
def fresh_catalog() -> Iterator[None]:
    """No record of a test is left for the next one."""
    yield
    catalog.catalog.cache_clear()


# Registering


def test_an_architecture_of_ones_own_is_built_listed_and_described():
    srzoo.register(TOY)
    assert srzoo.create_model("toy_x2")(torch.rand(1, 3, 4, 5)).shape == (1, 3, 8, 10)
    assert "toy_x2" in srzoo.list_models()
    assert "toy" in catalog.architectures()
    assert srzoo.model_info("toy_x2").defined_in == "a call of srzoo.register for srzoo.models.edsr"


def test_the_same_record_twice_is_fine():
    srzoo.register(TOY)
    srzoo.register(replace(TOY))
    assert len(srzoo.list_models("toy*")) == 4


def test_another_record_of_the_same_family_is_refused():
    srzoo.register(TOY)
    other = replace(TOY, variants={"toy_other": {}}, model=Bicubic)
    with pytest.raises(ValueError, match="family 'toy' is defined twice"):
        srzoo.register(other)
    assert "toy_other_x2" not in srzoo.list_models()


def test_a_notebooks_cell_can_be_run_again():
    srzoo.register(TOY)
    srzoo.register(replace(TOY, variants={"toy_other": {}}))
    assert srzoo.list_models("toy*") == ["toy_other_x2", "toy_other_x12"]


def test_a_built_in_family_cannot_be_replaced():
    with pytest.raises(ValueError, match="is defined"):
        srzoo.register(catalog.architectures()["edsr"])


def test_a_model_name_that_is_taken_is_refused_and_both_owners_are_named():
    mine = replace(TOY, family="edsr_b", variants={"edsr_baseline": {}}, scales=(2,), model=Bicubic)
    with pytest.raises(
        ValueError, match=r"'edsr_baseline_x2' is defined in srzoo\.models\.edsr and again in .*bicubic"
    ):
        srzoo.register(mine)
    assert "edsr_b" not in catalog.architectures()


@pytest.mark.parametrize("thing", [EDSR, "toy", None])
def test_what_is_no_architecture_is_refused(as_users_call, thing):
    with pytest.raises(TypeError, match=r"gives .*, not an srzoo\.Architecture"):
        srzoo.register(thing)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(variants={"other": {}}), "model 'other_x2' .* must start with its family, 'toy'"),
        (dict(variants={"toy-wide": {}}), "model 'toy-wide_x2' .* must start with its family"),
        (dict(family="Toy"), "family 'Toy' .* use lower-case letters"),
        (dict(family="to.y"), "family 'to.y' .* use lower-case letters"),
    ],
)
def test_malformed_names_are_refused(change, told):
    with pytest.raises(ValueError, match=told):
        srzoo.register(replace(TOY, **change))
    assert not srzoo.list_models("toy*")


def test_weights_for_a_model_the_family_does_not_have_are_refused():
    row = Weights(model="toy_x3", tag="a", file="a", sha256="", license="MIT", source="us")
    with pytest.raises(ValueError, match=r"weights toy_x3\.a .* are for no model of 'toy'"):
        srzoo.register(replace(TOY, weights=(row,)))


# Plug-ins and model files


def install(site: Path, module: str, source: str, target: str = "ARCH") -> None:
    """What pip does: a module, and a distribution whose entry point names its record."""
    site.mkdir(exist_ok=True)
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[srzoo.architectures]\n{module} = {module}:{target}\n")


def plugin_source(family: str) -> str:
    return (
        "from srzoo import Architecture\n"
        "from srzoo.models.edsr import EDSR\n"
        f"ARCH = Architecture(family={family!r}, model=EDSR, title='t', paper='https://example.org', scales=(2,),\n"
        f"    variants={{{family!r}: dict(width=4, num_blocks=1)}})\n"
    )


@pytest.fixture
def site(tmp_path, monkeypatch) -> Iterator[Path]:
    """A folder of installed packages that Python looks into."""
    folder = tmp_path / "site"
    known = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    catalog.catalog.cache_clear()
    yield folder
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
            del sys.modules[name]
    importlib.invalidate_caches()


def test_an_installed_plug_in_is_found_like_a_built_in_family(site):
    install(site, "plugnet", plugin_source("plugnet"))
    assert srzoo.list_models("plug*") == ["plugnet_x2"]
    assert srzoo.create_model("plugnet_x2").name == "plugnet_x2"
    assert srzoo.model_info("plugnet_x2").defined_in == "plug-in plugnet (plugnet:ARCH)"
    assert catalog.broken_plugins() == []


def test_a_file_of_a_plug_ins_model_names_the_package_where_it_is_missing(site, tmp_path):
    install(site, "plugnet", plugin_source("plugnet"))
    path = tmp_path / "a.safetensors"
    assert srzoo.save_model(srzoo.create_model("plugnet_x2"), path).requires == "plugnet 1.0"
    assert srzoo.load_model(path).package == "plugnet 1.0"
    catalog.catalog.cache_clear()
    shutil.rmtree(site)
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match=r"holds a model 'plugnet_x2', .* the package plugnet 1\.0: install that"):
        srzoo.load_model(path)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("raise RuntimeError('no licence key')", "RuntimeError: no licence key"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("", "AttributeError: module 'badplug' has no attribute 'ARCH'"),
        ("ARCH = 5", "TypeError: plug-in badplug .* gives int, not an srzoo.Architecture"),
        (plugin_source("edsr"), "ValueError: model 'edsr_x2' is defined in srzoo.models.edsr and again in plug-in"),
    ],
    ids=["raises", "imports", "no record", "no architecture", "taken"],
)
def test_a_broken_plug_in_is_isolated_and_named_when_a_name_is_not_found(site, source, error):
    install(site, "badplug", source)
    install(site, "goodplug", plugin_source("goodplug"))
    assert {"goodplug_x2", "edsr_baseline_x2", "mdsr"} <= set(srzoo.list_models())
    assert srzoo.create_model("goodplug_x2").scales == (2,)
    [broken] = catalog.broken_plugins()
    assert (broken.name, broken.target) == ("badplug", "badplug:ARCH")
    with pytest.raises(
        ValueError,
        match=rf"unknown model 'badplug_x2'; .*; plug-in badplug \(badplug:ARCH\) could not be loaded: {error}",
    ):
        srzoo.create_model("badplug_x2")


def test_a_built_in_file_without_a_record_is_an_error_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "forgotten.py").write_text("x = 1\n")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    catalog.catalog.cache_clear()
    importlib.invalidate_caches()
    try:
        with pytest.raises(AttributeError, match=r"srzoo\.models\.forgotten has no ARCH"):
            srzoo.list_models()
    finally:
        sys.modules.pop("srzoo.models.forgotten", None)
        vars(models).pop("forgotten", None)
