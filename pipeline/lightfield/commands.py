"""The command convert: options to settings, a library call, the result in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.lightfield.options import OUTPUTS, grid_options
from pipeline.settings import checked


@click.command()
@click.argument("source", metavar="LF")
@click.option("--to", required=True, type=click.Choice(OUTPUTS), help="Layout of the output.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Default: <stem>_<layout>.")
@click.option("--names", metavar="TEMPLATE", help="New names, as 'view_{row:02}_{col:02}.png'.")
@grid_options
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def convert(
    source: str,
    to: str,
    output: Path | None,
    names: str | None,
    force: bool,
    as_json: bool,
    **grid: Any,
) -> None:
    """Write the light field LF in another layout, without loss; every view is compared."""
    from pipeline.lightfield.convert import convert as convert_views
    from pipeline.settings import GridSettings

    asked = checked(GridSettings, grid)
    done = convert_views(source, output, to, asked=asked, template=names, force=force)
    if as_json:
        click.echo(done.model_dump_json())
    else:
        times = f" x {done.moments} moments" if done.moments > 1 else ""
        click.echo(
            f"{done.output}: {done.views} views ({done.rows}x{done.cols}){times} as {done.layout}"
        )
