"""Write result files, each with a description of the machine that produced the figures."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Any

from crossnetpp.machine import processor_name
from deploy.distribution import installed_versions

RESULTS = Path(__file__).parent / "results"


def describe_machine() -> dict[str, Any]:
    """Return this machine's processor, number of usable cores and memory in GB.

    The result also contains the versions of Python and the main packages, and the git commit.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

    return {
        "processor": processor_name() or platform.processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 1e9, 1),
        "python": platform.python_version(),
        # Ray may be missing on a remote machine
        "versions": installed_versions(("torch", "av", "numpy", "ray")),
        # "" if git or the repository's history is missing
        "commit": _commit(),
    }


def _commit() -> str:
    if shutil.which("git") is None:
        return ""

    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def write_result(name: str, result: dict[str, Any]) -> Path:
    """Write `result` and a description of the machine to jobs/results/<name>.json.

    Return the path of the file, which is overwritten if it exists.
    """
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": describe_machine(), **result}, indent=1) + "\n", encoding="utf-8"
    )
    return path
