"""`pipeline convert` and `pipeline look`: convert light fields, and show them as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from pipeline.cli.options import FILE, JSON_OPTION, QUIET_OPTION, grid_options, make_grid_settings
from pipeline.cli.words import print_json, print_text
from pipeline.schema.settings import Layout


@click.command()
@click.argument("source", metavar="LF", type=FILE)
@click.option(
    "--to", required=True, type=click.Choice(get_args(Layout)), help="Layout of the output."
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="Output; default: <LF stem>_<layout>."
)
@click.option(
    "--names",
    metavar="TEMPLATE",
    help="Names of the output's views, such as 'view_{row:02}_{col:02}.png'.",
)
@grid_options
@click.option("--force", is_flag=True, help="Replace an existing output.")
@QUIET_OPTION
@JSON_OPTION
def convert(
    source: str,
    to: str,
    output: Path | None,
    names: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
    **grid: Any,
) -> None:
    """Convert the light field LF to another layout without loss, and check every view."""
    from pipeline.errors import count_items
    from pipeline.progress import make_reporter
    from pipeline.tools.convert import convert_light_field

    made = convert_light_field(
        source,
        output,
        to,
        grid_settings=make_grid_settings(grid),
        template=names,
        force=force,
        progress=make_reporter(quiet=quiet),
    )
    if as_json:
        print_json(made.model_dump_json())
    else:
        times = f" x {made.moments} moments" if made.moments > 1 else ""
        views = count_items(made.views, "view")
        print_text(f"{made.output}: {views} ({made.rows}x{made.cols}){times} as {made.layout}")


@click.command()
@click.argument("source", metavar="LF", type=FILE)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="Folder for the pictures; default: <LF stem>_look.",
)
@click.option("--epi", is_flag=True, help="Write an epipolar-plane image of the middle row.")
@click.option(
    "--line",
    type=int,
    metavar="Y",
    help="Pixel row of the views that the epipolar-plane image shows; default: the middle.",
)
@click.option(
    "--refocus",
    metavar="ALPHAS",
    help="Write pictures focused at these disparities, such as -0.5,0,0.5.",
)
@click.option(
    "--disparity", "depth", is_flag=True, help="Write a map of the middle view's disparity."
)
@click.option("--sweep", type=click.Choice(["gif", "mp4"]), help="Animate the views along a cross.")
@grid_options
@click.option("--force", is_flag=True, help="Replace existing pictures.")
@QUIET_OPTION
def look(
    source: str,
    output: Path | None,
    epi: bool,
    line: int | None,
    refocus: str | None,
    depth: bool,
    sweep: str | None,
    force: bool,
    quiet: bool,
    **grid: Any,
) -> None:
    """Show the light field LF as pictures: a contact sheet, and others that the options select."""
    from pipeline.progress import make_reporter
    from pipeline.tools.look import LookOptions, parse_disparities, write_pictures

    wishes = LookOptions(
        epi=epi or line is not None,
        line=line,
        alphas=parse_disparities(refocus),
        depth=depth,
        sweep=sweep,
    )
    made = write_pictures(
        source,
        output,
        wishes,
        grid_settings=make_grid_settings(grid),
        force=force,
        progress=make_reporter(quiet=quiet),
    )
    for path in made:
        print_text(str(path))
