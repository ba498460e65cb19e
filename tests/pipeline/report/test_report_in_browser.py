"""The report in a real browser: slider, zoom, keyboard, no request, clean console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.browsing import (
    Browser,
    find_obstacles,
    needs_chromium,
    open_quietly,
    start_chromium,
    sync_api,
)
from tests.support.finished import finished_run

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def started() -> Iterator[sync_api.Browser]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def browser(started: sync_api.Browser) -> Iterator[Browser]:
    with open_quietly(started, finished_run() / "report.html") as opened:
        yield opened


def split(page: sync_api.Page) -> float:
    text = page.locator(".frame").first.evaluate("f => f.style.getPropertyValue('--split')")
    return float(text.rstrip("%"))


def picture_transforms(page: sync_api.Page) -> list[str]:
    """Return the CSS transforms of the visible pictures."""
    pictures = page.locator(".exhibit figure:visible img")
    return list(pictures.evaluate_all("all => all.map(i => getComputedStyle(i).transform)"))


def visible_kinds(page: sync_api.Page) -> list[str]:
    """Return the kinds of the visible pictures."""
    kinds = page.locator(".exhibit figure:visible").evaluate_all("a => a.map(f => f.dataset.kind)")
    return list(kinds)


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
    page.get_by_role("button", name="All").click()
    page.get_by_role("button", name="Zoom in").click()
    page.get_by_role("button", name="Zoom in").click()
    before = picture_transforms(page)
    assert len(before) == 5
    assert len(set(before)) == 1
    assert before[0].startswith("matrix(4, 0, 0, 4, ")
    page.locator(".stage:visible").focus()
    page.keyboard.press("ArrowRight")
    assert picture_transforms(page)[0] != before[0]
    page.keyboard.press("0")
    assert page.locator("output").inner_text().startswith("zoom 1")


def test_a_drag_moves_what_is_zoomed(browser: Browser) -> None:
    page = browser.page()
    box = page.locator(".stage:visible").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.4
    page.mouse.dblclick(x, y)
    assert page.locator("output").inner_text().startswith("zoom 4")
    before, divider = picture_transforms(page), split(page)
    assert divider == 50  # the clicks did not take it along
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 40, y - 30, steps=3)
    page.mouse.up()
    after = picture_transforms(page)
    moved = [
        float(b) - float(a) for a, b in zip(numbers(before[0]), numbers(after[0]), strict=True)
    ]
    assert moved == pytest.approx([0, 0, 0, 0, -40, -30], abs=1)
    assert split(page) == divider


def numbers(matrix: str) -> list[str]:
    return matrix.removeprefix("matrix(").rstrip(")").split(",")


def test_tabs_choose_the_frame_and_keep_the_zoom(browser: Browser) -> None:
    page = browser.page()
    page.get_by_role("button", name="Zoom in").click()
    tabs = page.get_by_role("tab")
    assert tabs.count() == page.locator(".exhibit").count() > 1
    assert page.locator(".exhibit:visible").count() == 1
    first = page.locator(".exhibit:visible p").inner_text()
    tabs.nth(0).focus()
    page.keyboard.press("ArrowRight")
    assert tabs.nth(1).get_attribute("aria-selected") == "true"
    assert tabs.nth(1).evaluate("t => t === document.activeElement")
    assert page.locator(".exhibit:visible p").inner_text() != first
    assert all(place.startswith("matrix(2, 0, 0, 2, ") for place in picture_transforms(page))
    page.keyboard.press("ArrowLeft")
    assert page.locator(".exhibit:visible p").inner_text() == first


def test_each_side_can_show_each_picture(browser: Browser) -> None:
    page = browser.page()
    assert visible_kinds(page) == ["bicubic", "result"]
    page.get_by_label("Picture on the left").select_option("original")
    page.get_by_label("Picture on the right").select_option("reference")
    assert visible_kinds(page) == ["reference", "original"]
    page.get_by_role("button", name="Borrowed").click()
    assert visible_kinds(page) == ["result", "borrowed"]


def test_charts_tell_the_figures_of_the_frame_under_the_pointer(browser: Browser) -> None:
    page = browser.page()
    plots = page.locator(".plot")
    assert page.locator(".plot canvas").count() == plots.count() == 3
    assert page.locator(".plot svg:visible").count() == 0
    plots.first.scroll_into_view_if_needed()
    box = plots.first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] - 30, box["y"] + box["height"] / 2)
    frames = [text.split(":")[0] for text in page.locator(".reading").all_inner_texts()]
    assert frames == ["Frame 14, 0.56 s"] * 3  # all charts show the same frame
    plots.nth(1).focus()
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator(".reading").first.inner_text().startswith("Frame 1, 0.04 s: result ")


def test_without_a_script_there_is_a_static_chart(browser: Browser) -> None:
    page = browser.page(script=False)
    assert page.locator(".plot svg:visible").count() == 3
    assert page.locator(".spans span:visible").count() > 0


@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_its_window(browser: Browser, width: int) -> None:
    page = browser.page(width, 844)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    frames = page.locator("img:not(.kernel img)")
    assert frames.evaluate_all("all => all.every(i => i.naturalWidth === 128)")


def test_without_javascript_all_pictures_are_there(browser: Browser) -> None:
    page = browser.page(script=False)
    exhibit = page.locator(".exhibit").first
    assert exhibit.locator("figure:visible").count() == 5
    assert page.locator("button").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser: Browser, scheme: str) -> None:
    page = browser.page()
    page.emulate_media(color_scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert find_obstacles(page) == []


def test_every_control_has_a_name_and_the_dark_page_is_dark(browser: Browser) -> None:
    page = browser.page()
    controls = page.locator("button, select, input, summary, [tabindex='0']")
    unnamed = controls.evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim())).length"
    )
    assert unnamed == 0
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
