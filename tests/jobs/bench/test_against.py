"""The comparison with an older commit: its arithmetic, and a worktree of a commit."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from jobs.bench.against import ROOT, Seconds, check_out, summarise, time_run


def test_ratios_are_formed_within_each_turn() -> None:
    old = [Seconds(2.0, 4.0), Seconds(6.0, 4.0), Seconds(3.0, 9.0)]
    new = [Seconds(1.0, 2.0), Seconds(4.0, 1.0), Seconds(1.0, 3.0)]
    result = summarise({"old": old, "new": new})
    assert result["wall_ratios"] == [1.5, 2.0, 3.0]
    assert (result["wall_ratio"], result["cpu_ratio"]) == (2.0, 3.0)
    assert result["old"] == {"seconds_per_frame": 3.0, "cpu_seconds_per_frame": 4.0}


def test_a_command_that_fails_ends_the_comparison(tmp_path: Path) -> None:
    assert time_run(ROOT, ["--version"]).cpu > 0
    with pytest.raises(SystemExit, match=r"no_clip\.mp4"):
        time_run(ROOT, ["probe", str(tmp_path / "no_clip.mp4")])


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="no git checkout"
)
def test_a_commit_is_checked_out_and_removed_again() -> None:
    with check_out("HEAD") as tree:
        assert (tree / "pipeline" / "__init__.py").is_file()
    assert not tree.exists()
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "worktree", "list"], capture_output=True, text=True, check=True
    )
    assert str(tree) not in listed.stdout
