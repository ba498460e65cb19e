"""Write the notes for users in a light field's plan."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.lightfield.intermediate import is_joined_by_packets
from pipeline.lightfield.parallax import measure_parallax
from pipeline.lightfield.sidecar import find_holes
from pipeline.lightfield.validity import Validity
from pipeline.pairing.choose_views import TRAINED_STEPS
from pipeline.schema.clip import LightField
from pipeline.schema.reference_map import ReferenceChoice

REACH = 128  # maximum motion that the network can follow, in pixels at the output's size
_LISTED = 4  # maximum number of positions that a note lists


def write_view_notes(
    lr: LightField,
    choices: list[ReferenceChoice],
    size: tuple[int, int],
    to: str | None,
    seen: Validity,
) -> list[str]:
    """Return the notes about a light field's grid and references.

    `size` is the height and width of the network's frames, and `to` is the output's layout.
    """
    shown = _name_frames(lr)
    notes = []
    if missing := find_holes(lr.grid):
        notes.append(
            f"holes in the grid: {len(missing)} ({_format_positions(missing)}); the output has the "
            "same holes"
        )
    given = sum(choice.why == "given" for choice in choices)
    if given:
        how = (
            "they replace the enhanced ones and are encoded in the same way"
            if is_joined_by_packets(lr, to)
            else "they pass through unchanged"
        )
        notes.append(f"given {shown}: {given} of {len(choices)}; {how}")
    if seen.dark:
        notes.append(
            f"dark views: {len(seen.dark)} ({_format_positions(seen.dark)}); no other view borrows "
            "from them; use --crop-grid to leave them out"
        )
    if seen.transparent:
        notes.append("the views' transparency only marks their valid pixels, so it is dropped")
    if any(choice.why == "dark" for choice in choices):
        notes.append(
            f"views that show nothing: {len(seen.empty)} ({_format_positions(seen.empty)}), "
            "up-sampled bicubically"
        )
    without = sum(choice.ref_pts is None and choice.why != "dark" for choice in choices)
    if without:
        notes.append(
            f"{shown} without a reference near in time: {without} of {len(choices)}, up-sampled "
            "bicubically"
        )
    counts = {view.frames for view in lr.grid.views}
    if len(counts) > 1:
        notes.append(
            f"the cameras have {min(counts)} to {max(counts)} frames; each view of the output has "
            "as many frames as its camera"
        )
    return [*_write_shift_notes(lr, choices, size), *notes]


def _write_shift_notes(
    lr: LightField, choices: list[ReferenceChoice], size: tuple[int, int]
) -> list[str]:
    parallax = measure_parallax(lr)
    shown = _name_frames(lr)
    notes = [f"{parallax.advice}; see `pipeline probe`"] if parallax.advice else []
    steps = [c.views.steps for c in choices if c.views is not None and c.views.steps is not None]
    far = [s for s in steps if s > TRAINED_STEPS]
    if far:
        notes.append(
            f"{shown} that borrow from farther away than the networks were trained for "
            f"({TRAINED_STEPS:g} steps): {len(far)}, from up to {max(far):.1f} steps away; "
            "expect less detail there"
        )
    if parallax.disparity is not None and steps:
        most = max(abs(value) for value in parallax.disparity) * max(steps) * size[0] / lr.height
        if most > REACH:
            notes.append(
                f"views are shifted by up to {most:.0f} pixels from their reference, but the "
                f"network can follow only about {REACH}; try nearer HR views"
            )
    return notes


def _name_frames(lr: LightField) -> str:
    """Return what notes call the frames of a light field."""
    return "views" if lr.grid.moments == 1 else "frames of views"


def _format_positions(places: Sequence[tuple[int, int]]) -> str:
    listed = ", ".join(str(place) for place in places[:_LISTED])
    return listed + (" ..." if len(places) > _LISTED else "")
