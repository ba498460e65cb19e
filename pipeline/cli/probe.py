"""TODO: what this module is for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipeline.cli.options import (
    JSON_OPTION,
    grid_options,
)
from pipeline.cli.words import describe_clip
from pipeline.errors import InputError

if TYPE_CHECKING:
    pass


@click.command()
@click.argument("path", metavar="PATH")
@grid_options
@click.option("--contact-sheet", metavar="FILE", help="Light field: all views in one picture.")
@JSON_OPTION
def probe(path: str, contact_sheet: str | None, as_json: bool, **grid: Any) -> None:
    """Describe a video, an image, a folder of images or a light field."""
    from pipeline.lightfield.opening import open_light_field
    from pipeline.media.read.probe import probe as probe_clip
    from pipeline.schema.settings import GridSettings, check_settings
    from pipeline.tools.describe_views import describe, in_words
    from pipeline.tools.look import save_contact_sheet

    views = open_light_field(path, check_settings(GridSettings, grid))
    if views is not None:
        if contact_sheet:
            save_contact_sheet(views, Path(contact_sheet))
        found = describe(views)
        click.echo(found.model_dump_json() if as_json else in_words(found))
        return
    if contact_sheet:
        raise InputError(
            f"found --contact-sheet for {path}, which is no light field; leave it out, or say how "
            "its views lie by --layout and --grid"
        )
    clip = probe_clip(path)
    click.echo(clip.model_dump_json() if as_json else describe_clip(clip))
