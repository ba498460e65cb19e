"""Curves over time, twice: as data for uPlot, and as a plain drawing where no script runs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

from markupsafe import Markup

WIDTH, HEIGHT = 960, 200
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 12, 28
"""Margins that hold the numbers of the axes."""


@dataclass(frozen=True)
class Curve:
    """One line of a chart; None is a gap."""

    name: str
    style: str
    values: list[float | None]


@dataclass(frozen=True)
class Tick:
    """A place on an axis and what is written there."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A drawing in units of WIDTH x HEIGHT."""

    title: str
    unit: str
    lines: list[tuple[str, str, list[str]]]
    """Name, style and SVG point lists; a gap starts a new list."""
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    switches: list[float]
    marks: list[Tick]
    data: Markup
    """The same as JSON: times, frames, curves, switches and marks in seconds."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    bottom: int = HEIGHT - BOTTOM
    legend: list[tuple[str, str]] = field(default_factory=list)


def choose_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about `count` round numbers within low..high (steps of 1, 2, 5 times 10^n)."""
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
    """Return the drawing of `curves` over `times` (seconds); `switches` become vertical lines.

    Figures are told with `digits` decimal places, by the numbers of their `frames`.
    """
    known = [value for curve in curves for value in curve.values if value is not None]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    room = (high - low) * 0.08 or max(0.5, abs(high) * 0.01)
    low, high = low - room, high + room
    first, last = times[0], max(times[-1], times[0] + 1e-6)

    def x(seconds: float) -> float:
        return round(LEFT + (seconds - first) / (last - first) * (WIDTH - LEFT - RIGHT), 1)

    def y(value: float) -> float:
        return round(TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM), 1)

    return Chart(
        title=title,
        unit=unit,
        lines=[
            (c.name, c.style, _pieces([x(t) for t in times], c.values, y)) for c in curves if known
        ],
        x_ticks=[Tick(x(t), f"{t:g} s") for t in choose_ticks(first, last, 8)],
        y_ticks=[Tick(y(v), f"{v:.4g}") for v in choose_ticks(low, high, 4)],
        switches=[x(t) for t in switches],
        marks=[Tick(x(t), text) for t, text in marks.items()],
        legend=[(c.name, c.style) for c in curves],
        data=_data(unit, times, curves, frames, digits, switches, marks),
    )


def _data(
    unit: str,
    times: list[float],
    curves: list[Curve],
    frames: list[int],
    digits: int,
    switches: list[float],
    marks: dict[float, str],
) -> Markup:
    told = {
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
    # nothing in it is the user's text: numbers, and names of ours
    return Markup(json.dumps(told, separators=(",", ":")))


def _pieces(xs: list[float], values: list[float | None], y: object) -> list[str]:
    assert callable(y)
    pieces: list[list[str]] = [[]]
    for at, value in zip(xs, values, strict=True):
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append(f"{at},{y(value)}")
    # a lone point is drawn as a short dash
    return [" ".join(p if len(p) > 1 else p * 2) for p in pieces if p]
