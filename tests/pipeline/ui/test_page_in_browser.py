"""The page in a real browser, from drop to download, wide and as small as a phone."""

from __future__ import annotations

import base64
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import pytest
from PIL import Image

from pipeline.media.read.probe import probe
from tests.support.browsing import find_obstacles, needs_chromium, start_chromium, sync_api
from tests.support.commands import invoke
from tests.support.gated_command import name_gate
from tests.support.page import PATIENCE_SECONDS, Page, serve_page
from tests.support.scenes import flowers, save_picture

pytestmark = needs_chromium

PAIR_FRAMES = 20
TIMES = "\N{MULTIPLICATION SIGN}"
PATIENCE_MS = 1000 * PATIENCE_SECONDS
# Drops files on an element, as a file manager does.
DROP = """([element, files]) => {
  const transfer = new DataTransfer();
  for (const [name, data] of files) {
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name));
  }
  for (const kind of ["dragover", "drop"]) {
    element.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""  # noqa: E501


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file, without which runs wait after their first frames."""
    return tmp_path_factory.mktemp("gate") / "open"


@pytest.fixture(scope="module")
def server(gate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("served") / "page"
    with serve_page(folder, program=name_gate(4, gate)) as served:
        yield served


@pytest.fixture
def page(server: Page) -> Iterator[sync_api.Page]:
    """Open the page; afterwards, check that it was quiet and fetched nothing from elsewhere."""
    complaints: list[str] = []
    requests: list[str] = []
    with start_chromium() as chromium:
        opened = chromium.new_page(
            viewport={"width": 1400, "height": 1000}, reduced_motion="reduce", accept_downloads=True
        )
        opened.set_default_timeout(PATIENCE_MS)
        opened.context.on("request", lambda request: requests.append(request.url))
        opened.context.on("console", lambda message: complaints.append(message.text))
        opened.context.on("weberror", lambda error: complaints.append(str(error.error)))
        opened.goto(server.address)
        opened.locator("#common .field").first.wait_for()
        yield opened
    assert complaints == []
    assert [url for url in requests if not url.startswith((server.address, "data:"))] == []


def drop(page: sync_api.Page, role: str, *files: Path) -> None:
    """Drop files on the card of a role, and wait until they are there."""
    card = page.locator(f".drop[data-role={role}]")
    data = [[file.name, base64.b64encode(file.read_bytes()).decode()] for file in files]
    page.evaluate(DROP, [card.element_handle(), data])
    card.locator(".name").wait_for()


def check_look(page: sync_api.Page) -> None:
    """Check that the page is accessible and fits: light in a wide window, dark on a phone."""
    page.emulate_media(color_scheme="light")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_obstacles(page) == []
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert find_obstacles(page) == []
    page.set_viewport_size({"width": 1400, "height": 1000})


def test_from_drop_to_download(
    server: Page, page: sync_api.Page, gate: Path, pair: tuple[Path, Path], tmp_path: Path
) -> None:
    page.locator("#more summary").click()
    page.get_by_label("Engine").fill("bicubic")
    page.get_by_label("Preset").fill("ultrafast")
    page.get_by_label("Segment").fill("0.4")
    page.get_by_label("Segment").press("Tab")
    assert page.locator("#start").is_disabled()
    drop(page, "input", pair[0])
    drop(page, "reference", pair[1])

    # the plan says which reference serves which frame
    page.locator("#film img").first.wait_for()
    assert page.locator("#plan-size").inner_text() == f"64{TIMES}48 → 128{TIMES}96"
    assert page.locator("#plan-facts").inner_text().startswith("Frames with detail\n20 of 20")
    assert page.locator("#counts li").count() == 1
    assert page.locator("#ends").inner_text().split("\n")[1] == "saved in 2 pieces"
    shown = page.locator("#film img, .refs img")
    assert shown.count() == 16
    shown.last.scroll_into_view_if_needed()
    for picture in page.locator("#plan img").all():
        sync_api.expect(picture).not_to_have_js_property("naturalWidth", 0, timeout=PATIENCE_MS)
    check_look(page)

    # the run goes on while the page is closed
    page.locator("#start").click()
    page.locator("#picture").wait_for()
    check_look(page)
    page.reload()
    page.locator("#picture").wait_for()
    page.locator("#pause").click()
    page.locator("#resume").wait_for()
    assert page.locator("#state").inner_text().startswith("Paused.")
    page.locator("#split").focus()
    page.keyboard.press("Home")
    assert page.locator("#compare").evaluate("c => c.style.getPropertyValue('--split')") == "0%"
    gate.touch()
    page.locator("#resume").click()
    page.locator("#download").wait_for()
    check_look(page)

    with page.expect_download() as download:
        page.locator("#download").click()
    assert download.value.suggested_filename == "lr_x2.mkv"
    download.value.save_as(tmp_path / "out.mkv")
    assert (probe(str(tmp_path / "out.mkv")).width, probe(str(pair[1])).width) == (128, 128)
    with page.expect_popup() as popup:
        page.locator("#report").click()
    popup.value.locator("h1").wait_for()
    assert popup.value.locator(".exhibit").count() > 0
    popup.value.close()

    page.locator("#remove").click()
    page.get_by_role("button", name="Keep it").click()
    assert page.locator("#job-list li").count() == 1
    page.locator("#remove").click()
    page.locator("#ask .danger").click()
    page.locator("#no-jobs").wait_for()
    assert server.call("GET", "/api/state")["jobs"] == []


def test_a_message_and_a_run_on_the_command_line_appear(
    server: Page,
    page: sync_api.Page,
    pair: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    drop(page, "input", broken)
    page.locator(".drop[data-role=reference] .named summary").first.click()
    page.get_by_label("Path of the reference").fill(str(pair[1]))
    page.locator(".drop[data-role=reference] form.path button").first.click()
    page.locator("#error").wait_for()
    assert "broken.mp4 cannot be opened as a video" in page.locator("#error").inner_text()
    assert page.locator("#start").is_disabled()
    assert find_obstacles(page) == []

    folder = server.call("GET", "/api/state")["folder"]
    monkeypatch.setenv("PIPELINE_UI_FOLDER", folder)
    quick = ["--engine", "bicubic", "--runner", "inline", "--preset", "ultrafast", "-q"]
    done = invoke("run", *pair[:1], "--ref-stream", pair[1], "-o", tmp_path / "o.mkv", *quick,
                  "--preview", "--end", "0.2")  # fmt: skip
    assert done.exit_code == 0, done.output
    page.locator("#run-list button").click()
    page.locator("#picture").wait_for()
    after = page.locator("#after")
    sync_api.expect(after).to_have_js_property("naturalWidth", 128, timeout=PATIENCE_MS)
    place = page.locator("#picture-place").inner_text()
    assert re.fullmatch(r"lr\.mkv, on the command line, 0\.\d\d s", place)
    stored = json.loads(next(Path(folder).glob("previews/*/preview.json")).read_text())
    assert (stored["input"], stored["width"]) == (str(pair[0]), 128)


def test_a_light_field_is_dropped_as_a_zip(
    server: Page, page: sync_api.Page, gate: Path, tmp_path: Path
) -> None:
    gate.touch()
    places = [(row, col) for row in range(2) for col in range(3)]
    for row, col in places:
        small = cv2.resize(flowers(row, col), None, fx=0.5, fy=0.5)
        save_picture(tmp_path / "lr" / f"view_{row:02}_{col:02}.png", small)
    sharp = save_picture(tmp_path / "sharp.png", flowers(0, 1))
    archive = Path(shutil.make_archive(str(tmp_path / "field"), "zip", tmp_path / "lr"))

    page.locator("#new").click()
    page.locator("#more summary").click()
    page.get_by_label("Engine").fill("bicubic")
    page.get_by_label("Ref view").fill("0,1")
    page.get_by_label("Ref view").press("Tab")
    drop(page, "input", archive)
    drop(page, "reference", sharp)
    page.locator("#start:enabled").click()
    page.locator("#download").wait_for()
    with page.expect_download() as download:
        page.locator("#download").click()
    download.value.save_as(tmp_path / "out.zip")

    with zipfile.ZipFile(tmp_path / "out.zip") as made:
        views = {Path(name).name: made.read(name) for name in made.namelist()}
    for row, col in places:
        with Image.open(BytesIO(views[f"view_{row:02}_{col:02}.png"])) as view:
            assert view.size == (64, 48)
