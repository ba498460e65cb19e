"""The commands convert and look: options to settings, a library call, the result in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from pipeline.cli.options import grid_options
from pipeline.schema.settings import Layout, check_settings


@click.command()
@click.argument("source", metavar="LF")
@click.option(
    "--to", required=True, type=click.Choice(get_args(Layout)), help="Layout of the output."
)
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
    from pipeline.schema.settings import GridSettings
    from pipeline.tools.convert import convert as convert_views

    asked = check_settings(GridSettings, grid)
    done = convert_views(source, output, to, asked=asked, template=names, force=force)
    if as_json:
        click.echo(done.model_dump_json())
    else:
        times = f" x {done.moments} moments" if done.moments > 1 else ""
        click.echo(
            f"{done.output}: {done.views} views ({done.rows}x{done.cols}){times} as {done.layout}"
        )


@click.command()
@click.argument("source", metavar="LF")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Folder; default: <stem>_look."
)
@click.option("--epi", is_flag=True, help="An epipolar picture of the middle row.")
@click.option("--line", type=int, metavar="Y", help="Its picture line; default: the middle one.")
@click.option("--refocus", metavar="ALPHAS", help="Sharp at these disparities, as -0.5,0,0.5.")
@click.option("--disparity", "depth", is_flag=True, help="A map of the middle view's disparity.")
@click.option("--sweep", type=click.Choice(["gif", "mp4"]), help="Views along a cross, animated.")
@grid_options
@click.option("--force", is_flag=True, help="Replace pictures that are there.")
def look(
    source: str,
    output: Path | None,
    epi: bool,
    line: int | None,
    refocus: str | None,
    depth: bool,
    sweep: str | None,
    force: bool,
    **grid: Any,
) -> None:
    """Make pictures of the light field LF: always a contact sheet, and what is asked for."""
    from pipeline.schema.settings import GridSettings
    from pipeline.tools.look import Wishes, look_at

    alphas = _alphas(refocus)
    wishes = Wishes(epi=epi or line is not None, line=line, alphas=alphas, depth=depth, sweep=sweep)
    asked = check_settings(GridSettings, grid)
    for path in look_at(source, output, wishes, asked=asked, force=force):
        click.echo(str(path))


def _alphas(text: str | None) -> tuple[float, ...]:
    from pipeline.errors import InputError

    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise InputError(
            f"found --refocus {text}, expected disparities in pixels a step; try -0.5,0,0.5"
        ) from error
