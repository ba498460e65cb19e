"""Whether a lone HR picture may pass through as the view it is said to show."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lightfield.reader import ViewReader
from pipeline.media.read.frames import FrameReader
from pipeline.pixels import Pixels
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice

ALIKE = 0.95
"""Correlation with the LR view below which a picture does not lie on it: a shift by a pixel of
the LR costs more."""
OTHER_COLOUR = 0.04
"""Difference of mean colours (full scale = 1) that shows from view to view."""


def demote_misplaced_views(
    lr: LightField, ref: Recording, choices: list[ReferenceChoice]
) -> tuple[list[ReferenceChoice], list[str]]:
    """Return the choices with a picture that lies elsewhere borrowed from instead, and notes.

    The first view that is given is compared; a light field's own HR views are believed.
    """
    first = next((c for c in choices if c.why == "given" and c.ref_pts is not None), None)
    if first is None or isinstance(ref, LightField) or first.views is None:
        return choices, []
    views, frames = ViewReader(lr), FrameReader(ref)
    try:
        assert first.ref_pts is not None
        likeness, apart = compare_pictures(views.get(first.pts), frames.get(first.ref_pts))
    finally:
        views.close()
        frames.close()
    place = f"({first.views.row}, {first.views.col})"
    if likeness < ALIKE:
        return [replace(c, why="nearest") if c.why == "given" else c for c in choices], [
            f"the picture given for view {place} does not lie on it (correlation {likeness:.2f}): "
            "it is borrowed from, and does not pass through"
        ]
    if apart > OTHER_COLOUR:
        return choices, [
            f"the picture given for view {place} has other colours than the views (by "
            f"{100 * apart:.0f} %) and passes through with them; to borrow from it alone, say "
            "where it is by --ref-position X,Y"
        ]
    return choices, []


def compare_pictures(lr: Pixels, hr: Pixels) -> tuple[float, float]:
    """Return the correlation of h x w x 3 with H x W x 3 reduced, and how far mean colours differ.

    A picture without contrast correlates with any other.
    """
    size = lr.shape[1], lr.shape[0]
    small = cv2.resize(hr, size, interpolation=cv2.INTER_AREA)
    views = _unit(lr), _unit(cast(Pixels, small))
    apart = float(np.abs(views[0].mean(axis=(0, 1)) - views[1].mean(axis=(0, 1))).max())
    a, b = (view.mean(axis=2) - view.mean() for view in views)
    power = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return (float((a * b).mean()) / power if power > 1e-6 else 1.0), apart


def _unit(rgb: Pixels) -> NDArray[np.float64]:
    return rgb.astype(np.float64) / np.iinfo(rgb.dtype).max


def list_view_steps(plan: Plan) -> dict[tuple[int, int], float | None]:
    """Return the grid steps of each view to its reference, None for one always given.

    Views without a reference are not in it.
    """
    given: dict[tuple[int, int], float | None] = {}
    found: dict[tuple[int, int], float | None] = {}
    for choice in plan.reference_map:
        views = choice.views
        if views is not None and choice.why == "given":
            given[views.row, views.col] = None
        elif views is not None and views.steps is not None:
            found[views.row, views.col] = views.steps
    unserved = {
        (choice.views.row, choice.views.col)
        for choice in plan.reference_map
        if choice.views is not None and choice.ref_pts is None
    }
    return {place: None for place in given if place not in unserved} | found


def list_given_moments(plan: Plan) -> frozenset[tuple[int, int, int]]:
    """Return row, column and moment of every frame that was given."""
    return frozenset(
        (choice.views.row, choice.views.col, choice.views.moment)
        for choice in plan.reference_map
        if choice.views is not None and choice.why == "given"
    )


SAME_TIME = 1e-3
"""Seconds: a frame whose reference is nearer than this was given, not made."""


def list_given_frames(plan: Plan) -> frozenset[int]:
    """Return the numbers of the frames whose own HR original was the reference."""
    return frozenset(
        number
        for number, choice in enumerate(plan.reference_map)
        if choice.why == "given"
        # another view of a light field at the same time is not given
        or (choice.views is None and choice.seconds is not None and abs(choice.seconds) < SAME_TIME)
    )
