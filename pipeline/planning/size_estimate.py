"""Estimate the output's size by encoding a few frames that are up-sampled bicubically."""

from __future__ import annotations

import tempfile
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import cv2

from pipeline.media.colour import make_contiguous
from pipeline.media.container import open_container
from pipeline.media.read.frames import read_frames
from pipeline.media.write.segment import SegmentWriter
from pipeline.schema.clip import VideoClip
from pipeline.schema.plan import Plan

_SAMPLES = 3
_PIXELS = 60e6  # in all samples together: a few seconds of work for the usual encoders
_FEWEST_FRAMES = 4  # in a sample
_MOST_FRAMES = 24  # in a sample
_LONGEST_GROUP = 250  # frames after which encoders insert a key frame at the latest


class _Sample(NamedTuple):
    """The mean encoded size, in bytes, of a sample's key frames and of its other frames."""

    key: float
    other: float


def estimate_bytes(plan: Plan) -> int | None:
    """Return the approximate size in bytes of a plan's video, or None for other outputs.

    The samples contain no borrowed detail, so the real output is somewhat larger.
    """
    lr = plan.input
    if not isinstance(lr, VideoClip) or plan.pictures:
        return None

    # evenly spaced samples
    frames = _PIXELS / (plan.width * plan.height * _SAMPLES)
    count = int(min(_MOST_FRAMES, max(_FEWEST_FRAMES, frames)))
    pts = [choice.pts for choice in plan.reference_map]
    middles = [len(pts) * (2 * n + 1) // (2 * _SAMPLES) for n in range(_SAMPLES)]
    starts = sorted({max(0, middle - count // 2) for middle in middles})
    samples = [_measure_sample(plan, lr, pts[start : start + count]) for start in starts]

    key = sum(sample.key for sample in samples) / len(samples)
    other = sum(sample.other for sample in samples) / len(samples)
    keys = sum(-(-segment.frames // _LONGEST_GROUP) for segment in plan.segments)
    return round(keys * key + (len(pts) - keys) * other)


def _measure_sample(plan: Plan, lr: VideoClip, pts: list[int]) -> _Sample:
    size = plan.width, plan.height
    sizes: dict[bool, list[int]] = {True: [], False: []}
    with tempfile.TemporaryDirectory(prefix="pipeline-") as folder:
        file = Path(folder) / "sample.nut"
        frames = read_frames(lr, pts[0], pts[-1] + 1, on_error="conceal")
        with SegmentWriter(file, lr, plan.encoding, *size) as writer:
            for frame in frames:
                large = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_CUBIC)
                writer.write(make_contiguous(large), frame.pts)

        with open_container(str(file)) as container:
            for packet in container.demux(video=0):
                if packet.size:
                    sizes[packet.is_keyframe].append(packet.size)

    key = sum(sizes[True]) / max(1, len(sizes[True]))
    return _Sample(key, sum(sizes[False]) / len(sizes[False]) if sizes[False] else key)


def find_duration(plan: Plan) -> Fraction:
    """Return the duration of the planned part of the input, in seconds."""
    last = max(segment.end_pts for segment in plan.segments)
    return (last - plan.segments[0].start_pts) * plan.input.time_base
