"""Draw curves over time: as data for uPlot, and as SVG for browsers without JavaScript."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from markupsafe import Markup

WIDTH = 960
HEIGHT = 200

# Margins, which contain the axis labels.
LEFT = 56
RIGHT = 12
TOP = 12
BOTTOM = 28


@dataclass(frozen=True)
class Curve:
    """One line in a chart; a value of None is a gap."""

    name: str
    style: str
    values: list[float | None]


@dataclass(frozen=True)
class Tick:
    """A position on an axis, with its label."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart of WIDTH x HEIGHT in SVG units, and the same chart as data."""

    title: str
    unit: str
    lines: list[tuple[str, str, list[str]]]
    """Each curve's name, style and SVG point lists; a new list starts after every gap."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    switches: list[float]
    """The x positions at which the reference changes."""
    marks: list[Tick]
    """The frames that the page shows, with the reasons."""
    data: Markup
    """The chart as JSON: frames and curves, with times, switches and marks in seconds."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    legend: list[tuple[str, str]] = field(default_factory=list)


def choose_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers from `low` to `high`, or only `low` if the range is empty.

    The numbers are multiples of 1, 2 or 5 times a power of ten.
    """
    span = high - low
    if not math.isfinite(span) or span <= 0:
        return [low]

    raw = span / max(1, count)
    power = 10 ** math.floor(math.log10(raw))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def draw_chart(
    title: str,
    unit: str,
    times: list[float],
    curves: list[Curve],
    *,
    frames: list[int],
    digits: int,
    switches: list[float],
    marks: dict[float, str],
) -> Chart:
    """Return a chart of `curves` over `times` in seconds.

    `frames` lists the frame number of each value, and values are shown with `digits` decimal
    places. Each time in `switches` gets a vertical line. `marks` maps times to labels.
    """
    known = [value for curve in curves for value in curve.values if value is not None]
    low = min(known, default=0.0)
    high = max(known, default=1.0)

    # leave some room above and below the curves
    room = (high - low) * 0.08 or max(0.5, abs(high) * 0.01)
    low -= room
    high += room

    first = times[0]
    last = max(times[-1], first + 1e-6)

    def x(seconds: float) -> float:
        return round(LEFT + (seconds - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    return Chart(
        title=title,
        unit=unit,
        lines=[
            (c.name, c.style, _polylines([x(t) for t in times], c.values, y))
            for c in curves
            if known
        ],
        x_ticks=[Tick(x(t), f"{t:g} s") for t in choose_ticks(first, last, 8)],
        y_ticks=[Tick(y(v), f"{v:.4g}") for v in choose_ticks(low, high, 4)],
        switches=[x(t) for t in switches],
        marks=[Tick(x(t), text) for t, text in marks.items()],
        legend=[(c.name, c.style) for c in curves],
        data=_chart_data(unit, times, curves, frames, digits, switches, marks),
    )


def _chart_data(
    unit: str,
    times: list[float],
    curves: list[Curve],
    frames: list[int],
    digits: int,
    switches: list[float],
    marks: dict[float, str],
) -> Markup:
    """Return the data of a chart as JSON for uPlot."""
    data = {
        "unit": unit,
        "digits": digits,
        "times": [round(t, 4) for t in times],
        "frames": frames,
        "curves": [
            {
                "name": c.name,
                "style": c.style,
                "values": [None if v is None else round(v, digits + 2) for v in c.values],
            }
            for c in curves
        ],
        "switches": [round(t, 4) for t in switches],
        "marks": [round(t, 4) for t in marks],
    }
    # safe to embed: only numbers and our own names, no text from users
    return Markup(json.dumps(data, separators=(",", ":")))


def _polylines(
    xs: list[float], values: list[float | None], y: Callable[[float], float]
) -> list[str]:
    """Return the SVG point lists of a curve, one per piece between gaps."""
    pieces: list[list[str]] = [[]]
    for at, value in zip(xs, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{at},{y(value)}")

    # a line needs two points, so a single one is repeated
    return [" ".join(p if len(p) > 1 else p * 2) for p in pieces if p]
