"""The quality of a finished output, a clip or a light field, against its ground truth."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.clips import Evaluation, evaluate, measure_vmaf
from pipeline.measuring.views import LightFieldQuality, evaluate_light_field
from pipeline.measuring.vmaf import require_program
from pipeline.pairing.given import list_given_frames
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings


def evaluate_output(
    result: str,
    ground_truth: str,
    *,
    plan_file: Path | None = None,
    grid: GridSettings | None = None,
    vmaf: bool = False,
) -> Evaluation | LightFieldQuality:
    """Return the quality of `result` against `ground_truth`, both paths.

    Frames that the plan lists as references themselves are left out. Raises InputError if the
    recordings or the plan cannot be read, or if `vmaf` is not available.
    """
    grid = grid or GridSettings()
    views = open_light_field(result, grid)
    if views is not None and vmaf:
        raise InputError(
            f"found the light field {result} with --vmaf, expected a video, as VMAF measures "
            "motion; leave it out"
        )

    plan = read_plan(plan_file) if plan_file is not None else None
    if views is not None:
        return evaluate_light_field(views, ground_truth, plan, grid)

    if vmaf:
        require_program()  # fails early, before the frames are measured for a long time
    skip = list_given_frames(plan) if plan is not None else frozenset()
    evaluation = evaluate(result, ground_truth, skip=skip)
    if not vmaf:
        return evaluation
    return evaluation.model_copy(update={"vmaf": measure_vmaf(result, ground_truth, skip=skip)})


def describe_evaluation(evaluation: Evaluation) -> str:
    """Return the quality of a clip as a few lines of text."""
    lines = [
        f"{evaluation.frames} frames",
        f"RGB   PSNR {evaluation.psnr:.2f} dB   SSIM {evaluation.ssim:.4f}",
        f"luma  PSNR {evaluation.psnr_y:.2f} dB   SSIM {evaluation.ssim_y:.4f}",
        f"worst frame {evaluation.worst.frame}: {evaluation.worst.psnr:.2f} dB",
    ]
    if evaluation.vmaf is not None:
        lines.append(f"VMAF  {evaluation.vmaf:.2f}")
    return "\n".join(lines)
