"""Adapt weights to a camera, and write them to a file for later runs."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path

from crossnetpp.checkpoint import SUFFIX, save_weights
from pipeline.adaptation.decision import decide_adaptation
from pipeline.adaptation.request import AdaptRequest
from pipeline.adaptation.training import PRESET, make_facts, train_weights
from pipeline.errors import InputError, PipelineError
from pipeline.ledger.durable import publish_output, staging_folder
from pipeline.paths import check_new_file, check_not_read
from pipeline.planning.output import name_unwritten_output
from pipeline.planning.pinned import pin_plan
from pipeline.planning.plan import make_plan
from pipeline.progress import SILENT, Reporter
from pipeline.remote.run_urls import fetch_inputs
from pipeline.schema.model import Model
from pipeline.schema.settings import RunSettings


class AdaptResult(Model):
    """The weights that were written; the fields of `pipeline adapt --json`."""

    output: str
    model: str
    """Name or path of the weights before adaptation."""
    key_frames: int
    steps: int
    seconds: float
    """Wall-clock time, including the planning and the choice of key frames."""
    held_out_gain_db: float
    """PSNR gain in dB on the key frames held out from training."""
    blend: float
    """Share of the trained weights in the blend of trained and original weights."""


def adapt_to_camera(
    settings: RunSettings,
    output: Path,
    *,
    seconds: float,
    force: bool = False,
    progress: Reporter = SILENT,
) -> AdaptResult:
    """Adapt weights to the recordings in `settings`, and write them to a safetensors file.

    Training takes about `seconds`. Raises InputError if the recordings are not suitable for it, and
    PipelineError if the adapted weights are no better on key frames held out from training.
    """
    start = time.monotonic()
    if not 0 < seconds < math.inf:
        raise InputError(
            f"--seconds is {seconds:g}, but must be a finite number above 0, such as 120"
        )
    _check_output(output, (settings.input, settings.ref_stream, settings.model), force=force)
    # create this folder first, so that training is not wasted if it cannot be created
    with staging_folder(output) as work:
        # the plan needs an output, which is never written
        unwritten = {"output": str(work / "unwritten.mkv"), "force": True}
        chosen = settings.model_copy(update=unwritten)
        local = fetch_inputs(chosen, chosen)
        named = local.model_copy(update={"output": str(work / name_unwritten_output(local))})
        plan = pin_plan(make_plan(named, progress, is_written=False))
        for note in plan.notes:
            progress.note(note)

        request = AdaptRequest("seconds", seconds)
        decision = decide_adaptation(plan, request, lambda: None, progress)
        if decision.adaptation is None:
            raise InputError(
                decision.note
                or "the weights are not adapted: no frame has a reference; try a "
                "reference with more key frames of the input"
            )

        result = train_weights(plan, decision.adaptation, progress)
        if not result.used:
            raise PipelineError(f"nothing is written: {result.note}")

        finished = work / output.name
        save_weights(result.network, PRESET, finished, make_facts(plan, result))
        publish_output(finished, output, work, force=force)
    return AdaptResult(
        output=str(output),
        model=plan.model,
        key_frames=len(decision.adaptation.pairs),
        steps=result.steps,
        seconds=round(time.monotonic() - start, 3),
        held_out_gain_db=result.held_out_gain_db or 0.0,
        blend=result.blend,
    )


def _check_output(output: Path, read: Sequence[str | None], *, force: bool) -> None:
    """Raise InputError if the file has another suffix, exists, or is one of the files in `read`."""
    if output.suffix != SUFFIX:
        raise InputError(f"-o {output} does not end with {SUFFIX}; try camera{SUFFIX}")
    check_not_read(output, read)
    check_new_file(output, force=force)
