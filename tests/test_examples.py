"""The numbered examples run as they stand, and name what there is to look at."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

EXAMPLES = ROOT / "examples"
NAMES = sorted(path.name for path in EXAMPLES.glob("[0-9]*"))


def run(name: str, folder: Path) -> str:
    """Run an example from the checkout; returns its stdout."""
    program = [sys.executable] if name.endswith(".py") else ["bash"]
    # `pipeline` is this environment's, and `import pipeline` this checkout's
    env = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    command = [*program, str(EXAMPLES / name), str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_they_are_numbered_and_listed() -> None:
    assert [int(name[:2]) for name in NAMES] == list(range(1, len(NAMES) + 1))
    listed = re.findall(r"^\| `(\d\d_[\w.]+)` \|", (EXAMPLES / "README.md").read_text(), re.M)
    assert listed == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_and_makes_what_it_names(name: str, tmp_path: Path) -> None:
    output = run(name, tmp_path)
    last = output.strip().splitlines()[-1]
    named = re.search(r"look at (\S+?)(?:: .*)?$", last)
    assert named, last
    assert Path(named[1]).stat().st_size > 1000
    figures = [float(dB) for dB in re.findall(r"([\d.]+) dB", output)]
    if name.startswith(("03", "07")):  # bicubic, then with references
        assert figures[1] > figures[0] + 1
    if name.startswith("06"):  # bicubic is at about 25 dB
        assert figures[0] > 27
