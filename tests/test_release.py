"""The wheel holds every file that the three packages need, nothing else, and works alone.

The tests build a wheel from the working tree. `make release-check` names the wheel that it built
in RELEASE_WHEEL, and the tests look into that one.

The wheel is installed into an environment outside the checkout that has the default dependencies
and no others. They are links to those of this environment, so nothing is downloaded.
"""

from __future__ import annotations

import ast
import email
import json
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
from tests.support.environments import Environment, find_closure
from tests.support.recordings import texture, write_video

PACKAGES = ("crossnetpp", "deploy", "pipeline")
BUILD_FILES = ("pyproject.toml", "VERSION", "README.md", "LICENSE", "MANIFEST.in")
# Files whose absence would break a command or hide a licence.
DATA = {
    "crossnetpp/weights/fast.safetensors",
    "crossnetpp/weights/fast-recorded.safetensors",
    "crossnetpp/weights/fast-quick.safetensors",
    "crossnetpp/weights/fast-recorded-quick.safetensors",
    "crossnetpp/weights/SOURCES.md",
    "crossnetpp/configs/fast.yaml",
    "deploy/selftest.png",
    "pipeline/samples/monster.mp4",
    "pipeline/samples/SOURCES.md",
    "pipeline/report/template/page.html.j2",
    "pipeline/ui/page/index.html",
    "pipeline/ui/page/page.js",
    "pipeline/report/template/uplot/LICENSE",
    "pipeline/report/template/uplot/uPlot.iife.min.js",
}
# Packages of extras, of which none may be in the environment with the default dependencies.
OPTIONAL = (
    *("onnx", "onnxruntime", "openvino", "tensorrt_rtx", "h5py", "scipy", "imageio_ffmpeg"),
    *("pyarrow", "boto3", "tensorboard", "torchmetrics", "pytest"),
)
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


@pytest.fixture(scope="module")
def default_environment(
    wheel: Path, metadata: Message, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """Return an environment with the wheel, its default dependencies, and a short sample."""
    required = [Requirement(line) for line in metadata.get_all("Requires-Dist") or ()]
    environment = Environment(
        tmp_path_factory.mktemp("default") / "env", find_closure(required).values()
    )
    environment.install(wheel)
    # 8 frames of 192x128 in place of 61 larger ones; the first is the demo's key frame
    sample = environment.packages / "pipeline" / "samples" / "monster.mp4"
    write_video(sample, [texture(i, 128, 192) for i in range(8)])
    return environment


def test_a_default_installation_has_no_package_of_an_extra(
    default_environment: Environment, tmp_path: Path
) -> None:
    code = """
import importlib.util, sys
for name in sys.argv[1:]:
    if importlib.util.find_spec(name):
        print(name)
"""
    done = default_environment.run(tmp_path, tmp_path, "python", "-c", code, *OPTIONAL)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_a_default_installation_works(default_environment: Environment, tmp_path: Path) -> None:
    home = tmp_path / "home"
    folder = tmp_path / "folder"
    home.mkdir()
    folder.mkdir()

    def call(*arguments: str) -> str:
        done = default_environment.run(folder, home, "pipeline", *arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert "Traceback" not in done.stderr
        return done.stdout

    version = (ROOT / "VERSION").read_text().strip()
    assert version in call("--version")
    doctor = {check["name"]: check for check in json.loads(call("doctor", "--json"))["checks"]}
    assert doctor["packages"]["status"] == "ok"
    assert doctor["packages"]["found"].startswith(f"crossnetpp-pipeline {version} and ")

    assert "CrossNet++ fast" in call("demo")
    given = ("demo-output/lr.mp4", "--ref-stream", "demo-output/ref.mp4", "--end", "0.1")
    call("plan", *given)
    call("run", *given, "-q", "-o", "out.mp4")
    assert (folder / "out.mp4").is_file()

    small = ("--size", "64x64", "--frames", "1", "--turns", "1")
    rows = json.loads(call("engines", "bench", *small, "--json"))["engines"]
    speeds = {row["engine"]: row.get("fps", 0) for row in rows}
    assert speeds["torch"] > 0
    reasons = {row["engine"]: row["failed"] for row in rows if "failed" in row}
    assert "pip install 'onnx" in reasons["onnx"]
