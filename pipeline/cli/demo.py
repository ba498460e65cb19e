"""`pipeline demo`: enhance the bundled sample clip."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.words import print_text

if TYPE_CHECKING:
    from pipeline.tools.demo import Demonstration


@click.command()
@click.option(
    "-o",
    "--output",
    "folder",
    type=click.Path(path_type=Path),
    default=Path("demo-output"),
    show_default=True,
    help="Folder for clips and pictures.",
)
@click.option("--force", is_flag=True, help="Replace the files of an earlier demo.")
@click.option("--quiet", "-q", is_flag=True, help="Show no progress or notes on stderr.")
def demo(folder: Path, force: bool, quiet: bool) -> None:
    """Downscale a bundled clip, enhance it with every 15th frame as a reference, and compare."""
    from pipeline.tools.demo import make_demo

    demonstration = make_demo(folder, force=force, quiet=quiet)
    print_table(demonstration)
    print_text(f"see {demonstration.report}, {demonstration.picture} and {demonstration.clip}")


def print_table(demonstration: Demonstration) -> None:
    """Print a table of measurements, with a row for each method that the demo compares."""
    from rich.console import Console
    from rich.table import Table

    from pipeline.measuring.clips import summarise_frames
    from pipeline.tools.demo import SCALE

    contenders = demonstration.contenders
    total = len(contenders[0].frames)
    given = demonstration.key_frames
    table = Table(title=f"{total} frames x{SCALE}; the means leave out the {given} key frames")
    for heading in ("", "PSNR dB", "gain dB", "SSIM", "worst frame dB", "frames per s"):
        table.add_column(heading, justify="left" if not heading else "right")

    base = summarise_frames(contenders[0].frames).psnr
    for contender in contenders:
        figures = summarise_frames(contender.frames)
        table.add_row(
            contender.name,
            f"{figures.psnr:.2f}",
            f"{figures.psnr - base:+.2f}",
            f"{figures.ssim:.4f}",
            f"{figures.worst.psnr:.2f}",
            f"{contender.result.fps:.1f}",
        )

    Console(width=100).print(table)
