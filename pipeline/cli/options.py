"""Command-line options that say how a light field lies on the disk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pipeline.schema.encoding import WORDS

if TYPE_CHECKING:
    from pipeline.schema.settings import RunSettings

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


INPUT_ARGUMENT = click.argument("input", metavar="INPUT")


_WHAT = (
    click.option("--ref-stream", metavar="REF", help="HR recording to borrow from."),
    click.option(
        "-o",
        "--output",
        metavar="OUT",
        help="Default: <input stem>_x<scale>.<ext>; - is stdout, frames/%06d.png pictures.",
    ),
    click.option(
        "--scale",
        type=click.Choice(["auto", "2", "4", "8"]),
        help="Enlargement; auto (the default) compares REF with INPUT.",
    ),
    click.option("--model", help="fast (the default), paper, or a file of weights."),
    click.option(
        "--engine", help="auto (the default), tensorrt, torch, onnx, openvino or bicubic."
    ),
    click.option(
        "--select",
        type=click.Choice(["auto", "time", "view", "content"]),
        help="How the reference of each frame is chosen.",
    ),
    click.option("--ref-offset", metavar="SECONDS|auto", help="Added to the times of REF."),
    click.option(
        "--max-ref-distance",
        type=float,
        metavar="SECONDS",
        help="Borrow nothing from references farther away; default 2.",
    ),
    click.option("--start", metavar="TIME", help="Begin here (seconds or h:mm:ss)."),
    click.option("--end", metavar="TIME", help="Stop before here (seconds or h:mm:ss)."),
    click.option(
        "--on-error",
        type=click.Choice(["stop", "conceal"]),
        help="At a corrupt frame: stop (the default), or repeat the frame before it.",
    ),
    click.option(
        "--deinterlace",
        type=click.Choice(["auto", "off", "bwdif"]),
        help="Make interlaced frames progressive: where they say so or comb (auto), never, or all.",
    ),
    click.option(
        "--sandbox",
        type=click.Choice(["auto", "on", "off"]),
        help="Open recordings in child processes under limits: those from URLs (auto), all, none.",
    ),
    click.option("--plan", metavar="FILE", help="Take this (edited) plan."),
    click.option("--force", is_flag=True, help="Replace an existing output."),
)


_HOW = (
    click.option("--runner", type=click.Choice(["auto", "inline", "ray"]), help="Default: auto."),
    click.option("--address", metavar="ADDR", help="Ray cluster to run on."),
    click.option(
        "--workers", type=click.IntRange(1), help="Ray actors at most; default: one per GPU."
    ),
    click.option("--accelerator", metavar="TYPE", help="Run on GPUs of this type, say H100."),
    click.option("--batch", type=click.IntRange(1), help="Frames in a call of the network."),
    click.option("--segment", type=float, metavar="SECONDS", help="Length of a segment."),
    click.option(
        "--placement",
        type=click.Choice(["auto", "fused", "split"]),
        help="Decode and encode beside the network (fused, as auto), or in CPU actors (split).",
    ),
)


_VIEWS = (
    click.option(
        "--ref-view", metavar="ROW,COL|center", help="Light field: the view that REF shows."
    ),
    click.option(
        "--ref-position",
        metavar="X,Y",
        help="Where REF's camera stands, in grid steps (columns, rows).",
    ),
    click.option("--ref-count", type=click.IntRange(1, 8), help="References fused for each view."),
    click.option(
        "--consistent/--no-consistent",
        default=None,
        help="A second pass borrows from enhanced neighbours too.",
    ),
    click.option("--to", type=click.Choice(OUTPUTS), help="Layout of the output light field."),
)


_ENCODER = (
    click.option("--codec", help="Encoder: x264, x265, av1, prores, ffv1, or FFmpeg's own name."),
    click.option(
        "--quality", type=click.Choice(WORDS), help="How much the encoder keeps, in a word."
    ),
    click.option("--crf", type=float, help="Constant quality of the encoder; lower is better."),
    click.option("--preset", help="Speed preset of the encoder."),
    click.option("--pix-fmt", help="Pixel format of the output."),
    click.option(
        "--audio", type=click.Choice(["copy", "none"]), help="Copy the sound (the default) or not."
    ),
)


JSON_OPTION = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object on stdout."
)


def settings_options(command: Command) -> Command:
    """Give a command every option that decides a plan."""
    for option in reversed((*_WHAT, *_HOW, *_ENCODER, *_VIEWS)):
        command = option(command)
    return grid_options(command)


def run_options(command: Command) -> Command:
    """Give a command all that `pipeline run` takes."""
    own = (
        click.argument("inputs", metavar="INPUT...", nargs=-1),
        click.option("--manifest", metavar="FILE", help="Inputs in a CSV or JSONL file."),
        click.option("--ground-truth", metavar="HR", help="Measure PSNR and SSIM against this."),
        click.option("-q", "--quiet", is_flag=True, help="No progress on stderr."),
        JSON_OPTION,
    )
    command = settings_options(command)
    for option in reversed(own):
        command = option(command)
    return command


def settings_from(values: dict[str, Any]) -> RunSettings:
    """Return the settings; what was not given keeps the default of `RunSettings`."""
    from pipeline.schema.settings import RunSettings, checked

    return checked(RunSettings, values)
