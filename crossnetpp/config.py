"""Presets: the published network and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Activation = Literal["relu", "selu"]


@dataclass(frozen=True)
class PaperConfig:
    """CrossNet++ as published: two-stage warping, one shared encoder."""

    activation: Activation = "relu"


@dataclass(frozen=True)
class FastConfig:
    """The cheap network: at most 16 GFLOP at 320 x 512."""

    width: int = 64
    """Channels of the fusion at 1/4 size."""
    blocks: int = 4
    """Residual blocks of the fusion."""
    windows: tuple[int, ...] = (31, 15, 7)
    """Sides of the windows of the Lucas-Kanade steps, pixels at 1/2 size: x8 wants them wide."""
    refinements: int = 2
    """Times that the flow is refined by Lucas-Kanade steps."""


PRESETS: dict[str, PaperConfig | FastConfig] = {"paper": PaperConfig(), "fast": FastConfig()}
