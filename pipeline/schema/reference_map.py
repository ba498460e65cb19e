"""The references of every LR frame, stored in columns that take a few MB per hour of video."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal, Self, get_args, overload

from pydantic import Field, GetCoreSchemaHandler, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

# Why a frame has this reference, or none:
# nearest    the nearest in time, or on the grid of a light field
# content    the most similar picture
# kept       the previous frame's reference, because no other is clearly better (hysteresis)
# cut        none: all references in range belong to other scenes
# too far    none: all references are farther away than the maximum distance
# unlike     none: no reference is similar enough
# edited     changed in the plan
# dark       none: the view shows nothing
# given      the reference contains the frame or view itself, which passes through unchanged
Why = Literal[
    "nearest", "content", "kept", "cut", "too far", "unlike", "edited", "dark", "given"
]  # fmt: skip

_REASONS: tuple[Why, ...] = get_args(Why)  # a column stores the position of each reason
_NO_PTS = -(2**63)  # for None in a column of pts; FFmpeg's AV_NOPTS_VALUE


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """The view for which a reference was chosen, and the reference's position in the grid."""

    row: int
    col: int
    ref_row: float | None
    """Row and column of the reference in the grid; both are None without a reference."""
    ref_col: float | None
    steps: float | None
    """Grid steps between the view and its reference."""
    moment: int = 0
    also: tuple[int, ...] = ()
    """Frame numbers of further references to fuse with the first, nearest first."""
    also_steps: tuple[float, ...] = ()
    """Grid steps to each of these references."""


def _is_empty(values: tuple[object, ...]) -> bool:
    return not values


@dataclass(frozen=True, slots=True)
class ReferenceChoice:
    """The references chosen for one LR frame, and why."""

    pts: int
    """Presentation time of the LR frame, in ticks of the LR time base."""
    ref_pts: int | None
    """Presentation time of the reference, in ticks of its time base; None for plain up-sampling."""
    seconds: float | None
    """Reference time minus LR time in seconds, after offset and drift.

    None without a reference, or if the times are not known."""
    why: Why
    similarity: float | None = None
    views: ViewChoice | None = None
    """Set only for light fields."""
    # both fields are omitted if empty, as in the plans of older versions
    also: tuple[int, ...] = Field(default=(), exclude_if=_is_empty)
    """Pts of further references for a clip's frame, most useful first; empty for views."""
    also_seconds: tuple[float, ...] = Field(default=(), exclude_if=_is_empty)
    """Like `seconds`, for each reference in `also`; empty if their times are unknown."""

    @property
    def further(self) -> tuple[int, ...]:
        """The pts (for views, frame numbers) of all references except the first."""
        return self.also if self.views is None else self.views.also

    @property
    def references(self) -> tuple[int, ...]:
        """The pts (for views, frame numbers) of all references, best first; empty if none."""
        return () if self.ref_pts is None else (self.ref_pts, *self.further)


_CHOICE = TypeAdapter(ReferenceChoice)


class ReferenceMap(Sequence[ReferenceChoice]):
    """An immutable sequence of choices, stored in columns.

    As objects, the choices of an hour of video would take more memory than all frames in flight.
    """

    __slots__ = (
        "_also", "_also_seconds", "_pts", "_ref_pts", "_seconds", "_similarity", "_views", "_why",
    )  # fmt: skip

    def __init__(self, choices: Iterable[ReferenceChoice] = ()) -> None:
        self._pts = array("q")
        self._ref_pts = array("q")
        self._seconds = array("d")
        self._why = array("b")
        # each of these columns is empty if no choice has such a value, else as long as the map
        self._similarity = array("d")
        self._views: list[ViewChoice | None] = []
        # one column for each rank of further references: the second, the third and so on
        self._also: list[array[int]] = []
        self._also_seconds: list[array[float]] = []

        for choice in choices:
            self._append(choice)

    def _append(self, choice: ReferenceChoice) -> None:
        number = len(self._pts)
        self._pts.append(choice.pts)
        self._ref_pts.append(_NO_PTS if choice.ref_pts is None else choice.ref_pts)
        self._seconds.append(_none_to_nan(choice.seconds))
        self._why.append(_REASONS.index(choice.why))

        if choice.similarity is not None and not self._similarity:
            self._similarity = array("d", [math.nan]) * number
        if choice.similarity is not None or self._similarity:
            self._similarity.append(_none_to_nan(choice.similarity))

        if choice.views is not None and not self._views:
            self._views = [None] * number
        if choice.views is not None or self._views:
            self._views.append(choice.views)

        self._append_further(choice, number)

    def _append_further(self, choice: ReferenceChoice, number: int) -> None:
        while len(self._also) < len(choice.also):
            self._also.append(array("q", [_NO_PTS]) * number)
            self._also_seconds.append(array("d", [math.nan]) * number)

        known = len(choice.also) == len(choice.also_seconds)
        for rank, (pts, seconds) in enumerate(zip(self._also, self._also_seconds, strict=True)):
            exists = rank < len(choice.also)
            pts.append(choice.also[rank] if exists else _NO_PTS)
            seconds.append(choice.also_seconds[rank] if exists and known else math.nan)

    @property
    def pts(self) -> Sequence[int]:
        """The presentation times of all LR frames, in ticks."""
        return self._pts

    def __len__(self) -> int:
        return len(self._pts)

    @overload
    def __getitem__(self, at: int) -> ReferenceChoice: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> ReferenceChoice | Self:
        if isinstance(at, slice):
            return self._slice(at)
        ref_pts = self._ref_pts[at]
        also = tuple(column[at] for column in self._also if column[at] != _NO_PTS)
        also_seconds = tuple(column[at] for column in self._also_seconds[: len(also)])
        return ReferenceChoice(
            self._pts[at],
            None if ref_pts == _NO_PTS else ref_pts,
            _nan_to_none(self._seconds[at]),
            _REASONS[self._why[at]],
            _nan_to_none(self._similarity[at]) if self._similarity else None,
            self._views[at] if self._views else None,
            also,
            () if any(map(math.isnan, also_seconds)) else also_seconds,
        )

    def _slice(self, at: slice) -> Self:
        part = type(self)()
        for name in self.__slots__:
            column = getattr(self, name)
            if name in ("_also", "_also_seconds"):
                setattr(part, name, [each[at] for each in column])
            else:
                setattr(part, name, column[at])

        # drop columns without values, so that the part equals a map made from the same choices
        if not any(part._views):
            part._views = []
        if all(map(math.isnan, part._similarity)):
            part._similarity = array("d")
        while part._also and all(pts == _NO_PTS for pts in part._also[-1]):
            part._also.pop()
            part._also_seconds.pop()
        return part

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReferenceMap):
            return NotImplemented
        return self._columns() == other._columns()

    def __repr__(self) -> str:
        return f"ReferenceMap({list(self)!r})"

    def _columns(self) -> tuple[object, ...]:
        """Return all columns in a form that can be compared.

        Columns of numbers become bytes, because NaN, which represents None, does not equal itself.
        """
        single = (self._pts, self._ref_pts, self._seconds, self._similarity, self._why)
        numbers: tuple[array[Any], ...] = (*single, *self._also, *self._also_seconds)
        return (*(column.tobytes() for column in numbers), tuple(self._views))

    def count_references(self) -> int:
        """Return the total number of references of all frames."""
        if self._views:
            return sum(len(choice.references) for choice in self)
        columns = (self._ref_pts, *self._also)
        return sum(len(column) - column.count(_NO_PTS) for column in columns)

    def in_order(self) -> ReferenceMap:
        """Return a map with the same entries in ascending order of LR time."""
        if all(a <= b for a, b in pairwise(self._pts)):
            return self
        return ReferenceMap(sorted(self, key=lambda choice: choice.pts))

    def between(self, start_pts: int, end_pts: int) -> ReferenceMap:
        """Return the entries with start_pts <= pts < end_pts; the map must be in order of pts."""
        return self[bisect_left(self._pts, start_pts) : bisect_left(self._pts, end_pts)]

    def lines(self) -> Iterator[bytes]:
        """Yield the JSON of each entry, without whitespace."""
        return map(_CHOICE.dump_json, self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the schema that accepts lists in JSON, and maps, lists and tuples in Python."""
        choices = handler.generate_schema(list[ReferenceChoice])
        made = core_schema.no_info_after_validator_function(_from_list, choices)
        iterable = core_schema.no_info_before_validator_function(_as_list, made)
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), iterable]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                list, return_schema=choices
            ),
        )


def _none_to_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _nan_to_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _as_list(choices: object) -> object:
    return list(choices) if isinstance(choices, tuple) else choices


def _from_list(choices: list[ReferenceChoice]) -> ReferenceMap:
    try:
        return ReferenceMap(choices)
    except OverflowError:
        raise ValueError("a pts does not fit in 64 bits") from None
