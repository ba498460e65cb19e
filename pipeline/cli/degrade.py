"""TODO: what this module is for."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.tools.degrade import Kernel, degrade


@click.command()
@click.argument("source", metavar="HR")
@click.option(
    "--scale",
    type=click.Choice(["1", "2", "4", "8"]),
    required=True,
    help="How many times smaller; 1 keeps the size (with --every: key frames).",
)
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), metavar="LR")
@click.option(
    "--kernel",
    type=click.Choice(["bicubic", "area"]),
    default="bicubic",
    show_default=True,
    help="bicubic is antialiased (a = -0.5), area the mean of each block.",
)
@click.option("--every", type=int, default=1, show_default=True, help="Keep every N-th frame only.")
@click.option("--codec", help="Default: libx264 (10 bit: libx265) without loss.")
@click.option("--crf", type=float, help="Quality of the encoder; default 0, without loss.")
@click.option("--pix-fmt", help="Default: the source's depth, no chroma subsampling.")
@click.option("--force", is_flag=True, help="Replace an existing output.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    source: str,
    scale: str,
    output: Path,
    kernel: Kernel,
    every: int,
    codec: str | None,
    crf: float | None,
    pix_fmt: str | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a low-resolution copy of HR, to test with: the truth is then known."""
    done = degrade(
        source,
        output,
        scale=int(scale),
        kernel=kernel,
        every=every,
        codec=codec,
        crf=crf,
        pix_fmt=pix_fmt,
        force=force,
    )
    if as_json:
        click.echo(done.model_dump_json())
    else:
        click.echo(f"{done.output}: {done.frames} frames of {done.width}x{done.height}")
