"""Describe light fields for `pipeline probe`, and their references for `pipeline plan`."""

from __future__ import annotations

from pipeline.errors import count_items
from pipeline.lightfield.parallax import Verdict, measure_parallax
from pipeline.lightfield.sidecar import find_holes
from pipeline.lightfield.validity import find_dark_views
from pipeline.schema.clip import LightField
from pipeline.schema.model import Model
from pipeline.schema.plan import Plan

_LISTED = 8  # largest number of views or references that the text lists


class LightFieldDescription(Model):
    """The description of a light field; the fields of `pipeline probe --json`."""

    path: str
    layout: str
    rows: int
    cols: int
    first: tuple[int, int]
    """Row and column of the top-left view."""
    views: int
    holes: tuple[tuple[int, int], ...]
    moments: int
    frames: tuple[int, int]
    """Smallest and largest number of frames per view."""
    width: int
    height: int
    bits: int
    template: str
    order: str
    positions: bool
    """Whether the camera centres are known."""
    disparity: tuple[float, float] | None
    """Smallest and largest shift to the left (or up) in pixels per grid step, outliers excluded."""
    check: Verdict
    """Whether the views shift along the grid's rows and columns, as they should."""
    advice: str
    dark: tuple[tuple[int, int], ...]
    """Row and column of each dark (vignetted) view, including the empty ones."""
    empty: tuple[tuple[int, int], ...]
    """Row and column of each view that is entirely black or transparent."""


def describe_light_field(clip: LightField) -> LightFieldDescription:
    """Return the description of a light field, with shifts estimated from a few of its views."""
    grid = clip.grid
    parallax = measure_parallax(clip)
    found = find_dark_views(clip)
    counts = [view.frames for view in grid.views]
    return LightFieldDescription(
        path=clip.path,
        layout=grid.layout,
        rows=grid.rows[1],
        cols=grid.cols[1],
        first=(grid.rows[0], grid.cols[0]),
        views=len(grid.views),
        holes=tuple(find_holes(grid)),
        moments=grid.moments,
        frames=(min(counts), max(counts)),
        width=clip.width,
        height=clip.height,
        bits=clip.bit_depth,
        template=grid.template,
        order=grid.order,
        positions=all(view.x is not None for view in grid.views),
        disparity=parallax.disparity,
        check=parallax.verdict,
        advice=parallax.advice,
        dark=found.dark,
        empty=found.empty,
    )


def format_description(found: LightFieldDescription) -> str:
    """Return the description as several lines of text."""
    row, col = found.first
    least, most = found.frames
    frames = count_items(most, "frame") if least == most else f"{least} to {most} frames"
    lines = [
        found.path,
        f"  light field, {found.layout}" + (f" {found.template}" if found.template else ""),
        f"  {count_items(found.rows, 'row')} x {count_items(found.cols, 'column')} from "
        f"({row}, {col}), {count_items(found.views, 'view')} of {found.width}x{found.height}, "
        f"{found.bits} bits, {frames} each",
    ]

    for what, places in (
        ("missing", found.holes),
        ("dark", found.dark),
        ("of these black or transparent", found.empty),
    ):
        if places:
            listed = ", ".join(str(place) for place in places[:_LISTED])
            more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
            lines.append(f"  {what}: {listed}{more}")

    if found.disparity is not None:
        low, high = found.disparity
        lines.append(f"  disparity {low:+.2f} to {high:+.2f} pixels per step")

    verdicts = {
        "right": "along rows and columns",
        "unclear": "too little to distinguish rows and columns",
    }
    lines.append(f"  views shift: {verdicts.get(found.check, found.check)}")

    if found.advice:
        lines.append(f"  {found.advice}")
    if found.positions:
        lines.append("  camera centres are known")
    return "\n".join(lines)


def format_references(plan: Plan) -> list[str]:
    """Return a line per reference view: how many frames borrow from it, and from how far away.

    Frames that the reference itself provides are not counted. A long list is cut short.
    """
    served: dict[tuple[float, float], list[float]] = {}
    for choice in plan.reference_map:
        views = choice.views
        if views is not None and views.ref_row is not None and views.ref_col is not None:
            away = served.setdefault((views.ref_row, views.ref_col), [])
            if choice.why != "given":
                away.append(views.steps or 0.0)

    lines = []
    for (row, col), away in sorted(served.items()):
        if away:
            lines.append(
                f"HR view ({row:g}, {col:g}) is used for {count_items(len(away), 'frame')}, "
                f"{min(away):.3g} to {max(away):.3g} steps away"
            )

    more = len(lines) - _LISTED
    return lines if more <= 0 else [*lines[:_LISTED], f"and {more} more (see --json)"]
