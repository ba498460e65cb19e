"""ARCHITECTURE.md and its neighbours: their paths exist, and no folder or layer is missing."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT
from tests.test_layout import ALLOWED, LAYERS

LONGEST_LINE = 120
PATH = re.compile(r"`((?:crossnetpp|deploy|pipeline|jobs|tests|docs|examples)(?:/[\w.-]+)+/?)`")


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"])
def test_every_path_on_a_page_exists(page: str) -> None:
    paths = PATH.findall((ROOT / page).read_text(encoding="utf-8"))
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_folder_of_code_has_a_row() -> None:
    rows = re.findall(r"^\| `([\w/]+)` \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    folders = {
        str(path.parent.relative_to(ROOT))
        for package in ALLOWED
        for path in (ROOT / package).rglob("__init__.py")
    }
    assert folders - set(rows) == set()
    assert [row for row in rows if "/" in row and not (ROOT / row).exists()] == []


def test_the_page_shows_the_layers_that_are_tested() -> None:
    layers = "\n".join(", ".join(row) for row in LAYERS["pipeline"])
    assert f"```\n{layers}\n```" in (ROOT / "ARCHITECTURE.md").read_text()


def test_no_line_of_the_page_is_long() -> None:
    lines = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if len(line) > LONGEST_LINE] == []
