"""Plan the second pass, which makes neighbouring views agree.

Every view that is not given is enhanced again, both from its HR view and from its neighbours in the
first pass's result, and the results are fused. Errors that the first pass made in a single view are
outvoted.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.lightfield.opening import open_light_field
from pipeline.schema.clip import Grid, LightField
from pipeline.schema.plan import Plan
from pipeline.schema.plan_file import read_plan
from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap

# Fields that must be equal in the plans of a run and of its first pass.
COMPARED = (
    *("input", "reference", "reference_map", "capture"),
    *("scale", "engine", "model", "model_sha256", "mixes_flow", "averages_mirrored"),
)
NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # row and column steps


def first_pass_output(output: Path) -> Path:
    """Return the path of the first pass's output, which is deleted after the second pass."""
    return output.with_name(f".{output.name}.first")


def first_pass_changes(plan: Plan) -> dict[str, object]:
    """Return the settings of the first pass that differ from those of the run with this plan."""
    is_video = isinstance(plan.input, LightField) and plan.input.grid.layout == "video"
    return {
        "output": str(first_pass_output(Path(plan.output))),
        "to": "video" if is_video else "folder",
        "consistent": False,
        "ground_truth": None,
        "plan": None,
        # any existing first pass was made with other settings, so replace it
        "force": True,
    }


def is_first_pass_of(path: Path, plan: Plan) -> bool:
    """Return whether the file at `path` exists and is the plan of a first pass for `plan`."""
    if not path.exists():
        return False
    found = read_plan(path)
    return all(getattr(found, name) == getattr(plan, name) for name in COMPARED)


def plan_second_pass(plan: Plan) -> Plan:
    """Return the plan with the views of the first pass as its references.

    The HR view from which a view borrowed remains its first reference if it is in the grid, because
    the first pass copied it unchanged. Raises InputError if the output of the first pass is
    missing.
    """
    first = open_light_field(first_pass_output(Path(plan.output)))
    if first is None or not isinstance(plan.input, LightField):
        raise InputError(
            f"the first pass of {plan.output} is missing, although --consistent needs it; run the "
            "same command again"
        )
    source = plan.input.grid
    choices = ReferenceMap(
        _replace_references(choice, source, first.grid) for choice in plan.reference_map
    )
    reference = plan.reference.model_copy(update={"clip": first, "affine": None})
    capture = plan.capture
    if capture is not None and capture.colour is not None:
        # the neighbours from the first pass have the colours of the input
        capture = capture.model_copy(update={"colour": None})
    note = "second pass: enhanced neighbours are used as further references"
    return plan.model_copy(
        update={
            "reference": reference,
            "reference_map": choices,
            "capture": capture,
            "adaptation": None,
            "notes": (*plan.notes, note),
        }
    )


def _replace_references(choice: ReferenceChoice, source: Grid, first: Grid) -> ReferenceChoice:
    views = choice.views
    if views is None or choice.ref_pts is None:
        return choice
    _, moment = source.place(choice.pts)

    def number(row: float | None, col: float | None) -> int | None:
        if row is None or col is None or row % 1 or col % 1:
            return None
        position = first.at(int(row), int(col))
        if position is None or first.views[position].frames <= moment:
            return None
        return first.number(position, moment)

    if choice.why == "given":
        own = number(views.row, views.col)
        assert own is not None
        return replace(choice, ref_pts=own)
    borrowed = number(views.ref_row, views.ref_col)
    near = [number(views.row + row, views.col + col) for row, col in NEIGHBOURS]
    voters = list(dict.fromkeys(n for n in (borrowed, *near) if n is not None))
    if not voters:
        return replace(choice, ref_pts=number(views.row, views.col))
    return replace(
        choice,
        ref_pts=voters[0],
        views=replace(
            views,
            also=tuple(voters[1:]),
            # a neighbour was enhanced from about as far away as the view itself
            also_steps=(views.steps or 0.0,) * (len(voters) - 1),
        ),
    )
