from pathlib import Path

import pytest

from srzoo.upscaling.jobs.naming import FIELDS, Naming, model_word

CAT = Path("album/cat.v2.jpg")


def name(template: str, **options) -> str:
    return Naming(size="x4", model="edsr_x4", scale=4, template=template, **options).name_of(CAT, 7, ".png")


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}_{size}{suffix}", "cat.v2_x4.png"),
        ("{stem}_x{scale}{suffix}", "cat.v2_x4.png"),
        ("{stem}", "cat.v2.png"),
        ("{index:05}", "00007.png"),
        ("{parent}/{stem}-{model}", "album/cat.v2-edsr_x4.png"),
        ("{stem}.{source_suffix}", "cat.v2.jpg.png"),
        ("{{{stem}}}{suffix}", "{cat.v2}.png"),
        ("{stem}.webp", "cat.v2.webp"),
        ("same", "same.png"),
    ],
)
def test_a_template_is_filled_in_and_gets_the_suffix_it_lacks(template, expected):
    assert name(template) == expected


def test_every_field_that_is_documented_can_be_filled_in():
    assert all(name(f"{{{field}}}a") for field in FIELDS)


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{stem}_{frame}", "has the field {frame}; there are {stem}"),
        ("{stem.x}", "has the field"),
        ("{stem!r}", "has the field"),
        ("{0}", "has the field"),
        ("{}", "has the field"),
        ("{stem", "cannot be read"),
        ("stem}", "cannot be read"),
        ("{index:zz}", "cannot be read"),
        ("../{stem}", "leads out of the output folder"),
        ("a/../../{stem}", "leads out"),
        ("/tmp/{stem}", "leads out"),
        ("c:{stem}", "leads out"),
        ("..\\{stem}", "leads out"),
        (".srzoo-upscale.jsonl{stem}", "gives no name"),
    ],
)
def test_a_template_that_cannot_be_is_refused_before_any_work(template, told):
    with pytest.raises(ValueError, match=told.replace("{", r"\{").replace("}", r"\}")):
        name(template)


def test_a_factor_is_not_to_be_had_where_a_size_was_asked_for():
    with pytest.raises(ValueError, match=r"use \{size\}"):
        Naming(size="800x600", model="m", template="{stem}_x{scale}")
    assert Naming(size="800x600", model="m").name_of(CAT, 1, ".png") == "cat.v2_800x600.png"


def test_suffix_and_format_must_agree():
    assert Naming("x2", "m", template="{stem}.jpeg", format="jpg").suffix == ".jpeg"
    with pytest.raises(ValueError, match=r"names end in \.jpeg, but the format is png"):
        Naming("x2", "m", template="{stem}.jpeg", format="png")
    with pytest.raises(ValueError, match="format is 'gif'; allowed are png"):
        Naming("x2", "m", format="gif")


@pytest.mark.parametrize("model", ["a/b", "C:\\x\\mine.safetensors", "hf-hub:o/n@r:half.safetensors", "x y*?", "///"])
def test_no_model_leads_into_another_folder(model):
    word = model_word(model)
    assert word
    assert not set(word) & set("/\\:*? ")
