"""Metrics of runs on Ray, which Ray exports to Prometheus; jobs/cluster/grafana.json shows them."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

ACTOR = {
    "pipeline_frames": "Frames encoded.",
    "pipeline_stage_seconds": "Busy seconds of a stage (decode, infer, encode).",
    "pipeline_bytes": "Bytes of committed segments.",
}
DRIVER = {
    "pipeline_segments_done": "Segments committed.",
    "pipeline_attempts": "Segments assigned to an actor, including repetitions.",
    "pipeline_failures": "Attempts that failed, or whose actor died.",
}
GAUGES = {
    "pipeline_segments_left": "Segments neither done nor abandoned.",
    "pipeline_workers": "Actors of the run.",
}


class ActorMetrics:
    """Counters of one actor."""

    def __init__(self) -> None:
        tags = {"pipeline_stage_seconds": ("stage",)}
        self._counters = {
            name: Counter(name, text, tag_keys=tags.get(name, ())) for name, text in ACTOR.items()
        }
        self._reported: dict[str, float] = {}

    def report(self, frames: int, busy: dict[str, float]) -> None:
        """Raise the counters to the totals so far: frames, and busy seconds by stage."""
        self._raise_to("pipeline_frames", "", frames)
        for stage, seconds in busy.items():
            self._raise_to("pipeline_stage_seconds", stage, seconds)

    def count_commit(self, size: int) -> None:
        """Count a committed segment of `size` bytes."""
        self._counters["pipeline_bytes"].inc(max(size, 1))

    def _raise_to(self, name: str, stage: str, total: float) -> None:
        increase = total - self._reported.get(name + stage, 0.0)
        if increase > 0:
            self._reported[name + stage] = total
            self._counters[name].inc(increase, tags={"stage": stage} if stage else {})


class DriverMetrics:
    """Counters and gauges of the driver."""

    def __init__(self) -> None:
        self._counters = {name: Counter(name, text) for name, text in DRIVER.items()}
        self._gauges = {name: Gauge(name, text) for name, text in GAUGES.items()}

    def count(self, name: str, amount: int = 1) -> None:
        """Add `amount` to the counter pipeline_<name>."""
        if amount:
            self._counters[f"pipeline_{name}"].inc(amount)

    def report_state(self, *, left: int, workers: int) -> None:
        """Report the number of unfinished segments and of actors."""
        self._gauges["pipeline_segments_left"].set(left)
        self._gauges["pipeline_workers"].set(workers)
