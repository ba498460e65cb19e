"""`pipeline evaluate` and `pipeline verify`: compare an output with its original or its input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import (
    FILE,
    JSON_OPTION,
    QUIET_OPTION,
    RECORDING,
    grid_options,
    make_grid_settings,
)
from pipeline.cli.words import print_json, print_text


@click.command()
@click.argument("result", metavar="SR", type=RECORDING)
@click.option(
    "--ground-truth",
    required=True,
    metavar="HR",
    type=RECORDING,
    help="Original to compare SR with.",
)
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    type=FILE,
    help="Plan of the run; frames that its reference provides are left out. "
    "Default: the .plan.json beside SR, if it fits SR.",
)
@grid_options
@click.option(
    "--vmaf", is_flag=True, help="Also measure VMAF, with an ffmpeg program that has libvmaf."
)
@QUIET_OPTION
@JSON_OPTION
def evaluate(
    result: str,
    ground_truth: str,
    plan_file: str | None,
    vmaf: bool,
    quiet: bool,
    as_json: bool,
    **grid: Any,
) -> None:
    """Print the PSNR and SSIM of SR against HR, in RGB and luma; frames are matched by time.

    Light fields are compared view by view, and the consistency of their views is measured, too.
    """
    from pipeline.measuring.views import LightFieldQuality, format_quality
    from pipeline.progress import make_reporter
    from pipeline.tools.evaluate import describe_evaluation, evaluate_output

    found = evaluate_output(
        result,
        ground_truth,
        plan_file=Path(plan_file) if plan_file is not None else None,
        grid=make_grid_settings(grid),
        vmaf=vmaf,
        progress=make_reporter(quiet=quiet),
    )
    if isinstance(found, LightFieldQuality):
        if as_json:
            print_json(found.model_dump_json())
        else:
            print_text(format_quality(found))
    elif as_json:
        print_json(found.model_dump_json(exclude=None if vmaf else {"vmaf"}))
    else:
        print_text(describe_evaluation(found))


@click.command()
@click.argument("source", metavar="IN", type=FILE)
@click.argument("output", metavar="OUT", type=FILE)
@QUIET_OPTION
@JSON_OPTION
@click.pass_context
def verify(context: click.Context, source: str, output: str, quiet: bool, as_json: bool) -> None:
    """List how OUT differs from IN: frame count, times, size, tags, copied streams.

    OUT may be 1 to 8 times as large as IN. The exit status is 0 if nothing else differs, else 1.
    """
    from pipeline.progress import make_reporter
    from pipeline.tools.verify import verify_output

    result = verify_output(source, output, make_reporter(quiet=quiet))
    if as_json:
        print_json(result.model_dump_json())
    elif result.same:
        print_text(f"{output} has every frame, time, tag and stream of {source}")
    else:
        print_text("\n".join(result.differences))
    context.exit(0 if result.same else 1)
