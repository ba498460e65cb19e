"""`pipeline plan`: show what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import FILE, JSON_OPTION, QUIET_OPTION, make_settings, settings_options
from pipeline.cli.words import describe_cost, describe_plan, print_json, print_text

if TYPE_CHECKING:
    from pipeline.progress import Reporter
    from pipeline.schema.settings import RunSettings


@click.command()
@click.argument("input", metavar="INPUT", type=FILE)
@settings_options
@click.option(
    "--save", metavar="FILE", type=FILE, help="Write the plan to a file, to edit and run it."
)
@QUIET_OPTION
@JSON_OPTION
def plan(save: str | None, quiet: bool, as_json: bool, **values: Any) -> None:
    """Show what a run with the same arguments would do: references, output, losses."""
    from pipeline.progress import make_reporter

    progress = make_reporter(quiet=quiet)
    print_plan(make_settings(values), progress, save=save, as_json=as_json)


def print_plan(
    settings: RunSettings, progress: Reporter, *, save: str | None, as_json: bool
) -> None:
    """Make or load the plan of a run, print it, and write it to `save` if that is not None."""
    from deploy.speed import find_speed
    from pipeline.adaptation.request import use_adapted_file
    from pipeline.paths import check_not_read
    from pipeline.planning.cost_estimate import estimate_disk, estimate_seconds
    from pipeline.planning.edited_plan import load_plan
    from pipeline.planning.plan import make_plan
    from pipeline.planning.size_estimate import estimate_bytes
    from pipeline.remote.pipes import read_piped_settings
    from pipeline.schema.adaptation import Adaptation
    from pipeline.schema.plan_file import save_plan

    with read_piped_settings(settings, settings.output) as readable:
        chosen, request, from_file = use_adapted_file(readable)
        if settings.plan:
            made = load_plan(settings.plan, chosen)
        else:
            made = make_plan(chosen, progress, find_speed=find_speed)
        if made.adaptation is None:
            requested = Adaptation(request=request.kind, seconds=request.seconds)
            made = made.model_copy(update={"adaptation": from_file or requested})
        with progress.step("estimating time and size"):
            speed = find_speed(made.engine, made.model, made.output_pixels)
            seconds = None if speed is None else round(estimate_seconds(made, speed), 1)
            estimates = {"expected_bytes": estimate_bytes(made), "expected_seconds": seconds}
            made = made.model_copy(update=estimates)
            cost = [] if as_json else describe_cost(made, speed, estimate_disk(made))

    if save:
        recordings = (made.input, made.reference.clip)
        files = [file for recording in recordings for file in recording.list_paths()]
        check_not_read(save, [*files, settings.ground_truth, settings.plan, made.model])
        save_plan(made, Path(save))
    if as_json:
        print_json(made.model_dump_json())
    else:
        print_text(describe_plan(made, cost))
