"""The layout of ARCHITECTURE.md, held by a test: import arrows, no circles, file length."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ROOT

ALLOWED = {
    "crossnetpp": set(),
    "deploy": {"crossnetpp"},
    "pipeline": {"crossnetpp", "deploy"},
    "jobs": {"crossnetpp", "deploy", "pipeline"},
}
"""Package -> the packages it may import."""
LIGHT = ("torch", "ray", "tensorrt")
"""What `import pipeline` must not bring in."""
MOST_LINES = 400


def modules(package: str) -> dict[str, Path]:
    """Return dotted name -> file of every module of `package`."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path) -> set[str]:
    """Return the dotted names a file imports anywhere, except for type checking."""
    tree = ast.parse(path.read_text())
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    names: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("package", ALLOWED)
def test_packages_import_only_along_the_arrows(package: str) -> None:
    for name, path in modules(package).items():
        reached = {imported.split(".")[0] for imported in imports(path)} & set(ALLOWED)
        assert reached <= ALLOWED[package] | {package}, f"{name} imports {reached}"


@pytest.mark.parametrize("package", ALLOWED)
def test_no_circles_inside_a_package(package: str) -> None:
    files = modules(package)
    arrows = {name: imports(path) & set(files) - {name} for name, path in files.items()}
    # A package's __init__ is reached by every import below it; it counts only what it imports.
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for target in sorted(arrows[name]):
            visit(target, (*trail, name))
        done.add(name)

    for name in files:
        visit(name, ())


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for package in (*ALLOWED, "tests")
        for path in (ROOT / package).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long


def test_pyav_lives_in_the_media_packages_only() -> None:
    for package in ALLOWED:
        for name, path in modules(package).items():
            if not name.startswith(("pipeline.media", "jobs.media", "jobs.stress.fuzz_media")):
                assert "av" not in {imported.split(".")[0] for imported in imports(path)}, name


def test_import_of_the_command_line_is_light() -> None:
    import subprocess
    import sys

    code = f"import sys, pipeline, pipeline.cli\nprint([m for m in {LIGHT!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_test_modules_have_names_of_their_own() -> None:
    names = Counter(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    # pytest imports them by their names alone, and leaves out the second
    assert [name for name, count in names.items() if count > 1] == []
