"""Programs of the system that some tests run: `make tools` installs them."""

from __future__ import annotations

import os
import shutil

import pytest

ON_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")
"""Set by every common CI: what could be installed there must be there, and nothing is skipped."""


def needs(*names: str) -> pytest.MarkDecorator:
    """Skip a test without any of these programs, but on CI."""
    found = any(shutil.which(name) for name in names)
    return pytest.mark.skipif(
        not found and not ON_CI, reason=f"no {names[0]} on the PATH: `make tools` installs Debian's"
    )
