"""The wheel holds every file that the three packages need, and nothing else of the checkout.

The tests build a wheel from the working tree. `make release-check` names the wheel that it built
in RELEASE_WHEEL, and the tests look into that one.
"""

from __future__ import annotations

import ast
import email
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

PACKAGES = ("crossnetpp", "deploy", "pipeline")
BUILD_FILES = ("pyproject.toml", "VERSION", "README.md", "LICENSE", "MANIFEST.in")
# Files whose absence would break a command or hide a licence.
DATA = {
    "crossnetpp/weights/fast.safetensors",
    "crossnetpp/weights/SOURCES.md",
    "crossnetpp/configs/fast.yaml",
    "deploy/selftest.png",
    "pipeline/samples/monster.mp4",
    "pipeline/samples/SOURCES.md",
    "pipeline/report/template/page.html.j2",
    "pipeline/report/template/uplot/LICENSE",
    "pipeline/report/template/uplot/uPlot.iife.min.js",
}
BROUGHT_ALONG = {"markupsafe", "pydantic-core"}  # parts of jinja2 and pydantic


def files_on_disk() -> set[str]:
    """Return the path of every file of the packages, relative to the checkout."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def build_wheel(folder: Path) -> Path:
    """Build a wheel from a copy of the checkout, without a network, and return its path."""
    # a copy, because setuptools leaves build/lib behind and would put its old files into a wheel
    source = folder / "source"
    for package in PACKAGES:
        shutil.copytree(
            ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name in BUILD_FILES:
        shutil.copy(ROOT / name, source)
    for other in ("jobs", "tests"):
        (source / other).mkdir()
        shutil.copy(ROOT / other / "__init__.py", source / other)

    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-index", "-w", str(folder)]
    done = subprocess.run(
        [*command, *options, str(source)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the wheel to look into."""
    built = os.environ.get("RELEASE_WHEEL")
    return Path(built) if built else build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def members(wheel: Path) -> set[str]:
    """Return the names of the wheel's files, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    return {name for name in names if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    """Return the wheel's METADATA."""
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_every_file_of_the_packages_and_no_other(members: set[str]) -> None:
    assert members == files_on_disk()


def test_the_wheel_holds_the_data_that_commands_read(members: set[str]) -> None:
    assert DATA - members == set()
    assert {f"{package}/py.typed" for package in PACKAGES} <= members


def test_the_wheel_holds_neither_tests_nor_jobs(members: set[str]) -> None:
    assert {name.split("/")[0] for name in members} == set(PACKAGES)


def test_the_version_is_the_one_in_the_file_and_in_the_changelog(metadata: Message) -> None:
    version = (ROOT / "VERSION").read_text().strip()
    assert metadata["Version"] == version
    assert f"\n## {version} - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_wheel_requires_what_pyproject_lists(metadata: Message) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist") or ()]
    default = {str(line) for line in required if line.marker is None}
    assert default == {str(Requirement(line)) for line in project["dependencies"]}
    assert set(metadata.get_all("Provides-Extra") or ()) == set(project["optional-dependencies"])


def imports_at_the_top(path: Path) -> Iterator[str]:
    """Yield the top-level package of every import that runs when the module is imported."""
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]

        only_for_types = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if not only_for_types and not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += ast.iter_child_nodes(node)


def test_optional_packages_are_imported_only_where_they_are_used() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    default = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    default |= BROUGHT_ALONG
    installed = packages_distributions()
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in imports_at_the_top(path)
        if name not in sys.stdlib_module_names and name not in PACKAGES
        if not default & {canonicalize_name(owner) for owner in installed.get(name, ())}
    ]
    assert wrong == []


def test_the_wheel_has_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt"))
        assert "pipeline = pipeline.cli.main:main" in archive.read(name).decode()


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_the_images_copy_the_files_that_a_build_reads(name: str) -> None:
    lines = (ROOT / "jobs" / "cluster" / "docker" / f"{name}.Dockerfile").read_text().splitlines()
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]}
    assert {"pyproject.toml", "VERSION", "README.md", "LICENSE", *PACKAGES} <= copied
