"""The map is a sequence of choices like any other, only smaller."""

from __future__ import annotations

import json
import pickle
import tracemalloc

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
CHOICES = st.lists(
    st.builds(
        ReferenceChoice,
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


def test_an_hour_fits_into_megabytes() -> None:
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    held = ReferenceMap(
        ReferenceChoice(n, n - n % 15, (n % 15) / 25, "nearest", 0.9) for n in range(90_000)
    )
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(held) == 90_000
    assert after - before < 60 * 90_000  # bytes; as objects they are five times that
