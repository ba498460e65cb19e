"""Figures of a run on Ray, for Prometheus (Ray exports them) and jobs/cluster/grafana.json."""

from __future__ import annotations

from ray.util.metrics import Counter, Gauge

ACTOR = {
    "pipeline_frames": "Frames encoded.",
    "pipeline_stage_seconds": "Busy seconds of a stage (decode, infer, encode).",
    "pipeline_bytes": "Bytes of committed segments.",
}
DRIVER = {
    "pipeline_segments_done": "Segments committed.",
    "pipeline_attempts": "Segments given to an actor, first time or again.",
    "pipeline_failures": "Attempts that failed, or whose actor died.",
}
GAUGES = {
    "pipeline_segments_left": "Segments neither done nor given up.",
    "pipeline_workers": "Actors at work.",
}


class ActorMetrics:
    """Growing figures of one actor; told totals, it adds what is new."""

    def __init__(self) -> None:
        tags = {"pipeline_stage_seconds": ("stage",)}
        self._counters = {
            name: Counter(name, text, tag_keys=tags.get(name, ())) for name, text in ACTOR.items()
        }
        self._told: dict[str, float] = {}

    def tell(self, frames: int, busy: dict[str, float]) -> None:
        """Report totals of frames and of busy seconds by stage."""
        self._grow("pipeline_frames", "", frames)
        for stage, seconds in busy.items():
            self._grow("pipeline_stage_seconds", stage, seconds)

    def committed(self, size: int) -> None:
        """Report a segment of `size` bytes."""
        self._counters["pipeline_bytes"].inc(max(size, 1))

    def _grow(self, name: str, stage: str, total: float) -> None:
        more = total - self._told.get(name + stage, 0.0)
        if more > 0:
            self._told[name + stage] = total
            self._counters[name].inc(more, tags={"stage": stage} if stage else {})


class DriverMetrics:
    """Figures of the driver."""

    def __init__(self) -> None:
        self._counters = {name: Counter(name, text) for name, text in DRIVER.items()}
        self._gauges = {name: Gauge(name, text) for name, text in GAUGES.items()}

    def count(self, name: str, more: int = 1) -> None:
        """Add to pipeline_<name>."""
        if more:
            self._counters[f"pipeline_{name}"].inc(more)

    def state(self, *, left: int, workers: int) -> None:
        """Report what is left and who works."""
        self._gauges["pipeline_segments_left"].set(left)
        self._gauges["pipeline_workers"].set(workers)
