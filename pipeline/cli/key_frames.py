"""`pipeline keyframes`: write the frames of a recording that would help most as references."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipeline.cli.options import JSON_OPTION, QUIET_OPTION, RECORDING, name_recording
from pipeline.cli.words import print_json, print_text

if TYPE_CHECKING:
    from pipeline.tools.key_frames import Format


@click.command()
@click.argument("source", metavar="INPUT", type=RECORDING)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Folder to write the pictures to.",
)
@click.option(
    "--count",
    type=click.IntRange(1, 1000),
    metavar="N",
    help="Number of key frames; default: as many as make a noticeable difference.",
)
@click.option(
    "--every",
    type=float,
    metavar="SECONDS",
    help="Choose the best frame from each SECONDS-long part of every scene.",
)
@click.option(
    "--at",
    metavar="TIMES",
    help="Choose the frames at these times (seconds or h:mm:ss), such as 12.5,40.",
)
@click.option("--i-frames", is_flag=True, help="Choose the video stream's own key frames.")
@click.option(
    "--add",
    type=click.Path(exists=True, path_type=Path),
    metavar="RUN",
    help="Choose the frames (default: one) that agree least with the key frames of a finished run. "
    "RUN is its output.",
)
@click.option(
    "--format",
    "picture_format",
    type=click.Choice(["png", "tiff", "exr"]),
    default="png",
    show_default=True,
    help="Format of the pictures.",
)
@click.option("--force", is_flag=True, help="Replace an existing folder of unedited key frames.")
@QUIET_OPTION
@JSON_OPTION
def keyframes(
    source: str,
    output: Path,
    count: int | None,
    every: float | None,
    at: str | None,
    i_frames: bool,
    add: Path | None,
    picture_format: Format,
    force: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Write a folder of pictures: the frames of INPUT that would help most as references.

    Enlarge or restore the pictures with another program without renaming them, and pass the folder
    to `pipeline run INPUT --ref-stream FOLDER`.
    """
    from pipeline.progress import make_reporter
    from pipeline.tools.key_frames import Selection, describe_key_frames, write_key_frames

    written = write_key_frames(
        source,
        output,
        Selection(count, every, at, i_frames, add),
        shown_source=name_recording(source),
        picture_format=picture_format,
        force=force,
        progress=make_reporter(quiet=quiet),
    )
    if as_json:
        print_json(written.model_dump_json())
    else:
        print_text(describe_key_frames(written))
