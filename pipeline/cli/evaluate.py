"""TODO: what this module is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pipeline.cli.options import grid_options
from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.clips import evaluate, evaluate_light_field, vmaf_of
from pipeline.measuring.views import in_words
from pipeline.pairing.given import given_frames
from pipeline.schema.plan import Plan
from pipeline.schema.settings import GridSettings, check_settings


@click.command()
@click.argument("result", metavar="SR")
@click.option("--ground-truth", required=True, metavar="HR", help="The original recording.")
@click.option(
    "--plan",
    "plan_file",
    metavar="FILE",
    help="Plan of the run: leaves out the frames that were given as references.",
)
@grid_options
@click.option("--vmaf", is_flag=True, help="VMAF too, by an ffmpeg program with libvmaf.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def command(
    result: str, ground_truth: str, plan_file: str | None, vmaf: bool, as_json: bool, **grid: Any
) -> None:
    """Print PSNR and SSIM of SR against HR, RGB and luma; frames are matched by time.

    Light fields are compared view by view, and measured for consistency.
    """
    views = open_light_field(result, check_settings(GridSettings, grid))
    if views is not None:
        if vmaf:
            raise InputError(
                f"found the light field {result} with --vmaf, expected a video: VMAF looks at "
                "motion; leave it out"
            )
        plan = _read_plan(Path(plan_file)) if plan_file is not None else None
        found = evaluate_light_field(views, ground_truth, plan, check_settings(GridSettings, grid))
        click.echo(found.model_dump_json() if as_json else in_words(found))
        return
    skip: frozenset[int] = frozenset()
    if plan_file is not None:
        skip = given_frames(_read_plan(Path(plan_file)))
    if vmaf:
        from pipeline.measuring.vmaf import required

        required()  # before the frames are measured, which takes longer
    evaluation = evaluate(result, ground_truth, skip=skip)
    if vmaf:
        found_vmaf = vmaf_of(result, ground_truth, skip=skip)
        evaluation = evaluation.model_copy(update={"vmaf": found_vmaf})
    if as_json:
        click.echo(evaluation.model_dump_json(exclude=None if vmaf else {"vmaf"}))
        return
    click.echo(f"{evaluation.frames} frames")
    click.echo(f"RGB   PSNR {evaluation.psnr:.2f} dB   SSIM {evaluation.ssim:.4f}")
    click.echo(f"luma  PSNR {evaluation.psnr_y:.2f} dB   SSIM {evaluation.ssim_y:.4f}")
    click.echo(f"worst frame {evaluation.worst.frame}: {evaluation.worst.psnr:.2f} dB")
    if evaluation.vmaf is not None:
        click.echo(f"VMAF  {evaluation.vmaf:.2f}")


def _read_plan(path: Path) -> Plan:
    try:
        return Plan.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"found no readable plan at {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(
            f"found no plan in {path}, expected the .plan.json that `pipeline run` writes "
            "beside its output"
        ) from error
