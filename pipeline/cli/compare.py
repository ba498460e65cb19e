"""TODO: what this module is for."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.errors import InputError
from pipeline.tools.compare import Mode, check_comparison, compare


def _names(inputs: tuple[str, ...], labels: str | None) -> list[str]:
    if labels is not None:
        names = [name.strip() for name in labels.split(",")]
        if len(names) != len(inputs):
            raise InputError(
                f"found {len(names)} labels for {len(inputs)} recordings, expected as many; "
                "separate them by commas"
            )
        return names
    stems = [Path(path).stem for path in inputs]
    if len(set(stems)) == len(stems):
        return stems
    return [f"{Path(path).absolute().parent.name}/{Path(path).stem}" for path in inputs]


@click.command()
@click.argument("inputs", metavar="A B [C]", nargs=-1, required=True)
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), metavar="OUT.mp4|.gif|.png"
)
@click.option(
    "--mode",
    type=click.Choice(["side", "wipe", "difference"]),
    default="side",
    show_default=True,
    help="Beside each other, a divider that moves, or A, B and 8 times A - B.",
)
@click.option("--labels", metavar="A,B[,C]", help="Default: the names of the files.")
@click.option("--at", type=float, metavar="SECONDS", help="The frame of a picture; default first.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
def command(
    inputs: tuple[str, ...],
    output: Path,
    mode: Mode,
    labels: str | None,
    at: float | None,
    force: bool,
) -> None:
    """Show two or three recordings in one clip, frame by frame at the times of A.

    Smaller ones are enlarged bicubically, so the input can be shown beside its result. A video has
    the sound of A.
    """
    check_comparison(inputs, output, mode, force=force)
    count = compare(list(inputs), output, mode=mode, labels=_names(inputs, labels), at=at)
    click.echo(f"{output}: {count} frame{'s' if count > 1 else ''}")
