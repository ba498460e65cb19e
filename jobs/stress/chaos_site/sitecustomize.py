"""Python imports this at its start where the folder is on the path: arms actors for chaos."""

import os
import sys

if os.environ.get("PIPELINE_CHAOS") and any("default_worker.py" in word for word in sys.orig_argv):
    from jobs.stress.chaos import sabotage

    sabotage()
