"""How large an output will be, by encoding a few frames of it that are merely enlarged."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2

from pipeline.media.colour import contiguous
from pipeline.media.container import opened
from pipeline.media.read.frames import read
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.clip import VideoClip
from pipeline.schema.plan import Plan

_PLACES = 3
_PIXELS = 60e6
"""Of all frames encoded: a few seconds with the usual encoders."""
_FEWEST, _MOST = 4, 24
"""Frames in a place."""
_LONGEST_GROUP = 250
"""Frames: after so many, encoders set a key frame of their own accord."""


class _Sample(NamedTuple):
    """Mean bytes of the key frames and of all others."""

    key: float
    other: float


def expected_bytes(plan: Plan) -> int | None:
    """Return about how many bytes the video of a run will have; None for what is no video.

    Detail that is borrowed needs bytes, too: expect somewhat more where the reference is rich.
    """
    lr = plan.input
    if not isinstance(lr, VideoClip) or plan.pictures:
        return None
    count = int(min(_MOST, max(_FEWEST, _PIXELS / (plan.width * plan.height * _PLACES))))
    pts = [choice.pts for choice in plan.reference_map]
    places = {max(0, len(pts) * (2 * n + 1) // (2 * _PLACES) - count // 2) for n in range(_PLACES)}
    samples = [_sample(plan, lr, pts[place : place + count]) for place in sorted(places)]
    key = sum(sample.key for sample in samples) / len(samples)
    other = sum(sample.other for sample in samples) / len(samples)
    keys = sum(-(-segment.frames // _LONGEST_GROUP) for segment in plan.segments)
    return round(keys * key + (len(pts) - keys) * other)


def _sample(plan: Plan, lr: VideoClip, pts: list[int]) -> _Sample:
    size = plan.width, plan.height
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        file = Path(folder) / "sample.nut"
        frames = read(lr, pts[0], pts[-1] + 1, on_error="conceal")
        with SegmentWriter(file, lr, plan.encoding, *size) as writer:
            for frame in frames:
                large = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_CUBIC)
                writer.write(contiguous(large), frame.pts)
        sizes: dict[bool, list[int]] = {True: [], False: []}
        with opened(str(file)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    sizes[packet.is_keyframe].append(packet.size)
    key = sum(sizes[True]) / max(1, len(sizes[True]))
    return _Sample(key, sum(sizes[False]) / len(sizes[False]) if sizes[False] else key)


def seconds_of(plan: Plan) -> Fraction:
    """Return how long the frames of a plan are shown."""
    last = max(segment.end_pts for segment in plan.segments)
    return (last - plan.segments[0].start_pts) * plan.input.time_base
