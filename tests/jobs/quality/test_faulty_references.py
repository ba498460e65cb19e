"""Noise, grain and compression of a reference do no harm, measured in whole runs."""

from __future__ import annotations

import pytest

from jobs.quality.faulty_references import FAULTS, measure_faults


@pytest.mark.parametrize("name", ["none", "noise 10", "noise 40", "grain 20", "jpeg 10"])
def test_a_faulty_reference_is_never_worse_than_none(name: str) -> None:
    (row,) = measure_faults(5, size=(256, 384), faults={name: FAULTS[name]})
    assert row["frames"] == 2
    assert row["worst"] >= 0
    if name == "none":
        assert row["gain"] > 2
