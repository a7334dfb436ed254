from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import srzoo
from srzoo import catalog, registry
from srzoo.architecture import Architecture, Origin, Weights
from srzoo.models.edsr import EDSR
from srzoo.weights import Header, file_sha256, write_weights

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
    catalog.catalog.cache_clear()


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


@pytest.mark.parametrize(
    ("override", "kind", "told"),
    [
        (dict(res_scale="a"), TypeError, "takes a number as res_scale, such as 1.0; 'a' was given"),
        (dict(res_scale=True), TypeError, "takes a number as res_scale, such as 1.0; True was given"),
        (dict(res_scale=float("nan")), ValueError, "takes a finite number as res_scale, such as 1.0; nan was given"),
        (dict(width=8.0), TypeError, "takes a whole number as width, such as 64; 8.0 was given"),
        (dict(width=True), TypeError, "takes a whole number as width, such as 64; True was given"),
        (dict(scale="2"), TypeError, "takes a whole number as scale, such as 2; '2' was given"),
        (dict(num_blocks=None), TypeError, "takes a whole number as num_blocks, such as 16; None was given"),
        (dict(num_blocks=-1), ValueError, "takes num_blocks of 0 or more, such as 16; -1 was given"),
    ],
)
def test_an_override_of_a_wrong_kind_is_refused_before_anything_is_built(override, kind, told, as_users_call):
    with pytest.raises(kind, match=f"^edsr_baseline_x2 {told}$"):
        srzoo.create_model("edsr_baseline_x2", **override)


def test_overrides_of_the_right_kind_pass(as_users_call):
    assert srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=0, res_scale=1).arguments["res_scale"] == 1
    assert srzoo.create_model("mdsr_baseline", width=4, num_blocks=1, scales=[2, 3]).scales == (2, 3)


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
    catalog.catalog.cache_clear()
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


def test_the_scale_of_a_name_cannot_be_overridden() -> None:
    with pytest.raises(ValueError, match="edsr_x4 upscales by 4, scale=2 was given; take another name"):
        srzoo.create_model("edsr_x4", scale=2)


# Files, folders, and how they are written


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder such as training leaves."""
    found = tmp_path / "runs" / "mine"
    found.mkdir(parents=True)
    srzoo.save_model(srzoo.create_model("edsr_baseline_x2", width=4, num_blocks=1), found / "model.safetensors")
    return found


def test_a_folder_is_loaded_by_every_spelling(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    whole = srzoo.load_model(folder / "model.safetensors")
    for model in (
        srzoo.load_model(folder),
        srzoo.load_model("mine"),
        srzoo.load_model(f"local-dir:{folder}"),
        srzoo.load_model("local-dir:mine"),
        srzoo.create_model("local-dir:mine"),
        registry.open_model("mine"),
        registry.open_model("./mine"),
        registry.open_model("local-dir:mine"),
    ):
        assert is_same(model, whole)
        assert not model.training
    assert registry.weight_file("local-dir:mine") == Path("mine/model.safetensors")
    assert srzoo.load_model("local-dir:mine").origin == Origin("mine/model.safetensors")


def test_a_folder_in_the_users_home_is_found(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder.parent))
    monkeypatch.setenv("USERPROFILE", str(folder.parent))
    assert srzoo.load_model("local-dir:~/mine").name == "edsr_baseline_x2"


def test_overrides_apply_to_the_arguments_of_the_header(folder):
    model = srzoo.create_model(f"local-dir:{folder}", res_scale=0.5)
    assert model.arguments == {"scale": 2, "channels": 3, "width": 4, "num_blocks": 1, "res_scale": 0.5}
    with pytest.raises(ValueError, match=r"does not fit EDSR: .*of another shape: .*head\.weight"):
        srzoo.create_model(f"local-dir:{folder}", channels=1)
    with pytest.raises(TypeError, match="edsr_baseline_x2 takes no argument 'widht'; did you mean width"):
        srzoo.create_model(f"local-dir:{folder}", widht=4)


@pytest.mark.parametrize(
    ("there", "told"),
    [
        ([], r"srzoo\.save_model and `srzoo train` write one"),
        (["b.safetensors", "a.safetensors"], r"it has a\.safetensors, b\.safetensors: give the path of the one"),
        (["pytorch_model.bin"], r"turn pytorch_model\.bin into one with `srzoo convert`"),
    ],
)
def test_a_folder_without_a_model_says_what_it_has(tmp_path, there, told):
    for name in there:
        (tmp_path / name).touch()
    for ask in (f"local-dir:{tmp_path}", str(tmp_path)):
        with pytest.raises(FileNotFoundError, match=rf"has no model\.safetensors; {told}"):
            srzoo.load_model(ask)


@pytest.mark.parametrize(
    ("ask", "kind", "told"),
    [
        (srzoo.create_model, ValueError, "'owner/name' is no model's name; for a repository .* hf-hub:owner/name"),
        (srzoo.model_info, ValueError, "'owner/name' is no model's name"),
        (srzoo.load_model, FileNotFoundError, "owner/name does not exist; for a repository .* hf-hub:owner/name"),
        (registry.open_model, FileNotFoundError, "owner/name does not exist; for a repository .* hf-hub:owner/name"),
    ],
)
def test_a_bare_owner_and_name_is_answered_with_the_spelling(ask, kind, told):
    with pytest.raises(kind, match=told):
        ask("owner/name")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("https://huggingface.co/owner/name/tree/main", "write hf-hub:owner/name$"),
        ("hf://owner/name@v1/model.safetensors", "write hf-hub:owner/name@v1$"),
        ("HF-HUB:owner/name", "write hf-hub:owner/name$"),
        ("hf-hub:https://huggingface.co/owner/name", "write hf-hub:owner/name$"),
        ("owner\\name", "write hf-hub:owner/name$"),
        ("runs/mine/a.safetensors", r"for a weight file srzoo\.load_model\(FILE\)"),
        ("/runs/mine", "for a folder write local-dir:FOLDER"),
    ],
)
def test_other_spellings_are_answered_with_ours(name, told):
    with pytest.raises(ValueError, match=told):
        srzoo.create_model(name)


@pytest.mark.parametrize("name", ["", "local-dir:"])
@pytest.mark.parametrize(
    "ask", [srzoo.create_model, srzoo.load_model, registry.open_model, registry.weight_file, srzoo.model_info]
)
def test_an_empty_name_is_not_the_current_folder(folder, monkeypatch, ask, name):
    monkeypatch.chdir(folder)
    with pytest.raises(ValueError, match=rf"^the name or path '{name}' is empty; was a variable not set\?$"):
        ask(name)


def test_a_file_of_another_project_is_answered_with_the_command(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"x": torch.zeros(1)}, "edsr_x4.pth")
    for name in ("edsr_x4.pth", "./edsr_x4.pth", str(tmp_path / "edsr_x4.pth")):
        with pytest.raises(ValueError, match=r"edsr_x4\.pth is no weight file; turn it into one with `srzoo convert`$"):
            registry.open_model(name)
    with pytest.raises(FileNotFoundError, match=r"^gone\.pt does not exist; give a weight file"):
        registry.open_model("gone.pt")
    Path("weights").write_bytes(b"of another program")
    with pytest.raises(ValueError, match=r"weights is damaged or not a safetensors file .*`srzoo convert`"):
        registry.open_model("weights")


def test_a_registered_name_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bicubic_x2", "edsr_baseline_x2.photos"):
        Path(name).touch()
        assert not registry.is_path(name)
        assert not registry.open_model(name).training


def test_a_models_name_is_no_file():
    for name in ("edsr_baseline_x2", "edsr_baseline_x2.photos"):
        with pytest.raises(FileNotFoundError, match=rf"^{name} does not exist; use srzoo\.create_model"):
            srzoo.load_model(name)
    with pytest.raises(FileNotFoundError, match=r"^nothing does not exist; give a weight file"):
        srzoo.load_model("nothing")


def test_the_file_behind_a_name():
    assert registry.weight_file("edsr_baseline_x2") == registry.weight_file("edsr_baseline_x2.photos")
    with pytest.raises(ValueError, match="edsr_x2 has no pretrained weights"):
        registry.weight_file("edsr_x2")


@pytest.mark.parametrize(
    "change", [{"width": "wide"}, {"width": -1}, {"scale": 3}, {"window": 8}, {"num_blocks": None}]
)
def test_a_header_that_builds_nothing_is_refused_by_file(tmp_path, change, as_users_call):
    path = tmp_path / "a.safetensors"
    header = Header(model="edsr_baseline_x2", arguments={"scale": 2, "width": 4, "num_blocks": 1, **change})
    write_weights(path, {"x": torch.zeros(1)}, header)
    with pytest.raises(ValueError, match=r"a\.safetensors cannot be built as its header says: .") as caught:
        srzoo.load_model(path)
    assert "\n" not in str(caught.value)
