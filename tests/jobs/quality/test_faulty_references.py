"""Noise, grain and compression of a reference do no harm, measured in whole runs."""

from __future__ import annotations

import pytest

from jobs.quality.faulty_references import FAULTS, measure_faults, measure_unrelated


@pytest.mark.parametrize("name", ["none", "noise 10", "noise 40", "grain 20", "jpeg 10"])
def test_a_faulty_reference_is_never_worse_than_none(name: str) -> None:
    (row,) = measure_faults(5, size=(256, 384), faults={name: FAULTS[name]})
    assert row["frames"] == 2
    assert row["worst"] >= 0
    if name == "none":
        assert row["gain"] > 2


def test_a_reference_of_something_else_does_hardly_any_harm() -> None:
    double, fourfold = measure_unrelated(5, crfs=(None,))
    assert (double["scale"], fourfold["scale"]) == (2, 4)
    assert double["gain"] > double["network_alone"] + 0.5
    assert double["worst"] > -0.3
    assert fourfold["worst"] > -0.05
