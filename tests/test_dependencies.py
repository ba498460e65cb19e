"""Installed packages are pinned, consistent with each other, and have a known free licence.

These tests need no network. `make audit` looks up known vulnerabilities, and does need one.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import (
    Distribution,
    PackageNotFoundError,
    distribution,
    packages_distributions,
)

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

OWN = "crossnetpp-pipeline"
# Licences without conditions for software that uses a package; MPL covers only its own files.
FREE = re.compile(
    r"\b(Apache|MIT|BSD|0BSD|PSF|Python Software Foundation|MPL|Mozilla|Zlib|CC0|BSL-1\.0)\b", re.I
)
BOUND = re.compile(r"\b(AGPL|GPL|LGPL|SSPL|Commons Clause)\b|non-?commercial", re.I)
# Packages whose metadata names no licence; these are from their repositories.
WITHOUT_METADATA = {"openexr": "BSD-3-Clause", "axe-playwright-python": "MIT"}
# Bindings under BSD or MIT whose wheels contain libraries under the LGPL, as PyAV's contain FFmpeg:
# shared libraries that a user can replace, which is the LGPL's condition.
LGPL_LIBRARIES = {"pi-heif", "rawpy"}
# Packages of NVIDIA in the extra `rtx`, which is never bundled.
PROPRIETARY = {"tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs"}


def read_pins() -> dict[str, str]:
    """Return name -> version from constraints.txt; fails on a line that is no exact pin."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)", text)
            assert match, f"no exact version: {line}"
            found[canonicalize_name(match[1])] = match[2]
    return found


def find_installed() -> dict[str, Distribution]:
    """Return name -> distribution for this project with its extra `dev`, dependencies included."""
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(OWN, extra) for extra in ("", "dev")]
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform, or in an extra that is not installed
        for line in found[name].requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                other = canonicalize_name(needed.name)
                waiting += [(other, "")] + [(other, wanted) for wanted in needed.extras]
    del found[OWN]
    return found


@pytest.fixture(scope="module")
def packages() -> dict[str, Distribution]:
    return find_installed()


def find_licence(package: Distribution) -> str:
    """Return the licence that a distribution's metadata names, or "" if it names none."""
    fields = package.metadata
    classifiers = [c for c in fields.get_all("Classifier") or () if c.startswith("License ::")]
    text = (fields["License"] or "")[:100]
    named = fields["License-Expression"] or "; ".join(classifiers) or text
    return named.strip() or WITHOUT_METADATA.get(canonicalize_name(package.name), "")


def test_the_environment_is_found_whole(packages: dict[str, Distribution]) -> None:
    assert {"torch", "av", "ray", "click", "opentelemetry-api", "pytest"} <= set(packages)
    assert len(packages) > 80


def test_everything_installed_is_pinned(packages: dict[str, Distribution]) -> None:
    wanted = read_pins()
    # a build of torch for this machine: 2.13.0+cpu
    versions = {name: package.version.partition("+")[0] for name, package in packages.items()}
    assert {n: (v, wanted.get(n)) for n, v in versions.items() if wanted.get(n) != v} == {}


def test_nothing_comes_from_elsewhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = list(project["project"]["dependencies"])
    for extra in project["project"]["optional-dependencies"].values():
        lines += extra
    assert [line for line in lines if Requirement(line).url] == []
    own = [line for line in lines if canonicalize_name(Requirement(line).name) == OWN]
    unbounded = [line for line in lines if line not in own and not Requirement(line).specifier]
    assert [line for line in unbounded if not line.startswith("fsspec")] == []


def test_every_licence_is_known_and_free(packages: dict[str, Distribution]) -> None:
    excepted = PROPRIETARY | LGPL_LIBRARIES
    licences = {n: find_licence(p) for n, p in packages.items() if n not in excepted}
    assert {
        name: licence
        for name, licence in licences.items()
        if not FREE.search(licence) or BOUND.search(licence)
    } == {}


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def list_first_imports(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted names that a module imports when it is imported itself."""
    waiting = list(ast.iter_child_nodes(tree))
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        waiting += ast.iter_child_nodes(node)


def find_default_packages() -> set[str]:
    """Return the names that `import` finds in a default installation: its direct dependencies."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {canonicalize_name(Requirement(line).name) for line in project["dependencies"]}
    # parts of pydantic and jinja2 that have distributions of their own
    direct |= {"pydantic-core", "markupsafe"}
    return {
        name
        for name, owners in packages_distributions().items()
        if direct & {canonicalize_name(owner) for owner in owners}
    }


# Parts of installed packages that need packages of an extra: ray[train].
OPTIONAL_PARTS = ("ray.train", "ray.data", "ray.tune")


@pytest.mark.parametrize("package", ["crossnetpp", "deploy", "pipeline"])
def test_modules_import_optional_packages_only_when_they_need_them(package: str) -> None:
    installed = find_default_packages() | sys.stdlib_module_names
    installed |= {"crossnetpp", "deploy", "pipeline"}
    assert {"torch", "av", "cv2", "yaml", "PIL"} <= installed
    assert not {"onnx", "onnxruntime", "openvino", "h5py", "pyarrow", "fsspec"} & installed
    found = {
        (str(path.relative_to(ROOT)), name)
        for path in sorted((ROOT / package).rglob("*.py"))
        for name in list_first_imports(ast.parse(path.read_text()))
        if name.split(".")[0] not in installed or name.startswith(OPTIONAL_PARTS)
    }
    assert found == set()


def test_first_imports_are_those_outside_functions() -> None:
    source = """
import a.b
try:
    from c import d
except ImportError:
    pass
if TYPE_CHECKING:
    import e
class F:
    import g
    def h(self):
        import i
"""
    assert set(list_first_imports(ast.parse(source))) == {"a.b", "c", "c.d", "g"}
