"""The speed of an engine on this device, as measured and stored by `--engine auto`."""

from __future__ import annotations

import time
from typing import NamedTuple

from crossnetpp.machine import count_cores
from deploy.protocol import EngineError
from deploy.registry import Registry, default_root


class Speed(NamedTuple):
    """How fast an engine loads and computes."""

    engine: str
    pixels_per_second: float
    """Output pixels per second, once the engine is loaded."""
    load_seconds: float

    def seconds(self, pixels: float) -> float:
        """Return the time in seconds to load the engine and compute `pixels` output pixels."""
        return self.load_seconds + pixels / self.pixels_per_second


def find_speed(engine: str, model: str, pixels: int) -> Speed | None:
    """Return the recorded speed of an engine, or None if there is no current record.

    For `auto`, return the speed of the engine that it would choose for `pixels` output pixels. This
    function measures nothing.
    """
    # do not import torch, which takes seconds, if there are no records
    if engine == "bicubic" or not any(default_root().glob("*.speed")):
        return None

    from deploy.choice import find_record, is_current, pick_first_to_end
    from deploy.load import list_candidates

    try:
        facts = find_record(model, list_candidates(), Registry(), threads=count_cores())
        if facts is None or not is_current(facts, time.time(), busy_now=True):
            return None
        name = pick_first_to_end(facts, pixels).name if engine == "auto" else engine
    except EngineError:
        return None

    speed = facts["pixels_per_second"].get(name)
    return Speed(name, speed, facts["load_seconds"][name]) if speed else None
