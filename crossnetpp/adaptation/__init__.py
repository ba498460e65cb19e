"""Adapt the weights of `fast` to one recording by training on its own key frames.

At a key frame, the recording is known at both resolutions. The training reconstructs each key frame
from its LR picture, with the neighbouring key frames as references. The results on held-out key
frames determine whether the adapted weights are used, and how much of the change is kept.
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
