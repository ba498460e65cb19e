"""The name of this distribution, the versions of installed packages, and how to install more."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

DISTRIBUTION = "crossnetpp-pipeline"


def installed_version(package: str = DISTRIBUTION) -> str | None:
    """Return the version of an installed package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of all packages in `packages` that are installed, by package name."""
    found = {package: installed_version(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}


def describe_install(extra: str) -> str:
    """Return the pip command that installs the packages of an extra of this distribution.

    The command lists the packages instead of naming the extra, because this distribution may have
    been installed from an index, a file or a checkout. If the program runs from a checkout that is
    not installed, the command installs the checkout with the extra.
    """
    try:
        lines = metadata.requires(DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        # the program runs from a checkout that is not installed
        return f"pip install '{Path(__file__).parents[1]}[{extra}]'"

    wanted = []
    for requirement in map(Requirement, lines):
        if _is_of_extra(requirement, extra):
            requirement.marker = None
            wanted.append(f"'{requirement}'")
    return f"pip install {' '.join(wanted)}"


def _is_of_extra(requirement: Requirement, extra: str) -> bool:
    """Return whether `extra` requires this package and a plain installation does not."""
    marker = requirement.marker
    if marker is None or marker.evaluate({"extra": ""}):
        return False
    return marker.evaluate({"extra": extra})
