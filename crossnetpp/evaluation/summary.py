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

ONE_STAGE = {"paper": "crossnet", "two_stages": "one_stage"}
"""Method -> the one that differs in its second stage alone; the latter two of configs/ablation."""
SR_LOSS = {"two_stages": "sr_loss"}
"""Method -> the one trained alike, but by the super-resolution loss alone."""


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
    rows.append(
        Requirement(
            "warped reference, hybrid loss above super-resolution loss alone", 0.0, _warped_above
        )
    )
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
    if method not in ONE_STAGE:
        return None
    where = {"over": ONE_STAGE[method], "group": "lightfield", "condition": "(7,7)"}
    return _reduced(np.mean, where, results, method)


def _warped_above(results: list[SceneResult], method: str) -> float | None:
    """Return by how much the hybrid loss betters the PSNR of the warped reference."""
    if method not in SR_LOSS:
        return None
    pairs = [
        (m.figures[method].warped, m.figures[SR_LOSS[method]].warped)
        for result in results
        if result.group != "faults"
        for m in result.measured
        if {method, SR_LOSS[method]} <= m.figures.keys()
    ]
    known = [a - b for a, b in pairs if a is not None and b is not None]
    return float(np.mean(known)) if known else None
