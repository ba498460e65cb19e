"""`pipeline compare`: show recordings side by side, with a wipe, or as a difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import QUIET_OPTION, RECORDING
from pipeline.cli.words import print_text

if TYPE_CHECKING:
    from pipeline.tools.compare import Mode


@click.command()
@click.argument("inputs", metavar="A B [C]", type=RECORDING, nargs=-1, required=True)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="OUT.mp4|.gif|.png",
    help="Clip, animation or picture to write.",
)
@click.option(
    "--mode",
    type=click.Choice(["side", "wipe", "difference"]),
    default="side",
    show_default=True,
    help="Side by side, with a moving divider (wipe), or A, B and their difference times 8.",
)
@click.option("--labels", metavar="A,B[,C]", help="Labels; default: the names of the files.")
@click.option(
    "--at", type=float, metavar="SECONDS", help="Picture: time of the frame; default: the first."
)
@click.option("--force", is_flag=True, help="Replace an existing output.")
@QUIET_OPTION
def compare(
    inputs: tuple[str, ...],
    output: Path,
    mode: Mode,
    labels: str | None,
    at: float | None,
    force: bool,
    quiet: bool,
) -> None:
    """Show two or three recordings in one clip, frame by frame at the times of A.

    Smaller recordings are enlarged bicubically, so that an input can be compared with its result.
    A video output gets the sound of A.
    """
    from pipeline.errors import count_items
    from pipeline.progress import make_reporter
    from pipeline.tools.compare import check_comparison, make_labels, write_comparison

    check_comparison(inputs, output, mode, force=force)
    count = write_comparison(
        list(inputs),
        output,
        mode=mode,
        labels=make_labels(inputs, labels),
        at=at,
        progress=make_reporter(quiet=quiet),
    )
    print_text(f"{output}: {count_items(count, 'frame')}")
