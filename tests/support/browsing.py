"""A real browser that shows a page and records its requests and its console messages."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright import sync_api

from tests.support.programs import needs

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
needs_chromium = needs("chromium", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


class Browser:
    """A Chromium for one page, which records the page's requests, console messages and errors."""

    def __init__(self, chromium: sync_api.Browser, address: str) -> None:
        self.chromium = chromium
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def page(self, width: int = 1400, height: int = 1000, *, script: bool = True) -> sync_api.Page:
        """Open the page from disk and return it."""
        page = self.chromium.new_page(
            viewport={"width": width, "height": height},
            java_script_enabled=script,
            reduced_motion="reduce",  # or axe would measure colours in the middle of a transition
        )
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.address)
        return page


def find_obstacles(page: sync_api.Page) -> list[str]:
    """Return the violations that axe-core finds in names, roles, contrast and landmarks."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {node['html'][:200]}" for v in found for node in v["nodes"]]


@contextmanager
def start_chromium() -> Iterator[sync_api.Browser]:
    """Start a Chromium, and close it after the block."""
    if CHROMIUM is None:
        pytest.fail("CI is set, but chromium is not on the PATH; try `make tools`")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def open_quietly(started: sync_api.Browser, file: Path) -> Iterator[Browser]:
    """Show `file`; after the block, check that it loaded nothing else and logged nothing."""
    browser = Browser(started, file.as_uri())
    yield browser
    assert browser.complaints == []
    fetched = [url for url in browser.requests if not url.startswith("data:")]
    assert set(fetched) == {file.as_uri()}
