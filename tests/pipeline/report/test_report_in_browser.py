"""The report in a real browser: slider, zoom, keyboard, no request, clean console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browsing import Browser, chromium, needs_chromium, quiet, sync_api
from finished import run_folder

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def started() -> Iterator[sync_api.Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(started: sync_api.Browser) -> Iterator[Browser]:
    with quiet(started, run_folder() / "report.html") as opened:
        yield opened


def split(page: sync_api.Page) -> float:
    text = page.locator(".stage").first.evaluate("s => s.style.getPropertyValue('--split')")
    return float(text.rstrip("%"))


def test_the_divider_follows_mouse_and_keyboard(browser: Browser) -> None:
    page = browser.page()
    stage = page.locator(".stage").first
    box = stage.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    assert split(page) == pytest.approx(20, abs=1)
    right = page.locator(".stage figure.right").first
    assert "20" in right.evaluate("f => getComputedStyle(f).clipPath")
    page.locator("input[type=range]").first.focus()
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert split(page) == pytest.approx(22, abs=1)


def test_all_pictures_zoom_together(browser: Browser) -> None:
    page = browser.page()
    exhibit = page.locator(".exhibit").first
    exhibit.get_by_role("button", name="Show all pictures").click()
    exhibit.get_by_role("button", name="Zoom in").click()
    exhibit.get_by_role("button", name="Zoom in").click()
    pictures = exhibit.locator("img")
    placed = pictures.evaluate_all("all => all.map(i => getComputedStyle(i).transform)")
    assert len(placed) == 5
    assert len(set(placed)) == 1
    assert placed[0].startswith("matrix(4, 0, 0, 4, ")
    before = placed[0]
    exhibit.locator(".stage").focus()
    page.keyboard.press("ArrowRight")
    assert exhibit.locator("img").first.evaluate("i => getComputedStyle(i).transform") != before
    page.keyboard.press("0")
    assert exhibit.locator("output").inner_text().startswith("zoom 1")


def test_each_side_can_show_each_picture(browser: Browser) -> None:
    page = browser.page()
    exhibit = page.locator(".exhibit").first
    assert exhibit.locator("figure:visible").evaluate_all("a => a.map(f => f.dataset.kind)") == [
        "bicubic",
        "result",
    ]
    exhibit.locator("select").nth(0).select_option("original")
    exhibit.locator("select").nth(1).select_option("borrowed")
    assert exhibit.locator("figure:visible").evaluate_all("a => a.map(f => f.dataset.kind)") == [
        "original",
        "borrowed",
    ]


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_its_window(browser: Browser, width: int) -> None:
    page = browser.page(width, 844)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("img").evaluate_all("all => all.every(i => i.naturalWidth === 128)")


def test_without_javascript_all_pictures_are_there(browser: Browser) -> None:
    page = browser.page(script=False)
    exhibit = page.locator(".exhibit").first
    assert exhibit.locator("figure:visible").count() == 5
    assert exhibit.locator("button").count() == 0


def test_every_control_has_a_name_and_the_dark_page_is_dark(browser: Browser) -> None:
    page = browser.page()
    controls = page.locator("button, select, input, summary, [tabindex='0']")
    unnamed = controls.evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim())).length"
    )
    assert unnamed == 0
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
