"""The map is a sequence of choices like any other, only smaller."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pipeline.schema.reference_map import ReferenceChoice, ReferenceMap, ViewChoice

TICKS = st.integers(-(2**62), 2**62)
FLOATS = st.none() | st.floats(-1e9, 1e9)
VIEWS = st.builds(
    ViewChoice,
    st.integers(0, 16),
    st.integers(0, 16),
    FLOATS,
    FLOATS,
    FLOATS,
    st.integers(0, 9),
    st.lists(st.integers(0, 99), max_size=3).map(tuple),
)
FURTHER = st.lists(st.tuples(TICKS, st.floats(-1e9, 1e9)), max_size=3)


def build_choice(
    further: list[tuple[int, float]], timed: bool, *values: Any, **named: Any
) -> ReferenceChoice:
    """Return a choice with further references, whose times are only known if `timed`."""
    also = tuple(pts for pts, _ in further)
    seconds = tuple(seconds for _, seconds in further) if timed else ()
    return ReferenceChoice(*values, **named, also=also, also_seconds=seconds)


CHOICES = st.lists(
    st.builds(
        build_choice,
        FURTHER,
        st.booleans(),
        TICKS,
        st.none() | TICKS,
        FLOATS,
        st.sampled_from(["nearest", "cut", "kept"]),
        FLOATS,
        st.none() | VIEWS,
    )
)


class Holder(BaseModel):
    reference_map: ReferenceMap


@given(CHOICES)
def test_it_gives_back_what_went_in(choices: list[ReferenceChoice]) -> None:
    held = ReferenceMap(choices)
    assert list(held) == choices
    assert list(held.pts) == [choice.pts for choice in choices]
    assert [held[i] for i in range(-len(choices), 0)] == choices
    assert pickle.loads(pickle.dumps(held)) == held
    model = Holder(reference_map=choices)
    assert model.reference_map == held
    assert Holder.model_validate_json(model.model_dump_json()) == model
    assert [json.loads(line) for line in held.lines()] == model.model_dump(mode="json")[
        "reference_map"
    ]


@given(CHOICES, st.slices(8))
def test_a_slice_is_a_map(choices: list[ReferenceChoice], part: slice) -> None:
    assert list(ReferenceMap(choices)[part]) == choices[part]
    assert ReferenceMap(choices)[part] == ReferenceMap(choices[part])


@given(CHOICES, TICKS, TICKS)
def test_entries_between_two_times(choices: list[ReferenceChoice], one: int, other: int) -> None:
    first, last = min(one, other), max(one, other)
    ordered = ReferenceMap(choices).in_order()
    assert list(ordered) == sorted(choices, key=lambda choice: choice.pts)
    inside = [choice for choice in ordered if first <= choice.pts < last]
    assert list(ordered.between(first, last)) == inside


@given(CHOICES, st.data())
def test_maps_that_differ_anywhere_are_unequal(
    choices: list[ReferenceChoice], data: st.DataObject
) -> None:
    for at in range(len(choices)):
        changed = [*choices]
        changed[at] = data.draw(CHOICES.filter(len).map(lambda some: some[0]))
        assert (ReferenceMap(changed) == ReferenceMap(choices)) == (changed == choices)


def test_nothing_past_the_end_or_from_elsewhere() -> None:
    held = ReferenceMap([ReferenceChoice(1, 2, 0.5, "nearest")])
    with pytest.raises(IndexError):
        held[1]
    assert held != [held[0]]
    with pytest.raises(ValidationError, match="does not fit in 64 bits"):
        Holder(reference_map=[ReferenceChoice(2**63, None, None, "cut")])
    with pytest.raises(ValidationError, match=r"reference_map\.0\.pts"):
        Holder.model_validate_json('{"reference_map": [{"pts": "soon"}]}')


def test_lines_without_further_references_are_those_of_older_plans() -> None:
    one = ReferenceChoice(512, 0, -0.04, "nearest")
    assert list(ReferenceMap([one]).lines()) == [
        b'{"pts":512,"ref_pts":0,"seconds":-0.04,"why":"nearest","similarity":null,"views":null}'
    ]
    two = ReferenceChoice(512, 0, -0.04, "nearest", also=(7680,), also_seconds=(0.56,))
    (line,) = ReferenceMap([two]).lines()
    assert line.endswith(b'"views":null,"also":[7680],"also_seconds":[0.56]}')


def test_seconds_that_do_not_belong_to_the_references_are_dropped() -> None:
    entry = {"pts": 0, "ref_pts": 1, "seconds": 0.0, "why": "nearest", "also": [2, 3]}
    for seconds in ([], [0.5], [0.5, 0.5, 0.5]):
        line = json.dumps({"reference_map": [entry | {"also_seconds": seconds}]})
        choice = Holder.model_validate_json(line).reference_map[0]
        assert (choice.also, choice.also_seconds) == ((2, 3), ())


@given(CHOICES)
def test_references_are_counted(choices: list[ReferenceChoice]) -> None:
    plain = [c for c in choices if c.ref_pts is None and c.views is None and not c.also]
    one = [c for c in choices if c.ref_pts is not None and c.views is None and not c.also]
    two = [ReferenceChoice(0, 1, 0.0, "kept", also=(2,))] * len(plain)
    assert ReferenceMap([*plain, *one, *two]).count_references() == len(one) + 2 * len(two)
    view = ReferenceChoice(0, 1, 0.0, "nearest", views=ViewChoice(0, 0, 0, 0, 0, 0, (5, 6), (1, 1)))
    assert ReferenceMap([*one, view]).count_references() == len(one) + 3


@pytest.mark.parametrize(
    ("similarity", "also", "seconds"),
    [(None, (), ()), (0.9, (), ()), (None, (9,), (0.25,)), (0.9, (9,), (0.25,))],
    ids=["by time", "by content", "two by time", "two by content"],
)
def test_an_hour_fits_into_megabytes(
    similarity: float | None, also: tuple[int, ...], seconds: tuple[float, ...]
) -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = ReferenceMap(
        ReferenceChoice(
            n,
            n - n % 15,
            (n % 15) / 25,
            "nearest",
            similarity,
            also=also,
            also_seconds=seconds,
        )
        for n in range(90_000)
    )
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(held) == 90_000
    # 4 MB, or a little more with similarities; as objects they are five times that
    limit = 4_000_000 if similarity is None else 5_000_000
    assert after - before < limit
