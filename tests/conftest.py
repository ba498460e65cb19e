"""What must hold before the first test module is imported."""

from __future__ import annotations

import os
import secrets
import tempfile
from pathlib import Path

# Ray reads these when it is imported, by whichever module comes first. Without them it would
# write a token into the user's home; set later, they would lock this process out of its cluster.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# One thread a process, because two processes of tests share the cores of a small machine: threads
# that wait for each other at every layer made some tests twenty times slower there.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# exported graphs are made once for all tests, and never in the user's cache
_cache = tempfile.TemporaryDirectory(prefix="pipeline-cache-", ignore_cleanup_errors=True)
os.environ["PIPELINE_CACHE"] = _cache.name
# neither a file of defaults nor any other file of the user's decides a test
os.environ["PIPELINE_UI_FOLDER"] = str(Path(_cache.name) / "page")
os.environ["XDG_CONFIG_HOME"] = str(Path(_cache.name) / "config")
