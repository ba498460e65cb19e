"""Every pair of properties of a recording survives a run, or is named in a note or refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.media.cases import VALUES, Case, cover_pairs
from jobs.media.contract import check_case

CASES = cover_pairs(320)
REFUSED = {
    "VP9 has no place for a pixel aspect": lambda case: (
        case.shape == "anamorphic" and case.suffix == ".webm"
    ),
}
"""Reason -> which cases may end with a refusal."""


def test_every_value_is_covered() -> None:
    for name, values in VALUES.items():
        assert {getattr(case, name) for case in CASES} == set(values), name


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_goes_in_comes_out(case: Case, tmp_path: Path) -> None:
    result = check_case(case, tmp_path)
    assert result.faults == []
    assert not result.refusal or any(applies(case) for applies in REFUSED.values()), result.refusal
