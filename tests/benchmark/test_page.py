"""One page that needs no network, and cannot be broken by a name."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from tiny_benchmarks import make_images, tiny

from srzoo.benchmark.drift import check_result
from srzoo.benchmark.page import page
from srzoo.benchmark.runs import benchmark
from srzoo.weights import save_model

VOID = {"meta", "br"}


class Structure(HTMLParser):
    """Sees that every element is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(images: Path, weights: Path) -> None:
    result = benchmark([weights, tiny(3)], images, device="cpu")
    text = page(result, check_result(result))
    structure = Structure()
    structure.feed(text)
    assert structure.open == []
    assert structure.seen.count("table") == 4  # a set at two scales, and its images
    assert structure.seen.count("details") == 2
    assert not re.search(r"<(link|img|iframe)|src=|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text
    assert "Y, 8-bit, border 2" in text
    assert result.measured_with in text
    assert "its weights record no scores" in text
    [data] = re.findall(r'id="result">(.*?)</script>', text)
    assert json.loads(data) == json.loads(json.dumps(result.to_json()))


def test_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    evil = tmp_path / "<script>alert(1)<script>.safetensors"
    save_model(tiny(), evil)
    folder = make_images(tmp_path / "<b>", (36, 36))
    (folder / "a.png").rename(folder / "<img src=x>.png")
    text = page(benchmark(evil, folder, device="cpu"))
    assert "<script>alert" not in text
    assert "<img" not in text
    assert "<b>" not in text


def test_images_with_nan_are_marked(images: Path, broken: Path) -> None:
    text = page(benchmark(broken, images, device="cpu"))
    assert text.count("<tr class=bad>") == 3
    assert "NaN or infinity in the output of 3 images" in text


def test_a_click_sorts_in_a_browser(images: Path, tmp_path: Path) -> None:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    (tmp_path / "page.html").write_text(page(benchmark([tiny(), "bicubic_x2"], images, device="cpu")))
    with sync_api.sync_playwright() as tool:
        try:
            browser = tool.chromium.launch()
        except sync_api.Error:
            system = Path("/usr/bin/chromium")
            if not system.exists():
                pytest.skip("there is no Chromium")
            browser = tool.chromium.launch(executable_path=str(system), args=["--no-sandbox"])
        view = browser.new_page()
        told: list[str] = []
        view.on("pageerror", lambda error: told.append(str(error)))
        view.on("request", lambda request: told.append(request.url) if request.url.startswith("http") else None)
        view.goto((tmp_path / "page.html").as_uri())

        def column() -> list[float]:
            return [
                float(cell) for cell in view.locator("table >> nth=0 >> tbody tr td:nth-child(2)").all_inner_texts()
            ]

        before = column()
        view.locator("th button", has_text="PSNR").first.click()
        assert column() == sorted(before, reverse=True)
        view.locator("th button", has_text="PSNR").first.press("Enter")
        assert column() == sorted(before)
        view.locator("summary").first.click()
        assert view.locator("details[open] td", has_text="36x48").first.is_visible()
        browser.close()
    assert not told
