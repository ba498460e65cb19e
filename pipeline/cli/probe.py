"""`pipeline probe`: describe a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import (
    FILE,
    JSON_OPTION,
    QUIET_OPTION,
    RECORDING,
    grid_options,
    make_grid_settings,
)
from pipeline.cli.words import describe_clip, print_json, print_text
from pipeline.errors import InputError


@click.command()
@click.argument("path", metavar="PATH", type=RECORDING)
@grid_options
@click.option(
    "--contact-sheet",
    metavar="FILE",
    type=FILE,
    help="Light field: write one picture of all views.",
)
@QUIET_OPTION
@JSON_OPTION
def probe(path: str, contact_sheet: str | None, quiet: bool, as_json: bool, **grid: Any) -> None:
    """Describe a video, a picture, a folder of pictures or a light field."""
    from pipeline.lightfield.opening import open_light_field
    from pipeline.media.read.probe import probe as probe_clip
    from pipeline.progress import make_reporter
    from pipeline.tools.describe_views import describe_light_field, format_description
    from pipeline.tools.look import save_contact_sheet

    progress = make_reporter(quiet=quiet)
    with progress.step(f"opening {path}"):
        views = open_light_field(path, make_grid_settings(grid))
    if views is not None:
        if contact_sheet:
            with progress.step("drawing the contact sheet"):
                save_contact_sheet(views, Path(contact_sheet))
        with progress.step("measuring the views"):
            found = describe_light_field(views)
        if as_json:
            print_json(found.model_dump_json())
        else:
            print_text(format_description(found))
        return

    if contact_sheet:
        raise InputError(
            f"--contact-sheet needs a light field, but none was detected in {path}; leave it out, "
            "or describe the views with --layout and --grid"
        )
    with progress.step(f"opening {path}"):
        clip = probe_clip(path)
    if as_json:
        print_json(clip.model_dump_json())
    else:
        print_text(describe_clip(clip))
