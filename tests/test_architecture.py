"""ARCHITECTURE.md and its neighbours: their paths exist, and no folder or layer is missing."""

from __future__ import annotations

import re

import pytest

from tests.support import ROOT
from tests.test_layout import ALLOWED, LAYERS

LONGEST_LINE = 120
PATH = re.compile(r"`((?:crossnetpp|deploy|pipeline|jobs|tests|docs|examples)(?:/[\w.-]+)+/?)`")


TOP_PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md", "README.md")
PAGES = (*TOP_PAGES, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
MODULE = re.compile(r"python -m (\w[\w.]*)([^`\n]*)")


@pytest.mark.parametrize("page", PAGES)
def test_every_path_on_a_page_exists(page: str) -> None:
    paths = PATH.findall((ROOT / page).read_text(encoding="utf-8"))
    assert paths or page not in TOP_PAGES
    assert [path for path in paths if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", [*PAGES, "CHANGELOG.md", "examples/README.md"])
def test_every_module_on_a_page_can_be_run_with_its_options(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    for name, arguments in MODULE.findall(text):
        if name.split(".")[0] not in ALLOWED:
            continue
        path = ROOT.joinpath(*name.split("."))
        source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
        assert source.exists(), f"{page}: python -m {name}"
        code = source.read_text(encoding="utf-8")
        if name == "pipeline":  # tests/test_docs.py checks its options
            continue
        assert '"__main__"' in code, f"{page}: python -m {name} does nothing"
        for option in re.findall(r"(?<!\S)--[a-z-]+", arguments):
            assert f'"{option}"' in code, f"{page}: python -m {name} has no {option}"


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
