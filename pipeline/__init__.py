"""Reference-based super-resolution: `enhance` files, or iterate over `enhanced_frames`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import SRFrame, enhance, enhanced_frames

__all__ = ["SRFrame", "enhance", "enhanced_frames"]


def __getattr__(name: str) -> Any:
    # importing the package must stay light: the command line and workers do it
    if name in __all__:
        return getattr(importlib.import_module("pipeline.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
