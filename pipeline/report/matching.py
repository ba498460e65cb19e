"""Match the frames of an output and its ground truth with the entries of a plan's reference map."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError, PairingError
from pipeline.lightfield.opening import open_light_field
from pipeline.media.read.probe import probe
from pipeline.recording import scan
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.settings import GridSettings

TOLERANCE = 1e-3  # seconds by which the times of output and ground truth may differ


def open_matching(plan: Plan, path: str, grid_settings: GridSettings | None = None) -> Recording:
    """Open an output or a ground truth as a recording of the same kind as the plan's input.

    Raises InputError if it is not such a recording.
    """
    if not isinstance(plan.input, LightField):
        return probe(path)

    found = open_light_field(path, grid_settings)
    if found is None:
        raise InputError(
            f"found no light field in {path}, expected one like {plan.input.path}; "
            "pass the output, or the original, of this plan"
        )
    return found


def match_output(plan: Plan, result: Recording, output: Path) -> Sequence[int]:
    """Return the pts of the result for every entry of the plan's reference map.

    Raises InputError if the result is not the output of the plan.
    """
    if (result.width, result.height) != (plan.width, plan.height):
        raise InputError(
            f"found {result.width}x{result.height} in {output}, expected the plan's "
            f"{plan.width}x{plan.height}; pass the output of this plan"
        )
    if isinstance(result, LightField):
        return _match_views(plan, result)

    times = scan(result).pts
    if len(times) != len(plan.reference_map):
        raise InputError(
            f"found {len(times)} frames in {output}, expected the plan's "
            f"{len(plan.reference_map)}; pass the output of this plan"
        )
    return times


def match_truth(plan: Plan, result: Recording, times: Sequence[int], truth: Recording) -> list[int]:
    """Return the pts of the ground truth for every entry of the plan's reference map.

    `times` are the pts of the result. Raises PairingError if the ground truth does not match.
    """
    if (truth.width, truth.height) != (plan.width, plan.height):
        raise PairingError(
            f"found a ground truth of {truth.width}x{truth.height}, expected the output's "
            f"{plan.width}x{plan.height}; pass the original"
        )
    if isinstance(truth, LightField):
        return _match_views(plan, truth)

    known = scan(truth).pts
    seconds = [truth.seconds(pts) for pts in known]
    paired = []
    for pts in times:
        at = result.seconds(pts)
        near = bisect_left(seconds, at - TOLERANCE)
        if near == len(seconds) or seconds[near] > at + TOLERANCE:
            raise PairingError(
                f"found no frame at {at:.3f} s in {truth.path}, expected one for every frame "
                "of the output; pass the original with the same timestamps"
            )
        paired.append(known[near])
    return paired


def _match_views(plan: Plan, other: LightField) -> list[int]:
    """Return the frame number in `other` for every entry of the plan's reference map.

    Raises PairingError if a view or frame is missing.
    """
    grid = other.grid
    found = []
    for choice in plan.reference_map:
        assert choice.views is not None
        row = choice.views.row
        col = choice.views.col
        moment = choice.views.moment
        position = grid.at(row, col)
        if position is None or moment >= grid.views[position].frames:
            raise PairingError(
                f"found no view ({row}, {col}) at moment {moment} in {other.path}, expected every "
                "view of the output; pass the light field that belongs to this plan"
            )

        found.append(grid.number(position, moment))
    return found
