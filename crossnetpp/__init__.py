"""CrossNet++: detail borrowed from a high-resolution reference.

`load("fast")(lr, ref)` runs the network on arrays or tensors.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossnetpp.api import Enhancer, load

__all__ = ["Enhancer", "load"]


def __getattr__(name: str) -> Any:
    # torch takes seconds to import
    if name in __all__:
        return getattr(importlib.import_module("crossnetpp.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
