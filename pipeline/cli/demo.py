"""TODO: what this module is for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.errors import already_there
from pipeline.tools.degrade import degrade
from pipeline.tools.demo import (
    KEY_FRAME_EVERY,
    SAMPLE,
    SCALE,
    print_table,
    read_frames,
    run_contender,
    write_clip,
    write_picture,
)

if TYPE_CHECKING:
    pass


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
@click.option("--force", is_flag=True, help="Replace an existing folder.")
@click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
def command(folder: Path, force: bool, quiet: bool) -> None:
    """Shrink a bundled clip, keep every 15th frame as reference, bring it back, and compare."""
    if folder.exists() and not force:
        raise already_there(folder)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lr, ref = folder / "lr.mp4", folder / "ref.mp4"
    degrade(str(SAMPLE), lr, scale=SCALE)
    keys = degrade(str(SAMPLE), ref, scale=1, every=KEY_FRAME_EVERY)
    from pipeline.report.page import write_report  # imports torch

    contenders = [run_contender(lr, ref, folder, engine, quiet) for engine in ("bicubic", "auto")]
    clips = [read_frames(Path(contender.result.output)) for contender in contenders]
    middle = KEY_FRAME_EVERY // 2
    columns = {"bicubic": clips[0][middle], "CrossNet++ fast": clips[1][middle]}
    write_picture(columns | {"original": read_frames(SAMPLE)[middle]}, folder / "compare.png")
    write_clip(clips[0], clips[1], folder / "compare.mp4")
    report = folder / "report.html"
    write_report(Path(contenders[1].result.output), report, ground_truth=str(SAMPLE))
    print_table(contenders, keys.frames)
    click.echo(f"look at {report}, {folder / 'compare.png'} and {folder / 'compare.mp4'}")
