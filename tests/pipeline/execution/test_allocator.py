"""Memory that the C library keeps."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Allocates and frees blocks of 8 to 30 MB, three at a time, and prints the number of page faults.
CHURN = """
import resource, sys
import numpy as np
from pipeline.execution.allocator import speed_up_allocation
if sys.argv[1] == "keep":
    assert speed_up_allocation()
def churn():
    for megabytes in (8, 24, 8, 30) * 20:
        blocks = [np.ones(megabytes << 17) for _ in range(3)]
        del blocks
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has the setting")
def test_freed_memory_is_used_again_without_page_faults() -> None:
    faults = {}
    for mode in ("keep", "default"):
        command = [sys.executable, "-c", CHURN, mode]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        faults[mode] = int(ended.stdout)
    assert faults["keep"] < 100 < faults["default"]
