"""Adapt the weights of `fast` to one recording by training on its own key frames.

At a key frame, both LR and HR of the same instant are known. Each key frame serves as a target, and
its neighbours as the references to borrow from. Held-out key frames decide whether the adapted
weights are used, and how much of the change is kept.
"""

from __future__ import annotations

from crossnetpp.adaptation.adapt import (
    LEAST_KEY_FRAMES,
    LEAST_STEPS,
    MOST_STEPS,
    PIXELS_PER_STEP,
    AdaptationSettings,
    Adapted,
    Progress,
    adapt,
    check_key_frames,
    count_steps,
    time_step,
    try_adapted,
)
from crossnetpp.adaptation.key_frames import KeyFrame

__all__ = [
    "LEAST_KEY_FRAMES",
    "LEAST_STEPS",
    "MOST_STEPS",
    "PIXELS_PER_STEP",
    "AdaptationSettings",
    "Adapted",
    "KeyFrame",
    "Progress",
    "adapt",
    "check_key_frames",
    "count_steps",
    "time_step",
    "try_adapted",
]
