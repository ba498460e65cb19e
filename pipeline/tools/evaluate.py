"""Measure the quality of a finished clip or light field against its ground truth."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import InputError, count_items
from pipeline.ledger.plan_beside import plan_path
from pipeline.lightfield.opening import open_light_field
from pipeline.measuring.clips import Evaluation, evaluate, measure_vmaf
from pipeline.measuring.means import format_bicubic
from pipeline.measuring.views import LightFieldQuality, evaluate_light_field
from pipeline.measuring.vmaf import require_program
from pipeline.media.pictures.numbered import check_comparable
from pipeline.pairing.given import list_left_out
from pipeline.progress import SILENT, Reporter
from pipeline.recording import open_recording, scan
from pipeline.schema.clip import Recording
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.settings import GridSettings


def evaluate_output(
    result: str,
    ground_truth: str,
    *,
    plan_file: Path | None = None,
    grid: GridSettings | None = None,
    vmaf: bool = False,
    progress: Reporter = SILENT,
) -> Evaluation | LightFieldQuality:
    """Return the quality of the recording `result` against the recording `ground_truth`.

    The means leave out the frames that the reference provides according to the plan, unless it
    provides all frames. The plan is read from `plan_file` or, by default, from the file beside the
    result if that plan matches the result. Raises InputError if the recordings or the plan cannot
    be read or do not match, or if `vmaf` is set but no program can measure it.
    """
    check_comparable(Path(result), "an evaluation")
    grid = grid or GridSettings()
    views = open_light_field(result, grid)
    if views is not None and vmaf:
        raise InputError(
            f"--vmaf needs a video, because VMAF measures motion, but {result} is a light field; "
            "leave --vmaf out"
        )

    if plan_file is None:
        plan = find_plan_beside(result, views or open_recording(result))
    else:
        plan = read_plan(plan_file)
    if views is not None:
        return evaluate_light_field(views, ground_truth, plan, grid, progress)

    if vmaf:
        require_program()  # fail before all frames are measured
    skip = list_left_out(plan) if plan is not None else frozenset()
    evaluation = evaluate(result, ground_truth, skip=skip, plan=plan, progress=progress)
    if not vmaf:
        return evaluation
    score = measure_vmaf(result, ground_truth, skip=skip, progress=progress)
    return evaluation.model_copy(update={"vmaf": score})


def find_plan_beside(path: str, result: Recording) -> Plan | None:
    """Return the plan beside `path`, or None unless its size and number of frames match `result`.

    `result` is the recording at `path`.
    """
    file = plan_path(Path(path))
    if not file.is_file():
        return None
    try:
        plan = read_plan(file)
    except InputError:
        return None

    has_size = (plan.width, plan.height) == (result.width, result.height)
    return plan if has_size and len(scan(result).pts) == len(plan.reference_map) else None


def describe_evaluation(evaluation: Evaluation) -> str:
    """Return the quality of a clip as a few lines of text."""
    left_out = ""
    if evaluation.left_out:
        left_out = f"; the means leave out {evaluation.left_out} that the reference provides"
    lines = [
        f"{count_items(evaluation.frames, 'frame')}{left_out}",
        f"RGB   PSNR {evaluation.psnr:.2f} dB   SSIM {evaluation.ssim:.4f}",
        f"luma  PSNR {evaluation.psnr_y:.2f} dB   SSIM {evaluation.ssim_y:.4f}",
        f"worst frame {evaluation.worst.frame}: {evaluation.worst.psnr:.2f} dB",
    ]
    if evaluation.bicubic is not None:
        lines.insert(2, f"bicubic  {format_bicubic(evaluation.bicubic)}")
    if evaluation.vmaf is not None:
        lines.append(f"VMAF  {evaluation.vmaf:.2f}")
    return "\n".join(lines)
