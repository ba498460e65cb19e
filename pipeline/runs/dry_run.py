"""Plan a run without executing it, and estimate its time and disk space."""

from __future__ import annotations

from typing import NamedTuple

from deploy.speed import Speed, find_speed
from pipeline.adaptation.request import use_adapted_file
from pipeline.planning.cost_estimate import estimate_disk, estimate_seconds
from pipeline.planning.edited_plan import load_plan
from pipeline.planning.plan import make_plan
from pipeline.planning.size_estimate import estimate_bytes
from pipeline.remote.pipes import read_piped_settings
from pipeline.runs.conductor import RunRequest
from pipeline.schema.adaptation import Adaptation
from pipeline.schema.plan import Plan


class DryRun(NamedTuple):
    """What a run would do, and what it would cost."""

    plan: Plan
    speed: Speed | None
    """The engine's recorded speed; None if it has not been measured."""
    disk: int
    """Largest disk space in bytes that the run needs at any time."""


def plan_dry_run(request: RunRequest) -> DryRun:
    """Make or load the plan of a run, and estimate its time and disk space.

    Raises InputError (or its subclasses MediaError and PairingError) if the user has to change a
    setting or a file.
    """
    settings, progress = request.settings, request.progress
    with read_piped_settings(settings, settings.output) as readable:
        chosen, adapt, from_file = use_adapted_file(readable)
        if settings.plan:
            made = load_plan(settings.plan, chosen)
        else:
            made = make_plan(chosen, progress, find_speed=find_speed)
        if made.adaptation is None:
            requested = Adaptation(request=adapt.kind, seconds=adapt.seconds)
            made = made.model_copy(update={"adaptation": from_file or requested})

        with progress.step("estimating time and size"):
            speed = find_speed(made.engine, made.model, made.network_pixels)
            seconds = None if speed is None else round(estimate_seconds(made, speed), 1)
            estimates = {"expected_bytes": estimate_bytes(made), "expected_seconds": seconds}
            made = made.model_copy(update=estimates)
            return DryRun(made, speed, estimate_disk(made))
