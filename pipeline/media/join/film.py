"""Describe a sequence of pictures as the video that is made from it.

Such a video is joined and verified like any other, but its input has no other streams.
"""

from __future__ import annotations

from pathlib import Path

from pipeline.media.join.capabilities import VIDEO_SUFFIXES
from pipeline.schema.clip import Clip, RecordingBase, Stills, VideoClip


def becomes_film(clip: RecordingBase, output: str | Path) -> bool:
    """Return whether a recording consists of several pictures and `output` has a video suffix."""
    several = isinstance(clip, Stills) and len(clip.files) > 1
    return several and Path(output).suffix.lower() in VIDEO_SUFFIXES


def as_film(clip: Stills) -> VideoClip:
    """Return the video whose frames are the pictures; a tick is the duration of one picture."""
    shared = {
        name: getattr(clip, name) for name in RecordingBase.model_fields if name != "duration_pts"
    }
    return VideoClip(**shared, container="pictures", duration_pts=len(clip.files))


def describe_output(clip: Clip, output: str | Path) -> Clip:
    """Return the video that the pictures of `clip` become at `output`, or else `clip` itself."""
    if isinstance(clip, Stills) and becomes_film(clip, output):
        return as_film(clip)
    return clip
