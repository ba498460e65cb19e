"""`pipeline probe`: describe a recording."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import FILE, JSON_OPTION, RECORDING, grid_options, make_grid_settings
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
@JSON_OPTION
def probe(path: str, contact_sheet: str | None, as_json: bool, **grid: Any) -> None:
    """Describe a video, a picture, a folder of pictures or a light field."""
    from pipeline.lightfield.opening import open_light_field
    from pipeline.media.read.probe import probe as probe_clip
    from pipeline.tools.describe_views import describe_light_field, format_description
    from pipeline.tools.look import save_contact_sheet

    views = open_light_field(path, make_grid_settings(grid))
    if views is not None:
        if contact_sheet:
            save_contact_sheet(views, Path(contact_sheet))
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
    clip = probe_clip(path)
    if as_json:
        print_json(clip.model_dump_json())
    else:
        print_text(describe_clip(clip))
