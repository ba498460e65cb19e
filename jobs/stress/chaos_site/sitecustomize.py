"""Arm actors for `jobs.stress.chaos`: Python imports this file if its folder is on the path."""

import os
import sys

if os.environ.get("PIPELINE_CHAOS") and any("default_worker.py" in word for word in sys.orig_argv):
    from jobs.stress.chaos import sabotage

    sabotage()
