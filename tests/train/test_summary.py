from dataclasses import replace

import pytest
import torch

import srzoo
from srzoo.benchmark import measure
from srzoo.data.pairs import Pair
from srzoo.resize import imresize
from srzoo.train.summary import RunFacts, Scores, score_bicubic, write_summary


def scores(psnr: float, ssim: float = 0.9) -> Scores:
    return {"Set5": {"x4": {"psnr": psnr, "ssim": ssim, "images": 5, "protocol": "Y, 8-bit, border 4"}}}


FACTS = RunFacts(
    model="edsr_baseline_x4",
    start="the weights edsr_baseline_x4.photos",
    num_images=12,
    megapixels=31.44,
    fingerprint="ab12",
    steps=2000,
    seconds=754.2,
    device="cpu, 2 threads",
    bicubic=scores(28.42, 0.81),
    before=scores(31.9, 0.892),
    after=scores(33.151, 0.9012),
)


def test_the_summary_tells_the_facts(tmp_path):
    path = write_summary(tmp_path, FACTS)
    text = path.read_text()
    assert path == tmp_path / "summary.md"
    assert text.startswith("# edsr_baseline_x4 after 2,000 steps\n")
    for line in (
        "| started from | the weights edsr_baseline_x4.photos |",
        "| images | 12, 31.4 megapixels |",
        "| fingerprint of the images | `ab12` |",
        "| steps | 2,000 |",
        "| time | 12 min 34 s |",
        "| device | cpu, 2 threads |",
        "| set | scale | images | bicubic | before | after | gain in PSNR |",
        "| Set5 | x4 | 5 | 28.42 / 0.8100 | 31.90 / 0.8920 | 33.15 / 0.9012 | +1.25 dB |",
        f"srzoo upscale photo.png --model {tmp_path}",
    ):
        assert line in text.splitlines()
    assert "border 4). The gain is against before." in text
    for absent in ("## Curves", "## Samples", "## Left out", "fell"):
        assert absent not in text


def test_from_scratch_the_gain_is_against_bicubic(tmp_path):
    text = write_summary(tmp_path, replace(FACTS, before=None)).read_text()
    assert "| set | scale | images | bicubic | after | gain in PSNR |\n| --- | --- | --- | --- | --- | --- |\n" in text
    assert "| Set5 | x4 | 5 | 28.42 / 0.8100 | 33.15 / 0.9012 | +4.73 dB |\n" in text
    assert "The gain is against bicubic." in text


def test_a_score_that_fell_is_said_plainly(tmp_path):
    text = write_summary(tmp_path, replace(FACTS, after=scores(31.5))).read_text()
    assert "| -0.40 dB |" in text
    assert "The PSNR fell on Set5 x4: what it started from is better there." in text


def test_without_validation_nothing_was_scored(tmp_path):
    text = write_summary(tmp_path, replace(FACTS, bicubic={}, before=None, after={})).read_text()
    assert "There were no validation images, so nothing was scored." in text
    assert "| set |" not in text


def test_a_set_that_was_not_scored_before_has_no_gain(tmp_path):
    after = {**scores(33.0), "Set14": {"x2": {"psnr": 33.1, "ssim": 0.9, "images": 14, "protocol": "Y"}}}
    text = write_summary(tmp_path, replace(FACTS, after=after)).read_text()
    assert "| Set14 | x2 | 14 |  |  | 33.10 / 0.9000 |  |\n" in text


def test_pictures_are_linked_from_the_folder_whatever_their_names(tmp_path):
    samples = [tmp_path / "samples" / "1_my photo (2)_x4.png", tmp_path / "samples" / "2_b_x4.png"]
    text = write_summary(tmp_path, FACTS, curves=tmp_path / "curves.png", samples=samples).read_text()
    assert "## Curves\n\n![curves](curves.png)\n\n" in text
    assert "](samples/1_my%20photo%20%282%29_x4.png)\n\n![2_b_x4](samples/2_b_x4.png)\n" in text


def test_what_was_left_out_is_listed_up_to_a_limit(tmp_path):
    lines = [f"photo{i}.png: damaged" for i in range(25)]
    text = write_summary(tmp_path, replace(FACTS, left_out=lines, num_left_out=31)).read_text()
    assert "| images | 12, 31.4 megapixels; 31 left out |" in text
    assert "- photo19.png: damaged\n- and 5 more\n" in text
    assert "photo20" not in text
    one = write_summary(tmp_path, replace(FACTS, left_out=lines[:1])).read_text()
    assert "## Left out\n\n- photo0.png: damaged\n\n" in one


def test_the_command_and_the_tables_bear_odd_names(tmp_path):
    folder = tmp_path / "my runs"
    folder.mkdir()
    after = {"a|b": {"x4": {"psnr": 30.0, "ssim": 0.8, "images": 1, "protocol": "Y"}}}
    text = write_summary(folder, replace(FACTS, before=None, after=after)).read_text()
    assert f"--model '{folder}'\n" in text
    assert "| a\\|b | x4 |" in text


def test_bicubic_is_scored_as_the_zoo_does_at_each_scale():
    hr = torch.randint(0, 256, (3, 24, 36), dtype=torch.uint8)
    sets = {"noise": [Pair("noise", imresize(hr, scale=1 / scale), hr, scale) for scale in (2, 3)], "none": []}
    found = score_bicubic(sets)
    assert list(found["noise"]) == ["x2", "x3"]
    assert found["none"] == {}
    for i, scale in enumerate((2, 3)):
        expected = measure(srzoo.create_model(f"bicubic_x{scale}"), {"noise": [sets["noise"][i]]})
        assert found["noise"][f"x{scale}"] == expected["noise"][f"x{scale}"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(OSError, match="none"):
        write_summary(tmp_path / "none", FACTS)


def test_settings_and_licence_have_rows_where_they_are_given(tmp_path):
    bare = write_summary(tmp_path, FACTS).read_text()
    assert "| settings |" not in bare
    assert "| licence" not in bare
    assert "left out" not in write_summary(tmp_path, replace(FACTS, left_out=["small (0): none"])).read_text()
    text = write_summary(tmp_path, replace(FACTS, settings="lr 0.0003 | fast", license="CC-BY-4.0")).read_text()
    assert "| settings | lr 0.0003 \\| fast |\n| licence of the weights | CC-BY-4.0 |\n" in text
