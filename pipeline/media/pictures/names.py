"""Read times, dates, timecodes and numbers from the names of pictures.

Text that all names share says nothing about a single picture, and no two pictures show the same
moment. So a quantity is read from the names only if its value is different in each of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

Kind = Literal["seconds", "clock", "date", "timecode"]

_DAY = r"(?:19|20)\d\d(?P<sep>[-_. ]?)(?:0[1-9]|1[0-2])(?P=sep)(?:0[1-9]|[12]\d|3[01])"
_DAY_FIRST = r"(?:0[1-9]|[12]\d|3[01])(?P<sep>[-_. ])(?:0[1-9]|1[0-2])(?P=sep)(?:19|20)\d\d"
_HOUR = r"(?:[01]\d|2[0-3])[-_:.h]?[0-5]\d[-_:.m]?[0-5]\d"
# A date followed by a time of day, as cameras and screenshots write them.
_MOMENT = re.compile(
    rf"(?<!\d){_DAY}(?:[-_ T.]|[-_ ]+at[-_ ]+)?"
    rf"(?P<hour>{_HOUR})[s.]?(?P<fraction>\d{{3}})?(?!\d)"
)
_DATES = (re.compile(rf"(?<!\d){_DAY}(?!\d)"), re.compile(rf"(?<!\d){_DAY_FIRST}(?!\d)"))
_COMPACT = re.compile(r"(?<!\d)(?:19|20)\d{12}(?:\d{3})?(?!\d)")  # such as 20231127004504

_ASSIGNED = re.compile(r"(?<![a-zA-Z])t=(-?\d+(?:\.\d+)?)")
_UNITS = re.compile(
    r"(?<![\d.])(?:(\d{1,3})h[ _-]?)?(\d{1,3})m(?:in)?[ _-]?"
    r"(\d{1,2}(?:\.\d+)?)s(\d{3})?(?![a-zA-Z0-9])"
)
_SECONDS = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)(ms|sec|s)(?![a-zA-Z0-9])")
_TIMECODE = re.compile(
    r"(?<!\d)(\d{2})([-:;._ ])([0-5]\d)\2([0-5]\d)(?:\2|[;:])([0-9]{2})(?![\d.]\d|\d)"
)
_CLOCK = re.compile(r"(?<!\d)(\d{1,2})[-:](\d{2})[-:](\d{2}(?:[.,]\d+)?)(?:[-:_](\d{3}))?(?!\d)")
_LOOSE_CLOCK = re.compile(
    r"(?<!\d)(\d{1,2})([._ ])([0-5]\d)\2([0-5]\d(?:[.,]\d+)?)(?:[-:_](\d{3}))?(?!\d)"
)
_DECIMAL = re.compile(r"(?<![\d.])(\d+\.\d+)(?![\d.])")


@dataclass(frozen=True)
class Reading:
    """A quantity that was read from the name of every picture."""

    kind: Kind
    """A "clock" may be the time of day when a picture was taken. A "date" includes the day."""
    values: tuple[float, ...]
    """Each picture's time in seconds: for a "date", since 1970; for a "timecode", without the
    frame number."""
    frames: tuple[int, ...]
    """The frame number at the end of each picture's timecode; 0 for other kinds."""
    example: str
    """The part of the first name that contains the quantity."""


@dataclass(frozen=True)
class _Found:
    """A quantity that was read from one name, as in `Reading`."""

    value: float
    text: str
    frames: int = 0


def parse_seconds(name: str) -> float | None:
    """Return the time in seconds in a name such as `frame_12.5s`, `t=3.2` or `00-01-02.500`.

    The result is None for other names.
    """
    found = read_times([name])
    return found.values[0] if found else None


def read_times(names: Sequence[str]) -> Reading | None:
    """Return the time in each name if all of them are unmistakable, else None.

    A clock time next to a date does not count: it is the time of day, not a time in a recording.
    """
    bare = [_remove_dates(name) for name in names]
    finders: list[Callable[[str], Iterator[_Found]]] = [_find_assigned, _find_seconds]
    if bare == list(names):
        finders = [_find_assigned, _find_units, _find_seconds, _find_clocks]
    for find in finders:
        reading = _read("seconds", bare, find)
        if reading is not None:
            # if there are two clocks, one is probably a date such as 23-11-27
            several = find is _find_clocks and len(list(_find_clocks(bare[0]))) > 1
            return None if several else reading
    return None


def read_doubtful_times(names: Sequence[str]) -> list[Reading]:
    """Return the quantities that may be times in a recording, but may also be something else."""
    bare = [_remove_dates(name) for name in names]
    dated = bare != list(names)
    readings = [
        _read("timecode", bare, _find_timecodes),
        _read("clock", bare, _find_units),
        _read("clock", bare, _find_clocks),
        _read("clock", names, _find_hours),
        _read("clock" if dated else "seconds", bare, _find_loose_clocks),
        _read("seconds", bare, _find_decimals),
        _read("date", names, _find_moments),
    ]
    return [reading for reading in readings if reading is not None]


def read_numbers(names: Sequence[str]) -> list[tuple[int, ...]]:
    """Return the whole numbers at each place where no two names have the same number.

    Each tuple belongs to one place, and contains a number for every name. The digits of times and
    dates are ignored. The result is empty if the names differ in anything but numbers.
    """
    plain = [_remove_times(name) for name in names]
    if len({re.sub(r"\d+", "#", name) for name in plain}) != 1:
        return []
    places = zip(*(re.findall(r"\d+", name) for name in plain), strict=True)
    numbers = [tuple(map(int, place)) for place in places]
    return [place for place in numbers if len(set(place)) == len(place)]


def _read(
    kind: Kind, names: Sequence[str], find: Callable[[str], Iterator[_Found]]
) -> Reading | None:
    """Return the quantity at the first place where its value differs in every name, or None."""
    found = [list(find(name)) for name in names]
    for place in range(min(map(len, found), default=0)):
        column = [each[place] for each in found]
        if len({(each.value, each.frames) for each in column}) == len(column):
            return Reading(
                kind,
                tuple(each.value for each in column),
                tuple(each.frames for each in column),
                column[0].text,
            )
    return None


def _remove_dates(name: str) -> str:
    for date in _DATES:
        name = date.sub("#", name)
    return _COMPACT.sub("#", name)


def _remove_times(name: str) -> str:
    name = _MOMENT.sub("#", name)
    for pattern in (*_DATES, _TIMECODE, _CLOCK, _LOOSE_CLOCK, _UNITS, _SECONDS, _DECIMAL):
        name = pattern.sub("#", name)
    return name


def _find_assigned(name: str) -> Iterator[_Found]:
    for match in _ASSIGNED.finditer(name):
        yield _Found(float(match[1]), match[0])


def _find_units(name: str) -> Iterator[_Found]:
    for match in _UNITS.finditer(name):
        hours, minutes, seconds, milliseconds = match.groups()
        fraction = int(milliseconds or 0) / 1000
        yield _Found(_add_up(hours or "0", minutes, seconds) + fraction, match[0])


def _find_seconds(name: str) -> Iterator[_Found]:
    for match in _SECONDS.finditer(name):
        yield _Found(float(match[1]) / (1000 if match[2] == "ms" else 1), match[0])


def _find_clocks(name: str) -> Iterator[_Found]:
    for match in _CLOCK.finditer(_TIMECODE.sub("#", name)):
        hours, minutes, seconds, milliseconds = match.groups()
        fraction = int(milliseconds or 0) / 1000
        yield _Found(_add_up(hours, minutes, seconds) + fraction, match[0])


def _find_loose_clocks(name: str) -> Iterator[_Found]:
    for match in _LOOSE_CLOCK.finditer(_TIMECODE.sub("#", name)):
        hours, _, minutes, seconds, milliseconds = match.groups()
        fraction = int(milliseconds or 0) / 1000
        yield _Found(_add_up(hours, minutes, seconds) + fraction, match[0])


def _find_timecodes(name: str) -> Iterator[_Found]:
    for match in _TIMECODE.finditer(name):
        hours, _, minutes, seconds, frames = match.groups()
        yield _Found(_add_up(hours, minutes, seconds), match[0], int(frames))


def _find_decimals(name: str) -> Iterator[_Found]:
    for match in _DECIMAL.finditer(name):
        yield _Found(float(match[1]), match[0])


def _find_hours(name: str) -> Iterator[_Found]:
    """Yield each time of day that follows a date, as seconds since midnight."""
    for match in _MOMENT.finditer(name):
        digits = re.sub(r"\D", "", match["hour"])
        fraction = int(match["fraction"] or 0) / 1000
        yield _Found(_add_up(digits[:2], digits[2:4], digits[4:]) + fraction, match[0])


def _find_moments(name: str) -> Iterator[_Found]:
    """Yield each date that is followed by a time of day, as seconds since 1970."""
    for match in _MOMENT.finditer(name):
        digits = re.sub(r"\D", "", match[0])[:14]
        try:
            moment = datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except ValueError:
            continue  # such as February 30th
        yield _Found(moment.timestamp() + int(match["fraction"] or 0) / 1000, match[0])


def _add_up(hours: str, minutes: str, seconds: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds.replace(",", "."))
