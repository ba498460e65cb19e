"""List the versions of this package and its libraries, because results depend on them."""

from __future__ import annotations

import platform
import subprocess
from pathlib import Path

from deploy.distribution import installed_version

LIBRARIES = ("torch", "av", "ray", "onnxruntime", "openvino", "tensorrt")


def describe_versions() -> str:
    """Return the versions of this package, Python and the libraries, one per line."""
    version = installed_version() or "not installed"
    revision = find_revision()
    lines = [
        f"pipeline {version}" + (f" ({revision})" if revision else ""),
        f"Python {platform.python_version()} on {platform.system()} {platform.machine()}",
    ]
    for name in LIBRARIES:
        found = installed_version(name)
        lines.append(f"{name} {found}" if found else f"{name}: not installed")
    return "\n".join(lines)


def find_revision() -> str:
    """Return the git revision of the checkout from which the package runs, or "" if unknown."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip()
