"""Command-line options that say how a light field lies on the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])

OUTPUTS = ("folder", "lenslet", "mosaic", "quilt", "h5", "video")
LAYOUTS = (*OUTPUTS, "stereo")
GRID = (
    click.option(
        "--layout", type=click.Choice(LAYOUTS), help="Light field: how its views lie in files."
    ),
    click.option("--grid", metavar="RxC", help="Rows and columns of views in a sheet, as 8x8."),
    click.option("--crop-grid", metavar="RxC", help="Use the central rows and columns only."),
    click.option(
        "--order",
        type=click.Choice(["row,col", "col,row"]),
        help="What the first number of a name means; row,col by default.",
    ),
    click.option("--template", help="View names, as 'v_{row:02}_{col:02}' or 'cam{index}'."),
    click.option("--dataset", help="Name of the HDF5 data set."),
    click.option("--axes", help="Its axes: t moments, r rows, c columns, h, w, 3; as rchw3."),
)


def grid_options(command: Command) -> Command:
    """Give a command the options of `GridSettings`."""
    for option in reversed(GRID):
        command = option(command)
    return command
