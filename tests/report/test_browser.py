"""The page in a browser: opened from a file, by mouse, keyboard and touch, at the width of a phone, light and dark."""

import io
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from srzoo.report import Crop, compare

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed", exc_type=ImportError)

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def wait(page: Any, condition: str) -> None:
    """Until a condition holds: Playwright's own wait calls eval, which the page forbids."""
    for _ in range(250):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(20)
    pytest.fail(f"{condition} did not come true")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    found = os.environ.get("SRZOO_CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed, SRZOO_CHROMIUM is not set")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=found, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, draw_image: Callable[..., np.ndarray], planted: Any) -> Path:
    """A page of two images and four methods with names of every kind; the second image is embedded reduced."""
    folder = tmp_path_factory.mktemp("report")
    (folder / "hr").mkdir()
    Image.fromarray(draw_image(120, 180, 1)).save(folder / "hr" / "first <image> & more.png")
    Image.fromarray(draw_image(200, 300, 2)).save(folder / "hr" / "second.png")
    models = {"dark": planted((0, 0, -0.4)), "light_with_a_very_long_name": planted((40, 40, 0.4))}
    crops = [Crop(30, 30, 30, 30), Crop(100, 60, 40, 40)]
    compare(folder / "hr", models, from_hr=True, crops=crops, page=folder / "report.html", embed_pixels=40_000)
    return folder / "report.html"


@pytest.fixture(scope="module")
def long_report(tmp_path_factory: pytest.TempPathFactory, draw_image: Callable[..., np.ndarray]) -> Path:
    """A page of six images of several shapes, and one that failed, by bicubic alone: it has no error map."""
    folder = tmp_path_factory.mktemp("long")
    (folder / "lr").mkdir()
    for i, (height, width) in enumerate([(30, 90), (90, 60), (20, 20), (50, 50), (100, 30), (60, 90)]):
        Image.fromarray(draw_image(height, width, i)).save(folder / "lr" / f"image {i}.png")
    (folder / "lr" / "z.png").write_text("no image")
    compare(folder / "lr", "bicubic", scale=2, page=folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def new_page(browser: Any) -> Callable[..., Any]:
    """A function that gives a page of some options: the one it gave before, as contexts take long to make."""
    pages: dict[str, Any] = {}

    def make(**options: Any) -> Any:
        key = repr(options)
        if key not in pages:
            page = pages[key] = browser.new_context(**options).new_page()
            page.trouble, page.asked = [], []
            page.on("console", lambda message: page.trouble.append(message.text))
            page.on("pageerror", lambda error: page.trouble.append(str(error)))
            page.on("request", lambda it: None if it.url.startswith("data:") else page.asked.append(it.url))
        return pages[key]

    return make


@pytest.fixture
def visit(new_page: Callable[..., Any], report: Path) -> Iterator[Callable[..., Any]]:
    """A function that opens a page anew; at the end no errors, messages or requests may have come."""
    opened: list[Any] = []

    def leave() -> None:
        for page in opened:
            assert page.trouble == []
            assert page.asked == [page.address]
        opened.clear()

    def open_page(path: Path = report, anchor: str = "", **options: Any) -> Any:
        leave()
        options = {"viewport": {"width": 1000, "height": 800}, **options}
        page = new_page(**options)
        page.goto("about:blank")
        page.set_viewport_size(options["viewport"])
        page.asked.clear()
        page.address = path.as_uri()
        page.goto(page.address + anchor)
        wait(page, "[...document.images].some((image) => image.naturalWidth > 0)")
        opened.append(page)
        return page

    yield open_page
    leave()


def now(page: Any) -> int:
    return int(page.get_by_role("slider").first.get_attribute("aria-valuenow"))


def look(page: Any, selector: str = ".stage") -> np.ndarray:
    """Pixels of the first such element."""
    wait(page, "[...document.images].every((image) => !image.src || image.complete)")
    with Image.open(io.BytesIO(page.locator(selector).first.screenshot())) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def places(page: Any) -> list[list[float]]:
    """Where the pictures of the tiles of the first image lie, relative to their tiles, and how large they are."""
    return page.evaluate(
        """() => [...document.querySelector(".tiles").querySelectorAll("img")].map((image) => {
             const [a, b] = [image.getBoundingClientRect(), image.parentElement.getBoundingClientRect()];
             return [a.x - b.x, a.y - b.y, a.width, a.height].map((side) => Math.round(side * 100) / 100);
           })"""
    )


def test_the_divider_is_dragged_and_shows_other_pixels(visit):
    page = visit()
    box = page.locator(".stage").first.bounding_box()
    assert now(page) == 50
    before = look(page)
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, middle + 30, steps=4)
    assert now(page) == 70
    page.mouse.move(box["x"] + box["width"] + 200, middle)  # beyond the picture
    page.mouse.up()
    assert now(page) == 100
    page.mouse.move(box["x"] + 5, middle)  # released: nothing follows
    assert now(page) == 100
    assert np.abs(look(page) - before).max() > 30
    page.mouse.click(box["x"] + box["width"] / 4, middle)
    assert now(page) == 25


def test_both_sides_show_their_own_method(visit):
    page = visit()
    divider = page.get_by_role("slider").first
    page.locator("select.pick-left").first.select_option("dark")
    page.locator("select.pick-right").first.select_option("bicubic")
    assert divider.get_attribute("aria-label") == "Divider between dark on the left and bicubic on the right"
    page.add_style_tag(content=".tag, .frames, .divider { opacity: 0 }")
    side = int(6 * page.locator(".stage").first.bounding_box()["width"] / 180)
    brightness = {}
    for key in ("Home", "End"):
        page.get_by_role("slider").first.press(key)
        brightness[key] = look(page)[:side, :side].mean()  # the square that "dark" makes dark
    assert brightness["Home"] > brightness["End"] + 60  # all of it is the right picture, then the left


def test_a_click_below_a_picture_puts_it_on_a_side(visit):
    page = visit()
    page.get_by_role("button", name="HR on the right").first.click()
    assert page.locator(".tag.right").first.text_content() == "HR"
    assert page.get_by_role("button", name="HR on the right").first.get_attribute("aria-pressed") == "true"
    page.get_by_role("button", name="LR on the left").first.click()
    assert page.locator(".tag.left").first.text_content() == "LR"
    assert page.locator("select.pick-left").first.evaluate("(box) => box.value") == "LR"


def test_the_keyboard_moves_the_divider_and_chooses(visit):
    page = visit()
    page.get_by_role("slider").first.focus()
    for key, value in (
        ("ArrowRight", 51),
        ("ArrowLeft", 50),
        ("Shift+ArrowLeft", 40),
        ("PageUp", 50),
        ("Home", 0),
        ("ArrowDown", 0),
        ("End", 100),
    ):
        page.keyboard.press(key)
        assert now(page) == value, key
    page.keyboard.press("5")
    assert page.locator(".tag.right").first.text_content() == "HR"
    page.keyboard.press("Shift+Digit1")
    assert page.locator(".tag.left").first.text_content() == "LR"
    page.keyboard.press("9")  # there are five
    assert page.locator(".tag.right").first.text_content() == "HR"


FOCUS = """() => {
  const node = document.activeElement, role = node.getAttribute("role");
  const style = getComputedStyle(node, role === "slider" ? "::after" : null);
  return [role || node.tagName, style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""


def test_tab_goes_through_the_page_in_order_and_is_seen(visit):
    page = visit()
    seen = []
    for _ in range(18):
        page.keyboard.press("Tab")
        seen.append(page.evaluate(FOCUS))
    kinds = [kind for kind, _ in seen]
    assert kinds[:3] == ["A", "A", "SUMMARY"]
    order = [kinds.index("SELECT"), kinds.index("slider"), kinds.index("group")]
    assert order == sorted(order)
    assert all(visible for _, visible in seen)


def test_touch_moves_the_divider(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 700})
    stage = page.locator(".stage").first
    stage.scroll_into_view_if_needed()
    box = stage.bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] * 0.2, box["y"] + 30)
    assert now(page) == pytest.approx(20, abs=1)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, share: float) -> None:
        points = [] if kind == "touchEnd" else [{"x": box["x"] + box["width"] * share, "y": box["y"] + 40}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 0.2)
    for share in (0.3, 0.5, 0.8):
        touch("touchMove", share)
    touch("touchEnd", 0)
    wait(page, "Number(document.querySelector('.divider').getAttribute('aria-valuenow')) > 70")
    assert now(page) == pytest.approx(80, abs=2)


def test_two_fingers_on_a_tile_zoom_about_their_middle(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 375, "height": 700})
    tile = page.locator(".tile").first
    tile.scroll_into_view_if_needed()
    box = tile.bounding_box()
    page.touchscreen.tap(box["x"] + 10, box["y"] + 10)
    session = page.context.new_cdp_session(page)

    def touch(kind: str, **fingers: float) -> list[float]:
        points = [
            {"x": box["x"] + box["width"] * share, "y": box["y"] + box["height"] / 2, "id": int(name == "other")}
            for name, share in fingers.items()
        ]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(40)
        return places(page)[0]

    start = touch("touchStart", one=0.4)
    assert touch("touchStart", one=0.4, other=0.6) == start  # a second finger moves nothing
    wide = touch("touchMove", one=0.3, other=0.7)
    assert wide[2] == pytest.approx(2 * start[2], rel=0.02)
    for corner, side in ((0, 2), (1, 3)):  # what was in the middle is there still
        middle = box["width" if corner == 0 else "height"] / 2
        assert (middle - wide[corner]) / wide[side] == pytest.approx((middle - start[corner]) / start[side], abs=0.01)
    assert touch("touchEnd", one=0.3) == wide  # one is lifted: the other goes on from where it is
    moved = touch("touchMove", other=0.6)
    touch("touchEnd")
    assert moved[0] - wide[0] == pytest.approx(-0.1 * box["width"], abs=1.5)
    assert moved[2] == wide[2]


def test_tiles_zoom_and_move_together(visit):
    page = visit()
    start = places(page)
    assert len({tuple(place) for place in start}) == 1
    page.get_by_role("button", name="Zoom in").first.click()
    zoomed = places(page)
    assert len({tuple(place) for place in zoomed}) == 1
    assert zoomed[0][2] == pytest.approx(2 * start[0][2], abs=0.1)
    box = page.locator(".tile").nth(1).bounding_box()
    page.mouse.move(box["x"] + 60, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + 40, box["y"] + 50, steps=3)
    page.mouse.up()
    moved = places(page)
    assert len({tuple(place) for place in moved}) == 1
    assert moved[0][0] - zoomed[0][0] == pytest.approx(-20, abs=0.1)
    assert moved[0][1] - zoomed[0][1] == pytest.approx(-10, abs=0.1)
    page.keyboard.press("ArrowRight")
    assert places(page)[3][0] < moved[3][0]
    page.mouse.wheel(0, -100)
    wait(page, f"document.querySelector('.tile img').getBoundingClientRect().width > {moved[0][2] + 1}")
    assert len({tuple(place) for place in places(page)}) == 1
    for _ in range(20):
        page.keyboard.press("-")
    assert all(place[0] == 0 and place[1] <= 0 for place in places(page))  # never past the edge of the image
    page.get_by_role("button", name="Part 1").first.click()
    assert places(page) == start


def test_an_image_that_is_reduced_shows_its_parts_in_full(visit):
    page = visit()
    second = page.locator("#image-2")
    second.scroll_into_view_if_needed()
    wait(page, "document.querySelector('#image-2 .tile img').naturalWidth > 0")
    natural = "(image) => [image.naturalWidth, image.naturalHeight]"
    assert second.locator(".stage img").first.evaluate(natural) == [245, 163]
    assert second.locator(".tile img").last.evaluate(natural) == [30, 30]
    second.get_by_role("button", name="Part 2").click()
    wait(page, "document.querySelectorAll('#image-2 .tile img')[4].naturalWidth === 40")
    second.get_by_role("button", name="Part", exact=True).click()
    wait(page, "document.querySelector('#image-2 .stage img').naturalWidth === 40")


def test_errors_are_shown_with_a_legend(visit):
    page = visit()
    legend = page.locator(".legend").first
    assert not legend.is_visible()
    before = look(page, ".tiles")
    page.get_by_role("button", name="Errors").first.click()
    assert legend.is_visible()
    assert "Absolute difference from HR" in legend.text_content()
    assert page.locator(".tag.left").first.text_content() == "bicubic, error"
    assert np.abs(look(page, ".tiles") - before).mean() > 5
    names = page.locator("#image-1 .tile").evaluate_all("(tiles) => tiles.map((tile) => tile.ariaLabel)")
    long = "light_with_a_very_long_name"
    assert names == ["LR", "Error map of bicubic", "Error map of dark", f"Error map of {long}", "HR"]
    page.get_by_role("button", name="Pictures").first.click()
    assert page.locator("#image-1 .tile").nth(1).get_attribute("aria-label") == "bicubic"


def test_tiles_tell_what_they_are_and_which_keys_they_take(visit):
    page = visit()
    tile = page.locator(".tile").first
    assert tile.get_attribute("aria-roledescription") == "zoomable picture"
    keys = page.locator("#" + tile.get_attribute("aria-describedby"))
    assert "Arrow keys move" in keys.text_content()
    assert not keys.is_visible()
    place = page.locator(".place").first
    assert place.get_attribute("aria-live") == "polite"
    before = place.text_content()
    tile.press("+")
    assert place.text_content() != before


def test_pressed_buttons_are_seen_where_colours_are_forced(visit):
    page = visit(forced_colors="active")
    colors = page.locator("#image-1 [data-stage]").evaluate_all(
        "(buttons) => buttons.map((button) => getComputedStyle(button).backgroundColor)"
    )
    assert colors[0] != colors[1]


def test_there_is_no_button_for_errors_where_there_are_none(visit, long_report):
    page = visit(long_report)
    assert page.locator("[data-mode=errors]").count() == 6
    assert not page.locator("[data-mode=errors]").first.is_visible()
    assert page.locator("[data-stage=part]").first.is_visible()
    gap = "(node) => node.getBoundingClientRect().top - node.previousElementSibling.getBoundingClientRect().bottom"
    assert page.locator(".failed").evaluate(gap) >= 10


ALL_TOPS = "[...document.querySelectorAll('.picture')].map((node) => node.getBoundingClientRect().top)"
IS_SEEN = "(i) => document.querySelectorAll('.picture')[i].querySelector('.stage img').naturalWidth > 0"


@pytest.mark.parametrize("width", [1000, 375])
def test_links_end_where_the_image_is(visit, long_report, width):
    page = visit(long_report, viewport={"width": width, "height": 400})
    height = "document.documentElement.scrollHeight"
    whole = page.evaluate(height)
    for i in (3, 1, 4, 2, 0):
        page.locator("nav a").nth(i).evaluate("(link) => link.click()")
        wait(page, f"({IS_SEEN})({i})")
        assert 0 <= page.evaluate(ALL_TOPS)[i] < 24
    page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
    wait(page, f"({IS_SEEN})(5)")
    assert page.evaluate(height) == whole  # pictures that come late move nothing
    page = visit(long_report, "#image-4", viewport={"width": width, "height": 400})
    wait(page, f"({IS_SEEN})(3)")
    assert 0 <= page.evaluate(ALL_TOPS)[3] < 24


def test_all_images_are_there_when_it_is_printed(visit, long_report):
    page = visit(long_report, viewport={"width": 1000, "height": 400})
    assert not page.evaluate(f"({IS_SEEN})(5)")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for i in range(6):
        wait(page, f"({IS_SEEN})({i})")


WIDER = """(width) => [...document.querySelectorAll("body *")]
  .filter((node) => !node.closest(".stage, .tile") && node.getBoundingClientRect().right > width + 0.5)
  .map((node) => node.outerHTML.slice(0, 80))"""


@pytest.mark.parametrize("widths", [[375, 320], [768, 1600]], ids=["phone", "desktop"])
def test_nothing_is_wider_than_the_window(visit, widths):
    page = visit(viewport={"width": widths[0], "height": 700}, is_mobile=widths[0] < 500)
    page.get_by_text("How to use this page").click()
    page.get_by_role("button", name="Errors").first.click()
    for width in widths:
        page.set_viewport_size({"width": width, "height": 700})
        for stage in ("Whole", "Part"):
            page.get_by_role("button", name=stage, exact=True).first.click()
            wait(page, "document.documentElement.scrollWidth === innerWidth")
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.evaluate(WIDER, width) == []


def test_names_are_text_and_nothing_else(visit):
    page = visit()
    assert page.locator("h2").first.text_content() == "first <image> & more"
    assert page.locator("image").count() == 0


COLORS = """[getComputedStyle(document.body).backgroundColor,
  ...[...document.querySelectorAll(".facts, h2, a")].map((node) => getComputedStyle(node).color)]"""


def luminance(color: str) -> float:
    """Relative luminance of `rgb(r, g, b)` plus 0.05, as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in color[4:-1].split(",")]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722])) + 0.05


def test_light_and_dark_differ_and_can_be_read(visit):
    brightness = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme)
        brightness.append(look(page, "header").mean())
        paper, *inks = map(luminance, page.evaluate(COLORS))
        assert min(max(paper, ink) / min(paper, ink) for ink in inks) > 4.5  # level AA
    assert brightness[0] > 200 > 60 > brightness[1]


def test_it_works_again_after_the_window_changed(visit):
    page = visit()
    wide = page.locator(".stage").first.bounding_box()["width"]
    page.set_viewport_size({"width": 400, "height": 800})
    wait(page, f"document.querySelector('.stage').getBoundingClientRect().width < {wide}")
    assert page.evaluate("document.documentElement.scrollWidth") == 400
