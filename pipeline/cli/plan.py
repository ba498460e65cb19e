"""`pipeline plan`: show what a run would do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import JSON_OPTION, make_settings, settings_options
from pipeline.cli.words import describe_plan, print_json, print_text

if TYPE_CHECKING:
    from pipeline.schema.settings import RunSettings


@click.command()
@click.argument("input", metavar="INPUT")
@settings_options
@click.option("--save", metavar="FILE", help="Write the plan to a file, to edit and run it.")
@JSON_OPTION
def plan(save: str | None, as_json: bool, **values: Any) -> None:
    """Show what a run with the same arguments would do: references, output, losses."""
    print_plan(make_settings(values), save=save, as_json=as_json)


def print_plan(settings: RunSettings, *, save: str | None, as_json: bool) -> None:
    """Make or load the plan of a run, print it, and write it to `save` if that is not None."""
    from pipeline.planning.edited_plan import load_plan
    from pipeline.planning.plan import make_plan
    from pipeline.planning.size_estimate import estimate_bytes
    from pipeline.remote.pipes import read_piped_settings
    from pipeline.schema.plan_file import save_plan

    with read_piped_settings(settings) as readable:
        made = load_plan(settings.plan, readable) if settings.plan else make_plan(readable)
        made = made.model_copy(update={"expected_bytes": estimate_bytes(made)})

    if save:
        save_plan(made, Path(save))
    if as_json:
        print_json(made.model_dump_json())
    else:
        print_text(describe_plan(made))
