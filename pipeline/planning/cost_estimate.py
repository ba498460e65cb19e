"""Estimate how long a run will take, and how much disk space it will need."""

from __future__ import annotations

import math

import cv2

from crossnetpp.networks.mirroring import ORIENTATIONS
from deploy.speed import Speed
from pipeline.pairing.upsample import upsample
from pipeline.planning.segments import count_passes
from pipeline.recording import read
from pipeline.schema.plan import Plan

# The segments and the output that is joined from them are on the disk at the same time.
_COPIES = 2

# The time that one estimate of optical flow adds, as a share of the network's time on a CPU.
_FLOW_SHARE = 0.3


def estimate_seconds(plan: Plan, speed: Speed) -> float:
    """Return the seconds that an engine with this speed needs for the plan's frames.

    Decoding and encoding run in parallel with the engine and are not counted, so the estimate is
    too low if the encoder is slower than the engine.
    """
    pixels = count_passes(plan.reference_map) * math.prod(plan.network_size)
    passes = ORIENTATIONS if plan.averages_mirrored else 1
    flows = (2 if plan.averages_mirrored else 1) if plan.mixes_flow else 0
    return speed.seconds(pixels * (passes + _FLOW_SHARE * flows))


def estimate_disk(plan: Plan) -> int:
    """Return the approximate number of bytes on disk that a run of the plan needs at its peak.

    Without `plan.expected_bytes`, every frame is assumed to be as large as a PNG of the first one,
    enlarged bicubically.
    """
    if plan.expected_bytes is not None:
        return _COPIES * plan.expected_bytes

    first = plan.reference_map.pts[0]
    frame = next(iter(read(plan.input, first, first + 1, on_error="conceal")))
    large = upsample(frame.rgb, plan.height, plan.width)
    _, coded = cv2.imencode(".png", large)
    return _COPIES * len(coded) * len(plan.reference_map)
