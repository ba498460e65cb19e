"""List and check the views and frames that the reference provides for the output."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.lightfield.reader import ViewReader
from pipeline.media.read.frames import FrameReader
from pipeline.pairing.choose_views import SAME_INSTANT
from pipeline.pixels import Pixels, as_pixels
from pipeline.schema.clip import LightField, Recording
from pipeline.schema.plan import Plan
from pipeline.schema.reference_map import ReferenceChoice

# A picture whose correlation with its LR view is below this is misplaced. Even a shift of one LR
# pixel lowers the correlation that far.
ALIKE = 0.95
OTHER_COLOUR = 0.04  # of full scale; smaller differences in mean colour are hardly visible


def demote_misplaced_views(
    lr: LightField, ref: Recording, choices: list[ReferenceChoice]
) -> tuple[list[ReferenceChoice], list[str]]:
    """Return the choices, and notes about a given view that does not match the input.

    Only the first given view is compared. If it is misplaced, all given views become ordinary
    references. HR views of a light field are not checked.
    """
    first = next((choice for choice in choices if choice.why == "given"), None)
    if first is None or isinstance(ref, LightField):
        return choices, []
    if first.views is None or first.ref_pts is None:
        return choices, []

    views = ViewReader(lr)
    frames = FrameReader(ref)
    try:
        likeness, apart = compare_pictures(views.get(first.pts), frames.get(first.ref_pts))
    finally:
        views.close()
        frames.close()
    place = f"({first.views.row}, {first.views.col})"
    if likeness < ALIKE:
        return [replace(c, why="nearest") if c.why == "given" else c for c in choices], [
            f"the picture given for view {place} does not match that view (correlation "
            f"{likeness:.2f}), so it is used only as a reference and does not pass through"
        ]
    if apart > OTHER_COLOUR:
        return choices, [
            f"the colours of the picture given for view {place} differ from that view's by "
            f"{100 * apart:.0f} %, but appear in the output; to use the picture only as a "
            "reference, pass its position with --ref-position X,Y"
        ]
    return choices, []


def compare_pictures(lr: Pixels, hr: Pixels) -> tuple[float, float]:
    """Return the correlation and the colour difference of `lr` (h x w x 3) and the reduced `hr`.

    `hr` is reduced to the size of `lr`. The correlation is computed in grey, and is 1 if either
    picture has no contrast. The colour difference (0 to 1) is the largest difference between the
    means of a channel.
    """
    size = (lr.shape[1], lr.shape[0])
    small = cv2.resize(hr, size, interpolation=cv2.INTER_AREA)
    views = (_scale_to_unit(lr), _scale_to_unit(as_pixels(small)))
    apart = float(np.abs(views[0].mean(axis=(0, 1)) - views[1].mean(axis=(0, 1))).max())
    a, b = (view.mean(axis=2) - view.mean() for view in views)
    power = float(np.sqrt((a * a).mean() * (b * b).mean()))
    return (float((a * b).mean()) / power if power > 1e-6 else 1.0), apart


def _scale_to_unit(rgb: Pixels) -> NDArray[np.float64]:
    return rgb.astype(np.float64) / np.iinfo(rgb.dtype).max


def list_view_steps(plan: Plan) -> dict[tuple[int, int], float | None]:
    """Return the grid steps from each view (row, col) to its reference; None for given views.

    A view that is given only at some moments has the steps of the other moments. If the steps
    change over time, the last ones are returned. Views that never have a reference are left out, as
    are views that are given only at some moments and have no reference at the others.
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
    """Return the (row, column, moment) of every given frame."""
    return frozenset(
        (choice.views.row, choice.views.col, choice.views.moment)
        for choice in plan.reference_map
        if choice.views is not None and choice.why == "given"
    )


def list_given_frames(plan: Plan) -> frozenset[int]:
    """Return the numbers of the given frames.

    In a video, these are all frames with a reference at the same time.
    """
    return frozenset(
        number
        for number, choice in enumerate(plan.reference_map)
        if choice.why == "given"
        # another view of a light field at the same time is not given
        or (
            choice.views is None
            and choice.seconds is not None
            and abs(choice.seconds) < SAME_INSTANT
        )
    )


def list_left_out(plan: Plan) -> frozenset[int]:
    """Return the numbers of the frames that do not count towards the mean quality.

    These are the given frames, or none if all frames are given.
    """
    given = list_given_frames(plan)
    return given if len(given) < len(plan.reference_map) else frozenset()
