"""Encoders leave the priority of this process alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT

# In a process of its own, because real-time threads would outlive a test that fails.
PROGRAM = """
import os, sys
from pathlib import Path

import numpy as np
from pipeline.media.read.probe import probe
from pipeline.media.write.encoder import check_encoder
from pipeline.media.write.priority import keep_priority
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.encoding import Encoding

def list_policies():
    return {os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}

class RealTimeEncoder:
    # Does what SVT-AV1 does when root opens it
    def open(self):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))

encoding = Encoding(codec="libsvtav1", crf=40, preset=None, pix_fmt="yuv420p")
if sys.argv[1] == "checked":
    check_encoder(encoding, 128, 64)
elif sys.argv[1] == "written":
    clip = probe("tests/data/odd/edts.mp4")
    with SegmentWriter(Path(sys.argv[2]), clip, encoding, 128, 64) as writer:
        writer.write(np.zeros((64, 128, 3), np.uint8), 0)
        assert list_policies() == {os.SCHED_OTHER}, list_policies()
else:
    with keep_priority():
        RealTimeEncoder().open()
        assert os.SCHED_FIFO in list_policies()
assert list_policies() == {os.SCHED_OTHER}, list_policies()
"""


def may_change_priority() -> bool:
    code = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))"
    return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
@pytest.mark.parametrize("encoder", ["checked", "written", "simulated"])
def test_no_thread_is_left_with_real_time_priority(encoder: str, tmp_path: Path) -> None:
    if not may_change_priority():
        pytest.skip("this user may not change the priority of processes")
    subprocess.run(
        [sys.executable, "-c", PROGRAM, encoder, str(tmp_path / "segment")], cwd=ROOT, check=True
    )
