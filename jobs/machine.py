"""Write result files, each with a description of the machine that produced it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, Any]:
    """Return the processor, its cores, the memory in GB, package versions and the commit."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    versions = {name: _version(name) for name in ("torch", "av", "numpy", "ray")}

    return {
        "processor": names[0] if names else platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        # A remote machine may lack Ray, and a copied checkout has no git history
        "versions": {name: found for name, found in versions.items() if found},
        "commit": _commit(),
    }


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    if shutil.which("git") is None:
        return ""

    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write `result` and the machine's description to jobs/results/<name>.json."""
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"machine": describe_machine(), **result}, indent=1) + "\n")
    return path
