"""Write the notes of a light field's plan."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.lightfield.intermediate import is_joined_by_packets
from pipeline.lightfield.parallax import measure_parallax
from pipeline.lightfield.sidecar import find_holes
from pipeline.lightfield.validity import Validity
from pipeline.pairing.choose_views import TRAINED_STEPS
from pipeline.schema.clip import LightField
from pipeline.schema.reference_map import ReferenceChoice

REACH = 128  # greatest motion that the network follows, in pixels at the output's size
_LISTED = 4  # greatest number of positions that a note lists


def write_view_notes(
    lr: LightField,
    choices: list[ReferenceChoice],
    size: tuple[int, int],
    to: str | None,
    seen: Validity,
) -> list[str]:
    """Return the notes on a light field's references.

    `size` is the output's height and width, `to` its layout.
    """
    notes = []
    if missing := find_holes(lr.grid):
        notes.append(
            f"the grid has {len(missing)} holes ({_format_positions(missing)}); they stay holes"
        )
    given = sum(choice.why == "given" for choice in choices)
    if given:
        how = (
            "replace enhanced ones, with the same encoding"
            if is_joined_by_packets(lr, to)
            else "pass through untouched"
        )
        notes.append(f"{given} of {len(choices)} views are given and {how}")
    if seen.dark:
        notes.append(
            f"{len(seen.dark)} views are dark ({_format_positions(seen.dark)}): no other view "
            "borrows from them; --crop-grid leaves them out"
        )
    if seen.transparent:
        notes.append("transparency of views only marks where they show something: it is dropped")
    if any(choice.why == "dark" for choice in choices):
        notes.append(
            f"{len(seen.empty)} views show nothing ({_format_positions(seen.empty)}) and are "
            "up-sampled plainly"
        )
    without = sum(choice.ref_pts is None and choice.why != "dark" for choice in choices)
    if without:
        notes.append(
            f"{without} of {len(choices)} views have no reference in time and are up-sampled "
            "plainly"
        )
    counts = {view.frames for view in lr.grid.views}
    if len(counts) > 1:
        notes.append(
            f"cameras have {min(counts)} to {max(counts)} frames; each keeps its own count"
        )
    return [*_write_shift_notes(lr, choices, size), *notes]


def _write_shift_notes(
    lr: LightField, choices: list[ReferenceChoice], size: tuple[int, int]
) -> list[str]:
    parallax = measure_parallax(lr)
    notes = [f"{parallax.advice}; see `pipeline probe`"] if parallax.advice else []
    steps = [c.views.steps for c in choices if c.views is not None and c.views.steps is not None]
    far = [s for s in steps if s > TRAINED_STEPS]
    if far:
        notes.append(
            f"{len(far)} views borrow from farther than the networks were trained for "
            f"({TRAINED_STEPS:g} steps), the farthest from {max(far):.1f} steps: expect less "
            "detail there"
        )
    if parallax.disparity is not None and steps:
        most = max(abs(value) for value in parallax.disparity) * max(steps) * size[0] / lr.height
        if most > REACH:
            notes.append(
                f"views shift by up to {most:.0f} pixels against their reference, but the network "
                f"follows about {REACH}: try nearer HR views"
            )
    return notes


def _format_positions(places: Sequence[tuple[int, int]]) -> str:
    listed = ", ".join(str(place) for place in places[:_LISTED])
    return listed + (" ..." if len(places) > _LISTED else "")
