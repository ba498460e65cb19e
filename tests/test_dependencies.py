"""What is installed is what was looked at: pinned, of a known licence, and consistent.

This needs no network. Known vulnerabilities are asked for by `make audit`, which does.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import Distribution, PackageNotFoundError, distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.support import ROOT

OWN = "crossnetpp-pipeline"
FREE = re.compile(
    r"\b(Apache|MIT|BSD|0BSD|PSF|Python Software Foundation|MPL|Mozilla|Zlib|CC0|BSL-1\.0)\b", re.I
)
"""Licences that lay nothing on what is built with a package; MPL covers its own files alone."""
BOUND = re.compile(r"\b(AGPL|GPL|LGPL|SSPL|Commons Clause)\b|non-?commercial", re.I)
SILENT = {"openexr": "BSD-3-Clause", "axe-playwright-python": "MIT"}
"""Packages whose metadata names no licence: read in their own repositories."""
PROPRIETARY = {"tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs"}
"""NVIDIA's, of the extra `rtx`, which is never bundled."""


def pins() -> dict[str, str]:
    """Return name -> version of constraints.txt; every line must pin exactly."""
    found = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            match = re.fullmatch(r"([\w.-]+)==([\w.]+)", text)
            assert match, f"no exact version: {line}"
            found[canonicalize_name(match[1])] = match[2]
    return found


def installed() -> dict[str, Distribution]:
    """Return every distribution that this project's development environment consists of."""
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
            continue  # of another platform, or of an extra that only names it
        for line in found[name].requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                other = canonicalize_name(needed.name)
                waiting += [(other, "")] + [(other, wanted) for wanted in needed.extras]
    del found[OWN]
    return found


@pytest.fixture(scope="module")
def packages() -> dict[str, Distribution]:
    return installed()


def licence(package: Distribution) -> str:
    """Return what a distribution says of its licence."""
    told = package.metadata
    classifiers = [c for c in told.get_all("Classifier") or () if c.startswith("License ::")]
    said = told["License-Expression"] or "; ".join(classifiers) or (told["License"] or "")[:100]
    return said.strip() or SILENT.get(canonicalize_name(package.name), "")


def test_the_environment_is_found_whole(packages: dict[str, Distribution]) -> None:
    assert {"torch", "av", "ray", "click", "opentelemetry-api", "pytest"} <= set(packages)
    assert len(packages) > 80


def test_everything_installed_is_pinned(packages: dict[str, Distribution]) -> None:
    wanted = pins()
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
    told = {name: licence(package) for name, package in packages.items() if name not in PROPRIETARY}
    assert {
        n: said for n, said in told.items() if not FREE.search(said) or BOUND.search(said)
    } == {}


def test_what_is_installed_fits_together() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
