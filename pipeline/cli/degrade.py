"""`pipeline degrade`: make a low-resolution copy of a recording."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import JSON_OPTION, QUIET_OPTION, RECORDING
from pipeline.cli.words import print_json, print_text

if TYPE_CHECKING:
    from pipeline.tools.degrade import Kernel


@click.command()
@click.argument("source", metavar="HR", type=RECORDING)
@click.option(
    "--scale",
    type=click.Choice(["1", "2", "4", "8"]),
    required=True,
    help="Reduction factor; 1 keeps the size, for key frames (--every).",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="LR",
    help="Recording to write.",
)
@click.option(
    "--kernel",
    type=click.Choice(["bicubic", "area"]),
    default="bicubic",
    show_default=True,
    help="bicubic: antialiased cubic with a = -0.5; area: the mean of each block.",
)
@click.option("--every", type=int, default=1, show_default=True, help="Keep only every N-th frame.")
@click.option("--codec", help="Encoder; default: libx264 (10 bits: libx265), lossless.")
@click.option("--crf", type=float, help="Constant-quality value; default: 0, lossless.")
@click.option("--pix-fmt", help="Pixel format; default: HR's bit depth, no chroma subsampling.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@QUIET_OPTION
@JSON_OPTION
def degrade(
    source: str,
    output: Path,
    scale: str,
    kernel: Kernel,
    every: int,
    codec: str | None,
    crf: float | None,
    pix_fmt: str | None,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make a low-resolution copy of HR, for tests with a known ground truth."""
    from pipeline.errors import count_items
    from pipeline.progress import make_reporter
    from pipeline.tools.degrade import degrade as write_copy

    made = write_copy(
        source,
        output,
        scale=int(scale),
        kernel=kernel,
        every=every,
        codec=codec,
        crf=crf,
        pix_fmt=pix_fmt,
        force=force,
        progress=make_reporter(quiet=quiet),
    )
    if as_json:
        print_json(made.model_dump_json())
    else:
        frames = count_items(made.frames, "frame")
        print_text(f"{made.output}: {frames} of {made.width}x{made.height}")
