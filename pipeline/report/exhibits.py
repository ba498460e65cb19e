"""Choose the frames that the report shows."""

from __future__ import annotations

from pipeline.report.rows import Row, drop_given
from pipeline.schema.plan import Plan


def choose_exhibits(rows: list[Row], plan: Plan) -> dict[int, list[str]]:
    """Return a map from the number of each frame to show to the reasons for showing it.

    The frames are in the order in which the page shows them.
    """
    candidates = sorted(drop_given(rows, plan), key=lambda row: (row.figure, row.number))
    picks = {
        "median": candidates[len(candidates) // 2],
        "most borrowed": max(candidates, key=lambda row: (row.borrowed, -row.number)),
        "worst": candidates[0],
        "best": candidates[-1],
    }

    found: dict[int, list[str]] = {}
    for why, row in picks.items():
        found.setdefault(row.number, []).append(why)
    return found
