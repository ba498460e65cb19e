"""System programs that some tests need; `make tools` installs them."""

from __future__ import annotations

import os
import shutil

import pytest

# Every common CI sets CI; a missing program must fail there instead of skipping tests
ON_CI = os.environ.get("CI", "").lower() not in ("", "0", "false")


def needs(*names: str) -> pytest.MarkDecorator:
    """Return a mark that skips a test if none of these programs is installed, except on CI."""
    found = any(shutil.which(name) for name in names)
    return pytest.mark.skipif(
        not found and not ON_CI, reason=f"no {names[0]} on the PATH: `make tools` installs Debian's"
    )
