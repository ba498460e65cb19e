"""What has to hold, and whether it does: the rows of the summary table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from crossnetpp.evaluation.figures import SceneResult, gains
from crossnetpp.evaluation.protocol import FAULTS

LEAD = 1.0
"""dB above `classical` in every group."""
LEAST_MEAN, LEAST_WORST = -0.05, -0.3
"""dB against bicubic with a faulty reference: mean, and any single picture."""


@dataclass(frozen=True)
class Requirement:
    """One row: a figure in dB of each method and the least it has to be."""

    what: str
    least: float
    figure: Callable[[list[SceneResult], str], float | None]
    """None where it does not apply or was not measured."""


class Row(NamedTuple):
    """A requirement with the figures of the methods."""

    what: str
    least: float
    figures: dict[str, float]

    def met(self, method: str) -> bool:
        """Return whether the method's figure is enough."""
        return self.figures[method] >= self.least


def summarise(results: list[SceneResult], methods: list[str]) -> list[Row]:
    """Return the rows for which something was measured."""
    rows = []
    for requirement in _requirements():
        found = {method: requirement.figure(results, method) for method in methods}
        figures = {method: value for method, value in found.items() if value is not None}
        if figures:
            rows.append(Row(requirement.what, requirement.least, figures))
    return rows


def _requirements() -> list[Requirement]:
    gain = "gain over bicubic"
    rows = [
        Requirement(
            f"{gain}, clip {name} x4, key frame every 15", least, _mean(group="clips", name=name)
        )
        for name, least in {"frog": 4.5, "monster": 4.5, "flower": 2.5}.items()
    ]
    rows += [
        Requirement(
            f"{gain}, light field x8 {view}",
            least,
            _mean(group="lightfield", scale=8, condition=view),
        )
        for view, least in {"(1,1)": 10.0, "(7,7)": 6.0}.items()
    ]
    rows.append(Requirement(f"{gain}, stereo x4", 3.0, _mean(group="stereo")))
    groups: dict[str, dict[str, Any]] = {
        "light field x4": {"group": "lightfield", "scale": 4},
        "light field x8": {"group": "lightfield", "scale": 8},
        "clips x4": {"group": "clips"},
        "clips x4, 1 to 15 frames after": {"group": "distances"},
        "stereo x4": {"group": "stereo"},
    }
    rows += [
        Requirement(f"above classical, {name}", LEAD, _mean(over="classical", **where))
        for name, where in groups.items()
    ]
    for fault in FAULTS:
        where = {"group": "faults", "condition": fault}
        rows.append(Requirement(f"mean gain, reference {fault}", LEAST_MEAN, _mean(**where)))
        rows.append(Requirement(f"worst picture, reference {fault}", LEAST_WORST, _worst(**where)))
    rows.append(Requirement("two stages above one, light field (7,7)", 0.0, _two_above_one))
    return rows


def _mean(**where: Any) -> Callable[[list[SceneResult], str], float | None]:
    return partial(_reduced, np.mean, where)


def _worst(**where: Any) -> Callable[[list[SceneResult], str], float | None]:
    return partial(_reduced, np.min, where)


def _reduced(
    reduce: Callable[[list[float]], Any],
    where: dict[str, Any],
    results: list[SceneResult],
    method: str,
) -> float | None:
    if method == where.get("over"):
        return None
    values = gains(results, method, **where)
    return float(reduce(values)) if values else None


def _two_above_one(results: list[SceneResult], method: str) -> float | None:
    if method != "paper":
        return None
    where = {"over": "crossnet", "group": "lightfield", "condition": "(7,7)"}
    return _reduced(np.mean, where, results, method)
