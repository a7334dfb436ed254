import importlib
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import srzoo
from srzoo import models, registry
from srzoo.architecture import Architecture, Weights
from srzoo.models.bicubic import Bicubic
from srzoo.models.edsr import EDSR
from srzoo.weights import file_sha256

TOY = Architecture(
    family="toy",
    model=EDSR,
    title="EDSR made tiny",
    paper="https://example.org",
    scales=(2, 12),  # in this order only where numbers are read as numbers
    variants={"toy": dict(width=4, num_blocks=1), "toy_wide": dict(width=6, num_blocks=1)},
)


@pytest.fixture(autouse=True)
def fresh_catalog() -> Iterator[None]:
    """No record of a test is left for the next one."""
    yield
    registry._catalog.cache_clear()


# Numbers of the paper


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("edsr_baseline_x2", 1_369_859),
        ("edsr_baseline_x3", 1_554_499),
        ("edsr_baseline_x4", 1_517_571),
        ("edsr_x2", 40_729_603),
        ("edsr_x3", 43_680_003),
        ("edsr_x4", 43_089_923),
        ("mdsr_baseline", 3_227_203),
        ("mdsr", 7_953_987),
    ],
)
def test_parameter_counts_are_those_of_the_official_models(name, parameters):
    assert srzoo.model_info(name).parameters == parameters


@pytest.mark.parametrize(
    ("name", "halo"), [("edsr_baseline_x4", 36), ("edsr_x4", 68), ("mdsr_baseline", 44), ("mdsr", 172)]
)
def test_receptive_fields_at_x4(name, halo):
    assert srzoo.model_info(name).halo[4] == halo


def test_model_info_tells_what_a_model_is():
    info = srzoo.model_info("edsr_x3")
    assert (info.name, info.family, info.scales) == ("edsr_x3", "edsr", (3,))
    assert info.arguments == {"width": 256, "num_blocks": 32, "res_scale": 0.1, "scale": 3}
    assert info.paper == "https://arxiv.org/abs/1707.02921"
    assert info.defined_in == "srzoo.models.edsr"


# Lists


def test_every_family_offers_each_variant_at_each_scale():
    names = srzoo.list_models()
    assert {"edsr_baseline_x2", "edsr_x8", "mdsr", "mdsr_baseline", "bicubic_x3"} <= set(names)
    assert len(set(names)) == len(names)
    assert not [name for name in names if name.startswith("mdsr") and "_x" in name]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("edsr_x?", ["edsr_x2", "edsr_x3", "edsr_x4", "edsr_x8"]),
        ("edsr*_x4", ["edsr_baseline_x4", "edsr_x4"]),
        ("mdsr", ["mdsr"]),
        ("EDSR*", []),
        ("nothing*", []),
    ],
)
def test_lists_are_filtered_by_a_glob(pattern, names):
    assert srzoo.list_models(pattern) == names


def test_lists_are_sorted_as_people_read_numbers():
    srzoo.register(TOY)
    assert srzoo.list_models("toy*") == ["toy_wide_x2", "toy_wide_x12", "toy_x2", "toy_x12"]


# Building


def test_a_model_is_built_with_its_registered_arguments_and_the_users():
    model = srzoo.create_model("edsr_x2", width=4, num_blocks=2)
    assert (model.name, model.scales) == ("edsr_x2", (2,))
    assert model.arguments == {"scale": 2, "channels": 3, "width": 4, "num_blocks": 2, "res_scale": 0.1}
    assert model.head.weight.shape == (4, 3, 3, 3)
    assert model.body[0].res_scale == 0.1


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("edsr_basline_x4", "edsr_baseline_x4"),
        ("mdrs", "mdsr"),
        ("edsr_x5", "edsr_x4"),
        ("EDSR_baseline_x2", "edsr_baseline_x2"),
    ],
)
@pytest.mark.parametrize("ask", [srzoo.create_model, srzoo.model_info])
def test_an_unknown_name_is_answered_with_the_nearest_ones(ask, name, suggested):
    with pytest.raises(ValueError, match=rf"^unknown model '{name}'; did you mean .*\b{suggested}\b"):
        ask(name)


def test_a_name_like_no_other_is_answered_with_where_to_look():
    with pytest.raises(ValueError, match=r"unknown model 'qqqqqq'; srzoo\.list_models\(\) names them all"):
        srzoo.create_model("qqqqqq")


def test_an_unknown_override_is_answered_with_the_nearest_one():
    with pytest.raises(TypeError, match="edsr_x2 takes no argument 'widht'; did you mean width"):
        srzoo.create_model("edsr_x2", widht=4)


def test_an_override_like_no_other_is_answered_with_all_of_them():
    with pytest.raises(TypeError, match="it takes scale, channels, width, num_blocks, res_scale"):
        srzoo.create_model("edsr_x2", qqqqqq=4)


# Weights


@pytest.fixture
def toy_with_weights(tmp_path, monkeypatch) -> srzoo.SRModel:
    """The toy family with two weight files for toy_x2; returns the model of the first, tagged photos."""
    srzoo.register(TOY)
    model = srzoo.create_model("toy_x2")
    other = srzoo.create_model("toy_x2")
    rows = []
    for tag, held in (("photos", model), ("art", other)):
        path = tmp_path / f"toy_x2.{tag}.safetensors"
        srzoo.save_model(held, path, dtype=torch.float16 if tag == "art" else None)
        row = Weights(model="toy_x2", tag=tag, file=path.name, sha256=file_sha256(path), license="MIT", source="us")
        rows.append(row)
    monkeypatch.setattr("srzoo.hub.files", lambda package: tmp_path)
    registry._catalog.cache_clear()
    srzoo.register(replace(TOY, weights=tuple(rows)))
    return model


def is_same(one: srzoo.SRModel, other: srzoo.SRModel) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_pretrained_takes_the_first_weights_and_a_tag_takes_its_own(toy_with_weights):
    first, photos, art, fresh = (
        srzoo.create_model("toy_x2", pretrained=True),
        srzoo.create_model("toy_x2.photos"),
        srzoo.create_model("toy_x2.art"),
        srzoo.create_model("toy_x2"),
    )
    assert is_same(first, toy_with_weights)
    assert is_same(photos, toy_with_weights)
    assert not is_same(art, toy_with_weights)
    assert not is_same(fresh, toy_with_weights)
    assert [model.training for model in (first, photos, art, fresh)] == [False, False, False, True]
    assert {p.dtype for p in art.parameters()} == {torch.float32}


def test_lists_of_weights(toy_with_weights):
    assert srzoo.list_models("toy*", pretrained=True) == ["toy_x2"]
    assert srzoo.list_models("toy*", tags=True) == ["toy_x2.art", "toy_x2.photos"]
    assert srzoo.list_models("*.art", tags=True) == ["toy_x2.art"]
    assert [row.tag for row in srzoo.model_info("toy_x2").weights] == ["photos", "art"]
    assert [row.tag for row in srzoo.model_info("toy_x2.art").weights] == ["art"]


def test_an_unknown_tag_is_answered_with_those_there_are(toy_with_weights):
    with pytest.raises(ValueError, match=r"^toy_x2 has no weights tagged 'foto'; there are: photos, art$"):
        srzoo.create_model("toy_x2.foto")


@pytest.mark.parametrize("ask", [dict(name="toy_wide_x2", pretrained=True), dict(name="toy_wide_x2.photos")])
def test_a_model_without_weights_says_which_have_some_and_how_to_convert(toy_with_weights, ask):
    with pytest.raises(ValueError, match=r"^toy_wide_x2 has no pretrained weights") as caught:
        srzoo.create_model(**ask)
    assert "toy_x2" in str(caught.value)
    assert "srzoo.convert_checkpoint" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_fit_the_overrides_are_refused(toy_with_weights):
    with pytest.raises(ValueError, match=r"toy_x2\.photos does not fit EDSR: .*of another shape: .*head\.weight"):
        srzoo.create_model("toy_x2", pretrained=True, width=5)


def test_every_model_listed_as_pretrained_can_be_had():
    for name in srzoo.list_models(tags=True):
        assert not srzoo.create_model(name).training


# Registering


def test_an_architecture_of_ones_own_is_built_listed_and_described():
    srzoo.register(TOY)
    assert srzoo.create_model("toy_x2")(torch.rand(1, 3, 4, 5)).shape == (1, 3, 8, 10)
    assert "toy_x2" in srzoo.list_models()
    assert "toy" in registry.architectures()
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
        srzoo.register(registry.architectures()["edsr"])


def test_a_model_name_that_is_taken_is_refused_and_both_owners_are_named():
    mine = replace(TOY, family="edsr_b", variants={"edsr_baseline": {}}, scales=(2,), model=Bicubic)
    with pytest.raises(
        ValueError, match=r"'edsr_baseline_x2' is defined in srzoo\.models\.edsr and again in .*bicubic"
    ):
        srzoo.register(mine)
    assert "edsr_b" not in registry.architectures()


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
    registry._catalog.cache_clear()
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
    assert registry.broken_plugins() == []


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
    [broken] = registry.broken_plugins()
    assert (broken.name, broken.target) == ("badplug", "badplug:ARCH")
    with pytest.raises(
        ValueError,
        match=rf"unknown model 'badplug_x2'; .*; plug-in badplug \(badplug:ARCH\) could not be loaded: {error}",
    ):
        srzoo.create_model("badplug_x2")


def test_a_built_in_file_without_a_record_is_an_error_that_names_it(tmp_path, monkeypatch):
    (tmp_path / "forgotten.py").write_text("x = 1\n")
    monkeypatch.setattr(models, "__path__", [*models.__path__, str(tmp_path)])
    registry._catalog.cache_clear()
    importlib.invalidate_caches()
    try:
        with pytest.raises(AttributeError, match=r"srzoo\.models\.forgotten has no ARCH"):
            srzoo.list_models()
    finally:
        sys.modules.pop("srzoo.models.forgotten", None)
        vars(models).pop("forgotten", None)


def test_the_scale_of_a_name_cannot_be_overridden() -> None:
    with pytest.raises(ValueError, match="edsr_x4 upscales by 4, scale=2 was given; take another name"):
        srzoo.create_model("edsr_x4", scale=2)
