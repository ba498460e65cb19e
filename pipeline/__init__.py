"""Reference-based super-resolution: `enhance` is for files, and `Enhancer` is for arrays."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api import SRFrame, enhance, enhanced_frames
    from pipeline.arrays.enhancer import Enhancer
    from pipeline.errors import (
        ChangedInputError,
        InputError,
        Interrupted,
        MediaError,
        OutputExistsError,
        PairingError,
        PipelineError,
        StageError,
        VerificationError,
    )
    from pipeline.runs.result import RunResult

__all__ = [
    "ChangedInputError",
    "Enhancer",
    "InputError",
    "Interrupted",
    "MediaError",
    "OutputExistsError",
    "PairingError",
    "PipelineError",
    "RunResult",
    "SRFrame",
    "StageError",
    "VerificationError",
    "enhance",
    "enhanced_frames",
]

_MODULES = {
    "Enhancer": "pipeline.arrays.enhancer",
    "SRFrame": "pipeline.api",
    "enhance": "pipeline.api",
    "enhanced_frames": "pipeline.api",
    "RunResult": "pipeline.runs.result",
}  # all other names are in pipeline.errors


def __getattr__(name: str) -> Any:
    # import names on first use, because the command line and every worker import this package
    if name in __all__:
        return getattr(importlib.import_module(_MODULES.get(name, "pipeline.errors")), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
