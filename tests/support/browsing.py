"""A real browser for pages: what they ask for and complain about is held against them."""

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
    """A Chromium that shows one page, what it asked for and what it complained about."""

    def __init__(self, chromium: sync_api.Browser, address: str) -> None:
        self.chromium = chromium
        self.address = address
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def page(self, width: int = 1400, height: int = 1000, *, script: bool = True) -> sync_api.Page:
        """Return the page, opened from disk."""
        page = self.chromium.new_page(
            viewport={"width": width, "height": height},
            java_script_enabled=script,
            reduced_motion="reduce",  # colours on their way from one to the other are neither
        )
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        page.goto(self.address)
        return page


def obstacles(page: sync_api.Page) -> list[str]:
    """Return what axe-core finds against names, roles, contrast and landmarks."""
    found = Axe().run(page).response["violations"]
    return [f"{v['id']}: {node['html'][:200]}" for v in found for node in v["nodes"]]


@contextmanager
def chromium() -> Iterator[sync_api.Browser]:
    """Start a Chromium and end it."""
    if CHROMIUM is None:
        pytest.fail("no chromium on the PATH, and CI is set: `make tools` could not install it")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextmanager
def quiet(started: sync_api.Browser, file: Path) -> Iterator[Browser]:
    """Show `file`, and see that it fetched nothing and that the console stayed empty."""
    opened = Browser(started, file.as_uri())
    yield opened
    assert opened.complaints == []
    asked = [url for url in opened.requests if not url.startswith("data:")]
    assert set(asked) == {file.as_uri()}
