import base64
import io
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import srzoo
from srzoo.data import pairs_from_hr
from srzoo.metrics import Protocol
from srzoo.report import Crop, compare
from srzoo.report.figure import MOST_SIDE
from srzoo.report.methods import open_methods
from srzoo.report.views import PALETTE

TINY = dict(width=4, num_blocks=1)


class Reader(HTMLParser):
    """Tags that are open, text that is shown, data of each section, addresses."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""
        self.data: list[dict] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        source = path.read_text(encoding="utf-8")
        self.feed(source)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in ("meta", "img", "br", "wbr"):
            self.open.append(tag)
        told = dict(attrs)
        self.links += [told[name] for name in ("src", "href", "action") if told.get(name)]
        self.ids += [told["id"]] if "id" in told else []
        self.kind = told.get("class")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            if self.kind == "data":
                self.data.append(json.loads(data))
            elif self.kind == "views":
                self.data[-1]["views"] = json.loads(data)
        elif self.open[-1:] != ["style"]:
            self.text += data


def decode(bitmap: dict) -> np.ndarray:
    kind, _, code = bitmap["src"].partition(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(code))) as image:
        return np.array(image.convert("RGB"))


def pixels(image: torch.Tensor) -> np.ndarray:
    return image.expand(3, -1, -1).permute(1, 2, 0).numpy()


def test_scores_are_those_of_evaluate(hr_folder):
    model = srzoo.create_model("edsr_baseline_x2", **TINY).eval()
    found = compare(None, {"mine": model, "bicubic": "bicubic"}, hr=hr_folder)
    assert (found.scale, found.methods) == (2, ("mine", "bicubic"))
    assert found.protocol == str(Protocol.paper(2))
    for label, network in (("mine", model), ("bicubic", srzoo.create_model("bicubic_x2"))):
        expected = srzoo.evaluate(network, pairs_from_hr(hr_folder, 2))
        assert [image.name for image in found.images] == [score.name for score in expected]
        for image, score in zip(found.images, expected, strict=True):
            assert image.scores[label].psnr == pytest.approx(score.psnr, abs=1e-9)
            assert image.scores[label].ssim == pytest.approx(score.ssim, abs=1e-9)
        assert found.means()[label].psnr == pytest.approx(np.mean([score.psnr for score in expected]))
    assert found.page is None
    assert found.grid is None


def test_given_lr_images_are_used(tmp_path, hr_folder, draw_image):
    lr = tmp_path / "lr"
    lr.mkdir()
    Image.fromarray(draw_image(20, 24, 9)).save(lr / "onex2.png")  # another picture than HR
    found = compare(lr, "bicubic_x2", hr=hr_folder)
    [image] = found.images
    assert image.name == "one"
    assert image.size == (48, 40)
    assert image.scores["bicubic"].psnr < 20
    alone = compare(lr, "bicubic_x2")
    assert alone.images[0].scores == {}
    assert (alone.protocol, alone.means()) == ("", {})


def test_the_page_holds_every_pixel_and_loads_nothing(tmp_path, hr_folder):
    models = {"mine": srzoo.create_model("edsr_baseline_x2", **TINY).eval()}
    found = compare(hr_folder, models, from_hr=True, page=tmp_path / "report.html", crops=2)
    page = Reader(tmp_path / "report.html")
    assert not page.open
    assert page.ids == ["keys", "image-1", "image-1-name", "image-2", "image-2-name"]
    assert page.links == ["#image-1", "#image-2"]
    source = (tmp_path / "report.html").read_text()
    assert "default-src 'none'" in source
    assert not re.search(r"https?:|url\(|@import|fetch\(|//[a-z]+\.", re.sub(r'"data:[^"]*"', "", source))
    _, methods = open_methods(models)
    for data, pair, image in zip(page.data, pairs_from_hr(hr_folder, 2), found.images, strict=True):
        assert [view["label"] for view in data["views"]] == ["LR", "bicubic", "mine", "HR"]
        expected = [pair.lr, *(method(pair.lr) for method in methods), pair.hr]
        for view, truth in zip(data["views"], expected, strict=True):
            assert np.array_equal(decode(view["pictures"]["whole"]), pixels(truth))
        assert data["crops"] == [[crop.left, crop.top, crop.width, crop.height] for crop in image.crops]
        assert data["labels"] == [view["label"] for view in data["views"]]
        assert not data["reduced"]
        for entry in image.scores.values():
            assert f"{entry.psnr:.2f} dB / {entry.ssim:.4f}" in page.text
    assert "Y, 8-bit, border 2" in page.text
    for entry in found.means().values():
        assert f"{entry.psnr:.2f}" in page.text


def test_error_maps_are_differences_from_hr(tmp_path, hr_folder, planted):
    compare(hr_folder / "two.png", {"mine": planted((40, 16, 0.2))}, from_hr=True, page=tmp_path / "a.html")
    [data] = Reader(tmp_path / "a.html").data
    _, bicubic, mine, hr = data["views"]
    assert "errors" not in hr
    truth = decode(hr["pictures"]["whole"]).astype(int)
    for view in (bicubic, mine):
        error = np.abs(decode(view["pictures"]["whole"]) - truth).mean(2)
        index = np.rint(np.minimum(error / data["peak"], 1) * 255).astype(int)
        near = np.abs(decode(view["errors"]["whole"]).astype(int) - PALETTE[index])
        assert near.max() <= 4  # a step of the ramp, where float32 rounds the other way
        assert (near == 0).mean() > 0.99
    brightness = [decode(view["errors"]["whole"])[16:24, 40:48].mean() for view in (bicubic, mine)]
    assert brightness[1] > brightness[0] + 100


def test_without_hr_errors_are_differences_from_the_first_model(tmp_path, hr_folder, planted):
    models = {"first": planted(), "second": planted((8, 8, 0.3))}
    compare(hr_folder / "one.png", models, page=tmp_path / "a.html")
    page = Reader(tmp_path / "a.html")
    assert ["errors" in view for view in page.data[0]["views"]] == [False, True, False, True]
    assert "difference from first" in page.text
    assert not decode(page.data[0]["views"][1]["errors"]["whole"]).max() > PALETTE[0].max()  # bicubic is the same
    assert "There is no HR image" in page.text


def test_the_first_crop_has_the_planted_difference(tmp_path, hr_folder, planted):
    models = {"one": planted(), "two": planted((50, 10, 0.3)), "three": planted((50, 10, 0.3), (4, 52, 0.1))}
    [image] = compare(hr_folder / "two.png", models, scale=2, from_hr=True, crops=2).images
    first, second = image.crops
    assert first.left <= 50 < first.right
    assert first.top <= 10 < first.bottom
    assert second.left <= 4 < second.right
    assert second.top <= 52 < second.bottom


def test_large_images_are_reduced_and_their_crops_are_not(tmp_path, hr_folder):
    crop = Crop(11, 5, 20, 9)
    path = tmp_path / "a.html"
    compare(hr_folder / "two.png", "bicubic_x2", from_hr=True, page=path, crops=[crop], embed_pixels=700)
    page = Reader(path)
    assert "shown reduced to 26×26, its parts at full size" in page.text  # noqa: RUF001
    [data] = page.data
    [pair] = pairs_from_hr(hr_folder / "two.png", 2)
    lr, *_, hr = data["views"]
    assert decode(hr["pictures"]["whole"]).shape == (26, 26, 3)
    assert hr["pictures"]["whole"]["box"] == [0, 0, 64, 64]
    assert np.array_equal(decode(hr["pictures"]["parts"][0]), pixels(crop.of(pair.hr)))
    assert lr["pictures"]["parts"][0]["box"] == [10, 4, 22, 10]  # whole LR pixels
    assert np.array_equal(decode(lr["pictures"]["parts"][0]), pixels(pair.lr[:, 2:7, 5:16]))


def test_names_are_escaped(tmp_path, draw_image, planted):
    evil = "<img src=x onerror=alert(1)>&\"'</script>"
    name = "a<b>&'\"$x{y}"
    Image.fromarray(draw_image(32, 32)).save(tmp_path / f"{name}.png")
    compare(tmp_path / f"{name}.png", {evil: planted()}, from_hr=True, page=tmp_path / "a.html")
    page = Reader(tmp_path / "a.html")
    assert not page.open
    assert page.links == []
    assert page.data[0]["views"][2]["label"] == evil
    assert evil in page.text
    assert name in page.text


def test_a_bad_image_is_an_error_of_its_own(tmp_path, hr_folder):
    (hr_folder / "bad<i>.png").write_text("no image")
    told = []
    found = compare(
        hr_folder,
        "bicubic_x2",
        from_hr=True,
        page=tmp_path / "a.html",
        grid=tmp_path / "a.png",
        progress=lambda result, done, images: told.append((result.name, done, images)),
    )
    assert told == [("bad<i>", 1, 3), ("one", 2, 3), ("two", 3, 3)]
    [bad] = found.failed
    assert "is not an image" in str(bad.error)
    page = Reader(tmp_path / "a.html")
    assert "bad<i>: " in page.text
    assert len(page.data) == 2


def test_a_model_that_gives_nan_fails_the_image_not_the_job(hr_folder, planted):
    found = compare(hr_folder, {"mine": planted((56, 56, math.nan))}, from_hr=True)  # beyond the first image
    first, second = found.images
    assert first.error is None
    assert "mine: the model gives values that are not finite" in str(second.error)


def test_where_all_fails_the_old_files_stay(tmp_path, hr_folder, planted):
    for name in ("a.html", "a.png"):
        (tmp_path / name).write_text("old")
    paths = dict(page=tmp_path / "a.html", grid=tmp_path / "a.png")
    found = compare(hr_folder, {"mine": planted((0, 0, math.nan))}, from_hr=True, **paths, overwrite=True)
    assert len(found.failed) == 2
    assert (found.page, found.grid) == (None, None)
    assert [(tmp_path / name).read_text() for name in ("a.html", "a.png")] == ["old", "old"]


def test_a_page_that_cannot_be_finished_leaves_the_old_one(tmp_path, hr_folder, monkeypatch):
    (tmp_path / "a.html").write_text("old")
    before = sorted(tmp_path.iterdir())

    def full(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(OSError, match="no space left"):
        compare(hr_folder, "bicubic_x2", from_hr=True, page=tmp_path / "a.html", overwrite=True)
    assert (tmp_path / "a.html").read_text() == "old"
    assert sorted(tmp_path.iterdir()) == before


def test_small_and_grey_images(tmp_path, draw_image):
    Image.fromarray(draw_image(1, 1)).save(tmp_path / "dot.png")
    [dot] = compare(tmp_path / "dot.png", "bicubic_x4", page=tmp_path / "a.html", grid=tmp_path / "a.png").images
    assert (dot.size, dot.error) == ((4, 4), None)
    [small] = compare(tmp_path / "dot.png", "bicubic", scale=1, from_hr=True).images
    assert small.scores == {}
    assert small.notes[-1] == "too small to be scored: a border of 1 leaves less than 11 pixels"
    Image.fromarray(draw_image(40, 40, grey=True)).save(tmp_path / "grey.png")
    [grey] = compare(tmp_path / "grey.png", "bicubic_x2", from_hr=True, page=tmp_path / "b.html").images
    [expected] = srzoo.evaluate(srzoo.create_model("bicubic_x2"), pairs_from_hr(tmp_path / "grey.png", 2))
    assert grey.scores["bicubic"].psnr == pytest.approx(expected.psnr)


def test_a_figure_that_its_format_cannot_hold_stops_the_job_at_once(tmp_path, hr_folder, monkeypatch):
    monkeypatch.setitem(MOST_SIDE, "WEBP", 1300)
    told = []
    for i in range(3):
        Image.open(hr_folder / "one.png").save(hr_folder / f"three{i}.png")
    with pytest.raises(
        ValueError, match=r"a\.webp would have \d+x\d+ pixels with [34] images, but WEBP holds 1300 .*\.png"
    ):
        compare(hr_folder, "bicubic_x2", from_hr=True, grid=tmp_path / "a.webp", progress=lambda *at: told.append(at))
    assert len(told) < 4  # of 5
    assert not (tmp_path / "a.webp").exists()


def test_limit_takes_the_first_images(hr_folder):
    assert [image.name for image in compare(hr_folder, "bicubic_x2", limit=1).images] == ["one"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"page": "a.txt"}, ValueError, "end it in .html"),
        ({"page": "none/a.html"}, FileNotFoundError, "output folder none does not exist"),
        ({"grid": "a.gif"}, ValueError, "no suffix of an image format"),
        ({"limit": 0}, ValueError, "limit is 0"),
        ({"crops": 0}, ValueError, "crops is 0"),
        ({"crops": []}, ValueError, r"crops is \[\]"),
        ({"embed_pixels": 0}, ValueError, "embed_pixels is 0"),
        ({"scale": 3}, ValueError, "bicubic_x2 upscales by 2, not by 3"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(hr_folder, options, error, message, monkeypatch):
    monkeypatch.setattr("srzoo.report.comparison.load", lambda *_: pytest.fail("an image was read"))
    with pytest.raises(error, match=message):
        compare(hr_folder, "bicubic_x2", **options)


def test_a_given_crop_outside_of_an_image_is_its_error(hr_folder):
    found = compare(hr_folder, "bicubic_x2", from_hr=True, crops=[Crop(40, 40, 20, 20)])
    assert [image.error is None for image in found.images] == [False, True]
    assert "outside of the 48x40 pixels" in str(found.images[0].error)
