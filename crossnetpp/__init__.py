"""CrossNet++, a network for reference-based super-resolution.

`load("fast")(lr, ref)` returns `lr` enlarged, with the detail of `ref`; both are arrays or tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossnetpp.api import Enhancer, load

__all__ = ["Enhancer", "load"]


def __getattr__(name: str) -> Any:
    # Imported on first use, because torch takes seconds to import
    if name in __all__:
        return getattr(importlib.import_module("crossnetpp.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
