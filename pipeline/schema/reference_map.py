"""Which reference serves which LR frame: one entry for each frame, an hour of them in 4 MB."""

from __future__ import annotations

import math
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Self, overload

from pydantic import GetCoreSchemaHandler, TypeAdapter
from pydantic.dataclasses import dataclass
from pydantic_core import CoreSchema, core_schema

_NO_PTS = -(2**63)
"""Stands for None among pts: FFmpeg's own mark for a time that is not known."""


@dataclass(frozen=True, slots=True)
class ViewChoice:
    """Which view a reference choice is for, and which it borrows from."""

    row: int
    col: int
    ref_row: float | None
    """Where the reference lies in the grid; None without a reference."""
    ref_col: float | None
    steps: float | None
    """Grid steps between the two."""
    moment: int = 0
    also: tuple[int, ...] = ()
    """Frames of further references that are fused with the first, farther and farther away."""
    also_steps: tuple[float, ...] = ()
    """Grid steps to each of them."""


@dataclass(frozen=True, slots=True)
class ReferenceChoice:
    """Which reference serves one LR frame."""

    pts: int
    """LR presentation time, ticks of the LR time base."""
    ref_pts: int | None
    """Reference presentation time, ticks of the reference's time base; None = plain up-sampling."""
    seconds: float | None
    """Reference time minus LR time, after offset and drift; None without a reference."""
    why: str
    """nearest | content | kept (hysteresis) | cut | too far | unlike | edited | dark (a view that
    shows nothing) | given (a view that the reference holds, which passes through untouched)."""
    similarity: float | None = None
    views: ViewChoice | None = None
    """Light fields only."""


_CHOICE = TypeAdapter(ReferenceChoice)


class ReferenceMap(Sequence[ReferenceChoice]):
    """A sequence of choices that never changes, held as columns.

    As objects the choices of an hour would need more memory than the frames that are at work.
    """

    __slots__ = ("_pts", "_ref_pts", "_seconds", "_similarity", "_views", "_why")

    def __init__(self, choices: Iterable[ReferenceChoice] = ()) -> None:
        self._pts, self._ref_pts = array("q"), array("q")
        self._seconds, self._similarity = array("d"), array("d")
        self._why: list[str] = []
        self._views: list[ViewChoice | None] = []
        """Empty where no choice is for a view."""
        for number, choice in enumerate(choices):
            self._pts.append(choice.pts)
            self._ref_pts.append(_NO_PTS if choice.ref_pts is None else choice.ref_pts)
            self._seconds.append(_number(choice.seconds))
            self._similarity.append(_number(choice.similarity))
            self._why.append(sys.intern(choice.why))
            if choice.views is not None and not self._views:
                self._views = [None] * number
            if choice.views is not None or self._views:
                self._views.append(choice.views)

    @property
    def pts(self) -> Sequence[int]:
        """The LR times of all entries, ticks."""
        return self._pts

    def __len__(self) -> int:
        return len(self._pts)

    @overload
    def __getitem__(self, at: int) -> ReferenceChoice: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> ReferenceChoice | Self:
        if isinstance(at, slice):
            part = type(self)()
            for name in self.__slots__:
                setattr(part, name, getattr(self, name)[at])
            if not any(part._views):
                part._views = []
            return part
        ref_pts = self._ref_pts[at]
        return ReferenceChoice(
            self._pts[at],
            None if ref_pts == _NO_PTS else ref_pts,
            _told(self._seconds[at]),
            self._why[at],
            _told(self._similarity[at]),
            self._views[at] if self._views else None,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ReferenceMap):
            return NotImplemented
        return self._columns() == other._columns()

    def __repr__(self) -> str:
        return f"ReferenceMap({list(self)!r})"

    def _columns(self) -> tuple[object, ...]:
        """Return all there is; numbers as bytes, since "none" is unlike itself as a number."""
        numbers = (self._pts, self._ref_pts, self._seconds, self._similarity)
        return (*(column.tobytes() for column in numbers), tuple(self._why), tuple(self._views))

    def in_order(self) -> ReferenceMap:
        """Return the same entries in rising order of their LR times."""
        if all(a <= b for a, b in pairwise(self._pts)):
            return self
        return ReferenceMap(sorted(self, key=lambda choice: choice.pts))

    def between(self, start_pts: int, end_pts: int) -> ReferenceMap:
        """Return the entries with start_pts <= pts < end_pts of a map that is in order."""
        return self[bisect_left(self._pts, start_pts) : bisect_left(self._pts, end_pts)]

    def lines(self) -> Iterator[bytes]:
        """Yield each entry as compact JSON."""
        return map(_CHOICE.dump_json, self)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Let models hold a map: a list of choices in JSON, and any iterable of them in Python."""
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


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _told(value: float) -> float | None:
    return None if math.isnan(value) else value


def _as_list(choices: object) -> object:
    return list(choices) if isinstance(choices, tuple) else choices


def _from_list(choices: list[ReferenceChoice]) -> ReferenceMap:
    try:
        return ReferenceMap(choices)
    except OverflowError:
        raise ValueError("a time is beyond 64 bits") from None
