"""The report of a light field: its contents, and its viewer in a real browser."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import InputError, PairingError
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.views import evaluate_light_field
from pipeline.pairing.given import list_given_frames
from pipeline.report.page import write_report
from pipeline.report.rows import FinishedRun, drop_given, mean_figure, measure_rows
from pipeline.report.viewer import group_by_distance, make_table, make_viewer
from pipeline.schema.clip import LightField
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings
from tests.support.browsing import (
    Browser,
    find_obstacles,
    needs_chromium,
    open_quietly,
    start_chromium,
    sync_api,
)
from tests.support.finished import finished_light_field, run_pipeline


def material(truth: bool = True) -> FinishedRun:
    folder = finished_light_field()
    plan = read_plan(folder / "out.plan.json")
    return FinishedRun(plan, folder / "out", str(folder / "hr") if truth else None)


def test_figures_are_those_of_evaluate() -> None:
    folder = finished_light_field()
    made = open_light_field(folder / "out")
    assert made is not None
    with material() as opened:
        rows = measure_rows(opened)
        expected = evaluate_light_field(made, str(folder / "hr"), opened.plan, GridSettings())
        cells = make_table(made.grid, rows)  # type: ignore[arg-type]
    assert cells[2][3] is None
    assert cells[0][0] is not None
    assert cells[0][0].served == "given"
    found = {
        (v.row, v.col): cells[v.row][v.col].row.psnr  # type: ignore[union-attr]
        for v in expected.views
    }
    assert len(found) == 10
    for view in expected.views:
        assert found[view.row, view.col] == pytest.approx(view.psnr, abs=1e-3)
    counted = sum(count for _, count, _, _ in group_by_distance(rows))
    assert counted == 10


def test_given_views_are_left_out_and_the_others_are_not() -> None:
    folder = finished_light_field()
    plan = read_plan(folder / "out.plan.json")
    # one HR view serves all views of its moment, but only the view at its place is given
    assert list_given_frames(plan) == {0}
    with material() as opened:
        rows = measure_rows(opened)
        expected = evaluate_light_field(
            opened.result, str(folder / "hr"), opened.plan, GridSettings()
        )
    assert len(drop_given(rows, plan)) == 10
    assert mean_figure(drop_given(rows, plan), "psnr") == pytest.approx(expected.psnr, abs=1e-3)
    assert "View (0, 0)" not in (folder / "report.html").read_text()


def test_the_viewer_shows_each_view_at_its_place() -> None:
    with material() as opened:
        assert isinstance(opened.result, LightField)
        data = json.loads(make_viewer(opened.result).data)
    assert (data["rows"], data["cols"]) == (3, 4)
    assert len({(row, col) for row, col, _ in data["views"]}) == 11
    alphas = [alpha for alpha, _ in data["focus"]]
    assert alphas == sorted(alphas)
    assert len(alphas) == 9


def test_without_ground_truth_it_shows_consistency(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run_pipeline("report", finished_light_field() / "out", "-o", page)
    text = page.read_text()
    assert "Downscale consistency in dB, and the reference of each view" in text
    assert "View (0, 0)" not in re.findall(r"<h2[^>]*>([^<]*)</h2>", text)
    assert len(text) < 15e6


def test_recordings_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    folder = finished_light_field()
    plan = folder / "out.plan.json"
    with pytest.raises(InputError, match=r"is 32x24, but the plan's output is 64x48"):
        write_report(folder / "lr", tmp_path / "page.html", plan_file=plan)
    fewer = tmp_path / "hr"
    fewer.mkdir()
    for file in sorted((folder / "hr").iterdir())[:8]:
        (fewer / file.name).write_bytes(file.read_bytes())
    with pytest.raises(PairingError, match=r"lacks view \(2, 0\) at moment 0"):
        write_report(folder / "out", tmp_path / "page.html", ground_truth=str(fewer))
    assert not (tmp_path / "page.html").exists()


@pytest.fixture(scope="module")
def started() -> Iterator[sync_api.Browser]:
    with start_chromium() as browser:
        yield browser


@pytest.fixture
def browser(started: sync_api.Browser) -> Iterator[Browser]:
    with open_quietly(started, finished_light_field() / "report.html") as opened:
        yield opened


def caption_of(page: sync_api.Page) -> str:
    return page.locator(".lightfield [aria-live]").inner_text()


def pixels(page: sync_api.Page, which: str) -> np.ndarray:
    """Return the canvas as it is drawn, H x W x 4."""
    address = page.locator(f".lightfield {which}").evaluate("c => c.toDataURL()")
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def drawn(page: sync_api.Page) -> None:
    page.wait_for_selector(".lightfield[aria-busy=false]")


@needs_chromium
def test_a_drag_moves_the_eye_from_view_to_view(browser: Browser) -> None:
    page = browser.page()
    drawn(page)
    assert caption_of(page) == "View (1, 1)"
    before = pixels(page, ".eye canvas")
    eye = page.locator(".eye")
    eye.scroll_into_view_if_needed()
    box = eye.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + box["width"] * 0.5, y - box["height"] / 3, steps=5)
    page.mouse.up()
    assert caption_of(page) == "View (0, 3)"
    assert np.abs(pixels(page, ".eye canvas").astype(int) - before).max() > 16
    page.mouse.move(x, y)  # the button is up
    assert caption_of(page) == "View (0, 3)"


@needs_chromium
def test_arrows_and_sliders_do_the_same(browser: Browser) -> None:
    page = browser.page()
    drawn(page)
    page.locator(".eye").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    assert caption_of(page) == "View (2, 2)"
    page.keyboard.press("ArrowRight")
    assert caption_of(page) == "View (2, 3), which is missing"
    assert pixels(page, ".eye canvas").max() == 0
    page.get_by_label("Column").focus()
    page.keyboard.press("Home")
    assert caption_of(page) == "View (2, 0)"


@needs_chromium
def test_the_focus_moves_through_the_depths(browser: Browser) -> None:
    page = browser.page()
    drawn(page)
    view = pixels(page, ".eye canvas")
    focus = page.get_by_label("Focus")
    focus.focus()
    page.keyboard.press("ArrowRight")
    near = pixels(page, ".eye canvas")
    assert caption_of(page).startswith("All views together, sharp at ")
    page.keyboard.press("End")
    far = pixels(page, ".eye canvas")
    assert np.abs(near.astype(int) - view).mean() > 1
    assert np.abs(far.astype(int) - near).mean() > 1
    page.locator(".eye").focus()
    page.keyboard.press("ArrowRight")
    assert caption_of(page) == "View (1, 2)"


@needs_chromium
def test_the_strip_holds_the_chosen_line_of_every_view(browser: Browser) -> None:
    page = browser.page()
    drawn(page)
    page.get_by_role("slider", name="Line").fill("10")
    strip = pixels(page, ".epi")
    thick = len(strip) // 4
    assert len(strip) == 4 * thick
    for col in range(4):
        page.get_by_label("Column").fill(str(col))
        line = pixels(page, ".eye canvas")[10]
        np.testing.assert_array_equal(strip[col * thick + thick // 2], line)


@needs_chromium
@pytest.mark.parametrize("width", [1400, 390])
def test_the_page_fits_its_window(browser: Browser, width: int) -> None:
    page = browser.page(width, 844)
    drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    unnamed = page.locator("button, select, input, summary, [tabindex='0']").evaluate_all(
        "all => all.filter(e => !(e.ariaLabel || e.labels?.length || e.textContent.trim())).length"
    )
    assert unnamed == 0


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_is_accessible(browser: Browser, scheme: str) -> None:
    page = browser.page()
    page.emulate_media(color_scheme=scheme)
    drawn(page)
    assert find_obstacles(page) == []


@needs_chromium
def test_without_javascript_there_are_pictures(browser: Browser) -> None:
    page = browser.page(script=False)
    assert page.locator(".lightfield img:visible").count() == 5
    assert page.locator(".lightfield canvas").count() == 0
    assert page.get_by_text("Drag over the picture").is_hidden()
    assert page.locator("table.views td:visible").count() == 12
