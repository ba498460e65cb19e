"""A few runs of `python -m jobs.stress.chaos`: killing processes does not change the output."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support import ROOT

RUN = """
import sys, tempfile
from pathlib import Path
from jobs.stress.chaos import Chaos, start_cluster
from tests.support.recordings import write_pair
with tempfile.TemporaryDirectory(prefix="rc-", ignore_cleanup_errors=True) as name:
    folder = Path(name)
    with start_cluster(folder / "ray") as cluster:
        chaos = Chaos(cluster, folder, *write_pair(folder, frames=120))
        for number, event in enumerate(("before commit", "raylet", "driver")):
            # An actor may make fewer calls than a seed asks for
            for seed in range(10 * number, 10 * number + 6):
                outcome = chaos.run(event, seed)
                print(outcome, flush=True)
                assert outcome.good, outcome
                if outcome.struck or event == "driver":
                    break
            else:
                raise AssertionError(f"no {event} was killed while it was busy")
"""


@pytest.mark.ray
def test_killed_actor_raylet_and_driver_leave_the_bits_as_they_are() -> None:
    # Ray keeps a cluster's address and token until the process ends, so use a separate one
    command = [sys.executable, "-c", RUN]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    assert done.stdout.count("same_bits=True") >= 3
