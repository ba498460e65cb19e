"""A growing cluster: a head without CPUs, and Ray's own autoscaler."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.ray_head import start_head, submit
from tests.support.recordings import write_pair


@pytest.mark.ray
def test_a_run_makes_the_cluster_grow(tmp_path: Path) -> None:
    lr, hr = write_pair(tmp_path)
    chosen = ("--engine", "bicubic", "--segment", "0.4", "--preset", "ultrafast", "--json")
    with start_head(growing=True) as head:
        where = (lr, "--ref-stream", hr, "-o", tmp_path / "out.mkv")
        done = submit(head, *where, *chosen, "--workers", "2")
        launched = (head.folder / "session_latest" / "logs" / "monitor.log").read_text()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 40
    # both actors were requested at once
    assert "Got 2 nodes to launch" in launched or launched.count("Got 1 nodes to launch") == 2
