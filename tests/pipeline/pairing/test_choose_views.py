"""The choice of a reference view for each view, by time, distance and order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.pairing.choose_views import (
    CameraPosition,
    Candidate,
    ViewRules,
    ViewTarget,
    choose_view,
)

PLACES = st.tuples(st.integers(0, 7), st.integers(0, 7))


def at(row: int, col: int) -> CameraPosition:
    return CameraPosition(float(col), float(row), row, col)


def candidates(*places: tuple[int, int]) -> list[Candidate]:
    return [Candidate(at(*place), [number], None) for number, place in enumerate(places)]


def target(row: int, col: int, seconds: float = 0.0) -> ViewTarget:
    return ViewTarget(9, at(row, col), 0, seconds)


def test_distance_is_euclidean_in_grid_steps() -> None:
    found = choose_view(target(3, 3), candidates((0, 0), (7, 7)), ViewRules())
    assert found.ref_pts == 0
    assert found.views is not None
    assert found.views.steps == pytest.approx(4.2426)


@pytest.mark.parametrize(
    ("places", "chosen"),
    [
        (((1, 3), (3, 1)), 1),  # same row before same column
        (((2, 2), (2, 4), (4, 4)), 0),  # then the lower index
        (((1, 3), (5, 3)), 0),
        (((4, 5), (2, 1), (3, 0)), 0),  # no tie at all
    ],
)
def test_ties_go_to_the_row_then_the_column_then_the_index(
    places: tuple[tuple[int, int], ...], chosen: int
) -> None:
    assert choose_view(target(3, 3), candidates(*places), ViewRules()).ref_pts == chosen


@given(PLACES, st.lists(PLACES, min_size=1, max_size=9, unique=True))
def test_none_is_nearer_than_the_chosen_one(
    here: tuple[int, int], places: list[tuple[int, int]]
) -> None:
    found = choose_view(target(*here), candidates(*places), ViewRules(count=3))
    assert found.views is not None
    away = np.hypot(*(np.asarray(places) - here).T)
    assert found.views.steps == pytest.approx(away.min(), abs=1e-3)
    assert (found.why == "given") == (here in places)
    if found.why != "given":
        assert len(found.views.also) == min(2, len(places) - 1)
        assert [away[n] for n in (found.ref_pts, *found.views.also)] == sorted(away)[:3]


def test_known_camera_centres_count_instead_of_the_grid() -> None:
    skewed = [Candidate(CameraPosition(4.4, 3.0, 3, 4), [0], None), Candidate(at(3, 2), [1], None)]
    assert choose_view(target(3, 3), skewed, ViewRules()).ref_pts == 1


def test_time_comes_before_place() -> None:
    near = Candidate(at(3, 3), [0, 1], [0.0, 1.0])
    far = Candidate(at(7, 7), [2, 3], [0.5, 1.5])
    found = choose_view(target(3, 4, seconds=0.5), [near, far], ViewRules(same_time=0.02))
    assert found.ref_pts == 2
    assert choose_view(target(3, 4, seconds=9.0), [near, far], ViewRules()).why == "too far"


def test_a_view_of_another_time_or_size_is_not_given() -> None:
    late = [Candidate(at(3, 3), [0], [0.04])]
    assert choose_view(target(3, 3), late, ViewRules()).why == "nearest"
    assert choose_view(target(3, 3), candidates((3, 3)), ViewRules(whole=False)).why == "nearest"
