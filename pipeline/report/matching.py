"""Match frames of an output and its ground truth with the entries of a plan's reference map."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import InputError, PairingError, count_items
from pipeline.lightfield.opening import open_light_field
from pipeline.media.read.probe import probe
from pipeline.recording import scan
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.settings import GridSettings

TOLERANCE = 1e-3  # seconds by which the times of output and ground truth may differ


def open_matching(plan: Plan, path: str, grid_settings: GridSettings | None = None) -> Recording:
    """Return a description of the recording at `path`: the plan's output, or its ground truth.

    The recording is opened as a light field if the plan's input is one, and as a video or pictures
    otherwise. Raises InputError if that is not possible.
    """
    if not isinstance(plan.input, LightField):
        return probe(path)

    found = open_light_field(path, grid_settings)
    if found is None:
        raise InputError(
            f"{path} is not a light field, but the plan's input {plan.input.path} is; "
            "pass the output of this plan or its ground truth"
        )
    return found


def match_output(plan: Plan, result: Recording, output: Path) -> Sequence[int]:
    """Return the pts of the result for every entry of the plan's reference map.

    Raises InputError if the size, the number of frames or the views differ from the plan's.
    """
    if (result.width, result.height) != (plan.width, plan.height):
        raise InputError(
            f"{output} is {result.width}x{result.height}, but the plan's output is "
            f"{plan.width}x{plan.height}; pass the output of this plan"
        )
    if isinstance(result, LightField):
        return _match_views(plan, result)

    times = scan(result).pts
    if len(times) != len(plan.reference_map):
        raise InputError(
            f"{output} has {count_items(len(times), 'frame')}, but the plan has "
            f"{len(plan.reference_map)}; pass the output of this plan"
        )
    return times


def match_truth(plan: Plan, result: Recording, times: Sequence[int], truth: Recording) -> list[int]:
    """Return the pts of the ground truth for every entry of the plan's reference map.

    `times` are the pts of the result for the same entries. Raises PairingError if the size differs,
    or if the ground truth has no frame for an entry.
    """
    if (truth.width, truth.height) != (plan.width, plan.height):
        raise PairingError(
            f"the ground truth is {truth.width}x{truth.height}, but the output is "
            f"{plan.width}x{plan.height}; pass the original from which the input was made"
        )
    if isinstance(truth, LightField):
        return _match_views(plan, truth)

    known = scan(truth, distinct=False).pts
    seconds = [truth.seconds(pts) for pts in known]
    paired = []
    for pts in times:
        at = result.seconds(pts)
        near = _find_nearest(seconds, at)
        if abs(seconds[near] - at) > TOLERANCE:
            raise PairingError(
                f"{truth.path} has no frame at {at:.3f} s, but the output has one; pass the "
                "original with the same timestamps"
            )
        paired.append(known[near])
    return paired


def _find_nearest(ordered: Sequence[float], value: float) -> int:
    """Return the index of the number in `ordered` that is nearest to `value`."""
    after = min(bisect_left(ordered, value), len(ordered) - 1)
    before = max(after - 1, 0)
    return before if abs(ordered[before] - value) < abs(ordered[after] - value) else after


def _match_views(plan: Plan, other: LightField) -> list[int]:
    """Return the frame number in `other` for every entry of the plan's reference map.

    Raises PairingError if a view, or a frame of a view, is missing.
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
                f"{other.path} lacks view ({row}, {col}) at moment {moment}, which is in the plan; "
                "pass the output of this plan, or its ground truth"
            )

        found.append(grid.number(position, moment))
    return found
