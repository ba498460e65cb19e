"""The name of this distribution, and the versions of installed packages."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import metadata

DISTRIBUTION = "crossnetpp-pipeline"


def installed_version(package: str = DISTRIBUTION) -> str | None:
    """Return the version of an installed package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def installed_versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of those packages that are installed, by name."""
    found = {package: installed_version(package) for package in packages}
    return {package: version for package, version in found.items() if version is not None}
